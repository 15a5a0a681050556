/* A 1x1 convolution of the concat of a and one vector b per picture (CONV_POOLED in core/graph.h):
 *     y(p) = act(W_a a(p) + v),   v = W_b b + bias
 * Backward, with S the sum of dy over a picture's pixels:
 *     dW_b = sum over pictures of S b',   db = W_b' S,   dbias = sum over pictures of S
 * and W_a and a take the usual way. What is done per picture is summed in double: behind image pooling a batch norm divides by the
 * spread of a few nearly equal values, and would magnify rounding.
 *
 * a and y may be bf16 (b stays f32): then W_a a is made in f32 scratch memory, and y rounded once. */
#include <string.h>

#include "dnn/cpu/cpu_impl.h"

typedef struct pooled_state {
    atr_step main;                /* the convolution of a, without bias and activation */
    float *folded, *bias;         /* [O,Ca+Cb] and [O], where a norm is folded in or there is a bias */
    float *weight, *gradient;     /* W_a [O,Ca] */
    float *pooled_weight;         /* W_b [O,Cb] */
    float *vector, *zeros, *ones; /* [O] each */
    double *sums;                 /* [O] */
    size_t main_bytes; /* of scratch: of `main` and for sums; in bf16 the f32 copy of y comes behind */
    double *weight_sums, *bias_sums; /* training: gradients of W_b [O,Cb] and of the bias [O] */
} pooled_state;

static int64_t main_channels(const atr_step *step)
{
    return step->x[0].dims[3];
}

static int64_t pooled_channels(const atr_step *step)
{
    return step->x[1].dims[3];
}

static bool is_narrow(const atr_step *step)
{
    return step->y.type == ATR_BF16;
}

static atr_status check_types(const atr_step *step)
{
    return step->x[0].type == step->y.type && step->x[1].type == ATR_F32 && step->dx[1].type == ATR_F32
               ? ATR_OK
               : atr_fail(ATR_ERR_UNSUPPORTED, "%s: activations of other types", step->name);
}

static void describe_main(const atr_step *step, pooled_state *state)
{
    atr_step *m = &state->main;

    m->op = ATR_OP_CONV;
    m->name = step->name;
    m->conv = step->conv;
    m->conv.in_channels = main_channels(step);
    m->training = step->training;
    m->wants_dw = step->wants_dw;
    m->x[0] = step->x[0];
    m->dx[0] = step->dx[0];
    m->wants_dx[0] = step->wants_dx[0];
    m->input_count = 1;
    m->y = step->y;
    if (is_narrow(step))
        m->y = atr_tensor_nhwc(ATR_F32, step->y.dims[0], step->y.dims[1], step->y.dims[2], step->y.dims[3],
                               NULL);
    m->dy = step->dy;
    m->weight = state->weight;
    m->dweight = state->gradient;
}

static atr_status allocate(atr_step *step, pooled_state *state)
{
    const int64_t out = step->conv.out_channels, ca = main_channels(step), cb = pooled_channels(step);
    atr_status status = ATR_OK;

    if (step->folded)
        ATR_TRY(atr_step_packed(step, out * (ca + cb), sizeof(float), &state->folded));
    if (step->folded || step->bias != NULL)
        ATR_TRY(ATR_NEW(out, &state->bias));
    ATR_TRY(atr_step_packed(step, out * ca, sizeof(float), &state->weight));
    ATR_TRY(atr_step_packed(step, out * cb, sizeof(float), &state->pooled_weight));
    ATR_TRY(ATR_NEW(out, &state->vector));
    ATR_TRY(ATR_NEW(out, &state->zeros));
    ATR_TRY(ATR_NEW(out, &state->ones));
    for (int64_t o = 0; o < out; o++)
        state->ones[o] = 1.0f;
    ATR_TRY(ATR_NEW(out, &state->sums));
    if (step->training && step->wants_dw) {
        ATR_TRY(atr_step_packed(step, out * ca, sizeof(float), &state->gradient));
        ATR_TRY(atr_step_packed(step, out * cb, sizeof *state->weight_sums, &state->weight_sums));
        ATR_TRY(ATR_NEW(out, &state->bias_sums));
    }
done:
    return status;
}

atr_status atr_cpu_pooled_conv_prepare(atr_backend *backend, atr_step *step)
{
    const size_t sums = atr_cpu_column_sums_bytes(backend, step->conv.out_channels);
    atr_status status = ATR_OK;
    pooled_state *state = NULL;

    ATR_TRY(check_types(step));
    ATR_TRY(ATR_NEW(1, &state));
    step->state = state;
    ATR_TRY(allocate(step, state));
    describe_main(step, state);
    ATR_TRY(atr_cpu_conv_prepare(backend, &state->main));
    step->packed_bytes += state->main.packed_bytes;
    step->needs_x = step->training && step->wants_dw;
    state->main_bytes = atr_align_up(state->main.scratch_bytes > sums ? state->main.scratch_bytes : sums);
    step->scratch_bytes = state->main_bytes;
    if (is_narrow(step))
        step->scratch_bytes += (size_t)atr_tensor_count(&step->y) * sizeof(float);
done:
    return status;
}

void atr_cpu_pooled_conv_release(atr_step *step)
{
    pooled_state *state = step->state;

    if (state == NULL)
        return;
    if (state->main.state != NULL)
        atr_cpu_conv_release(&state->main);
    atr_free(state->folded);
    atr_free(state->bias);
    atr_free(state->weight);
    atr_free(state->gradient);
    atr_free(state->pooled_weight);
    atr_free(state->vector);
    atr_free(state->zeros);
    atr_free(state->ones);
    atr_free(state->sums);
    atr_free(state->weight_sums);
    atr_free(state->bias_sums);
    atr_free(state);
    step->state = NULL;
}

