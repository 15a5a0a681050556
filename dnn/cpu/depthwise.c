/* Depthwise convolutions of any kernel size, stride and dilation, rows of pixels at a time.
 *
 *     forward          y[oy,ox]  = sum over taps of  w[ky,kx] x[oy s + ky d - p, ox s + kx d - p]
 *     data gradient    dx[iy,ix] = sum over taps of  w[ky,kx] dy[(iy + p - ky d) / s, (ix + p - kx d) / s]
 *     weight gradient  dw[ky,kx] = sum over pixels of  dy[oy,ox] x[oy s + ky d - p, ox s + kx d - p]
 *
 * With stride s the columns of dx fall into s phases ix = r + s j; in each phase the taps that divide out are the same for
 * all j, and the columns of dy they meet lie next to each other. So one row kernel serves forward and gradient. */
#include <string.h>

#include "dnn/cpu/cpu_impl.h"

typedef struct depthwise_state {
    float *weights;     /* [k,k,C] */
    float *folded;      /* [C,1,k,k], where a norm is folded in */
    float *bias;        /* [C] */
    int64_t row_floats; /* of one part's share of the scratch: gradient [k,k,C] */
} depthwise_state;

static int64_t taps_of(const atr_conv_attr *conv)
{
    return conv->kernel * conv->kernel;
}

atr_status atr_cpu_depthwise_prepare(atr_backend *backend, atr_step *step)
{
    const atr_conv_attr *conv = &step->conv;
    const int64_t weights = taps_of(conv) * conv->out_channels;
    atr_status status = ATR_OK;
    depthwise_state *state = NULL;

    if (atr_cpu_check_types(step) != ATR_OK)
        return ATR_ERR_UNSUPPORTED;
    if (taps_of(conv) > ATR_CPU_MAX_TAPS)
        return atr_fail(ATR_ERR_UNSUPPORTED, "%s: a depthwise kernel of %lldx%lld", step->name,
                        (long long)conv->kernel, (long long)conv->kernel);
    ATR_TRY(ATR_NEW(1, &state));
    step->state = state;
    ATR_TRY(atr_step_packed(step, weights, sizeof(float), &state->weights));
    ATR_TRY(atr_step_packed(step, weights, sizeof(float), &state->folded));
    ATR_TRY(ATR_NEW(conv->out_channels, &state->bias));
    state->row_floats = atr_cpu_row(weights);
    if (step->training && step->wants_dw) {
        const size_t gradients = (size_t)(backend->threads * state->row_floats) * sizeof(float);
        const size_t sums = atr_cpu_column_sums_bytes(backend, conv->out_channels);
        step->scratch_bytes =
            atr_align_up(gradients > sums ? gradients : sums) + (size_t)conv->out_channels * sizeof(double);
    }
done:
    return status;
}

void atr_cpu_depthwise_release(atr_step *step)
{
    depthwise_state *state = step->state;

    if (state == NULL)
        return;
    atr_free(state->weights);
    atr_free(state->folded);
    atr_free(state->bias);
    atr_free(state);
    step->state = NULL;
}

atr_status atr_cpu_depthwise_refresh(atr_backend *backend, atr_step *step)
{
    const int64_t channels = step->conv.out_channels, taps = taps_of(&step->conv);
    depthwise_state *state = step->state;

    (void)backend;
    atr_conv_fold(step, state->folded, state->bias);
    for (int64_t t = 0; t < taps; t++)
        for (int64_t c = 0; c < channels; c++)
            state->weights[t * channels + c] = state->folded[c * taps + t];
    return ATR_OK;
}

/* The taps of row oy of picture n that meet a row of x, with what they read and, for weight gradients, add to. */
static void forward_taps(const atr_step *step, int64_t n, int64_t oy, float *gradient, atr_cpu_tap_row *row)
{
    const atr_conv_attr *conv = &step->conv;
    const atr_tensor *x = &step->x[0];
    const depthwise_state *state = step->state;

    row->tap_count = 0;
    for (int64_t t = 0; t < taps_of(conv); t++) {
        const int64_t iy = oy * conv->stride + t / conv->kernel * conv->dilation - conv->pad;
        if (iy < 0 || iy >= x->dims[1])
            continue;
        row->taps[row->tap_count++] = (atr_cpu_tap){
            .row = atr_cpu_pixel(x, (n * x->dims[1] + iy) * x->dims[2]),
            .offset = t % conv->kernel * conv->dilation - conv->pad,
            .weight = state->weights + t * conv->out_channels,
            .gradient = gradient == NULL ? NULL : gradient + t * conv->out_channels,
        };
    }
    row->step = conv->stride;
    row->width = x->dims[2];
    row->stride = x->strides[2];
    row->channels = conv->out_channels;
    row->count = step->y.dims[2];
}

