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

static double dot(const double *a, const double *b, int64_t count)
{
    enum { SUMS = 4 }; /* side by side: the compiler may not reorder one sum */
    double sums[SUMS] = {0.0};
    int64_t i = 0;

    for (; i + SUMS <= count; i += SUMS)
        for (int k = 0; k < SUMS; k++)
            sums[k] += a[i + k] * b[i + k];
    for (; i < count; i++)
        sums[0] += a[i] * b[i];
    return sums[0] + sums[1] + sums[2] + sums[3];
}

/* Makes the `count` rows of [count,length] orthonormal: each, once it has unit length, is taken out of all later ones (modified
 * Gram-Schmidt). That is Q of the QR decomposition with a positive diagonal of R. */
static void orthonormalise(double *rows, int64_t count, int64_t length)
{
    for (int64_t i = 0; i < count; i++) {
        double *const row = rows + i * length;
        const double scale = 1.0 / sqrt(dot(row, row, length));
        for (int64_t k = 0; k < length; k++)
            row[k] *= scale;
#pragma omp parallel for
        for (int64_t j = i + 1; j < count; j++) {
            double *const other = rows + j * length;
            const double share = dot(row, other, length);
            for (int64_t k = 0; k < length; k++)
                other[k] -= share * row[k];
        }
    }
}

/* Saxe et al. 2014, as torch.nn.init.orthogonal_: the weight as a matrix [O, I/G kh kw] of normal numbers becomes the Q of its QR
 * decomposition, whose signs make R's diagonal positive (that of the transpose where it has more columns than rows). */
static atr_status fill_orthogonal(const atr_param_spec *spec, float *values, uint64_t key, double gain)
{
    const int64_t rows = spec->dims[0], columns = spec->dims[1] * spec->dims[2] * spec->dims[3];
    const bool wide = rows < columns;
    const int64_t count = wide ? rows : columns, length = wide ? columns : rows;
    double *work = NULL;
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW(count * length, &work));
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++)
            work[wide ? r * length + c : c * length + r] = atr_rng_normal(key, (uint64_t)(r * columns + c));
    orthonormalise(work, count, length);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++)
            values[r * columns + c] = (float)(gain * work[wide ? r * length + c : c * length + r]);

done:
    atr_free(work);
    return status;
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
        if (init == ATR_INIT_ORTHOGONAL)
            ATR_TRY(fill_orthogonal(spec, value.data, key, gain));
        else
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
