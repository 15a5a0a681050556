#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/rng.h"
#include "dnn/backend.h"
#include "dnn/calibrate.h"
#include "dnn/int8.h"
#include "tests/support/network.h"

/* Convolutions in 8-bit integers: what dnn/int8.h writes down, on every back end, size and type. */

typedef enum other { NONE, BYTES, FLOATS } other;

typedef struct int8_case {
    const char *label;
    int64_t n, h, w, c;
    atr_conv_spec conv;
    bool x_negative, y_negative;
    other y, residual;
    atr_act act;
    int64_t gap; /* foreign channels behind those of each activation */
} int8_case;

// clang-format off
static const int8_case cases[] = {
    {"1x1", 2, 7, 5, 19, {23, 1, 1, 0, 1, 1, true}, false, false, BYTES, NONE, ATR_ACT_RELU6, 0},
    {"1x1 to floats", 2, 7, 5, 24, {40, 1, 1, 0, 1, 1, true}, true, false, FLOATS, NONE, ATR_ACT_NONE, 0},
    {"1x1 linear with a residual", 1, 9, 13, 96, {24, 1, 1, 0, 1, 1, false}, false, true, BYTES, BYTES, ATR_ACT_NONE, 0},
    {"1x1 with a residual in floats", 1, 5, 5, 33, {17, 1, 1, 0, 1, 1, true}, true, false, BYTES, FLOATS, ATR_ACT_RELU, 0},
    {"1x1 to floats with both", 2, 3, 5, 8, {16, 1, 1, 0, 1, 1, true}, true, false, FLOATS, BYTES, ATR_ACT_RELU, 0},
    {"1x1 to floats and floats", 2, 3, 5, 8, {16, 1, 1, 0, 1, 1, true}, false, false, FLOATS, FLOATS, ATR_ACT_NONE, 0},
    {"1x1 wide", 1, 8, 8, 960, {320, 1, 1, 0, 1, 1, false}, false, true, BYTES, NONE, ATR_ACT_NONE, 0},
    {"1x1 stride 2", 1, 9, 8, 16, {32, 1, 2, 0, 1, 1, false}, true, false, BYTES, NONE, ATR_ACT_RELU, 0},
    {"one pixel", 3, 1, 1, 21, {9, 1, 1, 0, 1, 1, true}, false, true, BYTES, NONE, ATR_ACT_NONE, 0},
    {"3x3 one pixel", 2, 1, 1, 8, {16, 3, 1, 1, 1, 1, true}, true, true, BYTES, NONE, ATR_ACT_NONE, 0},
    {"3x3 from pictures", 2, 33, 31, 3, {32, 3, 2, 1, 1, 1, false}, false, false, BYTES, NONE, ATR_ACT_RELU6, 0},
    {"3x3", 1, 11, 13, 17, {21, 3, 1, 1, 1, 1, true}, true, true, BYTES, NONE, ATR_ACT_NONE, 0},
    {"3x3 tiles of 3", 2, 9, 6, 35, {37, 3, 1, 1, 1, 1, true}, true, false, FLOATS, NONE, ATR_ACT_RELU, 2},
    {"3x3 tiles of 2", 1, 2, 2, 18, {33, 3, 1, 1, 1, 1, false}, false, true, BYTES, BYTES, ATR_ACT_NONE, 1},
    {"3x3 many tiles", 2, 29, 31, 33, {48, 3, 1, 1, 1, 1, true}, true, false, BYTES, NONE, ATR_ACT_RELU6, 0},
    {"3x3 deep", 1, 7, 9, 300, {35, 3, 1, 1, 1, 1, true}, false, false, BYTES, NONE, ATR_ACT_RELU, 0},
    {"3x3 no padding", 2, 6, 5, 12, {9, 3, 1, 0, 1, 1, true}, true, false, BYTES, NONE, ATR_ACT_RELU, 0},
    {"dilated 6", 1, 13, 17, 32, {48, 3, 1, 6, 6, 1, true}, true, false, FLOATS, NONE, ATR_ACT_RELU, 3},
    {"dilated beyond the map", 2, 7, 9, 16, {24, 3, 1, 18, 18, 1, true}, false, false, BYTES, NONE, ATR_ACT_RELU, 0},
    {"5x5", 1, 9, 7, 6, {14, 5, 2, 2, 1, 1, true}, false, true, BYTES, NONE, ATR_ACT_NONE, 0},
    {"slices", 2, 6, 7, 40, {56, 1, 1, 0, 1, 1, true}, true, true, BYTES, BYTES, ATR_ACT_NONE, 5},
    {"depthwise", 2, 9, 11, 40, {40, 3, 1, 1, 1, 40, false}, false, false, BYTES, NONE, ATR_ACT_RELU6, 0},
    {"depthwise stride 2", 1, 10, 9, 32, {32, 3, 2, 1, 1, 32, true}, true, true, BYTES, NONE, ATR_ACT_NONE, 0},
    {"depthwise dilated", 1, 9, 7, 19, {19, 3, 1, 2, 2, 19, true}, true, false, FLOATS, NONE, ATR_ACT_RELU, 4},
    {"depthwise beyond the map", 1, 2, 3, 7, {7, 3, 1, 4, 4, 7, true}, true, true, BYTES, NONE, ATR_ACT_NONE, 1},
    {"depthwise one pixel", 2, 1, 1, 33, {33, 3, 1, 1, 1, 33, true}, false, false, BYTES, NONE, ATR_ACT_RELU, 0},
    {"depthwise with a residual", 1, 5, 6, 24, {24, 3, 1, 1, 1, 24, true}, false, true, BYTES, BYTES, ATR_ACT_NONE, 0},
    {"groups", 1, 6, 5, 24, {36, 3, 1, 1, 1, 3, true}, true, true, BYTES, NONE, ATR_ACT_NONE, 0},
};
// clang-format on

