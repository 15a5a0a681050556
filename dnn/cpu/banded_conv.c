/* 1x1 -> depthwise -> 1x1 in inference, by bands of rows: of the widened map between them, in a MobileNetV2 six times as wide as what goes in
 * and comes out, there are never more rows than fit into the second-level cache, and none is written to memory.
 *
 * A band is some rows of the output. It needs the widened rows that its depthwise taps meet; most of those of the band before are
 * still there. Where threads meet, both make the few rows that both need. Each number is one chain of sums in one order: bits depend
 * neither on bands nor on threads. */
#include <string.h>

#include "dnn/cpu/cpu_impl.h"

enum {
    GAP = 9 * 16,
    FIRST = 0,
    DEPTHWISE,
    LAST,
    LAYERS,
    RING_FLOATS = 96 * 1024 /* of a 512 KiB cache; the weights want some, too */
};

typedef struct layer {
    float *weights;         /* 1x1: [strips][in][strip]; depthwise: [taps][pitch] */
    float *bias;            /* of whole strips */
    int64_t in, out, pitch; /* pitch: of a pixel's outputs */
} layer;

typedef struct banded_state {
    layer layers[LAYERS];
    int64_t rows;        /* of the output in a band */
    int64_t span, slots; /* widened rows that one output row meets, that are kept */
    int64_t thread_floats;
} banded_state;

static int64_t round_up(int64_t value, int64_t step)
{
    return (value + step - 1) / step * step;
}

/* ---- preparing ---------------------------------------------------------------------------------------------------------- */

static atr_status create_layer(const atr_backend *backend, atr_step *step, const atr_conv_attr *conv,
                               layer *l)
{
    const int64_t strip = atr_cpu_kernels_of(backend)->strip;
    const bool depthwise = atr_cpu_is_depthwise(conv);
    atr_status status = ATR_OK;

    l->in = conv->in_channels;
    l->out = conv->out_channels;
    l->pitch = round_up(l->out, strip);
    const int64_t filter = depthwise ? conv->kernel * conv->kernel : l->in;
    ATR_TRY(atr_step_packed(step, filter * l->pitch, sizeof(float), &l->weights));
    ATR_TRY(ATR_NEW(l->pitch, &l->bias));
done:
    return status;
}

/* As many rows as the cache holds; a product likes some dozens of pixels. */
static void choose_band(const atr_step *step, banded_state *state)
{
    const atr_conv_attr *conv = &step->chain[DEPTHWISE].conv;
    const int64_t width = step->x[0].dims[2], out_width = step->y.dims[2], height = step->y.dims[1];
    const int64_t wide = width * state->layers[FIRST].pitch,
                  narrow = out_width * state->layers[DEPTHWISE].pitch;

    state->span = (conv->kernel - 1) * conv->dilation + 1;
    const int64_t room = RING_FLOATS - (state->span - conv->stride) * wide;
    const int64_t fits = room > 0 ? room / (conv->stride * wide + narrow) : 0;
    state->rows = atr_cpu_max(1, atr_cpu_min(fits, height));
    state->slots = (state->rows - 1) * conv->stride + state->span;
    state->thread_floats =
        round_up(state->slots * wide + GAP + state->rows * narrow, ATR_ALIGN / (int64_t)sizeof(float));
}

atr_status atr_cpu_banded_conv_prepare(atr_backend *backend, atr_step *step)
{
    atr_status status = ATR_OK;
    banded_state *state = NULL;
    size_t unpacked = 0;

    ATR_TRY(ATR_NEW(1, &state));
    step->state = state;
    step->needs_x = step->needs_y = false;
    for (int i = 0; i < LAYERS; i++) {
        const atr_conv_attr *conv = &step->chain[i].conv;
        const size_t bytes = (size_t)(conv->out_channels * atr_conv_filter(conv)) * sizeof(float);
        ATR_TRY(create_layer(backend, step, conv, &state->layers[i]));
        unpacked = bytes > unpacked ? bytes : unpacked;
    }
    choose_band(step, state);
    const size_t rings = (size_t)(state->thread_floats * backend->threads) * sizeof(float);
    step->scratch_bytes = rings > unpacked ? rings : unpacked;
done:
    return status;
}

void atr_cpu_banded_conv_release(atr_step *step)
{
    banded_state *state = step->state;

    if (state == NULL)
        return;
    for (int i = 0; i < LAYERS; i++) {
        atr_free(state->layers[i].weights);
        atr_free(state->layers[i].bias);
    }
    atr_free(state);
    step->state = NULL;
}

/* OI into strips; what fills the last one up stays 0. */
static void pack_product(const layer *l, int64_t strip, const float *weights)
{
    for (int64_t o = 0; o < l->out; o++)
        for (int64_t i = 0; i < l->in; i++)
            l->weights[(o / strip * l->in + i) * strip + o % strip] = weights[o * l->in + i];
}

static void pack_taps(const layer *l, int64_t taps, const float *weights)
{
    for (int64_t o = 0; o < l->out; o++)
        for (int64_t t = 0; t < taps; t++)
            l->weights[t * l->pitch + o] = weights[o * taps + t];
}

atr_status atr_cpu_banded_conv_refresh(atr_backend *backend, atr_step *step)
{
    banded_state *state = step->state;
    float *const folded = step->scratch; /* OIHW, until they are packed */

    for (int i = 0; i < LAYERS; i++) {
        const atr_conv_attr *conv = &step->chain[i].conv;
        atr_conv_fold(&step->chain[i], folded, state->layers[i].bias);
        if (i == DEPTHWISE)
            pack_taps(&state->layers[i], conv->kernel * conv->kernel, folded);
        else
            pack_product(&state->layers[i], atr_cpu_kernels_of(backend)->strip, folded);
    }
    return ATR_OK;
}

