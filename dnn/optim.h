#ifndef ATR_DNN_OPTIM_H
#define ATR_DNN_OPTIM_H

#include "core/params.h"
#include "dnn/backend.h"

typedef enum atr_optim_kind { ATR_OPTIM_SGD, ATR_OPTIM_ADAM, ATR_OPTIM_ADAMW } atr_optim_kind;

typedef struct atr_optim_config {
    atr_optim_kind kind;
    double momentum;   /* SGD momentum, Adam and AdamW beta1 */
    double beta2, eps; /* Adam and AdamW */
    double
        weight_decay; /* on every parameter, biases and norms included, as the reference does; AdamW: decoupled */
    bool nesterov;
} atr_optim_config;

/* Owns its moments, which are themselves atr_params of the same names and shapes, so that io can save them. */
typedef struct atr_optim atr_optim;

/* Borrows params and back end. */
atr_status atr_optim_create(const atr_optim_config *config, atr_params *params, atr_backend *backend,
                            atr_optim **out);
void atr_optim_destroy(atr_optim *optim);

/* One update of all values that are not frozen (see atr_params_set_frozen) from their gradients times `scale`; counts steps;
 * touches the params. Frozen values and their moments stay as they are, whatever the weight decay. Each parameter's steps are
 * counted apart, as PyTorch does: Adam's bias correction of one that was frozen begins when it is first updated. */
atr_status atr_optim_step(atr_optim *optim, double lr, double scale);

/* Root of the sum of squares of all gradients that are not frozen; not finite when one of them is not. */
atr_status atr_optim_gradient_norm(atr_optim *optim, double *out);

/* Moments: 1 set for SGD ("momentum"), 2 for Adam and AdamW ("exp_avg", "exp_avg_sq"). */
int atr_optim_moment_count(const atr_optim *optim);
const char *atr_optim_moment_name(const atr_optim *optim, int index);
atr_params *atr_optim_moment(atr_optim *optim, int index);
int64_t atr_optim_steps(const atr_optim *optim);
/* Updates that each entry of the params has seen, [atr_params_count]; borrowed, and may be written (a run that goes on). */
int64_t *atr_optim_entry_steps(atr_optim *optim);
/* Updates made; the first sets those of all entries too. */
void atr_optim_set_steps(atr_optim *optim, int64_t steps);
void atr_optim_set_update_count(atr_optim *optim, int64_t steps);

/* "sgd", "adam", "adamw" -> kind; ATR_ERR_USAGE names what there is. */
atr_status atr_optim_kind_parse(const char *name, atr_optim_kind *out);
/* And back. */
const char *atr_optim_kind_name(atr_optim_kind kind);

#endif