/* `main` works on the outer step's memory. */
static void lend_memory(const atr_step *step, atr_step *m)
{
    const pooled_state *state = step->state;

    m->x[0].data = step->x[0].data;
    m->dx[0].data = step->dx[0].data;
    m->y.data = is_narrow(step) ? (char *)step->scratch + state->main_bytes : step->y.data;
    m->dy.data = step->dy.data;
    m->scratch = step->scratch;
}

atr_status atr_cpu_pooled_conv_refresh(atr_backend *backend, atr_step *step)
{
    const int64_t out = step->conv.out_channels, ca = main_channels(step), cb = pooled_channels(step);
    pooled_state *state = step->state;
    const float *weights = step->weight;

    if (step->folded) {
        atr_conv_fold(step, state->folded, state->bias);
        weights = state->folded;
    } else if (state->bias != NULL) {
        memcpy(state->bias, step->bias, (size_t)out * sizeof(float));
    }
    for (int64_t o = 0; o < out; o++) {
        const float *from = weights + o * (ca + cb);
        memcpy(state->weight + o * ca, from, (size_t)ca * sizeof *from);
        memcpy(state->pooled_weight + o * cb, from + ca, (size_t)cb * sizeof *from);
    }
    lend_memory(step, &state->main);
    return atr_cpu_conv_refresh(backend, &state->main);
}

/* v of picture n. */
static void make_vector(const atr_step *step, int64_t n)
{
    const pooled_state *state = step->state;
    const int64_t cb = pooled_channels(step);
    const float *b = atr_cpu_pixel(&step->x[1], n);

    for (int64_t o = 0; o < step->conv.out_channels; o++) {
        const float *w = state->pooled_weight + o * cb;
        double sum = state->bias != NULL ? (double)state->bias[o] : 0.0;
        for (int64_t c = 0; c < cb; c++)
            sum += (double)w[c] * (double)b[c];
        state->vector[o] = (float)sum;
    }
}

atr_status atr_cpu_pooled_conv_forward(atr_backend *backend, atr_step *step)
{
    const atr_cpu_kernels *kernels = atr_cpu_kernels_of(backend);
    pooled_state *state = step->state;
    const atr_tensor *y = &state->main.y;
    const int64_t pixels = y->dims[1] * y->dims[2];
    const atr_cpu_affine affine = {state->zeros, state->ones, state->vector, atr_cpu_clamp_of(step->act)};
    atr_status status = ATR_OK;

    lend_memory(step, &state->main);
    ATR_TRY(atr_cpu_conv_forward(backend, &state->main));
    for (int64_t n = 0; n < y->dims[0]; n++) {
        make_vector(step, n);
#pragma omp parallel for schedule(static)
        for (int part = 0; part < backend->threads; part++) {
            const atr_cpu_range range = atr_cpu_share(pixels, backend->threads, part);
            float *at = atr_cpu_pixel(y, n * pixels + range.first);
            kernels->normalise(at, y->strides[2], at, y->strides[2], range.end - range.first, y->dims[3],
                               &affine);
        }
    }
    if (is_narrow(step))
        atr_narrow(y, &step->y);
done:
    return status;
}

/* What the sums of dy over picture n, in state->sums, add to the gradients. */
static void spread_sums(const atr_step *step, int64_t n)
{
    const pooled_state *state = step->state;
    const int64_t out = step->conv.out_channels, cb = pooled_channels(step);
    const float *b = atr_cpu_pixel(&step->x[1], n);

    for (int64_t o = 0; step->wants_dw && o < out; o++) {
        state->bias_sums[o] += state->sums[o];
        for (int64_t c = 0; c < cb; c++)
            state->weight_sums[o * cb + c] += state->sums[o] * (double)b[c];
    }
    for (int64_t c = 0; step->wants_dx[1] && c < cb; c++) {
        double sum = 0.0;
        for (int64_t o = 0; o < out; o++)
            sum += (double)state->pooled_weight[o * cb + c] * state->sums[o];
        ((float *)atr_cpu_pixel(&step->dx[1], n))[c] = (float)sum;
    }
}

static void store_gradients(const atr_step *step)
{
    const pooled_state *state = step->state;
    const int64_t out = step->conv.out_channels, ca = main_channels(step), cb = pooled_channels(step);

    for (int64_t o = 0; o < out; o++) {
        float *to = step->dweight + o * (ca + cb);
        memcpy(to, state->gradient + o * ca, (size_t)ca * sizeof *to);
        for (int64_t c = 0; c < cb; c++)
            to[ca + c] = (float)state->weight_sums[o * cb + c];
        if (step->bias != NULL)
            step->dbias[o] = (float)state->bias_sums[o];
    }
}

atr_status atr_cpu_pooled_conv_backward(atr_backend *backend, atr_step *step)
{
    const int64_t out = step->conv.out_channels, cb = pooled_channels(step);
    pooled_state *state = step->state;
    atr_tensor picture = step->dy;
    atr_status status = ATR_OK;

    lend_memory(step, &state->main);
    ATR_TRY(atr_cpu_conv_backward(backend, &state->main));
    if (step->wants_dw) {
        memset(state->weight_sums, 0, (size_t)(out * cb) * sizeof *state->weight_sums);
        memset(state->bias_sums, 0, (size_t)out * sizeof *state->bias_sums);
    }
    picture.dims[0] = 1;
    for (int64_t n = 0; n < step->dy.dims[0]; n++) {
        picture.data = atr_cpu_pixel(&step->dy, n * step->dy.dims[1] * step->dy.dims[2]);
        atr_cpu_column_sums(backend, &picture, step->scratch, state->sums);
        spread_sums(step, n);
    }
    if (step->wants_dw)
        store_gradients(step);
done:
    return status;
}
