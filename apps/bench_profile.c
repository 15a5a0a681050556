#include "apps/bench_profile.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/timer.h"

/* ---- what the machine can do -------------------------------------------------------------------------------------------- */

enum { MOST_RUNS = 15 };
static const double longest = 0.25; /* s that one measurement may take, once it has one result */

static atr_status measure_flops(atr_backend *backend, double *out)
{
    enum { SIDE = 32, CHANNELS = 128 };
    const atr_plan_options options = {
        .mode = ATR_INFER, .batch = 1, .height = SIDE, .width = SIDE, .rewrites = 0};
    atr_status status = ATR_OK;
    atr_graph *graph = NULL;
    atr_params *params = NULL;
    atr_plan *plan = NULL;
    float *image = NULL;
    int x = 0;
    double best = INFINITY, spent = 0;

    ATR_TRY(atr_graph_create(&graph));
    ATR_TRY(atr_graph_input(graph, CHANNELS, &x));
    ATR_TRY(atr_graph_conv(graph, "limit", x, (atr_conv_spec){CHANNELS, 3, 1, 1, 1, 1, false}, &x));
    atr_graph_set_tap(graph, ATR_TAP_LOGITS, x);
    ATR_TRY(atr_params_create(atr_graph_param_specs(graph), atr_graph_param_count(graph),
                              atr_backend_allocator(backend), &params));
    ATR_TRY(ATR_NEW(SIDE * SIDE * CHANNELS, &image));
    ATR_TRY(atr_plan_create(graph, params, backend, &options, &plan));
    for (int i = 0; i < MOST_RUNS && spent < longest; i++) {
        const double start = atr_seconds();
        ATR_TRY(atr_plan_forward(plan, image));
        const double seconds = atr_seconds() - start;
        spent += seconds;
        best = fmin(best, seconds);
    }
    *out = 2.0 * SIDE * SIDE * CHANNELS * CHANNELS * 9 / best;
done:
    atr_plan_destroy(plan);
    atr_params_destroy(params);
    atr_graph_destroy(graph);
    atr_free(image);
    return status;
}

static atr_status measure_copy(const atr_backend *backend, double *out)
{
    enum { PIECE = 1 << 20, PIECES = 64 };
    atr_status status = ATR_OK;
    char *from = NULL, *to = NULL;
    double best = INFINITY, spent = 0;

    ATR_TRY(ATR_NEW(PIECE * PIECES, &from));
    ATR_TRY(ATR_NEW(PIECE * PIECES, &to));
    atr_backend_enter(backend);
    for (int i = 0; i < MOST_RUNS && spent < longest; i++) {
        const double start = atr_seconds();
#pragma omp parallel for schedule(static)
        for (int p = 0; p < PIECES; p++)
            memcpy(to + (size_t)p * PIECE, from + (size_t)p * PIECE, PIECE);
        const double seconds = atr_seconds() - start;
        spent += seconds;
        best = fmin(best, seconds);
    }
    *out = 2.0 * PIECE * PIECES / best;
done:
    atr_free(from);
    atr_free(to);
    return status;
}

atr_status atr_bench_limits_measure(atr_backend *backend, atr_bench_limits *out)
{
    const atr_status status = measure_flops(backend, &out->flop_per_s);

    return status != ATR_OK ? status : measure_copy(backend, &out->bytes_per_s);
}

/* ---- what a step has to do ---------------------------------------------------------------------------------------------- */

typedef enum kind {
    KIND_FIRST,
    KIND_POINTWISE,
    KIND_DENSE,
    KIND_DILATED,
    KIND_RESIZED,
    KIND_DEPTHWISE,
    KIND_BANDS,
    KIND_NORM,
    KIND_ACT,
    KIND_ADD,
    KIND_CONCAT,
    KIND_POOL,
    KIND_RESIZE,
    KIND_DROPOUT,
    KIND_LOSS,
    KIND_UPDATE,
    KIND_QUANTIZE,
    KIND_REST,
    KINDS
} kind;