atr_status atr_cpu_depthwise_forward(atr_backend *backend, atr_step *step)
{
    const atr_cpu_kernels *kernels = atr_cpu_kernels_for(backend, step->x[0].type);
    const atr_tensor *y = &step->y;
    const depthwise_state *state = step->state;

#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range range = atr_cpu_share(y->dims[0] * y->dims[1], backend->threads, part);
        for (int64_t r = range.first; r < range.end; r++) {
            const int64_t pixel = r * y->dims[2];
            atr_cpu_tap_row row = {.target = atr_cpu_pixel(y, pixel),
                                   .target_stride = y->strides[2],
                                   .bias = state->bias,
                                   .clamp = atr_cpu_clamp_of(step->act)};
            if (step->residual) {
                row.residual = atr_cpu_pixel(&step->x[1], pixel);
                row.residual_stride = step->x[1].strides[2];
            }
            forward_taps(step, r / y->dims[1], r % y->dims[1], NULL, &row);
            kernels->depthwise(&row);
        }
    }
    return ATR_OK;
}

/* The taps that reach row iy, columns phase, phase + stride ... of dx. */
static void gradient_taps(const atr_step *step, int64_t n, int64_t iy, int64_t phase, atr_cpu_tap_row *row)
{
    const atr_conv_attr *conv = &step->conv;
    const atr_tensor *dy = &step->dy;
    const depthwise_state *state = step->state;

    row->tap_count = 0;
    for (int64_t t = 0; t < taps_of(conv); t++) {
        const int64_t y = iy + conv->pad - t / conv->kernel * conv->dilation;
        const int64_t x = phase + conv->pad - t % conv->kernel * conv->dilation;
        if (y < 0 || y % conv->stride != 0 || y / conv->stride >= dy->dims[1] || x % conv->stride != 0)
            continue;
        row->taps[row->tap_count++] = (atr_cpu_tap){
            .row = atr_cpu_pixel(dy, (n * dy->dims[1] + y / conv->stride) * dy->dims[2]),
            .offset = x / conv->stride,
            .weight = state->weights + t * conv->out_channels,
        };
    }
    row->step = 1;
    row->width = dy->dims[2];
    row->stride = dy->strides[2];
    row->channels = conv->out_channels;
}

static void data_gradient(const atr_backend *backend, const atr_step *step)
{
    const atr_cpu_kernels *kernels = atr_cpu_kernels_for(backend, step->x[0].type);
    const int64_t stride = step->conv.stride;
    const atr_tensor *dx = &step->dx[0];

#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range range = atr_cpu_share(dx->dims[0] * dx->dims[1], backend->threads, part);
        for (int64_t r = range.first; r < range.end; r++)
            for (int64_t phase = 0; phase < stride && phase < dx->dims[2]; phase++) {
                atr_cpu_tap_row row = {.target = atr_cpu_pixel(dx, r * dx->dims[2] + phase),
                                       .target_stride = stride * dx->strides[2],
                                       .count = (dx->dims[2] - phase + stride - 1) / stride,
                                       .clamp = atr_cpu_clamp_of(ATR_ACT_NONE)};
                gradient_taps(step, r / dx->dims[1], r % dx->dims[1], phase, &row);
                kernels->depthwise(&row);
            }
    }
}

static void weight_gradient(const atr_backend *backend, const atr_step *step)
{
    const atr_cpu_kernels *kernels = atr_cpu_kernels_for(backend, step->x[0].type);
    const depthwise_state *state = step->state;
    const int64_t taps = taps_of(&step->conv), channels = step->conv.out_channels;
    const atr_tensor *dy = &step->dy;
    float *partial = step->scratch; /* [threads][k,k,C] */

#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range range = atr_cpu_share(dy->dims[0] * dy->dims[1], backend->threads, part);
        float *mine = partial + part * state->row_floats;
        memset(mine, 0, (size_t)(taps * channels) * sizeof *mine);
        for (int64_t r = range.first; r < range.end; r++) {
            atr_cpu_tap_row row = {.target = atr_cpu_pixel(dy, r * dy->dims[2]),
                                   .target_stride = dy->strides[2]};
            forward_taps(step, r / dy->dims[1], r % dy->dims[1], mine, &row);
            kernels->depthwise_weight_gradient(&row);
        }
    }
    for (int64_t c = 0; c < channels; c++)
        for (int64_t t = 0; t < taps; t++) {
            double sum = 0.0;
            for (int part = 0; part < backend->threads; part++)
                sum += (double)partial[part * state->row_floats + t * channels + c];
            step->dweight[c * taps + t] = (float)sum;
        }
}

static void bias_gradient(const atr_backend *backend, const atr_step *step)
{
    const int64_t channels = step->conv.out_channels;
    const size_t bytes = (size_t)channels * sizeof(double);
    double *sums = (double *)((char *)step->scratch + step->scratch_bytes - bytes);

    atr_cpu_column_sums(backend, &step->dy, step->scratch, sums);
    for (int64_t c = 0; c < channels; c++)
        step->dbias[c] = (float)sums[c];
}

atr_status atr_cpu_depthwise_backward(atr_backend *backend, atr_step *step)
{
    if (step->wants_dx[0])
        data_gradient(backend, step);
    if (step->wants_dw)
        weight_gradient(backend, step);
    if (step->wants_dw && step->bias != NULL)
        bias_gradient(backend, step);
    return ATR_OK;
}
