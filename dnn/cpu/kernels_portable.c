/* Our kernels for any machine: vectors of four floats, which every compiler target has or imitates. */
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

const atr_cpu_kernels atr_cpu_kernels_portable = {
#include "dnn/cpu/kernels_elements_impl.h"
#include "dnn/cpu/kernels_table_impl.h"
};
