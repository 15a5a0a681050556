#ifndef ATR_DNN_CALIBRATE_H
#define ATR_DNN_CALIBRATE_H

#include "dnn/plan.h"

/* How large a network's activations get on some pictures, and from that the steps of its integers (core/quant.h).
 *
 *     atr_calibration_create(pictures, &c);
 *     atr_plan_watch(plan, atr_calibration_watch, c);      an f32 plan without the rewrite `concat`
 *     … one forward pass of a picture for each …
 *     atr_calibration_choose(c, plan, &how, &quant);
 */
typedef struct atr_calibration atr_calibration;

/* Keeps a sample of each activation over `pictures` passes, and the extremes of every channel. */
atr_status atr_calibration_create(int64_t pictures, atr_calibration **out);
void atr_calibration_destroy(atr_calibration *calibration);

/* An atr_plan_watch_fn. What goes wrong in it is told by atr_calibration_choose(). */
void atr_calibration_watch(void *calibration, const char *name, const atr_tensor *value);

/* Where an activation's largest integer lies. */
typedef enum atr_clip {
    ATR_CLIP_MSE,        /* where the expected error of what its readers compute is least */
    ATR_CLIP_PERCENTILE, /* at the magnitude that 99.99 % of its elements stay below */
    ATR_CLIP_MAX         /* at the largest seen */
} atr_clip;

/* How steps differ between the channels of an activation. */
typedef enum atr_equalise {
    ATR_EQUALISE_BEST, /* whichever of the others gives the least expected error, for each activation */
    ATR_EQUALISE_NONE, /* one step for all */
    ATR_EQUALISE_BALANCE, /* by sqrt(range of the channel / largest weight that meets it): Nagel et al., "Data-Free Quantization
                             Through Weight Equalization and Bias Correction", ICCV 2019, eq. 11; Xiao et al., SmoothQuant, 2023 */
    ATR_EQUALISE_CHANNEL /* by the range of the channel */
} atr_equalise;

typedef struct atr_calibration_how {
    atr_clip clip;
    atr_equalise equalise;
} atr_calibration_how;

/* Steps of all activations that convolutions of `plan` read, and weight steps of these convolutions, into the empty `out`. The
 * expected error of a convolution, for an activation with error e and steps that turn weights w into w + d, is
 *     sum over o,i,t of  w^2 E[e_i^2] + d^2 E[x_i^2],   as a share of E[y^2],
 * errors taken as independent. ATR_ERR_USAGE before any pass. */
atr_status atr_calibration_choose(const atr_calibration *calibration, const atr_plan *plan,
                                  const atr_calibration_how *how, atr_quant *out);

#endif
