#include "dnn/metrics.h"

#include <assert.h>
#include <math.h>
#include <string.h>

atr_status atr_confusion_init(int64_t classes, atr_confusion *out)
{
    *out = (atr_confusion){.classes = classes};
    if (classes < 1 || classes > ATR_MAX_CLASSES)
        return atr_fail(ATR_ERR_USAGE, "%lld classes: there can be 1 to %d", (long long)classes,
                        ATR_MAX_CLASSES);
    return ATR_NEW(classes * classes, &out->counts);
}

void atr_confusion_free(atr_confusion *confusion)
{
    atr_free(confusion->counts);
    confusion->counts = NULL;
}

void atr_confusion_clear(atr_confusion *confusion)
{
    memset(confusion->counts, 0,
           (size_t)(confusion->classes * confusion->classes) * sizeof *confusion->counts);
    confusion->ignored = 0;
}

void atr_confusion_add(atr_confusion *confusion, const uint8_t *truth, const uint8_t *predicted,
                       int64_t count)
{
    const int64_t classes = confusion->classes;

    for (int64_t i = 0; i < count; i++) {
        assert(predicted[i] < classes);
        if (truth[i] >= classes)
            confusion->ignored++;
        else if (predicted[i] < classes)
            confusion->counts[truth[i] * classes + predicted[i]]++;
    }
}

/* NaN says that there is nothing to divide by: "n/a". */
static double ratio(int64_t part, int64_t whole)
{
    return whole > 0 ? (double)part / (double)whole : NAN;
}

static void class_scores(const atr_confusion *confusion, int64_t k, atr_scores *out)
{
    const int64_t classes = confusion->classes, hit = confusion->counts[k * classes + k];
    int64_t truth = 0, predicted = 0;

    for (int64_t j = 0; j < classes; j++) {
        truth += confusion->counts[k * classes + j];
        predicted += confusion->counts[j * classes + k];
    }
    out->truth_pixels[k] = truth;
    out->predicted_pixels[k] = predicted;
    out->iou[k] = ratio(hit, truth + predicted - hit);
    out->recall[k] = ratio(hit, truth);
    out->precision[k] = ratio(hit, predicted);
    out->f1[k] = ratio(2 * hit, truth + predicted);
}

/* Over the values that are numbers. */
static double mean(const double *values, int64_t count)
{
    double sum = 0.0;
    int64_t present = 0;

    for (int64_t k = 0; k < count; k++)
        if (!isnan(values[k])) {
            sum += values[k];
            present++;
        }
    return present > 0 ? sum / (double)present : NAN;
}

void atr_scores_from(const atr_confusion *confusion, atr_scores *out)
{
    const int64_t classes = confusion->classes;
    int64_t total = 0, hits = 0;
    double sum = 0.0, weighted = 0.0;

    *out = (atr_scores){.classes = classes};
    for (int64_t k = 0; k < classes; k++) {
        class_scores(confusion, k, out);
        total += out->truth_pixels[k];
        hits += confusion->counts[k * classes + k];
        if (isnan(out->iou[k]))
            continue;
        out->present++;
        sum += out->iou[k];
        weighted += (double)out->truth_pixels[k] * out->iou[k];
    }
    out->miou = mean(out->iou, classes);
    out->miou_all = sum / (double)classes;
    out->mean_recall = mean(out->recall, classes);
    out->mean_precision = mean(out->precision, classes);
    out->mean_f1 = mean(out->f1, classes);
    out->pixel_accuracy = ratio(hits, total);
    out->frequency_iou = total > 0 ? weighted / (double)total : NAN;
}
