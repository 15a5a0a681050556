#include "apps/precision.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "core/machine.h"
#include "core/text.h"
#include "core/timer.h"
#include "dnn/cpu/onednn.h"
#include "dnn/plan.h"
#include "io/path.h"

const char *const atr_precision_names[] = {"f32", "bf16", "auto", "int8", "model", NULL};

const char *atr_precision_text(const atr_backend *backend)
{
    return backend->precision == ATR_BF16 ? "bf16" : "f32";
}

/* ---- measuring ---------------------------------------------------------------------------------------------------------- */

enum { CHANNELS = 256, CLASSES = 21, SIDE = 64, PASSES = 5 };

/* The kinds of layer that take the time of a network, at the channels of its decoder. */
static atr_status build_sample(atr_graph *graph)
{
    static const atr_conv_spec point = {CHANNELS, 1, 1, 0, 1, 1, false},
                               dense = {CHANNELS, 3, 1, 1, 1, 1, false},
                               depthwise = {CHANNELS, 3, 1, 1, 1, CHANNELS, false},
                               head = {CLASSES, 1, 1, 0, 1, 1, true};
    atr_status status = ATR_OK;
    int x = 0;

    ATR_TRY(atr_graph_input(graph, 3, &x));
    ATR_TRY(atr_graph_conv(graph, "first", x, point, &x));
    ATR_TRY(atr_graph_conv(graph, "dense", x, dense, &x));
    ATR_TRY(atr_graph_norm(graph, "norm", x, 0.1, 1e-5, &x));
    ATR_TRY(atr_graph_act(graph, "act", x, ATR_ACT_RELU, &x));
    ATR_TRY(atr_graph_conv(graph, "depthwise", x, depthwise, &x));
    ATR_TRY(atr_graph_norm(graph, "depthwise_norm", x, 0.1, 1e-5, &x));
    ATR_TRY(atr_graph_act(graph, "depthwise_act", x, ATR_ACT_RELU, &x));
    ATR_TRY(atr_graph_conv(graph, "point", x, point, &x));
    ATR_TRY(atr_graph_conv(graph, "head", x, head, &x));
    atr_graph_set_tap(graph, ATR_TAP_LOGITS, x);
done:
    return status;
}

/* The shortest of some forward and backward passes. */
static atr_status time_passes(atr_plan *plan, const float *image, const uint8_t *labels, double *seconds)
{
    atr_status status = ATR_OK;
    double loss = 0;

    *seconds = INFINITY;
    for (int i = 0; i <= PASSES; i++) { /* the first one warms up */
        const double start = atr_seconds();
        ATR_TRY(atr_plan_forward(plan, image));
        ATR_TRY(atr_plan_cross_entropy(plan, labels, NULL, SIDE * SIDE, &loss));
        ATR_TRY(atr_plan_backward(plan, NULL, NULL));
        if (i > 0)
            *seconds = fmin(*seconds, atr_seconds() - start);
    }
done:
    return status;
}

atr_status atr_precision_sample(atr_backend *backend, atr_dtype type, double *seconds)
{
    const atr_plan_options options = {
        .mode = ATR_TRAIN, .batch = 1, .height = SIDE, .width = SIDE, .rewrites = ATR_REWRITE_ALL};
    const atr_dtype before = backend->precision;
    atr_status status = ATR_OK;
    atr_graph *graph = NULL;
    atr_params *params = NULL;
    atr_plan *plan = NULL;
    float *image = NULL;
    uint8_t *labels = NULL;

    backend->precision = type;
    ATR_TRY(atr_graph_create(&graph));
    ATR_TRY(build_sample(graph));
    ATR_TRY(atr_params_create(atr_graph_param_specs(graph), atr_graph_param_count(graph),
                              atr_backend_allocator(backend), &params));
    ATR_TRY(ATR_NEW(SIDE * SIDE * 3, &image));
    ATR_TRY(ATR_NEW(SIDE * SIDE, &labels));
    ATR_TRY(atr_plan_create(graph, params, backend, &options, &plan));
    ATR_TRY(time_passes(plan, image, labels, seconds));
done:
    backend->precision = before;
    atr_plan_destroy(plan);
    atr_params_destroy(params);
    atr_graph_destroy(graph);
    atr_free(image);
    atr_free(labels);
    return status;
}

/* ---- remembering -------------------------------------------------------------------------------------------------------- */

typedef struct times {
    double f32, bf16; /* seconds */
} times;

enum { KEY_BYTES = 512, LINE_BYTES = KEY_BYTES + 128, MOST_LINES = 1000 };

/* "avx512_bf16, 2 threads, oneDNN 3.2.0, sample 1: NAME OF THE PROCESSOR" */
static void key_of(const atr_backend *backend, atr_isa level, char key[KEY_BYTES])
{
    char processor[ATR_PROCESSOR_BYTES], version[ATR_ONEDNN_VERSION_BYTES];

    snprintf(key, KEY_BYTES, "%s, %d threads, oneDNN %s, sample 1: %s", atr_isa_name(level), backend->threads,
             atr_onednn_version(version), atr_processor_name("", processor));
}

