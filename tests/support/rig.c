#include "tests/support/rig.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/bf16.h"
#include "core/rng.h"

static const float RIG_FOREIGN = 0x1p100f; /* read by mistake, it spoils any result; the same in bf16 */

static void must(atr_status status)
{
    if (status != ATR_OK)
        fail_msg("%s", atr_status_message());
}

static float *element(const atr_tensor *view, int64_t index)
{
    const int64_t channels = view->dims[3];

    return (float *)view->data + index / channels * view->strides[2] + index % channels;
}

/* An activation among foreign channels; a parameter is one of [1,1,1,count]. */
static void make_buffer(rig_buffer *b, const int64_t dims[4], int64_t before, int64_t after)
{
    const int64_t pixel_stride = dims[3] + before + after;

    b->count = dims[0] * dims[1] * dims[2] * pixel_stride;
    must(ATR_NEW(b->count, &b->block));
    for (int64_t i = 0; i < b->count; i++)
        b->block[i] = RIG_FOREIGN;
    b->view = atr_tensor_nhwc(ATR_F32, dims[0], dims[1], dims[2], dims[3], b->block + before);
    b->view.strides[2] = pixel_stride;
    b->view.strides[1] = dims[2] * b->view.strides[2];
    b->view.strides[0] = dims[1] * b->view.strides[1];
}

/* Gives an activation a bf16 block; returns what the step sees of it. */
static atr_tensor typed(rig_buffer *b, atr_dtype type, int64_t before)
{
    atr_tensor seen = b->view;

    if (type == ATR_BF16) {
        must(ATR_NEW(b->count, &b->narrow));
        seen.data = b->narrow + before;
        seen.type = type;
    }
    return seen;
}

static void to_step(const rig_buffer *b)
{
    if (b->narrow != NULL)
        atr_bf16_narrow(b->block, b->count, b->narrow);
}

static void from_step(const rig_buffer *b)
{
    if (b->narrow != NULL)
        atr_bf16_widen(b->narrow, b->count, b->block);
}

static void make_param(rig_buffer *b, int64_t count, uint64_t key, double scale, double offset)
{
    make_buffer(b, (const int64_t[]){1, 1, 1, count}, 0, 0);
    rig_fill(&b->view, key, scale, offset);
}

void rig_fill(const atr_tensor *view, uint64_t key, double scale, double offset)
{
    for (int64_t i = 0; i < atr_tensor_count(view); i++)
        *element(view, i) = (float)(offset + scale * (2.0 * atr_rng_unit(key, (uint64_t)i) - 1.0));
}

static void output_dims(const rig_case *spec, int64_t out[4])
{
    const int64_t in[4] = {spec->n, spec->h, spec->w, spec->c};
    const int64_t reach = spec->conv.dilation * (spec->conv.kernel - 1) + 1;

    memcpy(out, in, sizeof in);
    if (spec->op == ATR_OP_CONV) {
        out[1] = (spec->h + 2 * spec->conv.pad - reach) / spec->conv.stride + 1;
        out[2] = (spec->w + 2 * spec->conv.pad - reach) / spec->conv.stride + 1;
        out[3] = spec->conv.out_channels;
    } else if (spec->op == ATR_OP_CONCAT) {
        out[3] = spec->c + spec->c2;
    } else if (spec->op == ATR_OP_RESIZE) {
        out[1] = spec->out_h;
        out[2] = spec->out_w;
    } else if (spec->op == ATR_OP_GLOBAL_POOL) {
        out[1] = out[2] = 1;
    }
}

