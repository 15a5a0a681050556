#include <math.h>
#include <string.h>

#include "dnn/ref/ref_impl.h"

/* 2-d convolution with groups G, stride s, dilation d, zero padding p (no flip, as everywhere in deep learning):
 *
 *     y[n,oy,ox,o]   = b[o] + sum over ky,kx,i of  x[n, oy s + ky d - p, ox s + kx d - p, i] w[o,i,ky,kx]
 *     dx[n,iy,ix,i]  = sum over ky,kx,o of  dy[n, (iy + p - ky d)/s, (ix + p - kx d)/s, o] w[o,i,ky,kx]
 *     dw[o,i,ky,kx]  = sum over n,oy,ox of  dy[n,oy,ox,o] x[n, oy s + ky d - p, ox s + kx d - p, i]
 *     db[o]          = sum over n,oy,ox of  dy[n,oy,ox,o]
 *
 * where terms outside the picture (or, in dx, between the strides) are left out, and o and i are of the same group.
 *
 * Forward and dx are one sweep: each pixel of the target gathers from the source pixels that its taps meet. The sums of four
 * target pixels run side by side, so that a row of weights is read once for the four. */

enum { PIXELS = 4, CHANNELS = 256 };

typedef struct conv_state {
    float *weights;        /* [kh,kw,I/G,O] */
    float *transposed;     /* [kh,kw,O/G,I]; where dx is wanted */
    double *scale, *shift; /* [O]: y = act(scale (x * w) + shift + residual); bias and folded norm */
} conv_state;

typedef struct sweep {
    const atr_conv_attr *conv;
    bool backward; /* from dy to dx, else from x to y */
    const atr_tensor *from, *to;
    const float *weights;         /* [kh,kw,from/G,to] */
    int64_t from_group, to_group; /* channels of a group */
    const atr_step *step;
} sweep;

static int64_t taps(const atr_conv_attr *conv)
{
    return conv->kernel * conv->kernel;
}

static bool is_depthwise(const atr_conv_attr *conv)
{
    return conv->groups == conv->in_channels && conv->groups == conv->out_channels;
}

/* Row (or column) of the source, of `extent`, that tap k of target row `at` meets; -1: none. */
static int64_t source(const sweep *s, int64_t at, int64_t k, int64_t extent)
{
    const int64_t shift = k * s->conv->dilation - s->conv->pad;
    int64_t position = at * s->conv->stride + shift;

    if (s->backward) {
        if (at < shift || (at - shift) % s->conv->stride != 0)
            return -1;
        position = (at - shift) / s->conv->stride;
    }
    return position >= 0 && position < extent ? position : -1;
}

/* sums[j][c] += factors[j] row[c] */
ATR_REF_WIDE static void add_products(double sums[PIXELS][CHANNELS], const double factors[PIXELS],
                                      const float *row, int64_t count)
{
    double *s0 = sums[0], *s1 = sums[1], *s2 = sums[2], *s3 = sums[3];
    const double f0 = factors[0], f1 = factors[1], f2 = factors[2], f3 = factors[3];

    for (int64_t c = 0; c < count; c++) {
        const double r = (double)row[c];
        s0[c] += f0 * r;
        s1[c] += f1 * r;
        s2[c] += f2 * r;
        s3[c] += f3 * r;
    }
}

/* One tap of PIXELS target pixels: `pixels` are the source pixels it meets, NULL where none. */
static void sweep_tap(const sweep *s, const float *const pixels[PIXELS], const float *weights, int64_t count,
                      double sums[PIXELS][CHANNELS])
{
    for (int64_t i = 0; i < s->from_group; i++) {
        double factors[PIXELS];
        for (int j = 0; j < PIXELS; j++)
            factors[j] = pixels[j] != NULL ? (double)pixels[j][i] : 0.0;
        add_products(sums, factors, weights + i * s->to->dims[3], count);
    }
}

/* The same for a depthwise convolution, where channel c of the target reads channel c of the source only. */
static void sweep_tap_depthwise(const float *const pixels[PIXELS], const float *weights, int64_t count,
                                double sums[PIXELS][CHANNELS])
{
    for (int j = 0; j < PIXELS; j++)
        if (pixels[j] != NULL)
            for (int64_t c = 0; c < count; c++)
                sums[j][c] += (double)pixels[j][c] * (double)weights[c];
}

