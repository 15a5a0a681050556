/* `atrous info --layers --memory`: what prediction and a step of training take here, before anything is taken. */
#include "apps/info.h"
#include "apps/session.h"

typedef struct way {
    const char *name, *key;
    atr_mode mode;
    bool recompute;
} way;

static const way ways[] = {
    {"prediction", "prediction", ATR_INFER, false},
    {"training", "training", ATR_TRAIN, false},
    {"training --recompute", "training_recompute", ATR_TRAIN, true},
};

enum { WAYS = sizeof ways / sizeof ways[0], PIXEL_LABEL = 1 };

typedef struct sums {
    int64_t activations, scratch, packed, values, others,
        pictures; /* others: gradients and one set of moments (SGD) */
} sums;

static int64_t total_of(const sums *s)
{
    return s->activations + s->packed + s->values + s->others + s->pictures;
}

static atr_status measure(const atr_session *session, const way *w, int64_t batch, int64_t height,
                          int64_t width, sums *out)
{
    const atr_plan_options options = {.mode = w->mode,
                                      .batch = batch,
                                      .height = height,
                                      .width = width,
                                      .recompute = w->recompute,
                                      .norm_batch = batch + 1, /* no word of T03 about what nobody runs */
                                      .rewrites = ATR_REWRITE_ALL};
    const bool training = w->mode == ATR_TRAIN;
    const int64_t values =
        (atr_params_flat_count(session->params) + atr_params_buffer_count(session->params)) *
        (int64_t)sizeof(float);
    atr_plan_needs needs;
    const atr_status status =
        atr_plan_measure(session->graph, session->params, session->backend, &options, &needs);

    if (status != ATR_OK)
        return status;
    *out =
        (sums){.activations = (int64_t)needs.arena,
               .scratch = (int64_t)needs.scratch,
               .packed = (int64_t)needs.packed,
               .values = values,
               .others = training ? 2 * values : 0,
               .pictures = batch * height * width *
                           (session->info.channels * (int64_t)sizeof(float) + (training ? PIXEL_LABEL : 0))};
    return ATR_OK;
}

static void append_text(const way *w, const sums *s, atr_text *out)
{
    enum { MIB = 1 << 20 };

    atr_text_append(out, "  %-21s %8.1f %12.1f %10.1f %8.1f %8.1f %22.1f %9.1f\n", w->name,
                    (double)total_of(s) / MIB, (double)s->activations / MIB, (double)s->scratch / MIB,
                    (double)s->packed / MIB, (double)s->values / MIB, (double)s->others / MIB,
                    (double)s->pictures / MIB);
}

static void append_json(const way *w, const sums *s, atr_text *out)
{
    atr_text_append(out,
                    ",\"%s\":{\"total\":%lld,\"activations\":%lld,\"scratch\":%lld,\"packed_weights\":%lld,"
                    "\"values\":%lld,\"gradients_and_moments\":%lld,\"pictures\":%lld}",
                    w->key, (long long)total_of(s), (long long)s->activations, (long long)s->scratch,
                    (long long)s->packed, (long long)s->values, (long long)s->others, (long long)s->pictures);
}

static void append_head(const atr_session *session, const atr_info_request *request, int64_t batch,
                        int64_t height, int64_t width, atr_text *out)
{
    if (request->json) {
        atr_text_append(out, ",\"memory\":{\"batch\":%lld,\"height\":%lld,\"width\":%lld,\"threads\":%d",
                        (long long)batch, (long long)height, (long long)width, session->threads.count);
        return;
    }
    atr_text_append(
        out,
        "\n  memory in MiB, batch %lld of %lldx%lld, back end %s, %d threads; beside it: the program "
        "and its libraries\n\n  %-21s %8s %12s %10s %8s %8s %22s %9s\n",
        (long long)batch, (long long)height, (long long)width, session->backend->table->name,
        session->threads.count, "for", "in all", "activations", "(scratch)", "packed", "values",
        "gradients and moments", "pictures");
}

atr_status atr_info_memory(const atr_model_info *info, const atr_info_request *request, int64_t height,
                           int64_t width, atr_text *out)
{
    const atr_session_options machine = {.backend = "auto"};
    const int64_t batch = request->batch > 0 ? request->batch : 1;
    atr_session session = {0};
    atr_status status = ATR_OK;
    sums s;

    ATR_TRY(atr_session_open(&machine, NULL, &session));
    ATR_TRY(atr_session_build(&session, info, NULL));
    append_head(&session, request, batch, height, width, out);
    for (int i = 0; i < WAYS; i++) {
        ATR_TRY(measure(&session, &ways[i], batch, height, width, &s));
        if (request->json)
            append_json(&ways[i], &s, out);
        else
            append_text(&ways[i], &s, out);
    }
    if (request->json)
        atr_text_append(out, "}");
done:
    atr_session_close(&session);
    return status;
}
