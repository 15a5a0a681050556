#include "dnn/bilinear.h"
#include "dnn/ref/ref_impl.h"

/* Global average pooling: y[n,0,0,c] = sum over pixels of x / (H W), dx = dy / (H W). */
atr_status atr_ref_pool_forward(atr_backend *backend, atr_step *step)
{
    const atr_tensor *x = &step->x[0];
    const int64_t pixels = x->dims[1] * x->dims[2], channels = x->dims[3];

    (void)backend;
#pragma omp parallel for collapse(2)
    for (int64_t n = 0; n < x->dims[0]; n++)
        for (int64_t first = 0; first < channels; first += ATR_REF_CHANNELS) {
            const int64_t count = atr_ref_min(ATR_REF_CHANNELS, channels - first);
            double sums[ATR_REF_CHANNELS] = {0.0};
            for (int64_t p = 0; p < pixels; p++)
                for (int64_t c = 0; c < count; c++)
                    sums[c] += (double)atr_ref_pixel(x, n * pixels + p)[first + c];
            for (int64_t c = 0; c < count; c++)
                atr_ref_pixel(&step->y, n)[first + c] = (float)(sums[c] / (double)pixels);
        }
    return ATR_OK;
}

atr_status atr_ref_pool_backward(atr_backend *backend, atr_step *step)
{
    const atr_tensor *dx = &step->dx[0];
    const int64_t pixels = step->x[0].dims[1] * step->x[0].dims[2];

    (void)backend;
    if (!step->wants_dx[0])
        return ATR_OK;
#pragma omp parallel for
    for (int64_t p = 0; p < atr_ref_pixels(dx); p++)
        for (int64_t c = 0; c < dx->dims[3]; c++)
            atr_ref_pixel(dx, p)[c] =
                (float)((double)atr_ref_pixel(&step->dy, p / pixels)[c] / (double)pixels);
    return ATR_OK;
}

/* Bilinear with align_corners: with the taps (y0, y1, u) of row oy and (x0, x1, v) of column ox,
 *     y[oy,ox] = (1-u) ((1-v) x[y0,x0] + v x[y0,x1]) + u ((1-v) x[y1,x0] + v x[y1,x1]) */
atr_status atr_ref_resize_forward(atr_backend *backend, atr_step *step)
{
    const atr_tensor *x = &step->x[0], *y = &step->y;

    (void)backend;
#pragma omp parallel for
    for (int64_t row = 0; row < y->dims[0] * y->dims[1]; row++) {
        const int64_t n = row / y->dims[1];
        const atr_bilinear_tap v = atr_bilinear_corners(row % y->dims[1], x->dims[1], y->dims[1]);
        for (int64_t ox = 0; ox < y->dims[2]; ox++) {
            const atr_bilinear_tap h = atr_bilinear_corners(ox, x->dims[2], y->dims[2]);
            const int64_t upper = (n * x->dims[1] + v.first) * x->dims[2];
            const int64_t lower = (n * x->dims[1] + v.second) * x->dims[2];
            const float *a = atr_ref_pixel(x, upper + h.first), *b = atr_ref_pixel(x, upper + h.second);
            const float *c = atr_ref_pixel(x, lower + h.first), *d = atr_ref_pixel(x, lower + h.second);
            float *out = atr_ref_pixel(y, row * y->dims[2] + ox);
            for (int64_t i = 0; i < y->dims[3]; i++)
                out[i] =
                    (float)((1.0 - v.weight) * ((1.0 - h.weight) * (double)a[i] + h.weight * (double)b[i]) +
                            v.weight * ((1.0 - h.weight) * (double)c[i] + h.weight * (double)d[i]));
        }
    }
    return ATR_OK;
}

/* With what weight output position o reads input position i. */
static double weight_of(int64_t o, int64_t i, int64_t in, int64_t out)
{
    const atr_bilinear_tap tap = atr_bilinear_corners(o, in, out);

    return (tap.first == i ? 1.0 - tap.weight : 0.0) + (tap.second == i ? tap.weight : 0.0);
}

/* The outputs that may read input i are first .. end-1: positions o (in-1)/(out-1) between i-1 and i+1. */
static void readers(int64_t i, int64_t in, int64_t out, int64_t *first, int64_t *end)
{
    *first = 0;
    *end = out;
    if (in > 1 && out > 1) {
        *first = i > 0 ? (i - 1) * (out - 1) / (in - 1) : 0;
        *end = atr_ref_min(out, (i + 1) * (out - 1) / (in - 1) + 1);
    }
}