/* Activations. The numbers reach beyond both kinks of ReLU6 where an activation is on its own. */
static void make_activations(rig *r, const int64_t out[4], uint64_t seed, atr_dtype x_type, atr_dtype y_type)
{
    const rig_case *spec = r->spec;
    const double scale = spec->op == ATR_OP_ACT ? 9.0 : 1.0;
    atr_step *step = &r->step;

    step->input_count = spec->op == ATR_OP_ADD || spec->op == ATR_OP_CONCAT || spec->residual ? 2 : 1;
    for (int i = 0; i < step->input_count; i++) {
        const int64_t second[4] = {spec->n, out[1], out[2], spec->op == ATR_OP_CONCAT ? spec->c2 : out[3]};
        const int64_t first[4] = {spec->n, spec->h, spec->w, spec->c};
        make_buffer(&r->x[i], i == 0 ? first : second, spec->before, spec->after);
        rig_fill(&r->x[i].view, seed + 1 + (uint64_t)i, scale, 0.0);
        make_buffer(&r->dx[i], i == 0 ? first : second, spec->before, spec->after);
        step->x[i] = typed(&r->x[i], i == 1 && spec->residual ? y_type : x_type, spec->before);
        step->dx[i] = typed(&r->dx[i], x_type, spec->before);
        step->wants_dx[i] = !spec->infer && !spec->no_dx;
    }
    make_buffer(&r->y, out, spec->before, spec->after);
    make_buffer(&r->dy, out, spec->before, spec->after);
    rig_fill(&r->dy.view, seed + 3, 1.0, 0.0);
    step->y = typed(&r->y, y_type, spec->before);
    step->dy = typed(&r->dy, y_type, spec->before);
    /* NORM in training needs x after forward, so there only backward is in place. */
    if (spec->in_place && (spec->op != ATR_OP_NORM || spec->infer))
        step->y = step->x[0];
    if (spec->in_place && spec->op != ATR_OP_ADD)
        step->dx[0] = step->dy;
}

static void make_conv(rig *r, uint64_t seed)
{
    const rig_case *spec = r->spec;
    const atr_conv_spec *conv = &spec->conv;
    const int64_t fan_in = spec->c / conv->groups * conv->kernel * conv->kernel;
    const int64_t out = conv->out_channels;

    r->step.conv = (atr_conv_attr){.in_channels = spec->c,
                                   .out_channels = out,
                                   .kernel = conv->kernel,
                                   .stride = conv->stride,
                                   .pad = conv->pad,
                                   .dilation = conv->dilation,
                                   .groups = conv->groups,
                                   .bias = conv->bias ? 1 : -1};
    make_param(&r->weight, out * fan_in, seed + 4, sqrt(3.0 / (double)fan_in), 0.0);
    make_param(&r->dweight, out * fan_in, seed + 4, 0.0, 7.0); /* gradients are overwritten, never added to */
    if (conv->bias) {
        make_param(&r->bias, out, seed + 5, 0.5, 0.0);
        make_param(&r->dbias, out, seed + 5, 0.0, 7.0);
    }
}

/* Of a NORM, or of the one folded into a CONV. */
static void make_norm(rig *r, int64_t channels, uint64_t seed)
{
    const bool folded = r->spec->op == ATR_OP_CONV;

    r->step.norm = (atr_norm_attr){.channels = channels, .eps = 1e-5, .momentum = 0.1};
    make_param(folded ? &r->norm_weight : &r->weight, channels, seed + 6, 1.0, 2.0);
    make_param(folded ? &r->norm_bias : &r->bias, channels, seed + 7, 1.0, 1.0);
    make_param(&r->running_mean, channels, seed + 8, 0.5, 0.0);
    make_param(&r->running_var, channels, seed + 9, 0.4, 0.6);
    if (!folded) {
        make_param(&r->dweight, channels, seed, 0.0, 7.0);
        make_param(&r->dbias, channels, seed, 0.0, 7.0);
    }
}

static void prepare(rig *r)
{
    atr_step *step = &r->step;

    must(atr_backend_prepare(r->backend, step));
    if (step->saved_bytes > 0)
        must(atr_alloc((int64_t)step->saved_bytes, 1, &step->saved));
    if (step->scratch_bytes > 0)
        must(atr_alloc((int64_t)step->scratch_bytes, 1, &step->scratch));
}

void rig_create(rig *r, const rig_case *spec, atr_backend *backend, uint64_t seed)
{
    rig_create_typed(r, spec, backend, seed, ATR_F32, ATR_F32);
}

