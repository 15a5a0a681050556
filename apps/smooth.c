#include "apps/smooth.h"

/* The cubic through a window in terms of polynomials that are orthogonal over its points t = -h..h (Gram's):
 *     1,  t,  t^2 - s2/n,  t^3 - (s4/s2) t        with s_k = sum of t^k, n = 2h+1
 * so each coefficient is a plain ratio of sums, and no system needs solving. */
typedef struct window_sums {
    double n, s2, s4;
    double norm[4]; /* sum of each polynomial squared */
} window_sums;

static void polynomials(const window_sums *w, double t, double out[4])
{
    out[0] = 1;
    out[1] = t;
    out[2] = t * t - w->s2 / w->n;
    out[3] = t * t * t - w->s4 / w->s2 * t;
}

static window_sums sums_of(int half)
{
    window_sums w = {.n = 2.0 * half + 1};
    double p[4];

    for (int t = -half; t <= half; t++) {
        w.s2 += (double)t * t;
        w.s4 += (double)t * t * t * t;
    }
    for (int t = -half; t <= half; t++) {
        polynomials(&w, t, p);
        for (int k = 0; k < 4; k++)
            w.norm[k] += p[k] * p[k];
    }
    return w;
}

/* Value at `at` of the cubic that fits values[-half..half]. */
static double fit_at(const window_sums *w, const double *middle, int half, double at)
{
    double p[4], there[4], value = 0;

    polynomials(w, at, there);
    for (int k = 0; k < 4; k++) {
        double sum = 0;
        for (int t = -half; t <= half; t++) {
            polynomials(w, t, p);
            sum += p[k] * middle[t];
        }
        value += sum / w->norm[k] * there[k];
    }
    return value;
}

atr_status atr_smooth_cubic(const double *values, int64_t count, int window, double *out)
{
    const int half = window / 2;
    const window_sums w = sums_of(half);

    if (window < 5 || window % 2 == 0 || count < window)
        return atr_fail(ATR_ERR_USAGE, "%lld values cannot be smoothed by windows of %d", (long long)count,
                        window);
    for (int64_t i = 0; i < count; i++) {
        const int64_t middle = i < half ? half : i >= count - half ? count - 1 - half : i;
        out[i] = fit_at(&w, values + middle, half, (double)(i - middle));
    }
    return ATR_OK;
}