enum { CASES = sizeof cases / sizeof cases[0] };

/* A step with everything that it points to. */
typedef struct rig8 {
    atr_step step;
    float *weight, *bias, *x_steps, *weight_steps, *y_steps, *residual_steps;
} rig8;

static void *room(int64_t bytes)
{
    void *block = NULL;

    must(atr_alloc(bytes, 1, &block));
    return block;
}

static float *numbers(int64_t count, uint64_t key, double least, double most)
{
    float *values = room(count * (int64_t)sizeof *values);

    for (int64_t i = 0; i < count; i++)
        values[i] = (float)(least + (most - least) * atr_rng_unit(key, (uint64_t)i));
    return values;
}

/* [n,h,w,c] of bytes or floats with a gap behind each pixel. Floats are multiples of no step. */
static atr_tensor activation(bool bytes, const int64_t dims[4], int64_t gap, uint64_t key)
{
    atr_tensor t = atr_tensor_nhwc(bytes ? ATR_U8 : ATR_F32, dims[0], dims[1], dims[2], dims[3], NULL);
    const int64_t stride = dims[3] + gap, count = dims[0] * dims[1] * dims[2] * stride;

    t.strides[2] = stride;
    t.strides[1] = dims[2] * stride;
    t.strides[0] = dims[1] * t.strides[1];
    t.data = room(count * (int64_t)atr_dtype_bytes(t.type));
    for (int64_t i = 0; i < count; i++)
        if (bytes)
            ((uint8_t *)t.data)[i] = (uint8_t)atr_rng_below(key, (uint64_t)i, 256);
        else
            ((float *)t.data)[i] = (float)(4.0 * atr_rng_unit(key, (uint64_t)i) - 2.0);
    return t;
}

/* Minimal filtering makes the same sums. */
static int can_filter(const int8_case *c)
{
    const atr_conv_spec *k = &c->conv;

    return k->kernel == 3 && k->stride == 1 && k->pad == k->dilation && k->groups == 1;
}

