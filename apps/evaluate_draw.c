#include <math.h>
#include <stdio.h>

#include "apps/evaluate.h"
#include "apps/plot.h"
#include "io/path.h"

/* Charts of an evaluation, as PNG. */

typedef struct chart {
    const char *file, *title, *label; /* title: "mIoU" of "mIoU = 45.31 %" */
    const double *values;             /* [classes], fractions of 1 */
    double mean;
} chart;

static atr_status draw_bars(const char *folder, const atr_evaluated *what, const chart *c)
{
    double percent[ATR_MAX_CLASSES];
    char title[96], *path = NULL;
    atr_status status = ATR_OK;

    for (int64_t k = 0; k < what->classes->count; k++)
        percent[k] = 100 * c->values[k];
    if (isnan(c->mean))
        snprintf(title, sizeof title, "%s: n/a", c->title);
    else
        snprintf(title, sizeof title, "%s = %.2f %%", c->title, 100 * c->mean);
    const atr_bars bars = {title, c->label, (const char *const *)what->classes->names, percent,
                           what->classes->count};
    ATR_TRY(atr_path_join(folder, c->file, &path));
    ATR_TRY(atr_bars_png(&bars, path));

done:
    atr_free(path);
    return status;
}

/* Rows in percent of their truth; a class without truth has an empty row. */
static atr_status draw_confusion(const char *folder, const atr_evaluated *what, const atr_scores *scores)
{
    const int64_t count = what->confusion->classes;
    double *values = NULL;
    char *path = NULL;
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW(count * count, &values));
    for (int64_t i = 0; i < count * count; i++)
        values[i] = scores->truth_pixels[i / count] > 0
                        ? 100.0 * (double)what->confusion->counts[i] / (double)scores->truth_pixels[i / count]
                        : NAN;
    const atr_matrix matrix = {"Where the pixels of each class went, percent", "prediction", "truth",
                               (const char *const *)what->classes->names,      values,       count};
    ATR_TRY(atr_path_join(folder, "confusion.png", &path));
    ATR_TRY(atr_matrix_png(&matrix, path));

done:
    atr_free(values);
    atr_free(path);
    return status;
}

atr_status atr_evaluated_draw(const char *folder, const atr_evaluated *what)
{
    atr_scores scores;
    atr_status status = ATR_OK;

    atr_scores_from(what->confusion, &scores);
    const chart charts[] = {
        {"miou.png", "mIoU", "intersection over union, percent", scores.iou, scores.miou},
        {"recall.png", "mean recall", "recall (pixel accuracy of the class), percent", scores.recall,
         scores.mean_recall},
        {"precision.png", "mean precision", "precision, percent", scores.precision, scores.mean_precision},
        {"f1.png", "mean F1", "F1, percent", scores.f1, scores.mean_f1},
    };
    for (size_t i = 0; i < sizeof charts / sizeof charts[0]; i++)
        ATR_TRY(draw_bars(folder, what, &charts[i]));
    ATR_TRY(draw_confusion(folder, what, &scores));

done:
    return status;
}
