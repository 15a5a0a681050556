#ifndef ATR_DNN_LOSS_IMPL_H
#define ATR_DNN_LOSS_IMPL_H

#include "dnn/loss.h"

/* What a term needs to know of the whole batch before any gradient. */
enum { LOSS_NEEDS_NOTHING = 0, LOSS_NEEDS_OVERLAP = 1, LOSS_NEEDS_HARDNESS = 2, LOSS_NEEDS_ERRORS = 4 };

struct atr_loss {
    atr_loss_config config;
    int64_t classes;
    int needs;
    double weights[ATR_MAX_CLASSES]; /* of classes */

    /* The step: */
    int64_t pixels[ATR_MAX_CLASSES], ignored, parts;
    double divisor; /* sum of w_t over its pixels */
    double known;

    /* The batch, where one is needed: */
    atr_loss_sums sums;
    int64_t *votes; /* [2,K]: hits, all; of the step */
    atr_loss_form form;
};

/* One term of a loss. */
typedef struct loss_row {
    const char *name, *help;
    int needs;
    /* Adds the term times `factor` to form and known value. What is settled by the sums of a batch is 1/parts of the step. */
    void (*settle)(atr_loss *loss, double factor);
} loss_row;

extern const loss_row loss_rows[ATR_LOSS_TERMS];

#endif