static void rig8_create(rig8 *r, const int8_case *c, int64_t batch)
{
    const atr_conv_spec *k = &c->conv;
    const int64_t reach = k->dilation * (k->kernel - 1) + 1, out = k->out_channels;
    const int64_t x[4] = {batch, c->h, c->w, c->c};
    const int64_t y[4] = {batch, (c->h + 2 * k->pad - reach) / k->stride + 1,
                          (c->w + 2 * k->pad - reach) / k->stride + 1, out};
    const int64_t filter = c->c / k->groups * k->kernel * k->kernel;
    atr_step *s = &r->step;

    memset(r, 0, sizeof *r);
    s->op = ATR_OP_CONV_INT8;
    s->name = c->label;
    s->conv = (atr_conv_attr){c->c, out, k->kernel, k->stride, k->pad, k->dilation, k->groups, 0, 0};
    s->act = c->act;
    s->weight = r->weight = numbers(out * filter, 1, -1, 1);
    s->bias = r->bias = k->bias ? numbers(out, 2, -1, 1) : NULL;
    s->int8.x_steps = r->x_steps = numbers(c->c, 3, 0.005, 0.02);
    r->weight_steps = numbers(out, 4, 1, 1);
    atr_int8_weight_steps(&s->conv, r->weight, r->x_steps, r->weight_steps);
    s->int8.weight_steps = r->weight_steps;
    s->int8.x_zero = c->x_negative ? 128 : 0;
    r->y_steps = numbers(out, 5, 0.01, 0.04 * sqrt((double)filter));
    s->int8.y_steps = c->y == BYTES ? r->y_steps : NULL;
    s->int8.y_zero = c->y_negative ? 128 : 0;
    s->residual = c->residual != NONE;
    r->residual_steps = numbers(out, 6, 0.01, 0.03);
    s->int8.residual_steps = c->residual == BYTES ? r->residual_steps : NULL;
    s->int8.residual_zero = 128;
    s->input_count = s->residual ? 2 : 1;
    s->x[0] = activation(true, x, c->gap, 7);
    if (s->residual)
        s->x[1] = activation(c->residual == BYTES, y, c->gap, 8);
    s->y = activation(c->y == BYTES, y, c->gap, 9);
}

static void rig8_run(rig8 *r, atr_backend *backend)
{
    const atr_kernel *kernel = &backend->table->op[r->step.op];

    atr_backend_enter(backend);
    atr_status status = kernel->prepare(backend, &r->step);
    if (status == ATR_ERR_UNSUPPORTED) {
        if (kernel->release != NULL)
            kernel->release(&r->step);
        kernel = &atr_backend_ref.op[r->step.op];
        status = kernel->prepare(backend, &r->step);
    }
    must(status);
    r->step.scratch = room((int64_t)r->step.scratch_bytes + 1);
    if (kernel->refresh != NULL)
        must(kernel->refresh(backend, &r->step));
    must(kernel->forward(backend, &r->step));
    if (kernel->release != NULL)
        kernel->release(&r->step);
    atr_free(r->step.scratch);
}

static void rig8_destroy(rig8 *r)
{
    void *owned[] = {r->weight,         r->bias,           r->x_steps,        r->weight_steps, r->y_steps,
                     r->residual_steps, r->step.x[0].data, r->step.x[1].data, r->step.y.data};

    for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++)
        atr_free(owned[i]);
}

static int64_t elements(const atr_tensor *t)
{
    return t->dims[0] * t->strides[0];
}

/* Bytes may differ where a number lies within rounding of the middle between two integers. Gaps must be as they were. */
static void compare(const char *label, const atr_tensor *got, const atr_tensor *want)
{
    int64_t off = 0;
    double distance = 0, size = 0;

    for (int64_t i = 0; i < elements(want); i++) {
        if (want->type == ATR_U8) {
            const int d = ((const uint8_t *)got->data)[i] - ((const uint8_t *)want->data)[i];
            if (d < -1 || d > 1)
                fail_msg("%s: element %lld is %d, want %d", label, (long long)i,
                         ((const uint8_t *)got->data)[i], ((const uint8_t *)want->data)[i]);
            off += d != 0;
        } else {
            const double w = (double)((const float *)want->data)[i];
            const double d = (double)((const float *)got->data)[i] - w;
            distance += d * d;
            size += w * w;
        }
    }
    if (off > 1 + elements(want) / 1000)
        fail_msg("%s: %lld of %lld bytes are off by one", label, (long long)off, (long long)elements(want));
    if (!(sqrt(distance) <= 1e-6 * sqrt(size)))
        fail_msg("%s: relative distance %g", label, sqrt(distance / size));
}

