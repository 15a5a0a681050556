#ifndef ATR_DNN_REWRITES_H
#define ATR_DNN_REWRITES_H

#include "core/status.h"

/* Rewrites that a plan may apply, all exact in real arithmetic. Tests and diagnosis switch them off one by one. */
typedef enum atr_rewrite {
    ATR_REWRITE_FOLD_NORM =
        1 << 0, /* inference and frozen parts: batch norm, activation and residual into the convolution */
    ATR_REWRITE_NORM_ACT = 1 << 1, /* training: batch norm + activation as one step */
    ATR_REWRITE_CONCAT = 1 << 2,   /* producers write into channel slices */
    ATR_REWRITE_RESIZED = 1 << 3,  /* a 3x3 convolution of an enlarged map runs at the low resolution */
    ATR_REWRITE_WINOGRAD = 1 << 4, /* 3x3 convolutions by minimal filtering */
    ATR_REWRITE_POOLED = 1 << 5,   /* a broadcast pixel in front of a 1x1 convolution is a bias per picture */
    ATR_REWRITE_BANDS = 1 << 6,    /* inference: 1x1, depthwise and 1x1 by bands of rows */
    ATR_REWRITE_NORM_AGAIN =
        1 << 7, /* training: outputs of batch norms are made again for backward, not kept */
    ATR_REWRITE_ALL = -1
} atr_rewrite;

/* Their names, as atr_rewrites_without() knows them, for help and messages. */
#define ATR_REWRITE_NAMES "fold-norm, norm-act, concat, resized, winograd, pooled, bands, norm-again, all"

/* Takes away from `*rewrites` (bits of atr_rewrite) what `item` names: "-NAME", or "-all". ATR_ERR_USAGE, with the names there
 * are, for anything else. */
atr_status atr_rewrites_without(const char *item, int *rewrites);

#endif
