/* Our kernels on bf16 for AVX2 and FMA, chosen at run time. */
#if defined(__x86_64__)

#pragma GCC target("avx2,fma,f16c")

#define ATR_CPU_BF16

#include "dnn/cpu/depthwise_body_impl.h"
#include "dnn/cpu/norm_body_impl.h"
#include "dnn/cpu/pointwise_body_impl.h"

const atr_cpu_kernels atr_cpu_kernels_avx2_bf16 = {
#include "dnn/cpu/kernels_elements_impl.h"
};

#endif
