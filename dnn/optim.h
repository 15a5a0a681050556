#ifndef ATR_DNN_OPTIM_H
#define ATR_DNN_OPTIM_H

#include "core/params.h"
#include "dnn/backend.h"

typedef enum atr_optim_kind { ATR_OPTIM_SGD, ATR_OPTIM_ADAM } atr_optim_kind;

typedef struct atr_optim_config {
    atr_optim_kind kind;
    double momentum;     /* SGD momentum, Adam beta1 */
    double beta2, eps;   /* Adam */
    double weight_decay; /* on every parameter, biases and norms included, as the reference does */
    bool nesterov;
} atr_optim_config;

/* Owns its moments, which are themselves atr_params of the same names and shapes, so that io can save them. */
typedef struct atr_optim atr_optim;

/* Borrows params and back end. */
atr_status atr_optim_create(const atr_optim_config *config, atr_params *params, atr_backend *backend,
                            atr_optim **out);
void atr_optim_destroy(atr_optim *optim);

/* One update of all values from the gradients times `scale`; counts steps; touches the params. */
atr_status atr_optim_step(atr_optim *optim, double lr, double scale);

/* Moments: 1 set for SGD ("momentum"), 2 for Adam ("exp_avg", "exp_avg_sq"). */
int atr_optim_moment_count(const atr_optim *optim);
const char *atr_optim_moment_name(const atr_optim *optim, int index);
atr_params *atr_optim_moment(atr_optim *optim, int index);
int64_t atr_optim_steps(const atr_optim *optim);
void atr_optim_set_steps(atr_optim *optim, int64_t steps);

/* "sgd", "adam" -> kind; ATR_ERR_USAGE names what there is. */
atr_status atr_optim_kind_parse(const char *name, atr_optim_kind *out);

#endif
