#include <math.h>
#include <string.h>

#include "dnn/int8.h"
#include "dnn/ref/ref_impl.h"

/* Convolution in 8-bit integers and the step into them, by the formulas of dnn/int8.h. Sums are exact, so they may be made in any
 * order. */

typedef struct int8_state {
    atr_int8_form form;
} int8_state;

atr_status atr_ref_int8_prepare(atr_backend *backend, atr_step *step)
{
    atr_status status = ATR_OK;
    int8_state *state = NULL;

    (void)backend;
    ATR_TRY(ATR_NEW(1, &state));
    step->state = state;
    ATR_TRY(atr_int8_form_create(step, &state->form));
    ATR_TRY(atr_step_packed(step, step->conv.out_channels * atr_conv_filter(&step->conv),
                            sizeof *state->form.weights, &state->form.weights));
done:
    return status;
}

void atr_ref_int8_release(atr_step *step)
{
    int8_state *state = step->state;

    if (state == NULL)
        return;
    atr_free(state->form.weights);
    atr_int8_form_free(&state->form);
    atr_free(state);
    step->state = NULL;
}

atr_status atr_ref_int8_refresh(atr_backend *backend, atr_step *step)
{
    int8_state *state = step->state;

    (void)backend;
    atr_int8_form_fill(step, &state->form);
    return ATR_OK;
}

static const uint8_t *byte_pixel(const atr_tensor *tensor, int64_t index)
{
    return (const uint8_t *)tensor->data + index * tensor->strides[2];
}

/* sum[o] at output pixel (n, oy, ox). */
static int64_t sum_at(const atr_step *step, int64_t n, int64_t oy, int64_t ox, int64_t o)
{
    const atr_conv_attr *conv = &step->conv;
    const atr_tensor *x = &step->x[0];
    const int8_state *state = step->state;
    const int64_t group_in = conv->in_channels / conv->groups, taps = conv->kernel * conv->kernel;
    const int64_t first = o / (conv->out_channels / conv->groups) * group_in;
    const int8_t *w = state->form.weights + o * group_in * taps;
    int64_t sum = 0;

    for (int64_t t = 0; t < taps; t++) {
        const int64_t iy = oy * conv->stride + t / conv->kernel * conv->dilation - conv->pad;
        const int64_t ix = ox * conv->stride + t % conv->kernel * conv->dilation - conv->pad;
        if (iy < 0 || iy >= x->dims[1] || ix < 0 || ix >= x->dims[2])
            continue;
        const uint8_t *pixel = byte_pixel(x, (n * x->dims[1] + iy) * x->dims[2] + ix) + first;
        for (int64_t i = 0; i < group_in; i++)
            sum += (int64_t)(pixel[i] - step->int8.x_zero) * w[i * taps + t];
    }
    return sum;
}

/* What is done to a sum at output pixel `p`. */
static void store(const atr_step *step, int64_t p, int64_t o, int64_t sum)
{
    const atr_int8_form *form = &((const int8_state *)step->state)->form;
    const atr_tensor *added = &step->x[1];
    float f = fmaf(form->scale[o], (float)(int32_t)sum, form->shift[o]);

    if (step->residual) {
        const float r = added->type == ATR_U8 ? (float)(byte_pixel(added, p)[o] - step->int8.residual_zero)
                                              : atr_ref_pixel(added, p)[o];
        f = fmaf(form->added[o], r, f);
    }
    f = fminf(form->high[o], fmaxf(form->low[o], f));
    if (step->y.type == ATR_U8)
        ((uint8_t *)step->y.data)[p * step->y.strides[2] + o] =
            (uint8_t)(nearbyintf(f) + (float)step->int8.y_zero);
    else
        atr_ref_pixel(&step->y, p)[o] = f;
}

atr_status atr_ref_int8_forward(atr_backend *backend, atr_step *step)
{
    const int64_t height = step->y.dims[1], width = step->y.dims[2];

    (void)backend;
#pragma omp parallel for schedule(static)
    for (int64_t p = 0; p < atr_ref_pixels(&step->y); p++)
        for (int64_t o = 0; o < step->conv.out_channels; o++)
            store(step, p, o, sum_at(step, p / (height * width), p / width % height, p % width, o));
    return ATR_OK;
}

atr_status atr_ref_quantize_forward(atr_backend *backend, atr_step *step)
{
    const atr_step_int8 *q = &step->int8;

    (void)backend;
#pragma omp parallel for schedule(static)
    for (int64_t p = 0; p < atr_ref_pixels(&step->y); p++) {
        const float *from = atr_ref_pixel(&step->x[0], p);
        uint8_t *to = (uint8_t *)step->y.data + p * step->y.strides[2];
        for (int64_t c = 0; c < step->y.dims[3]; c++) {
            const float f = from[c] * (1.0f / q->y_steps[c]);
            to[c] = (uint8_t)(nearbyintf(fminf((float)(255 - q->y_zero), fmaxf((float)-q->y_zero, f))) +
                              (float)q->y_zero);
        }
    }
    return ATR_OK;
}
