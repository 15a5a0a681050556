#include <math.h>
#include <string.h>

#include "core/rng.h"
#include "dnn/model.h"

/* Standard deviation of a convolution weight [O, I/G, kh, kw], with fan_in = I/G kh kw and fan_out = O kh kw:
 *     normal   gain
 *     xavier   gain sqrt(2 / (fan_in + fan_out))      (Glorot & Bengio 2010)
 *     kaiming  sqrt(2 / fan_in)                       (He et al. 2015) */
static double weight_std(const atr_param_spec *spec, atr_init init, double gain)
{
    const double taps = (double)(spec->dims[2] * spec->dims[3]);
    const double fan_in = (double)spec->dims[1] * taps, fan_out = (double)spec->dims[0] * taps;

    if (init == ATR_INIT_XAVIER)
        return gain * sqrt(2.0 / (fan_in + fan_out));
    if (init == ATR_INIT_KAIMING)
        return sqrt(2.0 / fan_in);
    return gain;
}

/* 1/sqrt(fan_in) of the convolution that owns the bias `NAME.bias`. */
static atr_status bias_bound(const atr_params *params, const atr_param_spec *spec, double *out)
{
    char name[ATR_NAME_BYTES + 8];
    const size_t stem = strlen(spec->name) - strlen("bias");

    memcpy(name, spec->name, stem);
    memcpy(name + stem, "weight", sizeof "weight");
    const int64_t weight = atr_params_find(params, name);
    if (weight < 0)
        return atr_fail(ATR_ERR_NOT_FOUND, "%s: there is no %s beside it", spec->name, name);
    const int64_t *dims = atr_params_spec(params, weight)->dims;
    *out = 1.0 / sqrt((double)(dims[1] * dims[2] * dims[3]));
    return ATR_OK;
}

static void fill_normal(float *values, int64_t count, uint64_t key, double mean, double std)
{
    for (int64_t i = 0; i < count; i++)
        values[i] = (float)(mean + std * atr_rng_normal(key, (uint64_t)i));
}

static void fill_uniform(float *values, int64_t count, uint64_t key, double bound)
{
    for (int64_t i = 0; i < count; i++)
        values[i] = (float)(bound * (2.0 * atr_rng_unit(key, (uint64_t)i) - 1.0));
}

static void fill(float *values, int64_t count, float value)
{
    for (int64_t i = 0; i < count; i++)
        values[i] = value;
}

static atr_status init_entry(const atr_params *params, int64_t index, atr_init init, double gain,
                             uint64_t seed)
{
    const atr_param_spec *spec = atr_params_spec(params, index);
    const atr_tensor value = atr_params_value(params, index);
    const int64_t count = atr_tensor_count(&value);
    const uint64_t key = atr_rng_key(seed, ATR_RNG_INIT, atr_fnv1a64(spec->name), 0);
    atr_status status = ATR_OK;
    double bound = 0.0;

    switch (spec->kind) {
    case ATR_PARAM_CONV_WEIGHT:
        fill_normal(value.data, count, key, 0.0, weight_std(spec, init, gain));
        break;
    case ATR_PARAM_CONV_BIAS:
        ATR_TRY(bias_bound(params, spec, &bound));
        fill_uniform(value.data, count, key, bound);
        break;
    case ATR_PARAM_NORM_WEIGHT:
        fill_normal(value.data, count, key, 1.0, 0.02);
        break;
    case ATR_PARAM_NORM_BIAS:
    case ATR_PARAM_RUNNING_MEAN:
        fill(value.data, count, 0.0f);
        break;
    case ATR_PARAM_RUNNING_VAR:
        fill(value.data, count, 1.0f);
        break;
    case ATR_PARAM_TRACKED:
        *(int64_t *)value.data = 0;
        break;
    }

done:
    return status;
}

atr_status atr_model_init(atr_params *params, atr_init init, double gain, uint64_t seed)
{
    atr_status status = ATR_OK;

    for (int64_t i = 0; i < atr_params_count(params); i++)
        ATR_TRY(init_entry(params, i, init, gain, seed));
    atr_params_touch(params);

done:
    return status;
}