void rig_create_typed(rig *r, const rig_case *spec, atr_backend *backend, uint64_t seed, atr_dtype x_type,
                      atr_dtype y_type)
{
    atr_step *step = &r->step;
    int64_t out[4];

    memset(r, 0, sizeof *r);
    r->spec = spec;
    r->backend = backend;
    step->op = spec->op;
    step->name = spec->label;
    step->dropout = spec->dropout;
    step->stream = 0x5eed;
    step->training = !spec->infer;
    step->batch_stats = spec->batch_stats;
    step->norm_pixels = spec->n * spec->h * spec->w;
    step->folded = spec->folded;
    step->residual = spec->residual;
    step->winograd = spec->winograd;
    step->act = spec->act;
    step->wants_dw = !spec->infer && !spec->no_dw;
    for (uint64_t n = 0; n < RIG_SAMPLES; n++)
        r->sample_keys[n] = atr_rng_key(seed, ATR_RNG_TEST, n, 0);
    step->sample_keys = r->sample_keys;
    output_dims(spec, out);
    make_activations(r, out, seed, x_type, y_type);
    if (spec->op == ATR_OP_CONV)
        make_conv(r, seed);
    if (spec->op == ATR_OP_NORM || spec->folded)
        make_norm(r, out[3], seed);
    step->weight = r->weight.block;
    step->bias = r->bias.block;
    step->dweight = r->dweight.block;
    step->dbias = r->dbias.block;
    step->norm_weight = r->norm_weight.block;
    step->norm_bias = r->norm_bias.block;
    step->running_mean = r->running_mean.block;
    step->running_var = r->running_var.block;
    step->num_tracked = spec->batch_stats ? &r->num_tracked : NULL;
    prepare(r);
}

void rig_destroy(rig *r)
{
    rig_buffer *const buffers[] = {
        &r->x[0], &r->x[1],         &r->y,           &r->dy,      &r->dx[0],       &r->dx[1],     &r->weight,
        &r->bias, &r->running_mean, &r->running_var, &r->dweight, &r->norm_weight, &r->norm_bias, &r->dbias};

    if (r->step.kernel->release != NULL)
        r->step.kernel->release(&r->step);
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) {
        atr_free(buffers[i]->block);
        atr_free(buffers[i]->narrow);
    }
    atr_free(r->step.saved);
    atr_free(r->step.scratch);
}

static void check_foreign(const rig *r, const rig_buffer *b, const char *what)
{
    const int64_t stride = b->view.strides[2], channels = b->view.dims[3];

    for (int64_t i = 0; i < b->count; i++) {
        const int64_t channel = i % stride - r->spec->before;
        if ((channel < 0 || channel >= channels) && b->block[i] != RIG_FOREIGN)
            fail_msg("%s: %s: wrote channel %lld of %lld", r->spec->label, what, (long long)channel,
                     (long long)channels);
    }
}

void rig_forward(rig *r)
{
    atr_backend_enter(r->backend);
    to_step(&r->x[0]);
    to_step(&r->x[1]);
    to_step(&r->y);
    if (r->step.kernel->refresh != NULL)
        must(r->step.kernel->refresh(r->backend, &r->step));
    must(r->step.kernel->forward(r->backend, &r->step));
    from_step(&r->x[0]);
    from_step(&r->y);
    check_foreign(r, &r->x[0], "x");
    check_foreign(r, &r->y, "y");
}

static bool has_backward(const rig *r)
{
    const atr_step *step = &r->step;

    return (step->inner != NULL ? step->inner : step->kernel)->backward != NULL;
}

void rig_backward(rig *r)
{
    atr_backend_enter(r->backend);
    if (!has_backward(r))
        return;
    to_step(&r->dy);
    to_step(&r->dx[0]);
    to_step(&r->dx[1]);
    must(r->step.kernel->backward(r->backend, &r->step));
    from_step(&r->dy);
    from_step(&r->dx[0]);
    from_step(&r->dx[1]);
    check_foreign(r, &r->dy, "dy");
    check_foreign(r, &r->dx[0], "dx");
}

void rig_run(rig *r)
{
    rig_forward(r);
    if (r->step.training)
        rig_backward(r);
}