/* Sums over all taps for target pixels (n, y, x .. x+PIXELS-1), target channels first .. first+count-1,
 * which read source channels from from_first on. */
static void sweep_taps(const sweep *s, int64_t n, int64_t y, int64_t x, int64_t first, int64_t count,
                       int64_t from_first, double sums[PIXELS][CHANNELS])
{
    const atr_tensor *from = s->from;
    const bool depthwise = is_depthwise(s->conv);
    const float *weights = s->weights + first;

    for (int64_t k = 0; k < taps(s->conv); k++, weights += s->from_group * s->to->dims[3]) {
        const int64_t from_y = source(s, y, k / s->conv->kernel, from->dims[1]);
        const float *pixels[PIXELS] = {NULL};
        bool any = false;
        if (from_y < 0)
            continue;
        for (int j = 0; j < PIXELS && x + j < s->to->dims[2]; j++) {
            const int64_t from_x = source(s, x + j, k % s->conv->kernel, from->dims[2]);
            if (from_x < 0)
                continue;
            pixels[j] =
                atr_ref_pixel(from, (n * from->dims[1] + from_y) * from->dims[2] + from_x) + from_first;
            any = true;
        }
        if (any && depthwise)
            sweep_tap_depthwise(pixels, weights, count, sums);
        else if (any)
            sweep_tap(s, pixels, weights, count, sums);
    }
}

/* Sums to f32 in the target; forward adds bias, folded norm, residual and activation on the way. */
static void sweep_store(const sweep *s, int64_t pixel, int64_t first, int64_t count, const double *sums)
{
    const conv_state *state = s->step->state;
    const float *residual = s->step->residual ? atr_ref_pixel(&s->step->x[1], pixel) + first : NULL;
    float *to = atr_ref_pixel(s->to, pixel) + first;

    for (int64_t c = 0; c < count; c++) {
        if (s->backward) {
            to[c] = (float)sums[c];
        } else {
            const double value = sums[c] * state->scale[first + c] + state->shift[first + c];
            const double added = residual != NULL ? value + (double)residual[c] : value;
            to[c] = atr_ref_act(s->step->act, (float)added);
        }
    }
}

static void sweep_run(const sweep *s)
{
    const int64_t height = s->to->dims[1], width = s->to->dims[2], channels = s->to->dims[3];
    /* A depthwise convolution is swept as if it had one group: its channels stay side by side. */
    const int64_t span = is_depthwise(s->conv) ? channels : s->to_group;

#pragma omp parallel for collapse(2) schedule(dynamic, 4)
    for (int64_t row = 0; row < s->to->dims[0] * height; row++)
        for (int64_t x = 0; x < width; x += PIXELS)
            for (int64_t first = 0; first < channels;) {
                const int64_t group = first / span;
                const int64_t count = atr_ref_min(CHANNELS, (group + 1) * span - first);
                const int64_t from_first = is_depthwise(s->conv) ? first : group * s->from_group;
                double sums[PIXELS][CHANNELS];
                for (int j = 0; j < PIXELS; j++)
                    memset(sums[j], 0, (size_t)count * sizeof sums[j][0]);
                sweep_taps(s, row / height, row % height, x, first, count, from_first, sums);
                for (int j = 0; j < PIXELS && x + j < width; j++)
                    sweep_store(s, row * width + x + j, first, count, sums[j]);
                first += count;
            }
}

