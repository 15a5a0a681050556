/* Our kernels on bf16 for any machine: vectors of four floats, which every compiler target has or imitates. */
#define ATR_CPU_BF16

#include "dnn/cpu/depthwise_body_impl.h"
#include "dnn/cpu/norm_body_impl.h"
#include "dnn/cpu/pointwise_body_impl.h"

const atr_cpu_kernels atr_cpu_kernels_portable_bf16 = {
#include "dnn/cpu/kernels_elements_impl.h"
};
