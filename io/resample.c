#include "io/resample.h"

#include <math.h>

#include "io/pixels_impl.h"

/* Weights are fixed-point numbers of 22 bits: eight more for the pixel, one for the sign and one for overshoot fill 32. */
enum { WEIGHT_BITS = 22 };

/* The weights of one direction: result pixel i is the sum over t < count[i] of weight[i * taps + t] * source[first[i] + t]. */
typedef struct filter {
    int64_t pixels, taps;
    int32_t *first, *count; /* [pixels] */
    int32_t *weight;        /* [pixels,taps] */
    double *exact;          /* [taps] scratch */
} filter;

/* Keys' cubic with a = -1/2, zero from 2 on. */
static double cubic(double x)
{
    const double a = -0.5;

    x = fabs(x);
    if (x < 1)
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    if (x < 2)
        return (((x - 5) * x + 8) * x - 4) * a;
    return 0;
}

/* One direction of a resize: the first `extent` of `from` source pixels become `to`. */
typedef struct axis {
    int64_t from, to;
    double extent;
} axis;

static axis axis_of(int64_t from, double extent, int64_t to)
{
    return (axis){from, to, extent > 0 ? extent : (double)from};
}

/* How far the kernel reaches from its centre, in source pixels. */
static double reach(axis a)
{
    const double scale = a.extent / (double)a.to;

    return 2 * (scale < 1 ? 1 : scale);
}

static int64_t filter_taps(axis a)
{
    return (int64_t)ceil(reach(a)) * 2 + 1;
}

/* Source pixels [*first,*end) that result pixel `position` is made of; *centre is where it lies among them. */
static void filter_span(axis a, int64_t position, double *centre, int64_t *first, int64_t *end)
{
    const double support = reach(a);

    *centre = ((double)position + 0.5) * (a.extent / (double)a.to);
    *first = (int64_t)(*centre - support + 0.5);
    *end = (int64_t)(*centre + support + 0.5);
    *first = *first < 0 ? 0 : *first;
    *end = *end > a.from ? a.from : *end;
}

/* Weights of result pixels begin..begin+pixels-1 of `to`, counted from the other end if `flip`. */
static void filter_fill(axis a, int64_t begin, bool flip, filter *f)
{
    const double squeeze = 2 / reach(a);

    for (int64_t i = 0; i < f->pixels; i++) {
        int64_t first = 0, end = 0;
        double centre = 0, sum = 0;
        filter_span(a, flip ? a.to - 1 - (begin + i) : begin + i, &centre, &first, &end);
        for (int64_t t = first; t < end; t++) {
            f->exact[t - first] = cubic(((double)t - centre + 0.5) * squeeze);
            sum += f->exact[t - first];
        }
        for (int64_t t = 0; t < end - first; t++) {
            const double w = (sum != 0 ? f->exact[t] / sum : f->exact[t]) * (1 << WEIGHT_BITS);
            f->weight[i * f->taps + t] = (int32_t)(w < 0 ? w - 0.5 : w + 0.5);
        }
        f->first[i] = (int32_t)first;
        f->count[i] = (int32_t)(end - first);
    }
}