/* The gradient of weights [0..O) x [i .. i+PIXELS) of one tap and group. */
static void weight_gradient(const atr_step *step, int64_t k, int64_t group, int64_t i)
{
    const atr_conv_attr *conv = &step->conv;
    const sweep forward = {.conv = conv};
    const atr_tensor *x = &step->x[0], *dy = &step->dy;
    const int64_t in_group = conv->in_channels / conv->groups, out_group = conv->out_channels / conv->groups;
    const int64_t inputs = atr_ref_min(PIXELS, in_group - i);

    for (int64_t first = 0; first < out_group; first += CHANNELS) {
        const int64_t count = atr_ref_min(CHANNELS, out_group - first);
        double sums[PIXELS][CHANNELS] = {{0.0}};
        for (int64_t row = 0; row < dy->dims[0] * dy->dims[1]; row++) {
            const int64_t in_y = source(&forward, row % dy->dims[1], k / conv->kernel, x->dims[1]);
            if (in_y < 0)
                continue;
            for (int64_t out_x = 0; out_x < dy->dims[2]; out_x++) {
                const int64_t in_x = source(&forward, out_x, k % conv->kernel, x->dims[2]);
                if (in_x < 0)
                    continue;
                const int64_t in_row = row / dy->dims[1] * x->dims[1] + in_y;
                const float *in = atr_ref_pixel(x, in_row * x->dims[2] + in_x) + group * in_group + i;
                double factors[PIXELS] = {0.0};
                for (int j = 0; j < inputs; j++)
                    factors[j] = (double)in[j];
                add_products(sums, factors,
                             atr_ref_pixel(dy, row * dy->dims[2] + out_x) + group * out_group + first, count);
            }
        }
        for (int64_t c = 0; c < count; c++)
            for (int j = 0; j < inputs; j++)
                step->dweight[((group * out_group + first + c) * in_group + i + j) * taps(conv) + k] =
                    (float)sums[j][c];
    }
}

/* The gradient of one tap of a depthwise convolution, channels first .. first+count-1. */
static void weight_gradient_depthwise(const atr_step *step, int64_t k, int64_t first, int64_t count)
{
    const atr_conv_attr *conv = &step->conv;
    const sweep forward = {.conv = conv};
    const atr_tensor *x = &step->x[0], *dy = &step->dy;
    double sums[ATR_REF_CHANNELS] = {0.0};

    for (int64_t row = 0; row < dy->dims[0] * dy->dims[1]; row++) {
        const int64_t in_y = source(&forward, row % dy->dims[1], k / conv->kernel, x->dims[1]);
        for (int64_t out_x = 0; in_y >= 0 && out_x < dy->dims[2]; out_x++) {
            const int64_t in_x = source(&forward, out_x, k % conv->kernel, x->dims[2]);
            if (in_x < 0)
                continue;
            const int64_t in_row = row / dy->dims[1] * x->dims[1] + in_y;
            const float *in = atr_ref_pixel(x, in_row * x->dims[2] + in_x) + first;
            const float *out = atr_ref_pixel(dy, row * dy->dims[2] + out_x) + first;
            for (int64_t c = 0; c < count; c++)
                sums[c] += (double)in[c] * (double)out[c];
        }
    }
    for (int64_t c = 0; c < count; c++)
        step->dweight[(first + c) * taps(conv) + k] = (float)sums[c];
}

static void weight_gradients(const atr_step *step)
{
    const atr_conv_attr *conv = &step->conv;
    const int64_t in_group = conv->in_channels / conv->groups;

    if (is_depthwise(conv)) {
#pragma omp parallel for collapse(2)
        for (int64_t k = 0; k < taps(conv); k++)
            for (int64_t first = 0; first < conv->out_channels; first += ATR_REF_CHANNELS)
                weight_gradient_depthwise(step, k, first,
                                          atr_ref_min(ATR_REF_CHANNELS, conv->out_channels - first));
        return;
    }
#pragma omp parallel for collapse(3) schedule(dynamic)
    for (int64_t k = 0; k < taps(conv); k++)
        for (int64_t group = 0; group < conv->groups; group++)
            for (int64_t i = 0; i < in_group; i += PIXELS)
                weight_gradient(step, k, group, i);
}

static void bias_gradient(const atr_step *step)
{
    const atr_tensor *dy = &step->dy;

#pragma omp parallel for
    for (int64_t first = 0; first < dy->dims[3]; first += ATR_REF_CHANNELS) {
        const int64_t count = atr_ref_min(ATR_REF_CHANNELS, dy->dims[3] - first);
        double sums[ATR_REF_CHANNELS] = {0.0};
        for (int64_t p = 0; p < atr_ref_pixels(dy); p++)
            for (int64_t c = 0; c < count; c++)
                sums[c] += (double)atr_ref_pixel(dy, p)[first + c];
        for (int64_t c = 0; c < count; c++)
            step->dbias[first + c] = (float)sums[c];
    }
}

