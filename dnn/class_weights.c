#include "dnn/class_weights.h"

#include <math.h>
#include <stdlib.h>

#include "dnn/metrics.h"

const char *const atr_weighing_names[] = {"inverse", "sqrt", "median", "enet", NULL};

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double frequency(const int64_t *pixels, const int64_t *area, int64_t k)
{
    return pixels[k] > 0 && area[k] > 0 ? (double)pixels[k] / (double)area[k] : 0.0;
}

/* Of the frequencies that are not 0; the mean of the two in the middle where their count is even. */
static double median_frequency(int64_t classes, const int64_t *pixels, const int64_t *area)
{
    double sorted[ATR_MAX_CLASSES];
    size_t count = 0;

    for (int64_t k = 0; k < classes; k++)
        if (frequency(pixels, area, k) > 0.0)
            sorted[count++] = frequency(pixels, area, k);
    qsort(sorted, count, sizeof *sorted, by_value);
    return count == 0 ? 0.0 : 0.5 * (sorted[(count - 1) / 2] + sorted[count / 2]);
}

void atr_class_weights(atr_weighing weighing, int64_t classes, const int64_t *pixels, const int64_t *area,
                       float *weights)
{
    const double median = median_frequency(classes, pixels, area);
    double sum = 0.0, present = 0.0;

    for (int64_t k = 0; k < classes; k++) {
        sum += (double)pixels[k];
        present += pixels[k] > 0 ? 1.0 : 0.0;
    }
    for (int64_t k = 0; k < classes; k++) {
        const double inverse = pixels[k] > 0 ? sum / (present * (double)pixels[k]) : 0.0;
        const double f = frequency(pixels, area, k);
        double weight = 0.0;
        switch (weighing) {
        case ATR_WEIGH_INVERSE:
            weight = inverse;
            break;
        case ATR_WEIGH_SQRT:
            weight = sqrt(inverse);
            break;
        case ATR_WEIGH_MEDIAN:
            weight = f > 0.0 ? median / f : 0.0;
            break;
        case ATR_WEIGH_ENET:
            weight = pixels[k] > 0 ? 1.0 / log(1.02 + (double)pixels[k] / sum) : 0.0;
            break;
        case ATR_WEIGHINGS:
            break;
        }
        weights[k] = (float)weight;
    }
}
