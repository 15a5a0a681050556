#include <math.h>

#include "dnn/ref/ref_impl.h"

/* Batch norm over the M = N H W pixels of each channel (Ioffe & Szegedy 2015), with the activation behind it:
 *
 *     mean = sum x / M        var = sum (x - mean)^2 / M        r = 1/sqrt(var + eps)
 *     h = (x - mean) r        z = g h + b                       y = act(z)
 *     running_mean = (1-m) running_mean + m mean
 *     running_var  = (1-m) running_var  + m var M/(M-1)
 *
 *     dz = dy act'(z)         dg = sum dz h                     db = sum dz
 *     dx = g r (dz - db/M - h dg/M)
 *
 * With running statistics in place of the batch's, mean and var are constants and dx = g r dz. */

/* Lies in `saved` where backward follows, else in `scratch`. */
typedef struct stats {
    double *mean, *rstd; /* [C] */
} stats;

static stats stats_of(const atr_step *step)
{
    double *at = step->training ? step->saved : step->scratch;

    return (stats){at, at + step->norm.channels};
}

atr_status atr_ref_norm_prepare(atr_backend *backend, atr_step *step)
{
    const size_t bytes = 2 * (size_t)step->norm.channels * sizeof(double);

    (void)backend;
    if (step->batch_stats && atr_ref_pixels(&step->x[0]) < 2)
        return atr_fail(ATR_ERR_SHAPE, "%s: one value per channel has no batch statistics", step->name);
    step->needs_x = step->training;
    step->needs_y = false;
    step->saved_bytes = step->training ? bytes : 0;
    step->scratch_bytes = bytes;
    return ATR_OK;
}

/* Mean and biased variance of channels first .. first+count-1, in two passes: no cancellation. */
static void batch_moments(const atr_tensor *x, int64_t first, int64_t count, double *mean, double *var)
{
    const double pixels = (double)atr_ref_pixels(x);

    for (int64_t c = 0; c < count; c++)
        mean[c] = var[c] = 0.0;
    for (int64_t p = 0; p < atr_ref_pixels(x); p++)
        for (int64_t c = 0; c < count; c++)
            mean[c] += (double)atr_ref_pixel(x, p)[first + c];
    for (int64_t c = 0; c < count; c++)
        mean[c] /= pixels;
    for (int64_t p = 0; p < atr_ref_pixels(x); p++)
        for (int64_t c = 0; c < count; c++) {
            const double deviation = (double)atr_ref_pixel(x, p)[first + c] - mean[c];
            var[c] += deviation * deviation;
        }
    for (int64_t c = 0; c < count; c++)
        var[c] /= pixels;
}

static float blend(float running, double batch, double momentum)
{
    return (float)((1.0 - momentum) * (double)running + momentum * batch);
}

/* Statistics of the batch into `into`, and their share into the running ones. */
static void batch_stats(const atr_step *step, stats into)
{
    const double pixels = (double)atr_ref_pixels(&step->x[0]);
    const int64_t channels = step->norm.channels;

#pragma omp parallel for
    for (int64_t first = 0; first < channels; first += ATR_REF_CHANNELS) {
        const int64_t count = atr_ref_min(ATR_REF_CHANNELS, channels - first);
        double mean[ATR_REF_CHANNELS], var[ATR_REF_CHANNELS];
        batch_moments(&step->x[0], first, count, mean, var);
        for (int64_t c = 0; c < count; c++) {
            const int64_t at = first + c;
            into.mean[at] = mean[c];
            into.rstd[at] = 1.0 / sqrt(var[c] + step->norm.eps);
            step->running_mean[at] = blend(step->running_mean[at], mean[c], step->norm.momentum);
            step->running_var[at] =
                blend(step->running_var[at], var[c] * pixels / (pixels - 1.0), step->norm.momentum);
        }
    }
    if (step->num_tracked != NULL)
        ++*step->num_tracked;
}

static void running_stats(const atr_step *step, stats into)
{
    for (int64_t c = 0; c < step->norm.channels; c++) {
        into.mean[c] = (double)step->running_mean[c];
        into.rstd[c] = 1.0 / sqrt((double)step->running_var[c] + step->norm.eps);
    }
}

/* z, rounded as forward rounds it, so that backward sees the same side of a kink. */
static float normalised(const atr_step *step, stats at, const float *x, int64_t c)
{
    return (float)(((double)x[c] - at.mean[c]) * at.rstd[c] * (double)step->weight[c] +
                   (double)step->bias[c]);
}

atr_status atr_ref_norm_forward(atr_backend *backend, atr_step *step)
{
    const stats at = stats_of(step);
    const int64_t channels = step->norm.channels;

    (void)backend;
    if (step->batch_stats)
        batch_stats(step, at);
    else
        running_stats(step, at);
#pragma omp parallel for
    for (int64_t p = 0; p < atr_ref_pixels(&step->y); p++) {
        const float *x = atr_ref_pixel(&step->x[0], p);
        float *y = atr_ref_pixel(&step->y, p);
        for (int64_t c = 0; c < channels; c++)
            y[c] = atr_ref_act(step->act, normalised(step, at, x, c));
    }
    return ATR_OK;
}

static double masked(const atr_step *step, stats at, const float *x, const float *dy, int64_t c)
{
    return atr_ref_act_passes(step->act, normalised(step, at, x, c)) ? (double)dy[c] : 0.0;
}

/* dg and db of all channels. */
static void gradient_sums(const atr_step *step, stats at, double *dg, double *db)
{
    const int64_t channels = step->norm.channels;

#pragma omp parallel for
    for (int64_t first = 0; first < channels; first += ATR_REF_CHANNELS) {
        const int64_t end = atr_ref_min(first + ATR_REF_CHANNELS, channels);
        for (int64_t c = first; c < end; c++)
            dg[c] = db[c] = 0.0;
        for (int64_t p = 0; p < atr_ref_pixels(&step->dy); p++) {
            const float *x = atr_ref_pixel(&step->x[0], p), *dy = atr_ref_pixel(&step->dy, p);
            for (int64_t c = first; c < end; c++) {
                const double dz = masked(step, at, x, dy, c);
                dg[c] += dz * ((double)x[c] - at.mean[c]) * at.rstd[c];
                db[c] += dz;
            }
        }
    }
}

static void input_gradient(const atr_step *step, stats at, const double *dg, const double *db)
{
    const double share = step->batch_stats ? 1.0 / (double)atr_ref_pixels(&step->dy) : 0.0;

#pragma omp parallel for
    for (int64_t p = 0; p < atr_ref_pixels(&step->dy); p++) {
        const float *x = atr_ref_pixel(&step->x[0], p), *dy = atr_ref_pixel(&step->dy, p);
        float *dx = atr_ref_pixel(&step->dx[0], p);
        for (int64_t c = 0; c < step->norm.channels; c++) {
            const double h = ((double)x[c] - at.mean[c]) * at.rstd[c];
            const double dz = masked(step, at, x, dy, c);
            dx[c] = (float)((double)step->weight[c] * at.rstd[c] * (dz - share * (db[c] + h * dg[c])));
        }
    }
}

atr_status atr_ref_norm_backward(atr_backend *backend, atr_step *step)
{
    const stats at = stats_of(step);
    double *dg = step->scratch, *db = dg + step->norm.channels;

    (void)backend;
    gradient_sums(step, at, dg, db);
    if (step->wants_dx[0])
        input_gradient(step, at, dg, db);
    for (int64_t c = 0; step->wants_dw && c < step->norm.channels; c++) {
        step->dweight[c] = (float)dg[c];
        step->dbias[c] = (float)db[c];
    }
    return ATR_OK;
}
