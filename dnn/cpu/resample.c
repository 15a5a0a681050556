/* Bilinear resizing with align_corners. Backward is the transpose, gathered: first along columns of pixels into a row of the
 * input's height, then along that row, so that each result is written once, by one thread, in a fixed order. */
#include "dnn/bilinear.h"

#include "dnn/cpu/cpu_impl.h"

static atr_cpu_column column_of(atr_bilinear_tap tap)
{
    return (atr_cpu_column){tap.first, tap.second, (float)tap.weight};
}

void atr_cpu_columns_corners(int64_t in, int64_t out, atr_cpu_column *columns)
{
    for (int64_t o = 0; o < out; o++)
        columns[o] = column_of(atr_bilinear_corners(o, in, out));
}

void atr_cpu_columns_centres(int64_t in, int64_t out, atr_cpu_column *columns)
{
    for (int64_t o = 0; o < out; o++)
        columns[o] = column_of(atr_bilinear_centres(o, in, out));
}

/* The outputs that read an input: number, position and weight, by input. */
typedef struct readers {
    int64_t *first; /* [in+1]: where an input's readers start in the lists */
    int64_t *output;
    float *weight;
} readers;

typedef struct resize_state {
    atr_cpu_column *columns; /* [W of y] */
    readers down, across;    /* training: of the rows and columns of x */
} resize_state;

static void destroy_readers(readers *r)
{
    atr_free(r->first);
    atr_free(r->output);
    atr_free(r->weight);
}

/* Adds output o to the readers of its one or two inputs; `at` counts those of each input so far. */
static void add_reader(readers *r, int64_t *at, int64_t o, atr_bilinear_tap tap)
{
    const int64_t inputs[2] = {tap.first, tap.second};
    const double weights[2] = {1.0 - tap.weight, tap.weight};

    for (int i = 0; i < 2; i++)
        if (weights[i] > 0.0) {
            const int64_t to = at[inputs[i]]++;
            r->output[to] = o;
            r->weight[to] = (float)weights[i];
        }
}

static atr_status make_readers(int64_t in, int64_t out, readers *r)
{
    atr_status status = ATR_OK;
    int64_t *at = NULL;

    ATR_TRY(ATR_NEW(in + 1, &r->first));
    ATR_TRY(ATR_NEW(2 * out, &r->output));
    ATR_TRY(ATR_NEW(2 * out, &r->weight));
    ATR_TRY(ATR_NEW(in, &at));
    for (int64_t o = 0; o < out; o++) {
        const atr_bilinear_tap tap = atr_bilinear_corners(o, in, out);
        r->first[tap.first + 1]++;
        if (tap.weight > 0.0)
            r->first[tap.second + 1]++;
    }
    for (int64_t i = 0; i < in; i++) {
        r->first[i + 1] += r->first[i];
        at[i] = r->first[i];
    }
    for (int64_t o = 0; o < out; o++)
        add_reader(r, at, o, atr_bilinear_corners(o, in, out));
done:
    atr_free(at);
    return status;
}

/* A part's share of the scratch in backward: a row of gradients [W of y, C], then pointers for the terms of a sum. */
static size_t row_bytes(const atr_step *step)
{
    const size_t floats = (size_t)(step->y.dims[2] * step->y.dims[3]);
    const size_t terms = (size_t)(2 * atr_cpu_max(step->y.dims[1], step->y.dims[2]));

    return atr_align_up(floats * sizeof(float)) + atr_align_up(terms * sizeof(float *)) + ATR_ALIGN;
}

atr_status atr_cpu_resize_prepare(atr_backend *backend, atr_step *step)
{
    const int64_t *in = step->x[0].dims, *out = step->y.dims;
    atr_status status = ATR_OK;
    resize_state *state = NULL;

    atr_cpu_plain_prepare(backend, step);
    ATR_TRY(ATR_NEW(1, &state));
    step->state = state;
    ATR_TRY(ATR_NEW(out[2], &state->columns));
    atr_cpu_columns_corners(in[2], out[2], state->columns);
    if (!step->training)
        goto done;
    ATR_TRY(make_readers(in[1], out[1], &state->down));
    ATR_TRY(make_readers(in[2], out[2], &state->across));
    step->scratch_bytes = (size_t)backend->threads * row_bytes(step);
done:
    return status;
}

void atr_cpu_resize_release(atr_step *step)
{
    resize_state *state = step->state;

    if (state == NULL)
        return;
    atr_free(state->columns);
    destroy_readers(&state->down);
    destroy_readers(&state->across);
    atr_free(state);
    step->state = NULL;
}

