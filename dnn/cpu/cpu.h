#ifndef ATR_DNN_CPU_CPU_H
#define ATR_DNN_CPU_CPU_H

#include "dnn/step.h"

/* What tests and profiles may ask the host back end, beside its table (atr_backend_cpu in dnn/backend.h). */

/* Names of the implementations that a prepared CONV step of this back end runs on: forward, data gradient, weight gradient;
 * "" where it has none. "ref" or "gemm" in one of oneDNN's names means a slow path. Borrowed from the step. */
typedef struct atr_cpu_conv_names {
    const char *forward, *data_gradient, *weight_gradient;
} atr_cpu_conv_names;
atr_cpu_conv_names atr_cpu_conv_names_of(const atr_step *step);

#endif
