#include "tests/support/parity.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/rng.h"

const char *parity_shared(void)
{
    static char path[4096];
    const char *given = getenv("ATR_SHARED");

    snprintf(path, sizeof path, "%s", given != NULL ? given : ATR_SOURCE_DIR "/../shared");
    return access(path, R_OK) == 0 ? path : NULL;
}

atr_h5 *parity_open(void)
{
    char path[4200];
    atr_h5 *file = NULL;

    if (parity_shared() == NULL) {
        printf("skipped: no folder of shared test data\n");
        return NULL;
    }
    snprintf(path, sizeof path, "%s/parity/parity.h5", parity_shared());
    if (atr_h5_open(path, &file) != ATR_OK)
        fail_msg("%s", atr_status_message());
    return file;
}

static int64_t attr_i64(const atr_h5 *file, const char *group, const char *name)
{
    int64_t value = 0;

    if (atr_h5_get_i64(file, group, name, &value) != ATR_OK)
        fail_msg("%s", atr_status_message());
    return value;
}

static double attr_f64(const atr_h5 *file, const char *group, const char *name)
{
    double value = 0;

    if (atr_h5_get_f64(file, group, name, &value) != ATR_OK)
        fail_msg("%s", atr_status_message());
    return value;
}

int parity_cases(const atr_h5 *file, const char *backbone, parity_case *out, int room)
{
    char **names = NULL;
    int64_t count = 0;
    int found = 0;

    assert_int_equal(atr_h5_list(file, "/", &names, &count), ATR_OK);
    for (int64_t i = 0; i < count && found < room; i++) {
        char *text = NULL;
        if (!atr_h5_has_attr(file, names[i], "backbone"))
            continue;
        if (atr_h5_get_text(file, names[i], "backbone", &text) != ATR_OK)
            fail_msg("%s", atr_status_message());
        if (strcmp(text, backbone) == 0) {
            parity_case *c = &out[found++];
            snprintf(c->group, sizeof c->group, "%s", names[i]);
            snprintf(c->backbone, sizeof c->backbone, "%s", text);
            c->output_stride = attr_i64(file, names[i], "downsample_factor");
            c->classes = attr_i64(file, names[i], "num_classes");
            c->batch = attr_i64(file, names[i], "batch");
            c->height = attr_i64(file, names[i], "height");
            c->width = attr_i64(file, names[i], "width");
            assert_int_equal(atr_h5_get_u64(file, names[i], "seed", &c->seed), ATR_OK);
            c->norm_weight_offset = attr_f64(file, names[i], "bn_weight_offset");
            c->norm_bias_offset = attr_f64(file, names[i], "bn_bias_offset");
        }
        atr_free(text);
    }
    atr_h5_names_free(names, count);
    return found;
}

static void formula(const parity_case *c, const atr_param_spec *spec, double *scale, double *offset)
{
    *scale = 0;
    *offset = 0;
    switch (spec->kind) {
    case ATR_PARAM_CONV_WEIGHT:
        *scale = sqrt(6.0 / (double)(spec->dims[1] * spec->dims[2] * spec->dims[3]));
        break;
    case ATR_PARAM_CONV_BIAS:
        *scale = 0.1;
        break;
    case ATR_PARAM_NORM_WEIGHT:
        *scale = 0.2;
        *offset = c->norm_weight_offset;
        break;
    case ATR_PARAM_NORM_BIAS:
        *scale = 0.2;
        *offset = c->norm_bias_offset;
        break;
    case ATR_PARAM_RUNNING_VAR:
        *offset = 1;
        break;
    default:
        break;
    }
}

void parity_fill(atr_params *params, const parity_case *c)
{
    for (int64_t p = 0; p < atr_params_count(params); p++) {
        const atr_param_spec *spec = atr_params_spec(params, p);
        const atr_tensor tensor = atr_params_value(params, p);
        const uint64_t key = atr_fnv1a64(spec->name) ^ c->seed;
        double scale, offset;
        if (spec->kind == ATR_PARAM_TRACKED) {
            *(int64_t *)tensor.data = 0;
            continue;
        }
        formula(c, spec, &scale, &offset);
        for (int64_t i = 0; i < atr_tensor_count(&tensor); i++)
            ((float *)tensor.data)[i] =
                (float)(offset + scale * (2.0 * atr_rng_unit(key, (uint64_t)i) - 1.0));
    }
    atr_params_touch(params);
}

