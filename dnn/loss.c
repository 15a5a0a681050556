#include "dnn/loss_impl.h"

#include <math.h>

static const double score_smooth = 1e-5; /* of the reference's f-score */

/* ---- the object --------------------------------------------------------------------------------------------------------- */

/* Gives `count` elements of a block to *out where they are needed; in a first round, without a block, only counts. */
static void *take(void *block, size_t size, int64_t count, bool needed, int64_t *used)
{
    void *const place = needed && block != NULL ? (char *)block + (size_t)*used * size : NULL;

    *used += needed ? count : 0;
    return place;
}

static void lay_out(atr_loss *loss)
{
    atr_loss_sums *const sums = &loss->sums;
    const int64_t classes = loss->classes;
    const bool overlap = loss->needs & LOSS_NEEDS_OVERLAP;

    sums->real_count = sums->integer_count = 0;
    sums->own = take(sums->reals, sizeof(double), classes, overlap, &sums->real_count);
    sums->all = take(sums->reals, sizeof(double), classes, overlap, &sums->real_count);
    sums->pixels = take(sums->integers, sizeof(int64_t), classes, loss->needs != LOSS_NEEDS_NOTHING,
                        &sums->integer_count);
    sums->hardness = take(sums->integers, sizeof(int64_t), ATR_LOSS_LEVELS * classes,
                          loss->needs & LOSS_NEEDS_HARDNESS, &sums->integer_count);
    sums->errors = take(sums->integers, sizeof(int64_t), 2 * ATR_LOSS_BINS * classes,
                        loss->needs & LOSS_NEEDS_ERRORS, &sums->integer_count);
}

static atr_status allocate(atr_loss *loss)
{
    atr_status status = ATR_OK;

    lay_out(loss);
    if (loss->sums.real_count > 0)
        ATR_TRY(ATR_NEW(loss->sums.real_count, &loss->sums.reals));
    if (loss->sums.integer_count > 0)
        ATR_TRY(ATR_NEW(loss->sums.integer_count, &loss->sums.integers));
    lay_out(loss);
    ATR_TRY(ATR_NEW(2 * loss->classes, &loss->votes));
    if (loss->needs & LOSS_NEEDS_ERRORS)
        ATR_TRY(ATR_NEW(2 * loss->classes * ATR_LOSS_BINS, &loss->form.ranked));
done:
    return status;
}

atr_status atr_loss_create(const atr_loss_config *config, int64_t classes, atr_loss **out)
{
    atr_loss *loss = NULL;
    atr_status status = ATR_OK;

    *out = NULL;
    ATR_TRY(atr_loss_check(config));
    if (classes < 1 || classes > ATR_MAX_CLASSES)
        return atr_fail(ATR_ERR_SHAPE, "a loss over %lld classes: there can be 1 to %d", (long long)classes,
                        ATR_MAX_CLASSES);
    if (config->class_weight_count > 0 && config->class_weight_count != classes)
        return atr_fail(ATR_ERR_USAGE, "%lld class weights for %lld classes",
                        (long long)config->class_weight_count, (long long)classes);
    ATR_TRY(ATR_NEW(1, &loss));
    loss->config = *config;
    loss->classes = classes;
    for (int64_t k = 0; k < classes; k++)
        loss->weights[k] = config->class_weight_count > 0 ? (double)config->class_weights[k] : 1.0;
    for (int term = 0; term < ATR_LOSS_TERMS; term++)
        if (config->factor[term] > 0.0)
            loss->needs |= loss_rows[term].needs;
    loss->sums.certain = (float)-log(config->ohem_threshold);
    loss->sums.with_ignored = config->reference;
    ATR_TRY(allocate(loss));
    *out = loss;
    loss = NULL;

done:
    atr_loss_destroy(loss);
    return status;
}

void atr_loss_destroy(atr_loss *loss)
{
    if (loss == NULL)
        return;
    atr_free(loss->sums.reals);
    atr_free(loss->sums.integers);
    atr_free(loss->votes);
    atr_free(loss->form.ranked);
    atr_free(loss);
}

const atr_loss_config *atr_loss_config_of(const atr_loss *loss)
{
    return &loss->config;
}

/* ---- a batch ------------------------------------------------------------------------------------------------------------ */

static void clear(void *block, int64_t count, size_t size)
{
    if (count > 0)
        memset(block, 0, (size_t)count * size);
}

static void clear_sums(atr_loss_sums *sums)
{
    clear(sums->reals, sums->real_count, sizeof *sums->reals);
    clear(sums->integers, sums->integer_count, sizeof *sums->integers);
}

void atr_loss_begin(atr_loss *loss, const int64_t *pixels, int64_t ignored, int64_t parts)
{
    memcpy(loss->pixels, pixels, (size_t)loss->classes * sizeof *pixels);
    loss->ignored = ignored;
    loss->parts = parts;
    loss->divisor = loss->known = 0.0;
    for (int64_t k = 0; k < loss->classes; k++)
        loss->divisor += (double)pixels[k] * loss->weights[k];
    clear_sums(&loss->sums);
    clear(loss->votes, 2 * loss->classes, sizeof *loss->votes);
}

bool atr_loss_needs_sums(const atr_loss *loss)
{
    return loss->needs != LOSS_NEEDS_NOTHING;
}

atr_loss_sums *atr_loss_sums_of(atr_loss *loss)
{
    return &loss->sums;
}

void atr_loss_settle(atr_loss *loss)
{
    float *const ranked = loss->form.ranked;

    memset(&loss->form, 0, sizeof loss->form);
    loss->form.ranked = ranked;
    loss->form.with_ignored = loss->config.reference;
    for (int term = 0; term < ATR_LOSS_TERMS; term++)
        if (loss->config.factor[term] > 0.0)
            loss_rows[term].settle(loss, loss->config.factor[term]);
    clear_sums(&loss->sums);
}

const atr_loss_form *atr_loss_form_of(const atr_loss *loss)
{
    return &loss->form;
}

double atr_loss_known(const atr_loss *loss)
{
    return loss->known;
}

atr_loss_votes atr_loss_votes_of(atr_loss *loss)
{
    return (atr_loss_votes){loss->votes, loss->votes + loss->classes};
}

double atr_loss_f_score(const atr_loss *loss)
{
    const bool reference = loss->config.reference;
    const double smooth = reference ? score_smooth : 0.0;
    double sum = 0.0, count = 0.0;

    for (int64_t k = 0; k < loss->classes; k++) {
        const double hits = (double)loss->votes[k], said = (double)loss->votes[loss->classes + k];
        const double below = (double)loss->pixels[k] + said + smooth; /* 2 TP + FN + FP */
        if (!(below > 0.0))
            continue;
        sum += (2.0 * hits + smooth) / below;
        count += 1.0;
    }
    return count > 0.0 ? sum / count : NAN;
}
