/* The terms of losses, a row of the table at the end each: how the sums of a batch become what is computed at its pixels.
 *
 * n_k: pixels of class k; W = sum_k w_k n_k; sums over i run over the pixels i that have a class, t their label, p their
 * probabilities, c = -ln p_t. Everything is of the whole batch of all ranks. Of a step in parts, n_k, W and M of ce and focal are
 * the step's, and the other terms are means over the parts. */
#include <math.h>

#include "dnn/loss_impl.h"

/* factor / divisor; nothing to learn where there is nothing to divide by. */
static double quotient(double factor, double divisor)
{
    return divisor > 0.0 ? factor / divisor : 0.0;
}

/* ce = sum_i [(1 - s) w_t c + s/K sum_k w_k (-ln p_k)] / W,   s: label smoothing (Szegedy et al. 2016, as PyTorch weighs it) */
static void settle_ce(atr_loss *loss, double factor)
{
    const double s = loss->config.smoothing;
    atr_loss_form *form = &loss->form;

    form->parts |= ATR_LOSS_PLAIN | (s > 0.0 ? ATR_LOSS_EVEN : 0);
    for (int64_t k = 0; k < loss->classes; k++) {
        form->plain[k] = quotient((1.0 - s) * factor * loss->weights[k], loss->divisor);
        form->even[k] = quotient(s / (double)loss->classes * factor * loss->weights[k], loss->divisor);
    }
}

/* focal = sum_i w_t alpha (1 - p_t)^gamma c / W                                                     (Lin et al. 2017)
 * reference: sum_i alpha (1 - exp(-w_t c))^gamma w_t c / M,   M: all pixels, those without a class too */
static void settle_focal(atr_loss *loss, double factor)
{
    const bool reference = loss->config.reference;
    double pixels = (double)loss->ignored;
    atr_loss_form *form = &loss->form;

    for (int64_t k = 0; k < loss->classes; k++)
        pixels += (double)loss->pixels[k];
    form->parts |= ATR_LOSS_FOCUSED;
    form->gamma = loss->config.focal_gamma;
    for (int64_t k = 0; k < loss->classes; k++) {
        form->focus_scale[k] = reference ? loss->weights[k] : 1.0;
        form->focus[k] = quotient(loss->config.focal_alpha * factor * (reference ? 1.0 : loss->weights[k]),
                                  reference ? pixels : loss->divisor);
    }
}

/* dice = 1 - mean_k F_k,   F_k = ((1 + b^2) TP + s) / ((1 + b^2) TP + b^2 FN + FP + s)              (Milletari et al. 2016)
 *     TP = sum_i [t = k] p_k,   FN = n_k - TP,   FP = S - TP,   S = sum_i p_k,   so below stands b^2 n_k + S + s
 *     dF/dp_k = [t = k] (1 + b^2) / below - above / below^2
 * over the classes that the batch has. reference: over all K, and S runs over pixels without a class too. */
static void settle_dice(atr_loss *loss, double factor)
{
    const int64_t *const pixels = loss->sums.pixels;
    const double b2 = loss->config.dice_beta * loss->config.dice_beta, s = loss->config.dice_smooth;
    const bool reference = loss->config.reference;
    atr_loss_form *form = &loss->form;
    double mean = 0.0, count = 0.0;

    for (int64_t k = 0; k < loss->classes; k++)
        count += reference || pixels[k] > 0 ? 1.0 : 0.0;
    if (!(count > 0.0))
        return;
    factor /= (double)loss->parts;
    form->parts |= ATR_LOSS_SLOPES;
    form->with_ignored = reference;
    for (int64_t k = 0; k < loss->classes; k++) {
        if (!reference && pixels[k] == 0)
            continue;
        const double above = (1.0 + b2) * loss->sums.own[k] + s;
        const double below = b2 * (double)pixels[k] + loss->sums.all[k] + s;
        mean += above / below / count;
        form->other[k] = factor / count * above / (below * below);
        form->own[k] = form->other[k] - factor / count * (1.0 + b2) / below;
    }
    loss->known += factor * (1.0 - mean);
}

/* The smallest c of a level; all for the lowest. */
static float level_edge(int64_t level)
{
    const uint32_t bits = (uint32_t)(level + ATR_LOSS_FIRST_LEVEL) << 19;
    float edge;

    memcpy(&edge, &bits, sizeof edge);
    return level == 0 ? -INFINITY : edge;
}