static const char *const kind_names[KINDS] = {
    [KIND_FIRST] = "first convolution",
    [KIND_POINTWISE] = "1x1 convolution",
    [KIND_DENSE] = "3x3 convolution",
    [KIND_DILATED] = "dilated convolution",
    [KIND_RESIZED] = "of an enlarged map",
    [KIND_DEPTHWISE] = "depthwise convolution",
    [KIND_BANDS] = "1x1, depthwise, 1x1",
    [KIND_NORM] = "batch norm",
    [KIND_ACT] = "activation",
    [KIND_ADD] = "sum",
    [KIND_CONCAT] = "concat",
    [KIND_POOL] = "pooling",
    [KIND_RESIZE] = "resize",
    [KIND_DROPOUT] = "dropout",
    [KIND_LOSS] = "loss",
    [KIND_UPDATE] = "optimiser",
    [KIND_QUANTIZE] = "into integers",
    [KIND_REST] = "rest",
};

static kind kind_of_conv(const atr_conv_attr *conv)
{
    enum { PICTURE_CHANNELS = 4 };

    if (conv->groups > 1 && conv->groups == conv->in_channels)
        return KIND_DEPTHWISE;
    if (conv->kernel == 1)
        return KIND_POINTWISE;
    if (conv->in_channels <= PICTURE_CHANNELS)
        return KIND_FIRST;
    return conv->dilation > 1 ? KIND_DILATED : KIND_DENSE;
}

static kind kind_of(const atr_step *step)
{
    switch (step->op) {
    case ATR_OP_CONV:
    case ATR_OP_CONV_INT8:
        return kind_of_conv(&step->conv);
    case ATR_OP_CONV_POOLED:
        return KIND_POINTWISE;
    case ATR_OP_CONV_RESIZED:
        return KIND_RESIZED;
    case ATR_OP_CONV_BANDS:
        return KIND_BANDS;
    case ATR_OP_NORM:
        return KIND_NORM;
    case ATR_OP_ACT:
        return KIND_ACT;
    case ATR_OP_ADD:
        return KIND_ADD;
    case ATR_OP_CONCAT:
        return KIND_CONCAT;
    case ATR_OP_GLOBAL_POOL:
        return KIND_POOL;
    case ATR_OP_RESIZE:
        return KIND_RESIZE;
    case ATR_OP_DROPOUT:
        return KIND_DROPOUT;
    case ATR_OP_QUANTIZE:
        return KIND_QUANTIZE;
    default:
        return KIND_REST;
    }
}

/* Arithmetic of the convolutions as the graph writes them, however they are computed. Backward: one forward's worth for each of the
 * two gradients that is wanted. */
static double flop_of(const atr_step *step, bool backward)
{
    const double forward = 2.0 * (double)atr_step_macs(step);

    if (!backward)
        return forward;
    return forward * ((step->wants_dx[0] ? 1 : 0) + (step->wants_dw ? 1 : 0));
}

static double bytes_of_tensor(const atr_tensor *t)
{
    return (double)atr_tensor_count(t) * (double)atr_dtype_bytes(t->type);
}

static double bytes_of_weights(const atr_conv_attr *conv, size_t each)
{
    return (double)(conv->out_channels * atr_conv_filter(conv)) * (double)each;
}

/* What must be read and written at least once: activations, gradients, weights. */
static double bytes_of(const atr_step *step, bool backward)
{
    double bytes = bytes_of_tensor(&step->y);

    if (step->op == ATR_OP_CONV_BANDS)
        for (int i = 0; i < ATR_CHAIN; i++)
            bytes += bytes_of_weights(&step->chain[i].conv, sizeof(float));
    else if (atr_step_is_conv(step))
        bytes +=
            bytes_of_weights(&step->conv, step->op == ATR_OP_CONV_INT8 ? sizeof(int8_t) : sizeof(float)) *
            (backward && step->wants_dw ? 2 : 1);
    for (int i = 0; i < step->input_count; i++) {
        if (!backward || step->needs_x)
            bytes += bytes_of_tensor(&step->x[i]);
        if (backward && step->wants_dx[i])
            bytes += bytes_of_tensor(&step->x[i]);
    }
    return bytes + (backward && step->needs_y ? bytes_of_tensor(&step->y) : 0);
}