atr_status atr_cpu_resize_forward(atr_backend *backend, atr_step *step)
{
    const atr_cpu_kernels *kernels = atr_cpu_kernels_of(backend);
    const resize_state *state = step->state;
    const atr_tensor *x = &step->x[0], *y = &step->y;

#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range rows = atr_cpu_share(y->dims[0] * y->dims[1], backend->threads, part);
        for (int64_t row = rows.first; row < rows.end; row++) {
            const int64_t n = row / y->dims[1];
            const atr_bilinear_tap tap = atr_bilinear_corners(row % y->dims[1], x->dims[1], y->dims[1]);
            kernels->interpolate(atr_cpu_pixel(x, (n * x->dims[1] + tap.first) * x->dims[2]),
                                 atr_cpu_pixel(x, (n * x->dims[1] + tap.second) * x->dims[2]), x->strides[2],
                                 (float)tap.weight, state->columns, y->dims[2], y->dims[3],
                                 atr_cpu_pixel(y, row * y->dims[2]), y->strides[2]);
        }
    }
    return ATR_OK;
}

/* Row `row` of dx; `scratch` is the part's own. */
static void gradient_row(const atr_cpu_kernels *kernels, const atr_step *step, int64_t row, void *scratch)
{
    const resize_state *state = step->state;
    const readers *down = &state->down, *across = &state->across;
    const atr_tensor *dx = &step->dx[0], *dy = &step->dy;
    const int64_t width = dy->dims[2], channels = dy->dims[3];
    const int64_t n = row / dx->dims[1], y = row % dx->dims[1];
    const size_t sums_bytes = atr_align_up((size_t)(width * channels) * sizeof(float));
    float *sums = scratch; /* [width,C] */
    const float **from = (const float **)(void *)((char *)scratch + sums_bytes);

    for (int64_t i = down->first[y]; i < down->first[y + 1]; i++)
        from[i - down->first[y]] = atr_cpu_pixel(dy, (n * dy->dims[1] + down->output[i]) * width);
    kernels->weighted_sum(from, down->weight + down->first[y], down->first[y + 1] - down->first[y],
                          dy->strides[2], width, channels, sums, channels);
    for (int64_t x = 0; x < dx->dims[2]; x++) {
        for (int64_t i = across->first[x]; i < across->first[x + 1]; i++)
            from[i - across->first[x]] = sums + across->output[i] * channels;
        kernels->weighted_sum(from, across->weight + across->first[x],
                              across->first[x + 1] - across->first[x], 0, 1, channels,
                              atr_cpu_pixel(dx, row * dx->dims[2] + x), 0);
    }
}

atr_status atr_cpu_resize_backward(atr_backend *backend, atr_step *step)
{
    const atr_cpu_kernels *kernels = atr_cpu_kernels_of(backend);
    const atr_tensor *dx = &step->dx[0];

    if (!step->wants_dx[0])
        return ATR_OK;
#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range rows = atr_cpu_share(dx->dims[0] * dx->dims[1], backend->threads, part);
        for (int64_t row = rows.first; row < rows.end; row++)
            gradient_row(kernels, step, row, (char *)step->scratch + (size_t)part * row_bytes(step));
    }
    return ATR_OK;
}

/* Row y of the enlarged logits, from blended logits [w,K] to planes. */
static void enlarge_row(const float *blended, const atr_cpu_column *columns, int64_t width, int64_t classes,
                        int64_t plane, float *out)
{
    for (int64_t k = 0; k < classes; k++)
        for (int64_t x = 0; x < width; x++) {
            const float a = blended[columns[x].first * classes + k];
            const float b = blended[columns[x].second * classes + k];
            out[k * plane + x] = a + columns[x].weight * (b - a);
        }
}

atr_status atr_cpu_enlarge(atr_backend *backend, const atr_tensor *logits, int64_t height, int64_t width,
                           float *out)
{
    const atr_cpu_kernels *kernels = atr_cpu_kernels_of(backend);
    const int64_t h = logits->dims[1], w = logits->dims[2], classes = logits->dims[3];
    const int64_t row_floats = atr_cpu_row(w * classes);
    atr_status status = ATR_OK;
    atr_cpu_column *columns = NULL;
    float *blended = NULL; /* [threads][w,K] */

    ATR_TRY(ATR_NEW(width, &columns));
    ATR_TRY(ATR_NEW(backend->threads * row_floats, &blended));
    atr_cpu_columns_corners(w, width, columns);
#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range rows = atr_cpu_share(height, backend->threads, part);
        float *mine = blended + part * row_floats;
        for (int64_t y = rows.first; y < rows.end; y++) {
            const atr_bilinear_tap tap = atr_bilinear_corners(y, h, height);
            kernels->blend_rows(atr_cpu_pixel(logits, tap.first * w), atr_cpu_pixel(logits, tap.second * w),
                                logits->strides[2], (float)tap.weight, w, classes, mine, classes);
            enlarge_row(mine, columns, width, classes, height * width, out + y * width);
        }
    }
done:
    atr_free(columns);
    atr_free(blended);
    return status;
}
