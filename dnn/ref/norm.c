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
 * With running statistics in place of the batch's, mean and var are constants and dx = g r dz.
 *
 * In a group M, mean, var, and the dg and db in dx are those of all members' pixels; dg and db as gradients of g and b are this
 * member's share (dnn/norm_group.h). */

/* Lies in `saved` where backward follows, else in `scratch`. */
typedef struct stats {
    double *mean, *rstd; /* [C] */
} stats;

enum { GROUP_SUMS = 3 };

/* Behind the statistics in the scratch: what a group sums forward, [GROUP_SUMS,C]. */
static double *group_sums_of(const atr_step *step)
{
    return (double *)step->scratch + 2 * step->norm.channels;
}

static stats stats_of(const atr_step *step)
{
    double *at = step->training ? step->saved : step->scratch;

    return (stats){at, at + step->norm.channels};
}

atr_status atr_ref_norm_prepare(atr_backend *backend, atr_step *step)
{
    const size_t bytes = 2 * (size_t)step->norm.channels * sizeof(double);

    (void)backend;
    if (step->batch_stats && step->norm_pixels < 2)
        return atr_fail(ATR_ERR_SHAPE, "%s: one value per channel has no batch statistics", step->name);
    step->needs_x = step->training;
    step->needs_y = false;
    step->saved_bytes = step->training ? bytes : 0;
    step->scratch_bytes = bytes + GROUP_SUMS * (size_t)step->norm.channels * sizeof(double);
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

/* Mean and variance of this member's pixels, perhaps none, become those of all members'. */
static atr_status merge_moments(const atr_step *step, double *mean, double *var)
{
    const int64_t channels = step->norm.channels;
    const double own = (double)atr_ref_pixels(&step->x[0]), all = (double)step->norm_pixels;
    double *sum = group_sums_of(step), *squares = sum + channels, *m2 = squares + channels;

    for (int64_t c = 0; c < channels; c++) {
        sum[c] = own > 0 ? own * mean[c] : 0.0;
        squares[c] = own > 0 ? sum[c] * mean[c] : 0.0;
        m2[c] = own > 0 ? own * var[c] : 0.0;
    }
    const atr_status status = atr_norm_group_sum(step->group, sum, GROUP_SUMS * channels);
    for (int64_t c = 0; c < channels; c++) {
        mean[c] = sum[c] / all;
        var[c] = fmax(0.0, (m2[c] + (squares[c] - sum[c] * mean[c])) / all);
    }
    return status;
}

/* Statistics of the batch into `into`, and their share into the running ones. One value alone has no variance to share. */
static atr_status batch_stats(const atr_step *step, stats into)
{
    const double pixels = (double)step->norm_pixels;
    const int64_t channels = step->norm.channels;
    atr_status status = ATR_OK;

#pragma omp parallel for
    for (int64_t first = 0; first < channels; first += ATR_REF_CHANNELS)
        batch_moments(&step->x[0], first, atr_ref_min(ATR_REF_CHANNELS, channels - first), into.mean + first,
                      into.rstd + first);
    if (step->group != NULL)
        ATR_TRY(merge_moments(step, into.mean, into.rstd));
    for (int64_t c = 0; c < channels; c++) {
        const double var = into.rstd[c];
        into.rstd[c] = 1.0 / sqrt(var + step->norm.eps);
        if (pixels < 2)
            continue;
        step->running_mean[c] = blend(step->running_mean[c], into.mean[c], step->norm.momentum);
        step->running_var[c] =
            blend(step->running_var[c], var * pixels / (pixels - 1.0), step->norm.momentum);
    }

done:
    return status;
}

static void running_stats(const atr_step *step, stats into)
{
    for (int64_t c = 0; c < step->norm.channels; c++) {
        into.mean[c] = (double)step->running_mean[c];
        into.rstd[c] = 1.0 / sqrt((double)step->running_var[c] + step->norm.eps);
    }
}

static atr_status find_statistics(const atr_step *step, stats into)
{
    if (step->num_tracked != NULL)
        ++*step->num_tracked;
    if (!step->batch_stats)
        running_stats(step, into);
    else if (step->group != NULL || atr_ref_pixels(&step->y) > 0)
        return batch_stats(step, into);
    return ATR_OK;
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
    atr_status status = ATR_OK;

    (void)backend;
    if (!step->again)
        ATR_TRY(find_statistics(step, at));
#pragma omp parallel for
    for (int64_t p = 0; p < atr_ref_pixels(&step->y); p++) {
        const float *x = atr_ref_pixel(&step->x[0], p);
        float *y = atr_ref_pixel(&step->y, p);
        for (int64_t c = 0; c < channels; c++)
            y[c] = atr_ref_act(step->act, normalised(step, at, x, c));
    }

done:
    return status;
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
    const double share = step->batch_stats ? 1.0 / (double)step->norm_pixels : 0.0;

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
    atr_status status = ATR_OK;

    (void)backend;
    gradient_sums(step, at, dg, db);
    for (int64_t c = 0; step->wants_dw && c < step->norm.channels; c++) {
        step->dweight[c] = (float)dg[c];
        step->dbias[c] = (float)db[c];
    }
    if (!step->wants_dx[0])
        goto done;
    ATR_TRY(atr_norm_group_sum(step->group, dg, 2 * step->norm.channels));
    input_gradient(step, at, dg, db);

done:
    return status;
}