/* ---- gathering ---------------------------------------------------------------------------------------------------------- */

struct atr_bench_profile {
    atr_plan *plan;
    atr_bench_limits limits;
    double *best[2]; /* s by step: forward, backward */
    double loss, update, total;
};

atr_status atr_bench_profile_create(atr_plan *plan, const atr_bench_limits *limits, atr_bench_profile **out)
{
    const int steps = atr_plan_step_count(plan);
    atr_status status = ATR_OK;
    atr_bench_profile *profile = NULL;

    *out = NULL;
    ATR_TRY(ATR_NEW(1, &profile));
    profile->plan = plan;
    profile->limits = *limits;
    profile->loss = profile->update = profile->total = INFINITY;
    for (int b = 0; b < 2; b++) {
        ATR_TRY(ATR_NEW(steps, &profile->best[b]));
        for (int i = 0; i < steps; i++)
            profile->best[b][i] = INFINITY;
    }
    *out = profile;
    profile = NULL;
done:
    atr_bench_profile_destroy(profile);
    return status;
}

void atr_bench_profile_destroy(atr_bench_profile *profile)
{
    if (profile == NULL)
        return;
    atr_free(profile->best[0]);
    atr_free(profile->best[1]);
    atr_free(profile);
}

void atr_bench_profile_begin(atr_bench_profile *profile)
{
    atr_plan_profile(profile->plan, true);
}

void atr_bench_profile_end(atr_bench_profile *profile, double loss, double update, double total)
{
    for (int b = 0; b < 2; b++)
        for (int i = 0; i < atr_plan_step_count(profile->plan); i++)
            profile->best[b][i] = fmin(profile->best[b][i], atr_plan_seconds(profile->plan, i, b == 1));
    profile->loss = fmin(profile->loss, loss);
    profile->update = fmin(profile->update, update);
    profile->total = fmin(profile->total, total);
}

/* ---- by kind ------------------------------------------------------------------------------------------------------------ */

typedef struct row {
    int steps;
    double seconds[2]; /* forward, backward */
    double flop, bytes;
} row;

static void add_step(const atr_bench_profile *profile, int index, row rows[KINDS])
{
    const atr_step *step = atr_plan_step(profile->plan, index);
    row *r = &rows[kind_of(step)];

    r->steps++;
    for (int b = 0; b < 2; b++) {
        const double seconds = profile->best[b][index];
        r->seconds[b] += seconds;
        if (seconds > 0) { /* a step that never ran in this direction has nothing to do there */
            r->flop += flop_of(step, b == 1);
            r->bytes += bytes_of(step, b == 1);
        }
    }
}

/* The rest of a run is what no step, loss or update took in the fastest one: packing of weights, and what minima of parts leave over. */
static void make_rows(const atr_bench_profile *profile, row rows[KINDS])
{
    double known = profile->loss + profile->update;

    memset(rows, 0, KINDS * sizeof *rows);
    for (int i = 0; i < atr_plan_step_count(profile->plan); i++) {
        add_step(profile, i, rows);
        known += profile->best[0][i] + profile->best[1][i];
    }
    rows[KIND_LOSS].seconds[0] = profile->loss;
    rows[KIND_UPDATE].seconds[0] = profile->update;
    rows[KIND_REST].seconds[0] = fmax(0, profile->total - known);
}

static double seconds_of(const row *r)
{
    return r->seconds[0] + r->seconds[1];
}