/* dx[iy,ix] = sum over outputs that read it of weight(oy,iy) weight(ox,ix) dy[oy,ox]: each dx is gathered by one thread. */
static void gather_gradient(const atr_step *step, int64_t row, int64_t ix, int64_t first, int64_t count)
{
    const atr_tensor *dx = &step->dx[0], *dy = &step->dy;
    const int64_t n = row / dx->dims[1], iy = row % dx->dims[1];
    double sums[ATR_REF_CHANNELS] = {0.0};
    int64_t y0, y1, x0, x1;

    readers(iy, dx->dims[1], dy->dims[1], &y0, &y1);
    readers(ix, dx->dims[2], dy->dims[2], &x0, &x1);
    for (int64_t oy = y0; oy < y1; oy++)
        for (int64_t ox = x0; ox < x1; ox++) {
            const double weight =
                weight_of(oy, iy, dx->dims[1], dy->dims[1]) * weight_of(ox, ix, dx->dims[2], dy->dims[2]);
            const float *gradient = atr_ref_pixel(dy, (n * dy->dims[1] + oy) * dy->dims[2] + ox) + first;
            for (int64_t c = 0; c < count; c++)
                sums[c] += weight * (double)gradient[c];
        }
    for (int64_t c = 0; c < count; c++)
        atr_ref_pixel(dx, row * dx->dims[2] + ix)[first + c] = (float)sums[c];
}

atr_status atr_ref_resize_backward(atr_backend *backend, atr_step *step)
{
    const atr_tensor *dx = &step->dx[0];
    const int64_t channels = dx->dims[3];

    (void)backend;
    if (!step->wants_dx[0])
        return ATR_OK;
#pragma omp parallel for collapse(2)
    for (int64_t row = 0; row < dx->dims[0] * dx->dims[1]; row++)
        for (int64_t ix = 0; ix < dx->dims[2]; ix++)
            for (int64_t first = 0; first < channels; first += ATR_REF_CHANNELS)
                gather_gradient(step, row, ix, first, atr_ref_min(ATR_REF_CHANNELS, channels - first));
    return ATR_OK;
}

atr_status atr_ref_check_classes(const atr_tensor *logits)
{
    if (logits->dims[3] <= ATR_REF_CLASSES)
        return ATR_OK;
    return atr_fail(ATR_ERR_SHAPE, "%lld classes: there can be 1 to %d", (long long)logits->dims[3],
                    ATR_REF_CLASSES);
}

void atr_ref_logits_at(const atr_tensor *logits, int64_t n, int64_t height, int64_t width, int64_t y,
                       int64_t x, double *out)
{
    const int64_t h = logits->dims[1], w = logits->dims[2];
    const atr_bilinear_tap v = atr_bilinear_corners(y, h, height), u = atr_bilinear_corners(x, w, width);
    const float *a = atr_ref_pixel(logits, (n * h + v.first) * w + u.first);
    const float *b = atr_ref_pixel(logits, (n * h + v.first) * w + u.second);
    const float *c = atr_ref_pixel(logits, (n * h + v.second) * w + u.first);
    const float *d = atr_ref_pixel(logits, (n * h + v.second) * w + u.second);

    for (int64_t k = 0; k < logits->dims[3]; k++)
        out[k] = (1.0 - v.weight) * ((1.0 - u.weight) * (double)a[k] + u.weight * (double)b[k]) +
                 v.weight * ((1.0 - u.weight) * (double)c[k] + u.weight * (double)d[k]);
}

atr_status atr_ref_enlarge(atr_backend *backend, const atr_tensor *logits, int64_t height, int64_t width,
                           float *out)
{
    const atr_status status = atr_ref_check_classes(logits);

    (void)backend;
    if (status != ATR_OK)
        return status;
#pragma omp parallel for
    for (int64_t y = 0; y < height; y++)
        for (int64_t x = 0; x < width; x++) {
            double values[ATR_REF_CLASSES];
            atr_ref_logits_at(logits, 0, height, width, y, x, values);
            for (int64_t k = 0; k < logits->dims[3]; k++)
                out[(k * height + y) * width + x] = (float)values[k];
        }
    return ATR_OK;
}
