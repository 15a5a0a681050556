#ifndef ATR_TESTS_SUPPORT_LOSS_PROBLEM_H
#define ATR_TESTS_SUPPORT_LOSS_PROBLEM_H

#include "dnn/backend.h"

/* A loss on logits and labels by formula, on one back end: its value and gradient. Failures end the test. */

/* Logits and labels of a batch. */
typedef struct loss_problem {
    int64_t n, h, w, classes, height, width;
    float *logits, *dlogits; /* [N,h,w,K] */
    uint8_t *labels;         /* [N,H,W] */
    atr_loss_config config;
    double f_score; /* of the last run */
} loss_problem;

int64_t loss_problem_logits(const loss_problem *p);
int64_t loss_problem_pixels(const loss_problem *p);
/* `data`: p->logits, p->dlogits, or as many. */
atr_tensor loss_problem_tensor(const loss_problem *p, float *data);

/* About one label in classes + 1 is ignored. `loss`: as --loss has it. */
void loss_problem_create(loss_problem *p, int64_t n, int64_t h, int64_t w, int64_t classes, int64_t height,
                         int64_t width, const char *loss);
void loss_problem_destroy(loss_problem *p);

/* A weight for each class. */
void loss_problem_weigh(loss_problem *p);

/* The two passes over pictures first .. first+count-1, settled by the sums of all: what a rank does with its part. */
double loss_problem_run_part(loss_problem *p, atr_backend *backend, atr_loss *loss, int64_t first,
                             int64_t count, bool sums_only);

/* Value of the whole loss; p->dlogits. `split`: pictures go one by one, as over ranks. */
double loss_problem_run_split(loss_problem *p, atr_backend *backend, bool split);
double loss_problem_run(loss_problem *p, atr_backend *backend);

#endif
