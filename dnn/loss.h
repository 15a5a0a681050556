#ifndef ATR_DNN_LOSS_H
#define ATR_DNN_LOSS_H

#include <stdbool.h>
#include <string.h>

#include "core/mem.h"
#include "dnn/metrics.h"

/* The loss of a training run: a weighted sum of terms, each one row of a table (dnn/loss_terms.c), which holds its formula.
 *
 * At a pixel with label t < K, probabilities p_k = softmax_k of the enlarged logits, c = -ln p_t; w_t are the class weights.
 * Sums run over the whole batch of all ranks, not picture by picture. A batch is settled in two phases:
 *
 *     atr_loss_begin(loss, pixels, ignored, 1);     counts of labels, already summed over ranks
 *     if (atr_loss_needs_sums(loss)) {
 *         atr_plan_loss_sums(plan, labels, loss);   a pass over the small logits: this rank's sums
 *         ...sum the blocks of atr_loss_sums_of(loss) over ranks...
 *     }
 *     atr_loss_settle(loss);                        sums become a form: what to compute at each pixel
 *     atr_plan_loss(plan, labels, loss, &value);    a second pass: this rank's share of the loss, and the gradient
 *     ...sum `value` and the votes over ranks...
 *     whole loss = value + atr_loss_known(loss),    f-score = atr_loss_f_score(loss)
 *
 * Nothing here reads a tensor: back ends fill plain sums and read a plain form. A further loss that is a function of c, of sums
 * of probabilities by class, or of sorted errors, is a row of the table and no work for the back ends. */

typedef enum atr_loss_term {
    ATR_LOSS_CE,
    ATR_LOSS_FOCAL,
    ATR_LOSS_DICE,
    ATR_LOSS_OHEM,
    ATR_LOSS_LOVASZ,
    ATR_LOSS_TERMS
} atr_loss_term;

/* A plain value; the formulas are in dnn/loss_terms.c. */
typedef struct atr_loss_config {
    double factor[ATR_LOSS_TERMS];        /* of each term in the sum; 0: not part of it */
    double smoothing;                     /* label smoothing of ce, [0,1) */
    double focal_alpha, focal_gamma;      /* > 0, >= 0 */
    double dice_beta, dice_smooth;        /* > 0, > 0 */
    double ohem_threshold, ohem_keep;     /* (0,1], [0,1] */
    int64_t class_weight_count;           /* 0: all 1 */
    float class_weights[ATR_MAX_CLASSES]; /* of ce, focal, ohem */
    bool reference;                       /* the arithmetic of the public PyTorch reference: see the terms */
} atr_loss_config;

/* Cross-entropy alone, and the reference's numbers for the others. */
void atr_loss_defaults(atr_loss_config *out);
/* "ce", "ce+dice", "focal+0.5*dice" -> factors; the rest of `out` stays. ATR_ERR_USAGE says what there is. */
atr_status atr_loss_parse(const char *text, atr_loss_config *out);
/* The same back, "focal + 0.5 dice", into `text` of ATR_LOSS_TEXT_BYTES; returns it. */
enum { ATR_LOSS_TEXT_BYTES = 256 };
char *atr_loss_text(const atr_loss_config *config, char *text);
/* ATR_ERR_USAGE: no term, a number out of its bounds, class weights that are negative or all 0. */
atr_status atr_loss_check(const atr_loss_config *config);

const char *atr_loss_term_name(atr_loss_term term);
const char *atr_loss_term_help(atr_loss_term term);

/* ---- what back ends fill and read --------------------------------------------------------------------------------------- */

/* Levels of c = -ln p_t by which the hardest pixels are found: 16 in each octave from 2^-26 to 2^7, so a level's ends are 4 to
 * 6 % apart. One more level, ATR_LOSS_LEVELS - 1, holds all pixels that are hard for certain. */
enum { ATR_LOSS_LEVELS = 33 * 16 + 1, ATR_LOSS_FIRST_LEVEL = (127 - 26) * 16 };

/* Level of a pixel; `certain` is the c from which on a pixel is hard for certain. What is no number is level 0. */
static inline int64_t atr_loss_level(float c, float certain)
{
    uint32_t bits;

    if (c >= certain)
        return ATR_LOSS_LEVELS - 1;
    if (!(c >= 0x1p-26f))
        return 0;
    memcpy(&bits, &c, sizeof bits);
    const int64_t level = (int64_t)(bits >> 19) - ATR_LOSS_FIRST_LEVEL;
    return level < ATR_LOSS_LEVELS - 2 ? level : ATR_LOSS_LEVELS - 2;
}

/* Bins of an error in [0,1] by which errors are sorted. What is no number is bin 0. */
enum { ATR_LOSS_BINS = 1024 };

static inline int64_t atr_loss_bin(float error)
{
    const float at = error * (float)ATR_LOSS_BINS;

    return at >= 1.0f ? (at < (float)ATR_LOSS_BINS ? (int64_t)at : ATR_LOSS_BINS - 1) : 0;
}