/* How much of its time a row would take at the machine's limits, products and bytes one after the other. */
static double share_of_limit(const atr_bench_profile *profile, const row *r)
{
    return (r->flop / profile->limits.flop_per_s + r->bytes / profile->limits.bytes_per_s) / seconds_of(r);
}

static void print_kinds(const atr_bench_profile *profile)
{
    row rows[KINDS];

    make_rows(profile, rows);
    printf("\n  limits         %.0f GFLOP/s (3x3 convolution), %.1f GB/s (copy)\n\n",
           1e-9 * profile->limits.flop_per_s, 1e-9 * profile->limits.bytes_per_s);
    printf("  %-22s %5s %10s %10s %7s %8s %7s %9s\n", "kind", "steps", "forward ms", "backward", "of time",
           "GFLOP/s", "GB/s", "of limit");
    for (int k = 0; k < KINDS; k++) {
        const row *r = &rows[k];
        const double seconds = seconds_of(r);
        if (seconds <= 0)
            continue;
        printf("  %-22s %5d %10.3f %10.3f %6.1f%%", kind_names[k], r->steps, 1e3 * r->seconds[0],
               1e3 * r->seconds[1], 100 * seconds / profile->total);
        if (r->steps > 0)
            printf(" %8.1f %7.1f %8.0f%%", 1e-9 * r->flop / seconds, 1e-9 * r->bytes / seconds,
                   100 * share_of_limit(profile, r));
        putchar('\n');
    }
}

void atr_bench_profile_print(const atr_bench_profile *profile)
{
    print_kinds(profile);
    printf("\n  %-44s %-22s %10s %10s\n", "step", "output", "forward ms", "backward");
    for (int i = 0; i < atr_plan_step_count(profile->plan); i++) {
        const atr_step *s = atr_plan_step(profile->plan, i);
        char shape[128];
        printf("  %-44s %-22s %10.3f %10.3f\n", s->name, atr_shape_text(4, s->y.dims, shape),
               1e3 * profile->best[0][i], 1e3 * profile->best[1][i]);
    }
}

static json_t *kinds_json(const atr_bench_profile *profile)
{
    json_t *kinds = json_array();
    row rows[KINDS];

    make_rows(profile, rows);
    for (int k = 0; k < KINDS; k++) {
        const row *r = &rows[k];
        if (seconds_of(r) <= 0)
            continue;
        json_t *o = json_pack("{s:s, s:i, s:f, s:f, s:f}", "kind", kind_names[k], "steps", r->steps,
                              "forward_ms", 1e3 * r->seconds[0], "backward_ms", 1e3 * r->seconds[1],
                              "share_of_time", seconds_of(r) / profile->total);
        if (r->steps > 0) {
            json_object_set_new(o, "gflop_per_s", json_real(1e-9 * r->flop / seconds_of(r)));
            json_object_set_new(o, "gb_per_s", json_real(1e-9 * r->bytes / seconds_of(r)));
            json_object_set_new(o, "share_of_limit", json_real(share_of_limit(profile, r)));
        }
        json_array_append_new(kinds, o);
    }
    return kinds;
}

void atr_bench_profile_json(const atr_bench_profile *profile, json_t *into)
{
    json_t *steps = json_array();

    for (int i = 0; i < atr_plan_step_count(profile->plan); i++)
        json_array_append_new(
            steps, json_pack("{s:s, s:f, s:f}", "name", atr_plan_step(profile->plan, i)->name, "forward_ms",
                             1e3 * profile->best[0][i], "backward_ms", 1e3 * profile->best[1][i]));
    json_object_set_new(into, "limits",
                        json_pack("{s:f, s:f}", "gflop_per_s", 1e-9 * profile->limits.flop_per_s, "gb_per_s",
                                  1e-9 * profile->limits.bytes_per_s));
    json_object_set_new(into, "kinds", kinds_json(profile));
    json_object_set_new(into, "steps", steps);
}
