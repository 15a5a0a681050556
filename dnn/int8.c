#include "dnn/int8.h"

#include <math.h>
#include <stdlib.h>

/* Sums of so many products of 255 and 127 fit in 32 bits. */
enum { LONGEST_FILTER = 66000, LEAST_CHANNELS = 8 };

bool atr_int8_can(const atr_step *step)
{
    const atr_conv_attr *conv = &step->conv;
    const bool depthwise = conv->groups == conv->in_channels && conv->groups == conv->out_channels;

    return step->op == ATR_OP_CONV && !step->training &&
           ((conv->groups == 1 && conv->in_channels >= LEAST_CHANNELS) || depthwise) &&
           atr_conv_filter(conv) <= LONGEST_FILTER;
}

atr_status atr_int8_form_create(const atr_step *step, atr_int8_form *out)
{
    const int64_t channels = step->conv.out_channels;
    atr_status status = ATR_OK;

    *out = (atr_int8_form){0};
    ATR_TRY(ATR_NEW(channels, &out->weight_sums));
    ATR_TRY(ATR_NEW(channels, &out->scale));
    ATR_TRY(ATR_NEW(channels, &out->shift));
    ATR_TRY(ATR_NEW(channels, &out->added));
    ATR_TRY(ATR_NEW(channels, &out->low));
    ATR_TRY(ATR_NEW(channels, &out->high));
done:
    return status;
}

void atr_int8_form_free(atr_int8_form *form)
{
    atr_free(form->weight_sums);
    atr_free(form->scale);
    atr_free(form->shift);
    atr_free(form->added);
    atr_free(form->low);
    atr_free(form->high);
    *form = (atr_int8_form){0};
}

/* The step of the activation that element `i` of the filter of output channel `o` meets. */
static float x_step_of(const atr_conv_attr *conv, const float *x_steps, int64_t o, int64_t i)
{
    const int64_t group = o / (conv->out_channels / conv->groups);

    return x_steps[group * (conv->in_channels / conv->groups) + i / (conv->kernel * conv->kernel)];
}

void atr_int8_weight_steps(const atr_conv_attr *conv, const float *weights, const float *x_steps,
                           float *steps)
{
    const int64_t filter = atr_conv_filter(conv);

    for (int64_t o = 0; o < conv->out_channels; o++) {
        double most = 0.0;
        for (int64_t i = 0; i < filter; i++)
            most = fmax(most, fabs((double)weights[o * filter + i] * (double)x_step_of(conv, x_steps, o, i)));
        const float found = (float)(most / 127.0);
        steps[o] = found > 0.0f && isfinite(found) ? found : 1.0f;
    }
}

static double norm_scale_of(const atr_step *step, int64_t o)
{
    return step->folded ? (double)step->norm_weight[o] / sqrt((double)step->running_var[o] + step->norm.eps)
                        : 1.0;
}

/* One filter: its integers, and the sum of their sizes. */
static void quantise_filter(const atr_step *step, int64_t o, double norm_scale, atr_int8_form *form)
{
    const int64_t filter = atr_conv_filter(&step->conv);

    form->weight_sums[o] = 0;
    for (int64_t i = 0; i < filter; i++) {
        const double real = (double)step->weight[o * filter + i] * norm_scale *
                            (double)x_step_of(&step->conv, step->int8.x_steps, o, i);
        const double nearest = nearbyint(real / (double)step->int8.weight_steps[o]);
        const int8_t value = (int8_t)fmin(127.0, fmax(-127.0, nearest));
        form->weights[o * filter + i] = value;
        form->weight_sums[o] += abs(value);
    }
}

void atr_int8_form_fill(const atr_step *step, atr_int8_form *form)
{
    const atr_step_int8 *q = &step->int8;

    for (int64_t o = 0; o < step->conv.out_channels; o++) {
        const double norm = norm_scale_of(step, o);
        double shift = step->bias != NULL ? (double)step->bias[o] : 0.0;
        if (step->folded)
            shift = (shift - (double)step->running_mean[o]) * norm + (double)step->norm_bias[o];
        quantise_filter(step, o, norm, form);
        const bool bytes = step->y.type == ATR_U8;
        const double unit = bytes ? (double)q->y_steps[o] : 1.0;
        form->scale[o] = (float)((double)q->weight_steps[o] / unit);
        form->shift[o] = (float)(shift / unit);
        form->added[o] = (float)((q->residual_steps != NULL ? (double)q->residual_steps[o] : 1.0) / unit);
        const float least = bytes ? (float)-q->y_zero : -INFINITY,
                    most = bytes ? (float)(255 - q->y_zero) : INFINITY;
        form->low[o] = step->act == ATR_ACT_NONE ? least : 0.0f;
        form->high[o] = step->act == ATR_ACT_RELU6 ? fminf(most, (float)(6.0 / unit)) : most;
    }
}

int64_t atr_int8_bound(const atr_step *step, const atr_int8_form *form)
{
    const int64_t largest = step->int8.x_zero > 0 ? 128 : 255;
    int64_t most = 0;

    for (int64_t o = 0; o < step->conv.out_channels; o++)
        most = form->weight_sums[o] > most ? form->weight_sums[o] : most;
    return most * largest;
}