atr_status atr_ref_conv_prepare(atr_backend *backend, atr_step *step)
{
    const atr_conv_attr *conv = &step->conv;
    const int64_t weights = conv->out_channels * (conv->in_channels / conv->groups) * taps(conv);
    atr_status status = ATR_OK;
    conv_state *state = NULL;

    (void)backend;
    if (step->training && (step->folded || step->residual || step->act != ATR_ACT_NONE))
        return atr_fail(ATR_ERR_UNSUPPORTED, "%s: a convolution that trains has nothing fused to it",
                        step->name);
    ATR_TRY(ATR_NEW(1, &state));
    step->state = state;
    ATR_TRY(atr_step_packed(step, weights, sizeof *state->weights, &state->weights));
    if (step->training && step->wants_dx[0])
        ATR_TRY(atr_step_packed(step, weights, sizeof *state->transposed, &state->transposed));
    ATR_TRY(ATR_NEW(conv->out_channels, &state->scale));
    ATR_TRY(ATR_NEW(conv->out_channels, &state->shift));
    step->needs_x = step->training && step->wants_dw;
    step->needs_y = false;
    step->saved_bytes = 0;
    step->scratch_bytes = 0;

done:
    return status;
}

/* Folded batch norm: norm(v + b) = v g/sqrt(var + eps) + (b - mean) g/sqrt(var + eps) + beta. */
static void refold(const atr_step *step, conv_state *state)
{
    for (int64_t o = 0; o < step->conv.out_channels; o++) {
        const double bias = step->bias != NULL ? (double)step->bias[o] : 0.0;
        state->scale[o] = 1.0;
        state->shift[o] = bias;
        if (step->folded) {
            state->scale[o] =
                (double)step->norm_weight[o] / sqrt((double)step->running_var[o] + step->norm.eps);
            state->shift[o] =
                (bias - (double)step->running_mean[o]) * state->scale[o] + (double)step->norm_bias[o];
        }
    }
}

atr_status atr_ref_conv_refresh(atr_backend *backend, atr_step *step)
{
    const atr_conv_attr *conv = &step->conv;
    const int64_t in_group = conv->in_channels / conv->groups, out_group = conv->out_channels / conv->groups;
    conv_state *state = step->state;

    (void)backend;
    for (int64_t o = 0; o < conv->out_channels; o++)
        for (int64_t i = 0; i < in_group; i++)
            for (int64_t k = 0; k < taps(conv); k++) {
                const float weight = step->weight[(o * in_group + i) * taps(conv) + k];
                state->weights[(k * in_group + i) * conv->out_channels + o] = weight;
                if (state->transposed != NULL)
                    state->transposed[(k * out_group + o % out_group) * conv->in_channels +
                                      o / out_group * in_group + i] = weight;
            }
    refold(step, state);
    return ATR_OK;
}

atr_status atr_ref_conv_forward(atr_backend *backend, atr_step *step)
{
    const atr_conv_attr *conv = &step->conv;
    const sweep s = {.conv = conv,
                     .from = &step->x[0],
                     .to = &step->y,
                     .weights = ((conv_state *)step->state)->weights,
                     .from_group = conv->in_channels / conv->groups,
                     .to_group = conv->out_channels / conv->groups,
                     .step = step};

    (void)backend;
    sweep_run(&s);
    return ATR_OK;
}

atr_status atr_ref_conv_backward(atr_backend *backend, atr_step *step)
{
    const atr_conv_attr *conv = &step->conv;
    const sweep s = {.conv = conv,
                     .backward = true,
                     .from = &step->dy,
                     .to = &step->dx[0],
                     .weights = ((conv_state *)step->state)->transposed,
                     .from_group = conv->out_channels / conv->groups,
                     .to_group = conv->in_channels / conv->groups,
                     .step = step};

    (void)backend;
    if (step->wants_dx[0])
        sweep_run(&s);
    if (step->wants_dw) {
        weight_gradients(step);
        if (step->bias != NULL)
            bias_gradient(step);
    }
    return ATR_OK;
}

void atr_ref_conv_release(atr_step *step)
{
    conv_state *state = step->state;

    if (state == NULL)
        return;
    atr_free(state->weights);
    atr_free(state->transposed);
    atr_free(state->scale);
    atr_free(state->shift);
    atr_free(state);
    step->state = NULL;
}