static void every_back_end_computes_what_is_written_down(void **state)
{
    atr_backend *ref = NULL, *cpu = NULL;

    (void)state;
    must(atr_backend_open("ref", 2, &ref));
    must(atr_backend_open("cpu", 3, &cpu));
    for (int i = 0; i < CASES; i++)
        for (int filter = 0; filter <= can_filter(&cases[i]); filter++) {
            rig8 want, got;
            rig8_create(&want, &cases[i], cases[i].n);
            rig8_create(&got, &cases[i], cases[i].n);
            got.step.winograd = filter == 1;
            rig8_run(&want, ref);
            rig8_run(&got, cpu);
            compare(cases[i].label, &got.step.y, &want.step.y);
            rig8_destroy(&want);
            rig8_destroy(&got);
        }
    atr_backend_close(cpu);
    atr_backend_close(ref);
}

/* By real numbers, apart from all code under test: one 1x1 convolution worked out in double. */
static void integers_stand_for_the_real_numbers(void **state)
{
    const int8_case c = {"by hand", 1,     3,      4,    20,           {6, 1, 1, 0, 1, 1, true},
                         true,      false, FLOATS, NONE, ATR_ACT_NONE, 0};
    atr_backend *ref = NULL;
    rig8 r;

    (void)state;
    must(atr_backend_open("ref", 1, &ref));
    rig8_create(&r, &c, 1);
    rig8_run(&r, ref);
    for (int64_t p = 0; p < 12; p++)
        for (int64_t o = 0; o < 6; o++) {
            double sum = (double)r.bias[o], room_for_rounding = 0;
            for (int64_t k = 0; k < 20; k++) {
                const double x =
                    (double)(((const uint8_t *)r.step.x[0].data)[p * 20 + k] - 128) * (double)r.x_steps[k];
                sum += x * (double)r.weight[o * 20 + k];
                room_for_rounding += fabs(x) * 0.5 * (double)r.weight_steps[o] / (double)r.x_steps[k];
            }
            const double got = (double)((const float *)r.step.y.data)[p * 6 + o];
            assert_true(fabs(got - sum) <= room_for_rounding + 1e-5);
        }
    rig8_destroy(&r);
    atr_backend_close(ref);
}

/* Largest integers everywhere: what 16-bit sums would not hold. */
static void no_sum_saturates(void **state)
{
    const int8_case c = {"largest", 1,     2,      3,    512,          {17, 3, 1, 1, 1, 1, false},
                         false,     false, FLOATS, NONE, ATR_ACT_NONE, 0};
    atr_backend *cpu = NULL;
    rig8 r;

    (void)state;
    must(atr_backend_open("cpu", 2, &cpu));
    rig8_create(&r, &c, 1);
    memset(r.step.x[0].data, 255, 6 * 512);
    for (int64_t i = 0; i < 17 * 512 * 9; i++)
        r.weight[i] = 1.0f;
    for (int64_t i = 0; i < 512; i++)
        r.x_steps[i] = 0.01f;
    atr_int8_weight_steps(&r.step.conv, r.weight, r.x_steps, r.weight_steps);
    rig8_run(&r, cpu);
    const double want =
        6 * 512 * 255 * 0.01; /* at the middle of two rows and three columns all six pixels are met */
    assert_true(fabs((double)((const float *)r.step.y.data)[17] - want) < 1e-5 * want);
    rig8_destroy(&r);
    atr_backend_close(cpu);
}

/* Minimal filtering multiplies 16-bit numbers and lets sums wrap around: they come out exact up to its largest sum, which 114 channels of
 * largest integers stay below; 116 are summed plainly. */