double rig_dot(const atr_tensor *a, const atr_tensor *b)
{
    double sum = 0.0;

    assert_int_equal(atr_tensor_count(a), atr_tensor_count(b));
    for (int64_t i = 0; i < atr_tensor_count(a); i++)
        sum += (double)*element(a, i) * (double)*element(b, i);
    return sum;
}

double rig_relative_l2(const atr_tensor *a, const atr_tensor *b)
{
    double difference = 0.0, norm = 0.0;

    assert_true(atr_tensor_same_shape(a, b));
    for (int64_t i = 0; i < atr_tensor_count(b); i++) {
        const double x = (double)*element(a, i), y = (double)*element(b, i);
        if (!isfinite(x))
            return INFINITY;
        difference += (x - y) * (x - y);
        norm += y * y;
    }
    return norm > 0.0 ? sqrt(difference / norm) : sqrt(difference);
}

double rig_relative_max(const atr_tensor *a, const atr_tensor *b)
{
    double difference = 0.0, top = 0.0;

    assert_true(atr_tensor_same_shape(a, b));
    for (int64_t i = 0; i < atr_tensor_count(b); i++) {
        const double x = (double)*element(a, i), y = (double)*element(b, i);
        if (!isfinite(x))
            return INFINITY;
        difference = fmax(difference, fabs(x - y));
        top = fmax(top, fabs(y));
    }
    return top > 0.0 ? difference / top : difference;
}

void rig_assert_near(double got, double want, double bound)
{
    if (!(fabs(got - want) <= bound))
        fail_msg("%.9g is not %.9g within %.2g", got, want, bound);
}

int rig_results(const rig *r, rig_result out[RIG_RESULTS])
{
    const bool backward = r->step.training && has_backward(r);
    const bool dw = backward && r->step.wants_dw, dx = backward && r->step.wants_dx[0];
    const rig_buffer *y = r->step.y.data == r->step.x[0].data ? &r->x[0] : &r->y;
    const rig_buffer *dx0 = r->step.dx[0].data == r->step.dy.data ? &r->dy : &r->dx[0];
    int count = 0;

    out[count++] = (rig_result){"y", y};
    if (dx)
        out[count++] = (rig_result){"dx", dx0};
    if (dw && r->dweight.block != NULL)
        out[count++] = (rig_result){"dweight", &r->dweight};
    if (dw && r->dbias.block != NULL)
        out[count++] = (rig_result){"dbias", &r->dbias};
    if (r->spec->op == ATR_OP_NORM) {
        out[count++] = (rig_result){"running_mean", &r->running_mean};
        out[count++] = (rig_result){"running_var", &r->running_var};
    }
    return count;
}

int rig_open_backends(int threads, atr_backend *out[RIG_BACKENDS])
{
    char names[256], *rest = names;
    int count = 0;

    snprintf(names, sizeof names, "%s", atr_backend_names());
    for (char *name = strtok_r(rest, ", ", &rest); name != NULL; name = strtok_r(NULL, ", ", &rest)) {
        assert_in_range(count, 0, RIG_BACKENDS - 1);
        must(atr_backend_open(name, threads, &out[count]));
        if (out[count]->table->host)
            count++;
        else
            atr_backend_close(out[count]);
    }
    return count;
}

void rig_close_backends(atr_backend *backends[], int count)
{
    for (int i = 0; i < count; i++)
        atr_backend_close(backends[i]);
}

bool rig_on_golden_cases(int threads, rig_golden_check check)
{
    enum { ROOM = 16 };
    atr_backend *backends[RIG_BACKENDS];
    parity_case cases[ROOM];
    atr_h5 *golden = parity_open();

    if (golden == NULL)
        return false;
    const int count = rig_open_backends(threads, backends);
    int found = parity_cases(golden, "mobilenet", cases, ROOM);
    found += parity_cases(golden, "xception", cases + found, ROOM - found);
    assert_true(found >= 10);
    for (int i = 0; i < found; i++)
        for (int b = 0; b < count; b++)
            check(golden, &cases[i], backends[b]);
    atr_h5_destroy(golden);
    rig_close_backends(backends, count);
    return true;
}