/* ---- running ------------------------------------------------------------------------------------------------------------ */

/* One thread's memory: widened row iy lies in slot iy mod slots. `ready`: the next one to be made. */
typedef struct ring {
    float *rows, *narrow;
    int64_t ready;
} ring;

static atr_cpu_layer product_of(const atr_step *step, int index)
{
    const banded_state *state = step->state;
    const layer *l = &state->layers[index];

    return (atr_cpu_layer){.weights = l->weights,
                           .bias = l->bias,
                           .in = l->in,
                           .out = l->out,
                           .clamp = atr_cpu_clamp_of(step->chain[index].act)};
}

/* Widened rows of picture n up to `end`, in runs that lie in one piece. */
static void widen(const atr_cpu_kernels *kernels, const atr_step *step, int64_t n, int64_t end, ring *r)
{
    const banded_state *state = step->state;
    const atr_tensor *x = &step->x[0];
    const int64_t width = x->dims[2], pitch = state->layers[FIRST].pitch;
    atr_cpu_layer product = product_of(step, FIRST);

    product.from_stride = x->strides[2];
    product.to_stride = pitch;
    while (r->ready < end) {
        const int64_t slot = r->ready % state->slots;
        const int64_t count = atr_cpu_min(end - r->ready, state->slots - slot);
        product.from = atr_cpu_pixel(x, (n * x->dims[1] + r->ready) * width);
        product.to = r->rows + slot * width * pitch;
        product.pixels = count * width;
        kernels->layer(&product);
        r->ready += count;
    }
}

static void depthwise_row(const atr_cpu_kernels *kernels, const atr_step *step, int64_t oy, const ring *r,
                          float *to)
{
    const banded_state *state = step->state;
    const layer *wide = &state->layers[FIRST], *narrow = &state->layers[DEPTHWISE];
    const atr_conv_attr *conv = &step->chain[DEPTHWISE].conv;
    const int64_t height = step->x[0].dims[1], width = step->x[0].dims[2];
    atr_cpu_tap_row row = {.step = conv->stride,
                           .width = width,
                           .stride = wide->pitch,
                           .channels = conv->out_channels,
                           .count = step->y.dims[2],
                           .target = to,
                           .target_stride = narrow->pitch,
                           .bias = narrow->bias,
                           .clamp = atr_cpu_clamp_of(step->chain[DEPTHWISE].act)};

    for (int64_t t = 0; t < conv->kernel * conv->kernel; t++) {
        const int64_t iy = oy * conv->stride + t / conv->kernel * conv->dilation - conv->pad;
        if (iy >= 0 && iy < height)
            row.taps[row.tap_count++] =
                (atr_cpu_tap){.row = r->rows + iy % state->slots * width * wide->pitch,
                              .offset = t % conv->kernel * conv->dilation - conv->pad,
                              .weight = narrow->weights + t * narrow->pitch};
    }
    kernels->depthwise(&row);
}

/* Rows oy .. oy+count-1 of picture n. */
static void run_band(const atr_cpu_kernels *kernels, const atr_step *step, int64_t n, int64_t oy,
                     int64_t count, ring *r)
{
    const banded_state *state = step->state;
    const atr_conv_attr *conv = &step->chain[DEPTHWISE].conv;
    const atr_tensor *x = &step->x[0], *y = &step->y;
    const int64_t first = atr_cpu_max(0, oy * conv->stride - conv->pad);
    const int64_t last = (oy + count - 1) * conv->stride - conv->pad + state->span - 1;
    const int64_t pitch = state->layers[DEPTHWISE].pitch, pixel = (n * y->dims[1] + oy) * y->dims[2];
    atr_cpu_layer product = product_of(step, LAST);

    r->ready = atr_cpu_max(r->ready, first);
    widen(kernels, step, n, atr_cpu_min(last + 1, x->dims[1]), r);
    for (int64_t i = 0; i < count; i++)
        depthwise_row(kernels, step, oy + i, r, r->narrow + i * y->dims[2] * pitch);
    product.from = r->narrow;
    product.from_stride = pitch;
    product.to = atr_cpu_pixel(y, pixel);
    product.to_stride = y->strides[2];
    product.pixels = count * y->dims[2];
    if (step->residual) {
        product.residual = atr_cpu_pixel(&step->x[1], pixel);
        product.residual_stride = step->x[1].strides[2];
    }
    kernels->layer(&product);
}

atr_status atr_cpu_banded_conv_forward(atr_backend *backend, atr_step *step)
{
    const atr_cpu_kernels *kernels = atr_cpu_kernels_of(backend);
    const banded_state *state = step->state;
    const int64_t height = step->y.dims[1];
    const int64_t wide = state->slots * step->x[0].dims[2] * state->layers[FIRST].pitch;

#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range range = atr_cpu_share(step->y.dims[0] * height, backend->threads, part);
        float *const mine = (float *)step->scratch + part * state->thread_floats;
        ring r = {mine, mine + wide + GAP, 0};
        for (int64_t row = range.first, count; row < range.end; row += count) {
            const int64_t oy = row % height;
            count = atr_cpu_min(atr_cpu_min(state->rows, height - oy), range.end - row);
            if (oy == 0)
                r.ready = 0;
            run_band(kernels, step, row / height, oy, count, &r);
        }
    }
    return ATR_OK;
}
