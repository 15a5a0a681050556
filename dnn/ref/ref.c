#include "dnn/ref/ref_impl.h"

const atr_backend_table atr_backend_ref = {
    .name = "ref",
    .summary = "plain C loops with sums in double: slow, and what the others are measured against",
    .host = true,
    .op =
        {
            [ATR_OP_CONV] = {atr_ref_conv_prepare, atr_ref_conv_refresh, atr_ref_conv_forward,
                             atr_ref_conv_backward, atr_ref_conv_release},
            [ATR_OP_NORM] = {atr_ref_norm_prepare, NULL, atr_ref_norm_forward, atr_ref_norm_backward, NULL},
            [ATR_OP_ACT] = {atr_ref_act_prepare, NULL, atr_ref_act_forward, atr_ref_act_backward, NULL},
            [ATR_OP_ADD] = {atr_ref_plain_prepare, NULL, atr_ref_add_forward, NULL, NULL},
            [ATR_OP_CONCAT] = {atr_ref_plain_prepare, NULL, atr_ref_concat_forward, NULL, NULL},
            [ATR_OP_GLOBAL_POOL] = {atr_ref_plain_prepare, NULL, atr_ref_pool_forward, atr_ref_pool_backward,
                                    NULL},
            [ATR_OP_RESIZE] = {atr_ref_plain_prepare, NULL, atr_ref_resize_forward, atr_ref_resize_backward,
                               NULL},
            [ATR_OP_DROPOUT] = {atr_ref_plain_prepare, NULL, atr_ref_dropout_forward,
                                atr_ref_dropout_backward, NULL},
        },
    .loss_scratch = atr_ref_loss_scratch,
    .loss_sums = atr_ref_loss_sums,
    .loss = atr_ref_loss,
    .segment_scratch = atr_ref_segment_scratch,
    .segment = atr_ref_segment,
    .enlarge = atr_ref_enlarge,
    .sgd = atr_ref_sgd,
    .adam = atr_ref_adam,
    .accumulate = atr_ref_accumulate,
    .average = atr_ref_average,
    .sum_squares = atr_ref_sum_squares,
};