/* Sums over one batch's pixels; what the terms do not need is NULL. All lie in two flat blocks, so that they can be summed over
 * ranks; counts are integers, so that their sums have the same bits for any number of ranks and threads. */
typedef struct atr_loss_sums {
    double *own;       /* [K] sum of p_k over pixels with label k */
    double *all;       /* [K] sum of p_k over all pixels that take part */
    int64_t *pixels;   /* [K] with label k */
    int64_t *hardness; /* [ATR_LOSS_LEVELS,K] pixels of a level with label k */
    int64_t *
        errors; /* [K,2,ATR_LOSS_BINS] pixels by |[t = k] - p_k|: those with another label, those with label k */
    double *reals; /* the blocks */
    int64_t *integers;
    int64_t real_count, integer_count;
    float certain;     /* of atr_loss_level */
    bool with_ignored; /* pixels without a class take part in `all` */
} atr_loss_sums;

/* Which pixels say a class, p_k > 1/2; [K] each, added to by the second pass. */
typedef struct atr_loss_votes {
    int64_t *hits; /* pixels with label k that say k */
    int64_t *all;  /* pixels that say k */
} atr_loss_votes;

/* Which members of a form count; the others need not be set. */
enum {
    ATR_LOSS_PLAIN = 1 << 0,
    ATR_LOSS_FOCUSED = 1 << 1,
    ATR_LOSS_HARD = 1 << 2,
    ATR_LOSS_EVEN = 1 << 3,
    ATR_LOSS_SLOPES = 1 << 4,
    ATR_LOSS_RANKED = 1 << 5
};

/* What is computed at a pixel with label t < K. Its loss is
 *     plain[t] c + focus[t] (1 - exp(-c'))^gamma c' + (c >= hard_from ? hard[t] c : 0)
 *     + sum_k even[k] (-ln p_k) + sum_k ranked[k,[t = k],bin(e_k)] e_k          c' = focus_scale[t] c,   e_k = |[t = k] - p_k|
 * with the gradient of all that on the logits, and that of terms whose value is known beforehand, of which the form says dL/dp_k
 * alone: own[k] where k = t, other[k] elsewhere. Pixels without a class add nothing; `with_ignored`: other[] and votes. */
typedef struct atr_loss_form {
    int parts;
    double plain[ATR_MAX_CLASSES], focus[ATR_MAX_CLASSES], focus_scale[ATR_MAX_CLASSES];
    double hard[ATR_MAX_CLASSES], even[ATR_MAX_CLASSES], own[ATR_MAX_CLASSES], other[ATR_MAX_CLASSES];
    double gamma;
    float hard_from;
    float *ranked; /* [K,2,ATR_LOSS_BINS] */
    bool with_ignored;
} atr_loss_form;

/* ---- a loss in use ------------------------------------------------------------------------------------------------------ */

/* Owns its sums and its form. */
typedef struct atr_loss atr_loss;

/* `classes` >= 1. ATR_ERR_USAGE as atr_loss_check(), or where the class weights are not one for each class. */
atr_status atr_loss_create(const atr_loss_config *config, int64_t classes, atr_loss **out);
void atr_loss_destroy(atr_loss *loss);
const atr_loss_config *atr_loss_config_of(const atr_loss *loss);

/* A step begins: `pixels` [K] of each class and `ignored` ones without, of all ranks; sums, votes and what is known become 0.
 * Where a step adds up the gradients of several batches of equal size (`parts` > 1), the counts are of all of them, and passes
 * and settling are done for one batch after the other: ce, focal and label smoothing are then those of one large batch;
 * dice, ohem and lovasz, which need a batch's probabilities before its gradient, are means over the batches' own. */
void atr_loss_begin(atr_loss *loss, const int64_t *pixels, int64_t ignored, int64_t parts);

/* Whether the first pass is needed. */
bool atr_loss_needs_sums(const atr_loss *loss);
/* A batch's sums: filled by the first pass, then to be summed over ranks in place. */
atr_loss_sums *atr_loss_sums_of(atr_loss *loss);
/* Sums to form; the sums become 0 again. */
void atr_loss_settle(atr_loss *loss);
const atr_loss_form *atr_loss_form_of(const atr_loss *loss);
/* The part of the step's loss that follows from the sums, and that the second pass does not give. */
double atr_loss_known(const atr_loss *loss);

/* Votes of the second pass: one block of 2 K integers, to be summed over ranks in place. */
atr_loss_votes atr_loss_votes_of(atr_loss *loss);
/* Mean over classes of 2 TP / (2 TP + FN + FP), where a pixel says class k if p_k > 1/2. Over the classes that some pixel has or
 * says; NaN where there is none. With `reference`: over all classes, ignored pixels count in FP, and 1e-5 is added above and
 * below. */
double atr_loss_f_score(const atr_loss *loss);

#endif