static void filtered_sums_are_exact(void **state)
{
    atr_backend *cpu = NULL;

    (void)state;
    must(atr_backend_open("cpu", 2, &cpu));
    for (int k = 0; k < 8; k++) {
        const int64_t channels = k & 1 ? 114 : 116;
        const double weight = k & 2 ? 1.0 : -1.0, x = k & 4 ? 255 : -128;
        const int8_case c = {"edge", 1,     8,      8,    channels,     {17, 3, 1, 1, 1, 1, false},
                             x < 0,  false, FLOATS, NONE, ATR_ACT_NONE, 0};
        rig8 r;
        rig8_create(&r, &c, 1);
        memset(r.step.x[0].data, x < 0 ? 0 : 255, (size_t)(64 * channels));
        for (int64_t i = 0; i < 17 * channels * 9; i++)
            r.weight[i] = (float)weight;
        for (int64_t i = 0; i < channels; i++)
            r.x_steps[i] = 1.0f;
        for (int64_t o = 0; o < 17; o++)
            r.weight_steps[o] = 1.0f / 127.0f;
        r.step.winograd = true;
        rig8_run(&r, cpu);
        for (int64_t p = 0; p < 64; p++) {
            const int64_t rows = p < 8 || p >= 56 ? 2 : 3, columns = p % 8 == 0 || p % 8 == 7 ? 2 : 3;
            const float want =
                (float)(1.0f / 127.0f) * (float)((double)(rows * columns * channels) * x * weight * 127);
            assert_true(((const float *)r.step.y.data)[p * 17 + 16] == want);
        }
        rig8_destroy(&r);
    }
    atr_backend_close(cpu);
}

/* Bytes of a case on `threads`; `filter`: by minimal filtering. The caller frees them. */
static void *bytes_of(const int8_case *c, int64_t batch, int threads, bool filter, size_t *bytes)
{
    atr_backend *backend = NULL;
    rig8 r;

    must(atr_backend_open("cpu", threads, &backend));
    rig8_create(&r, c, batch);
    r.step.winograd = filter;
    rig8_run(&r, backend);
    void *y = r.step.y.data;
    *bytes = (size_t)elements(&r.step.y) * atr_dtype_bytes(r.step.y.type);
    r.step.y.data = NULL;
    rig8_destroy(&r);
    atr_backend_close(backend);
    return y;
}

/* The same bits with any number of threads, in any batch, and by minimal filtering. */
static void threads_and_batches_change_nothing(void **state)
{
    (void)state;
    for (int i = 0; i < CASES; i++) {
        size_t one = 0, all = 0;
        void *alone = bytes_of(&cases[i], 1, 1, false, &one);
        for (int threads = 1; threads <= 3; threads++)
            for (int filter = 0; filter <= can_filter(&cases[i]); filter++) {
                void *batch = bytes_of(&cases[i], 3, threads, filter == 1, &all);
                if (memcmp(alone, batch, one) != 0)
                    fail_msg("%s: the first of three pictures on %d threads differs from it alone%s",
                             cases[i].label, threads, filter ? ", by minimal filtering" : "");
                atr_free(batch);
            }
        atr_free(alone);
    }
}

static void numbers_become_the_nearest_integers(void **state)
{
    const int64_t dims[4] = {1, 3, 5, 21};
    static const char *const names[] = {"ref", "cpu"};

    (void)state;
    for (int b = 0; b < 2; b++)
        for (int negative = 0; negative < 2; negative++) {
            atr_backend *backend = NULL;
            rig8 r = {0};
            float *steps = numbers(21, 3, 0.004, 0.02);
            must(atr_backend_open(names[b], 2, &backend));
            r.step = (atr_step){.op = ATR_OP_QUANTIZE, .name = "quantize", .input_count = 1};
            r.step.x[0] = activation(false, dims, 2, 11);
            r.step.y = activation(true, dims, 3, 12);
            r.step.int8.y_steps = steps;
            r.step.int8.y_zero = negative ? 128 : 0;
            ((float *)r.step.x[0].data)[0] = 1e30f;
            ((float *)r.step.x[0].data)[1] = -INFINITY;
            ((float *)r.step.x[0].data)[2] = NAN;
            rig8_run(&r, backend);
            const uint8_t *got = r.step.y.data;
            assert_int_equal(got[0], 255);
            assert_int_equal(got[1], 0);
            assert_int_equal(got[2], 0);
            for (int64_t i = 3; i < 15 * 21; i++) {
                const double x = (double)((const float *)r.step.x[0].data)[i / 21 * 23 + i % 21];
                const double q = fmin(255, fmax(0, x / (double)steps[i % 21] + (negative ? 128 : 0)));
                assert_true(fabs((double)got[i / 21 * 24 + i % 21] - q) <= 0.5001);
            }
            rig8_destroy(&r);
            atr_free(steps);
            atr_backend_close(backend);
        }
}

