/* Convolutions: depthwise ones, and 3x3 ones that the plan marked, run on kernels of our own, all others on oneDNN. */
#include "dnn/cpu/cpu_impl.h"

bool atr_cpu_is_depthwise(const atr_conv_attr *conv)
{
    return conv->groups > 1 && conv->groups == conv->in_channels && conv->groups == conv->out_channels;
}

static const atr_kernel depthwise = {atr_cpu_depthwise_prepare, atr_cpu_depthwise_refresh,
                                     atr_cpu_depthwise_forward, atr_cpu_depthwise_backward,
                                     atr_cpu_depthwise_release};
static const atr_kernel winograd = {atr_cpu_winograd_prepare, atr_cpu_winograd_refresh,
                                    atr_cpu_winograd_forward, atr_cpu_winograd_backward,
                                    atr_cpu_winograd_release};
static const atr_kernel dense = {atr_cpu_dense_prepare, atr_cpu_dense_refresh, atr_cpu_dense_forward,
                                 atr_cpu_dense_backward, atr_cpu_dense_release};

/* Minimal filtering is for f32: what multiplies bf16 fast needs no fewer products, and its transforms would round. */
static const atr_kernel *kind_of(const atr_step *step)
{
    if (atr_cpu_is_depthwise(&step->conv))
        return &depthwise;
    return step->winograd && !atr_step_is_narrow(step) ? &winograd : &dense;
}

/* A map of one pixel, as behind image pooling: nothing to compute, but the batch norm behind it divides by the spread of a few nearly
 * equal values and magnifies their rounding up to 1/sqrt(eps) = 316 times. `ref` sums in double. */
static bool is_pooled(const atr_step *step)
{
    const int64_t *x = step->x[0].dims, *y = step->y.dims;

    return x[1] * x[2] == 1 && y[1] * y[2] == 1;
}

atr_status atr_cpu_conv_prepare(atr_backend *backend, atr_step *step)
{
    if (is_pooled(step))
        return atr_fail(ATR_ERR_UNSUPPORTED, "%s: a map of one pixel", step->name);
    if (step->training && (step->folded || step->residual || step->act != ATR_ACT_NONE))
        return atr_fail(ATR_ERR_UNSUPPORTED, "%s: a convolution that trains has nothing fused to it",
                        step->name);
    step->needs_x = step->training && step->wants_dw;
    step->needs_y = false;
    step->saved_bytes = step->scratch_bytes = 0;
    return kind_of(step)->prepare(backend, step);
}

atr_status atr_cpu_conv_refresh(atr_backend *backend, atr_step *step)
{
    return kind_of(step)->refresh(backend, step);
}

atr_status atr_cpu_conv_forward(atr_backend *backend, atr_step *step)
{
    return kind_of(step)->forward(backend, step);
}

atr_status atr_cpu_conv_backward(atr_backend *backend, atr_step *step)
{
    return kind_of(step)->backward(backend, step);
}

void atr_cpu_conv_release(atr_step *step)
{
    kind_of(step)->release(step);
}