float *parity_images(const parity_case *c)
{
    const int64_t bh = (c->height + 7) / 8, bw = (c->width + 7) / 8;
    const uint64_t block_key = atr_fnv1a64("input") ^ c->seed,
                   noise_key = atr_fnv1a64("input.noise") ^ c->seed;
    float *images = NULL, *to;

    assert_int_equal(ATR_NEW(c->batch * c->height * c->width * 3, &images), ATR_OK);
    to = images;
    for (int64_t n = 0; n < c->batch; n++)
        for (int64_t y = 0; y < c->height; y++)
            for (int64_t x = 0; x < c->width; x++)
                for (int64_t k = 0; k < 3; k++) {
                    const uint64_t block = (uint64_t)(((n * 3 + k) * bh + y / 8) * bw + x / 8);
                    const uint64_t pixel = (uint64_t)(((n * 3 + k) * c->height + y) * c->width + x);
                    const double value =
                        atr_rng_unit(block_key, block) + 0.25 * (2 * atr_rng_unit(noise_key, pixel) - 1);
                    *to++ = (float)(value < 0 ? 0 : value > 1 ? 1 : value);
                }
    return images;
}

uint8_t *parity_labels(const parity_case *c)
{
    const int64_t bh = (c->height + 7) / 8, bw = (c->width + 7) / 8;
    const uint64_t key = atr_fnv1a64("label") ^ c->seed;
    uint8_t *labels = NULL, *to;

    assert_int_equal(ATR_NEW(c->batch * c->height * c->width, &labels), ATR_OK);
    to = labels;
    for (int64_t n = 0; n < c->batch; n++)
        for (int64_t y = 0; y < c->height; y++)
            for (int64_t x = 0; x < c->width; x++) {
                const double u = atr_rng_unit(key, (uint64_t)((n * bh + y / 8) * bw + x / 8));
                const int64_t label = (int64_t)(u * (double)(c->classes + 1));
                *to++ = (uint8_t)(label < c->classes ? label : 255);
            }
    return labels;
}

static double *read_path(const atr_h5 *file, const char *path, int64_t *count)
{
    atr_tensor tensor = {.data = NULL};
    atr_h5_info info;
    double *values = NULL;

    if (atr_h5_describe(file, path, &info) != ATR_OK)
        fail_msg("%s", atr_status_message());
    const bool whole =
        info.type == ATR_I32 || info.type == ATR_I64 || info.type == ATR_U8 || info.type == ATR_I8;
    if (atr_h5_read_new(file, path, whole ? ATR_I64 : ATR_F64, 0, &tensor) != ATR_OK)
        fail_msg("%s", atr_status_message());
    const int64_t elements = atr_tensor_count(&tensor);
    if (!whole) {
        values = tensor.data;
    } else {
        assert_int_equal(ATR_NEW(elements, &values), ATR_OK);
        for (int64_t i = 0; i < elements; i++)
            values[i] = (double)((int64_t *)tensor.data)[i];
        atr_free(tensor.data);
    }
    if (count != NULL)
        *count = elements;
    return values;
}

static void join(char *path, size_t bytes, const parity_case *c, const char *format, va_list args)
{
    const int used = snprintf(path, bytes, "%s/", c->group);

    vsnprintf(path + used, bytes - (size_t)used, format, args);
}

double *parity_read(const atr_h5 *file, const parity_case *c, int64_t *count, const char *format, ...)
{
    char path[512];
    va_list args;

    va_start(args, format);
    join(path, sizeof path, c, format, args);
    va_end(args);
    return read_path(file, path, count);
}

double parity_scalar(const atr_h5 *file, const parity_case *c, const char *format, ...)
{
    char path[512];
    va_list args;
    int64_t count = 0;

    va_start(args, format);
    join(path, sizeof path, c, format, args);
    va_end(args);
    double *values = read_path(file, path, &count);
    assert_int_equal(count, 1);
    const double value = values[0];
    atr_free(values);
    return value;
}

double parity_relative_l2(const float *a, const double *b, int64_t count)
{
    double difference = 0, norm = 0;

    for (int64_t i = 0; i < count; i++) {
        difference += (a[i] - b[i]) * (a[i] - b[i]);
        norm += b[i] * b[i];
    }
    return norm > 0 ? sqrt(difference / norm) : sqrt(difference);
}

double parity_max_abs(const float *a, const double *b, int64_t count)
{
    double most = 0;

    for (int64_t i = 0; i < count; i++)
        if (!(fabs(a[i] - b[i]) <= most))
            most = fabs(a[i] - b[i]);
    return most;
}