static uint8_t round_clip(int32_t sum)
{
    const int32_t value = sum >> WEIGHT_BITS;

    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* src [rows,src_width,channels] -> dst [rows,f->pixels,channels]. Always inlined with a constant channel count, so that the
 * innermost loop unrolls. */
static inline __attribute__((always_inline)) void
sum_across(const filter *f, int channels, const uint8_t *src, int64_t src_width, int64_t rows, uint8_t *dst)
{
    for (int64_t y = 0; y < rows; y++, src += src_width * channels)
        for (int64_t i = 0; i < f->pixels; i++, dst += channels) {
            const uint8_t *pixel = src + (int64_t)f->first[i] * channels;
            const int32_t *weight = f->weight + i * f->taps;
            int32_t sum[4] = {1 << (WEIGHT_BITS - 1), 1 << (WEIGHT_BITS - 1), 1 << (WEIGHT_BITS - 1),
                              1 << (WEIGHT_BITS - 1)};
            for (int32_t t = 0; t < f->count[i]; t++, pixel += channels)
                for (int c = 0; c < channels; c++)
                    sum[c] += pixel[c] * weight[t];
            for (int c = 0; c < channels; c++)
                dst[c] = round_clip(sum[c]);
        }
}

/* All rows but the last, behind which there may be no byte to be read. Returns how many rows it did. */
static int64_t across_avx2(const filter *f, const uint8_t *src, int64_t src_width, int64_t rows, uint8_t *dst)
{
    int64_t y = 0;

    for (; y + 1 < rows; y++)
        atr_resize_row_avx2(f->pixels, f->taps, f->first, f->count, f->weight, src + 3 * y * src_width,
                            dst + 3 * y * f->pixels);
    return y;
}

static void resize_rows(const filter *f, int channels, const uint8_t *src, int64_t src_width, int64_t rows,
                        uint8_t *dst)
{
    if (channels == 3 && atr_pixels_have_avx2()) {
        const int64_t done = across_avx2(f, src, src_width, rows, dst);
        src += 3 * done * src_width;
        dst += 3 * done * f->pixels;
        rows -= done;
    }
    switch (channels) {
    case 1:
        sum_across(f, 1, src, src_width, rows, dst);
        break;
    case 3:
        sum_across(f, 3, src, src_width, rows, dst);
        break;
    case 4:
        sum_across(f, 4, src, src_width, rows, dst);
        break;
    default:
        sum_across(f, channels, src, src_width, rows, dst);
        break;
    }
}

/* src [..,samples] beginning with source row `src_begin` -> dst [f->pixels,samples]; sums [samples] scratch. */
static void resize_columns(const filter *f, const uint8_t *src, int64_t src_begin, int64_t samples,
                           int32_t *sums, uint8_t *dst, int64_t dst_stride)
{
    const bool avx2 = atr_pixels_have_avx2();

    for (int64_t i = 0; i < f->pixels; i++, dst += dst_stride) {
        const uint8_t *row = src + (f->first[i] - src_begin) * samples;
        const int32_t *weight = f->weight + i * f->taps;
        const int64_t done =
            avx2 ? atr_resize_column_avx2(weight, f->count[i], row, samples, samples, dst) : 0;
        for (int64_t s = done; s < samples; s++)
            sums[s] = 1 << (WEIGHT_BITS - 1);
        for (int32_t t = 0; t < f->count[i]; t++, row += samples)
            for (int64_t s = done; s < samples; s++)
                sums[s] += row[s] * weight[t];
        for (int64_t s = done; s < samples; s++)
            dst[s] = round_clip(sums[s]);
    }
}

static atr_status check(const atr_resize *r)
{
    const atr_box *w = &r->window;

    if (r->from_width < 1 || r->from_height < 1 || r->to_width < 1 || r->to_height < 1 ||
        !(r->extent_width >= 0 && r->extent_width <= (double)r->from_width) ||
        !(r->extent_height >= 0 && r->extent_height <= (double)r->from_height) || r->from_width > INT32_MAX ||
        r->from_height > INT32_MAX || r->to_width > INT32_MAX || r->to_height > INT32_MAX)
        return atr_fail(ATR_ERR_SHAPE, "cannot resize %lldx%lld to %lldx%lld", (long long)r->from_width,
                        (long long)r->from_height, (long long)r->to_width, (long long)r->to_height);
    if (w->x < 0 || w->y < 0 || w->width < 0 || w->height < 0 || w->width > r->to_width - w->x ||
        w->height > r->to_height - w->y)
        return atr_fail(ATR_ERR_SHAPE, "window %lldx%lld at (%lld,%lld) is not inside %lldx%lld",
                        (long long)w->width, (long long)w->height, (long long)w->x, (long long)w->y,
                        (long long)r->to_width, (long long)r->to_height);
    return ATR_OK;
}

atr_resize atr_resize_whole(int64_t from_width, int64_t from_height, int64_t to_width, int64_t to_height)
{
    return (atr_resize){.from_width = from_width,
                        .from_height = from_height,
                        .to_width = to_width,
                        .to_height = to_height,
                        .window = {0, 0, to_width, to_height}};
}

atr_resize atr_resize_within(int64_t width, int64_t height, int64_t largest)
{
    const int64_t longer = width > height ? width : height;
    int64_t to_width = width, to_height = height;

    if (longer > largest) {
        to_width = width * largest / longer;
        to_height = height * largest / longer;
    }
    return atr_resize_whole(width, height, to_width < 1 ? 1 : to_width, to_height < 1 ? 1 : to_height);
}

/* What a bicubic resize keeps in the workspace. */
typedef struct bicubic {
    axis across, down;
    filter x, y;
    int64_t first_row, rows; /* of the source, that the window needs */
    uint8_t *narrow;         /* [rows,window.width,channels] */
    int32_t *sums;           /* [window.width,channels] */
} bicubic;

/* Next `bytes` of the workspace, or only counted where `base` is NULL. */
static void *carve(uint8_t *base, size_t *used, size_t bytes)
{
    void *piece = base == NULL ? NULL : base + *used;

    *used += atr_align_up(bytes);
    return piece;
}

static void carve_filter(uint8_t *base, size_t *used, int64_t pixels, int64_t taps, filter *f)
{
    f->pixels = pixels;
    f->taps = taps;
    f->first = carve(base, used, (size_t)pixels * sizeof *f->first);
    f->count = carve(base, used, (size_t)pixels * sizeof *f->count);
    f->weight = carve(base, used, (size_t)(pixels * taps) * sizeof *f->weight);
    f->exact = carve(base, used, (size_t)taps * sizeof *f->exact);
}

static size_t carve_bicubic(const atr_resize *r, int channels, uint8_t *base, bicubic *work)
{
    const size_t samples = (size_t)(r->window.width * channels);
    size_t used = 0;

    carve_filter(base, &used, r->window.width, filter_taps(work->across), &work->x);
    carve_filter(base, &used, r->window.height, filter_taps(work->down), &work->y);
    work->narrow = carve(base, &used, (size_t)work->rows * samples);
    work->sums = carve(base, &used, samples * sizeof *work->sums);
    return used;
}

atr_status atr_resize_bicubic(const atr_resize *resize, int channels, const uint8_t *src, uint8_t *dst,
                              int64_t dst_stride, atr_workspace *workspace)
{
    const atr_box *window = &resize->window;
    const int64_t row_samples = resize->from_width * channels;
    bicubic work = {0};
    int64_t end_row = 0, unused = 0;
    double centre = 0;
    atr_status status = ATR_OK;

    if (channels < 1 || channels > 4)
        return atr_fail(ATR_ERR_SHAPE, "cannot resize a picture of %d channels", channels);
    ATR_TRY(check(resize));
    if (window->width == 0 || window->height == 0)
        goto done;
    work.across = axis_of(resize->from_width, resize->extent_width, resize->to_width);
    work.down = axis_of(resize->from_height, resize->extent_height, resize->to_height);
    filter_span(work.down, window->y, &centre, &work.first_row, &unused);
    filter_span(work.down, window->y + window->height - 1, &centre, &unused, &end_row);
    work.rows = end_row - work.first_row;
    ATR_TRY(atr_workspace_reserve(workspace, (int64_t)carve_bicubic(resize, channels, NULL, &work)));
    carve_bicubic(resize, channels, workspace->bytes, &work);
    filter_fill(work.across, window->x, resize->flip, &work.x);
    filter_fill(work.down, window->y, false, &work.y);
    resize_rows(&work.x, channels, src + work.first_row * row_samples, resize->from_width, work.rows,
                work.narrow);
    resize_columns(&work.y, work.narrow, work.first_row, window->width * channels, work.sums, dst,
                   dst_stride);

done:
    return status;
}

/* Source positions of result pixels begin..begin+count-1 of `to`. The position is summed step by step and not multiplied: at
 * exact halves the rounding of the sum decides, and that is how it is done where the masks come from. */
static void nearest_positions(int64_t from, int64_t to, int64_t begin, int64_t count, bool flip, int32_t *out)
{
    const double step = (double)from / (double)to;
    const int64_t low = flip ? to - begin - count : begin;
    double position = step * 0.5;

    for (int64_t i = 0; i < low + count; i++, position += step)
        if (i >= low) {
            const int64_t source = (int64_t)position;
            out[flip ? low + count - 1 - i : i - low] = (int32_t)(source < from ? source : from - 1);
        }
}

atr_status atr_resize_nearest(const atr_resize *resize, const uint8_t *src, uint8_t *dst, int64_t dst_stride,
                              atr_workspace *workspace)
{
    const atr_box *window = &resize->window;
    atr_status status = ATR_OK;

    ATR_TRY(check(resize));
    ATR_TRY(atr_workspace_reserve(workspace, (window->width + window->height) * (int64_t)sizeof(int32_t)));
    int32_t *from_x = (int32_t *)(void *)workspace->bytes, *from_y = from_x + window->width;
    nearest_positions(resize->from_width, resize->to_width, window->x, window->width, resize->flip, from_x);
    nearest_positions(resize->from_height, resize->to_height, window->y, window->height, false, from_y);
    for (int64_t y = 0; y < window->height; y++, dst += dst_stride) {
        const uint8_t *row = src + from_y[y] * resize->from_width;
        for (int64_t x = 0; x < window->width; x++)
            dst[x] = row[from_x[x]];
    }

done:
    return status;
}
