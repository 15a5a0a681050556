#ifndef ATR_TESTS_SUPPORT_RIG_H
#define ATR_TESTS_SUPPORT_RIG_H

#include "dnn/backend.h"
#include "tests/support/parity.h"

/* One step with buffers of its own, outside any plan: filled by formula, run on a back end, compared. Failures end the test. */

typedef struct rig_case {
    const char *label;
    atr_op op;
    int64_t n, h, w, c;   /* x[0] */
    atr_conv_spec conv;   /* CONV */
    int64_t c2;           /* CONCAT: channels of the second input */
    int64_t out_h, out_w; /* RESIZE */
    double dropout;
    atr_act act;
    int64_t before, after; /* foreign channels around those of each activation */
    bool infer;            /* forward only */
    bool batch_stats, folded, residual;
    bool in_place; /* y lies over x[0] where forward may, dx over dy where backward may */
    bool no_dx, no_dw;
    bool winograd; /* the mark of the plan */
} rig_case;

/* An activation or parameter in a buffer of its own. */
typedef struct rig_buffer {
    float *block; /* owned; foreign channels hold RIG_FOREIGN */
    uint16_t *
        narrow; /* owned; of a bf16 activation: what the step sees, copied from `block` before a run and back behind it */
    int64_t count;
    atr_tensor view; /* of `block` */
} rig_buffer;

enum { RIG_SAMPLES = 8 };

typedef struct rig {
    const rig_case *spec;
    atr_backend *backend; /* borrowed */
    atr_step step;
    rig_buffer x[2], y, dy, dx[2];
    rig_buffer weight, bias, running_mean, running_var, norm_weight, norm_bias, dweight, dbias;
    int64_t num_tracked;
    uint64_t sample_keys[RIG_SAMPLES];
} rig;

/* Makes and prepares a step on `backend` (on `ref` where that has no kernel), filled with numbers from `seed`. */
void rig_create(rig *r, const rig_case *spec, atr_backend *backend, uint64_t seed);
/* The same with activations of these types: x (and its gradient), y (and its gradient). */
void rig_create_typed(rig *r, const rig_case *spec, atr_backend *backend, uint64_t seed, atr_dtype x_type,
                      atr_dtype y_type);
void rig_destroy(rig *r);

/* Packs the weights, runs forward and, in training, backward; then sees that no foreign channel was written.
 * Where ADD and CONCAT have no backward there is no dx. */
void rig_run(rig *r);
void rig_forward(rig *r);
void rig_backward(rig *r);

/* Uniform numbers in offset +- scale into all elements of the view. */
void rig_fill(const atr_tensor *view, uint64_t key, double scale, double offset);

/* Sum of a*b over two views of one shape, in double. */
double rig_dot(const atr_tensor *a, const atr_tensor *b);

/* Relative L2 distance and largest distance as a share of b's largest element; infinite where an element of a is not finite. */
double rig_relative_l2(const atr_tensor *a, const atr_tensor *b);
double rig_relative_max(const atr_tensor *a, const atr_tensor *b);

/* |got - want| <= bound, else the test fails with both. */
void rig_assert_near(double got, double want, double bound);

/* All results of a run: y, dx, gradients, running statistics; count of them in the return value. */
enum { RIG_RESULTS = 8 };
typedef struct rig_result {
    const char *name;
    const rig_buffer *buffer;
} rig_result;
int rig_results(const rig *r, rig_result out[RIG_RESULTS]);

/* Every back end of this build, opened with `threads`; returns how many. The last is `ref`. */
enum { RIG_BACKENDS = 4 };
int rig_open_backends(int threads, atr_backend *out[RIG_BACKENDS]);
void rig_close_backends(atr_backend *backends[], int count);

/* Runs `check` for each golden case of both backbones on each back end. False: there are no golden numbers here. */
typedef void (*rig_golden_check)(const atr_h5 *golden, const parity_case *c, atr_backend *backend);
bool rig_on_golden_cases(int threads, rig_golden_check check);

#endif