/* [2,19,22,35] from [2,5,6,40] enlarged and [2,19,22,33]; bytes, or floats where y_steps is NULL. The caller frees y.data. */
static atr_tensor run_resized(int threads, bool winograd, float *y_steps)
{
    const int64_t low[4] = {2, 5, 6, 40}, high[4] = {2, 19, 22, 33}, y[4] = {2, 19, 22, 35};
    const atr_kernel *kernel = NULL;
    atr_backend *backend = NULL;
    float *weight = numbers((int64_t)35 * 73 * 9, 1, -0.1, 0.1), *bias = numbers(35, 2, -1, 1);
    atr_step s = {.op = ATR_OP_CONV_RESIZED,
                  .name = "resized",
                  .conv = {73, 35, 3, 1, 1, 1, 1, 0, 0},
                  .act = ATR_ACT_RELU,
                  .winograd = winograd,
                  .weight = weight,
                  .bias = bias,
                  .input_count = 2};

    s.x[0] = activation(false, low, 3, 7);
    s.x[1] = activation(false, high, 0, 8);
    s.y = activation(y_steps != NULL, y, 0, 9);
    s.int8.y_steps = y_steps;
    must(atr_backend_open("cpu", threads, &backend));
    kernel = &backend->table->op[s.op];
    atr_backend_enter(backend);
    must(kernel->prepare(backend, &s));
    s.scratch = room((int64_t)s.scratch_bytes + 1);
    must(kernel->refresh(backend, &s));
    must(kernel->forward(backend, &s));
    kernel->release(&s);
    atr_free(s.scratch);
    atr_free(s.x[0].data);
    atr_free(s.x[1].data);
    atr_free(weight);
    atr_free(bias);
    atr_backend_close(backend);
    return s.y;
}

/* The decoder's first convolution rounds to integers by itself: as a QUANTIZE behind it would. All at once or by rows of tiles, on any
 * number of threads. */
static void an_enlarged_map_becomes_integers(void **state)
{
    float *steps = numbers(35, 5, 0.01, 0.03);

    (void)state;
    for (int winograd = 0; winograd < 2; winograd++) {
        const atr_tensor want = run_resized(1, winograd == 1, NULL);
        for (int threads = 1; threads <= 7; threads += 3) {
            const atr_tensor floats = run_resized(threads, winograd == 1, NULL);
            const atr_tensor bytes = run_resized(threads, winograd == 1, steps);
            assert_memory_equal(floats.data, want.data, (size_t)elements(&want) * sizeof(float));
            for (int64_t i = 0; i < elements(&want); i++) {
                const float x = ((const float *)want.data)[i] * (1.0f / steps[i % 35]);
                assert_int_equal(((const uint8_t *)bytes.data)[i], (int)nearbyintf(fminf(x, 255.0f)));
            }
            atr_free(floats.data);
            atr_free(bytes.data);
        }
        atr_free(want.data);
    }
    atr_free(steps);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_back_end_computes_what_is_written_down),
        cmocka_unit_test(integers_stand_for_the_real_numbers),
        cmocka_unit_test(no_sum_saturates),
        cmocka_unit_test(filtered_sums_are_exact),
        cmocka_unit_test(threads_and_batches_change_nothing),
        cmocka_unit_test(an_enlarged_map_becomes_integers),
        cmocka_unit_test(numbers_become_the_nearest_integers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
