/* Our kernels for AVX2 and FMA, chosen at run time. */
#if defined(__x86_64__)

#pragma GCC target("avx2,fma,f16c")

#include "dnn/cpu/banded_body_impl.h"
#include "dnn/cpu/classes_body_impl.h"
#include "dnn/cpu/depthwise_body_impl.h"
#include "dnn/cpu/filter_body_impl.h"
#include "dnn/cpu/int8_body_impl.h"
#include "dnn/cpu/int8_winograd_body_impl.h"
#include "dnn/cpu/loss_body_impl.h"
#include "dnn/cpu/norm_body_impl.h"
#include "dnn/cpu/outer_body_impl.h"
#include "dnn/cpu/pointwise_body_impl.h"
#include "dnn/cpu/resample_body_impl.h"
#include "dnn/cpu/update_body_impl.h"
#include "dnn/cpu/winograd_body_impl.h"

const atr_cpu_kernels atr_cpu_kernels_avx2 = {
#include "dnn/cpu/kernels_elements_impl.h"
#include "dnn/cpu/kernels_table_impl.h"
};

#endif
