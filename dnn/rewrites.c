#include "dnn/rewrites.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int bits;
} rewrites[] = {
    {"fold-norm", ATR_REWRITE_FOLD_NORM},
    {"norm-act", ATR_REWRITE_NORM_ACT},
    {"concat", ATR_REWRITE_CONCAT},
    {"resized", ATR_REWRITE_RESIZED},
    {"winograd", ATR_REWRITE_WINOGRAD},
    {"pooled", ATR_REWRITE_POOLED},
    {"bands", ATR_REWRITE_BANDS},
    {"norm-again", ATR_REWRITE_NORM_AGAIN},
    {"all", ATR_REWRITE_ALL},
};

enum { REWRITES = sizeof rewrites / sizeof rewrites[0] };

atr_status atr_rewrites_without(const char *item, int *out)
{
    for (int i = 0; i < REWRITES; i++)
        if (item[0] == '-' && strcmp(item + 1, rewrites[i].name) == 0) {
            *out &= ~rewrites[i].bits;
            return ATR_OK;
        }
    return atr_fail(ATR_ERR_USAGE, "--rewrite %s: -NAME turns one off (" ATR_REWRITE_NAMES ")", item);
}