/* ohem = sum_i [c >= T] w_t c / sum_i [c >= T] w_t                                               (Shrivastava et al. 2016)
 *     T = min(-ln threshold, the c that `keep` of all pixels reach)
 * T is lowered in steps of a level, so a little more than `keep` may be kept, by all ranks the same. */
static void settle_ohem(atr_loss *loss, double factor)
{
    const int64_t *const hardness = loss->sums.hardness;
    atr_loss_form *form = &loss->form;
    int64_t level = ATR_LOSS_LEVELS, kept = 0;
    double pixels = 0.0, divisor = 0.0;

    for (int64_t k = 0; k < loss->classes; k++)
        pixels += (double)loss->sums.pixels[k];
    const double wanted = loss->config.ohem_keep * pixels;
    do {
        level--;
        for (int64_t k = 0; k < loss->classes; k++) {
            kept += hardness[level * loss->classes + k];
            divisor += loss->weights[k] * (double)hardness[level * loss->classes + k];
        }
    } while (level > 0 && (double)kept < wanted);
    form->parts |= ATR_LOSS_HARD;
    form->hard_from = level == ATR_LOSS_LEVELS - 1 ? loss->sums.certain : level_edge(level);
    for (int64_t k = 0; k < loss->classes; k++)
        form->hard[k] = quotient(factor / (double)loss->parts * loss->weights[k], divisor);
}

/* Slopes of the errors of class k, hardest first: while errors are added, the Jaccard loss J rises from 0 to 1. Of a bin with
 * both kinds of pixels the own ones may come first or the others: the mean of the two orders. counts, slopes [2,ATR_LOSS_BINS]. */
static void rank_errors(const int64_t *counts, int64_t pixels, double factor, float *slopes)
{
    double left = (double)pixels, reach = (double)pixels; /* n_k - own errors, n_k + others' errors */

    for (int64_t bin = ATR_LOSS_BINS - 1; bin >= 0; bin--) {
        const double others = (double)counts[bin], owns = (double)counts[ATR_LOSS_BINS + bin];
        slopes[bin] = (float)(factor * (left - 0.5 * owns) / (reach * (reach + others)));
        slopes[ATR_LOSS_BINS + bin] = (float)(factor * 0.5 * (1.0 / reach + 1.0 / (reach + others)));
        left -= owns;
        reach += others;
    }
}

/* lovasz = mean_k sum_i e_i (J(i) - J(i - 1)),  over the classes that the batch has; errors e = |[t = k] - p_k| in falling order,
 *     J(i) = 1 - (n_k - own errors up to i) / (n_k + others' errors up to i)          (Berman, Triki, Blaschko 2018, eq. 8)
 * Errors are sorted into bins of 1/1024, and those of one bin and kind share their rise of J, as equal errors may. So the term is that of the whole batch on any number of ranks, and no error is ever stored. */
static void settle_lovasz(atr_loss *loss, double factor)
{
    const int64_t *const pixels = loss->sums.pixels;
    double count = 0.0;

    for (int64_t k = 0; k < loss->classes; k++)
        count += pixels[k] > 0 ? 1.0 : 0.0;
    loss->form.parts |= ATR_LOSS_RANKED;
    for (int64_t k = 0; k < loss->classes; k++) {
        const int64_t at = 2 * k * ATR_LOSS_BINS;
        if (pixels[k] > 0)
            rank_errors(loss->sums.errors + at, pixels[k], factor / (double)loss->parts / count,
                        loss->form.ranked + at);
        else
            memset(loss->form.ranked + at, 0, 2 * ATR_LOSS_BINS * sizeof *loss->form.ranked);
    }
}

const loss_row loss_rows[ATR_LOSS_TERMS] = {
    [ATR_LOSS_CE] = {"ce", "cross-entropy", LOSS_NEEDS_NOTHING, settle_ce},
    [ATR_LOSS_FOCAL] = {"focal", "cross-entropy of hard pixels first", LOSS_NEEDS_NOTHING, settle_focal},
    [ATR_LOSS_DICE] = {"dice", "overlap of each class", LOSS_NEEDS_OVERLAP, settle_dice},
    [ATR_LOSS_OHEM] = {"ohem", "cross-entropy of the hardest pixels alone", LOSS_NEEDS_HARDNESS, settle_ohem},
    [ATR_LOSS_LOVASZ] = {"lovasz", "IoU of each class", LOSS_NEEDS_ERRORS, settle_lovasz},
};
