#include "apps/streams.h"

#include <string.h>

#include "core/text.h"

/* With more, plans and packed weights take more memory than the speed is worth. */
enum { AUTO_MOST = 16, AUTO_PASSES = 2 };

atr_status atr_streams_choose(const char *text, const atr_session *session, int64_t passes, int *out)
{
    const int64_t threads = session->threads.count;
    int64_t count = threads < AUTO_MOST ? threads : AUTO_MOST;

    if (strcmp(text, "auto") == 0) {
        if (passes > 0 && count > passes / AUTO_PASSES)
            count = passes / AUTO_PASSES;
    } else if (!atr_parse_int(text, &count) || count < 1 || count > ATR_STREAMS_MAX) {
        return atr_fail(ATR_ERR_USAGE, "--streams %s: auto or a number of 1 to %d is wanted", text,
                        ATR_STREAMS_MAX);
    }
    count = count < threads ? count : threads;
    *out = count > 1 ? (int)count : 1;
    return ATR_OK;
}

atr_status atr_streams_open(atr_session *session, int count, atr_fit_mode fit, int64_t height, int64_t width,
                            const atr_views *views, atr_streams *out)
{
    atr_status status = ATR_OK;
    const char *backend = session->backend->table->name;

    *out = (atr_streams){.count = count};
    ATR_TRY(ATR_NEW(count, &out->segmenters));
    ATR_TRY(ATR_NEW(count, &out->backends));
    for (int i = 0; i < count; i++) {
        const int threads = session->threads.count;
        if (count > 1) {
            ATR_TRY(atr_backend_open(backend, (i + 1) * threads / count - i * threads / count,
                                     &out->backends[i]));
            out->backends[i]->rewrites = session->backend->rewrites;
            out->backends[i]->precision = session->backend->precision;
        }
        ATR_TRY(atr_segmenter_create(&session->info, session->graph, session->params,
                                     count > 1 ? out->backends[i] : session->backend, fit, height, width,
                                     &out->segmenters[i]));
        atr_segmenter_set_quant(out->segmenters[i], &session->quant);
        ATR_TRY(atr_segmenter_set_views(out->segmenters[i], views));
        atr_segmenter_set_memory(out->segmenters[i], &session->memory);
    }
done:
    return status;
}

void atr_streams_close(atr_streams *streams)
{
    for (int i = 0; i < streams->count; i++) {
        if (streams->segmenters != NULL)
            atr_segmenter_destroy(streams->segmenters[i]);
        if (streams->backends != NULL)
            atr_backend_close(streams->backends[i]);
    }
    atr_free(streams->segmenters);
    atr_free(streams->backends);
    *streams = (atr_streams){0};
}