static bool is_sensible(times t)
{
    return isfinite(t.f32) && isfinite(t.bf16) && t.f32 > 0 && t.bf16 > 0;
}

/* A line is "SECONDS SECONDS KEY". The last one of a key counts; others are passed over, whatever they are. */
static bool parse_line(const char *line, const char *key, times *out)
{
    times t = {0, 0};
    int at = 0;

    if (sscanf(line, "%lf %lf %n", &t.f32, &t.bf16, &at) != 2 || at == 0 || !is_sensible(t))
        return false;
    const char *const rest = line + at;
    const size_t length = strcspn(rest, "\n");
    if (length != strlen(key) || strncmp(rest, key, length) != 0)
        return false;
    *out = t;
    return true;
}

static bool recall(const char *path, const char *key, times *out)
{
    FILE *const file = path == NULL ? NULL : fopen(path, "r");
    char line[LINE_BYTES];
    bool found = false;

    for (int i = 0; file != NULL && i < MOST_LINES && fgets(line, sizeof line, file) != NULL; i++)
        found = parse_line(line, key, out) || found;
    if (file != NULL)
        fclose(file);
    return found;
}

/* One write to the end of the file: programs that do so at once do not mix. Failing costs a measurement next time, no more. */
static void remember(const char *path, const char *key, times t)
{
    char line[LINE_BYTES];
    FILE *file = NULL;

    if (path == NULL || atr_path_make_above(path) != ATR_OK)
        return;
    snprintf(line, sizeof line, "\n%.6g %.6g %s\n", t.f32, t.bf16, key);
    file = fopen(path, "a");
    if (file == NULL)
        return;
    fputs(line, file);
    fclose(file);
}

/* NULL where the environment names no folder. To be freed. */
static char *cache_path(void)
{
    const char *const cache = getenv("XDG_CACHE_HOME"), *const home = getenv("HOME");
    atr_text text = {0};

    if (cache != NULL && cache[0] == '/') /* others are to be ignored (XDG Base Directory Specification) */
        atr_text_append(&text, "%s/atrous/precision", cache);
    else if (home != NULL && home[0] == '/')
        atr_text_append(&text, "%s/.cache/atrous/precision", home);
    return text.bytes;
}

/* ---- choosing ----------------------------------------------------------------------------------------------------------- */

static bool is_native(const atr_backend *backend, atr_isa level)
{
    return level >= ATR_ISA_AVX512_BF16 && strcmp(backend->table->name, "cpu") == 0;
}

atr_status atr_precision_auto(atr_backend *backend, atr_isa level, const char *path,
                              atr_precision_measure measure)
{
    char key[KEY_BYTES];
    times t = {0, 0};
    atr_status status = ATR_OK;

    backend->precision = ATR_F32;
    if (!is_native(backend, level)) {
        atr_log(ATR_LOG_INFO, "precision: f32; back end %s on %s multiplies no bf16 by itself",
                backend->table->name, atr_isa_name(level));
        return ATR_OK;
    }
    key_of(backend, level, key);
    const bool known = recall(path, key, &t);
    if (!known) {
        ATR_TRY(measure(backend, ATR_F32, &t.f32));
        ATR_TRY(measure(backend, ATR_BF16, &t.bf16));
        if (is_sensible(t))
            remember(path, key, t);
    }
    backend->precision = is_sensible(t) && t.bf16 < t.f32 ? ATR_BF16 : ATR_F32;
    atr_log(ATR_LOG_INFO, "precision: %s; some layers took %.2f ms in f32, %.2f ms in bf16%s",
            atr_precision_text(backend), 1e3 * t.f32, 1e3 * t.bf16, known ? " when they were measured" : "");
done:
    return status;
}

/* bf16 where all ranks say so. */
static atr_status agree(atr_comm *comm, atr_backend *backend)
{
    int64_t against = backend->precision != ATR_BF16;
    const atr_status status = atr_comm_sum_i64(comm, &against, 1);

    if (against > 0)
        backend->precision = ATR_F32;
    return status;
}

atr_status atr_precision_choose(atr_precision wanted, atr_comm *comm, atr_backend *backend)
{
    atr_status status = ATR_OK;
    char *path = NULL;

    if (wanted != ATR_PRECISION_AUTO) {
        backend->precision = wanted == ATR_PRECISION_BF16 ? ATR_BF16 : ATR_F32;
        if (wanted == ATR_PRECISION_BF16)
            atr_log(
                ATR_LOG_INFO, "precision: bf16%s",
                is_native(backend, atr_isa_level())
                    ? ""
                    : ", which this machine multiplies on f32 copies: less memory in training, no less time");
        return ATR_OK;
    }
    path = cache_path();
    status = atr_precision_auto(backend, atr_isa_level(), path, atr_precision_sample);
    if (comm != NULL && atr_comm_size(comm) > 1) {
        status = atr_comm_agree(comm, status);
        if (status == ATR_OK)
            status = agree(comm, backend);
    }
    atr_free(path);
    return status;
}
