#ifndef ATR_TESTS_DNN_TOLERANCE_H
#define ATR_TESTS_DNN_TOLERANCE_H

#include "core/tensor.h"

/* How far a back end's results may lie from `ref`, whose sums are in double, by the type it computes in. */
typedef struct tolerance {
    double relative_l2; /* of a whole tensor */
    double max;         /* of any element, as a share of the tensor's largest */
} tolerance;

static const tolerance tolerances[ATR_DTYPES] = {
    [ATR_F32] = {2e-6, 1e-5},
    [ATR_BF16] = {1e-3, 0x1p-7},
    [ATR_F16] = {2e-3, 5e-3},
};

#endif
