#ifndef ATR_APPS_STREAMS_H
#define ATR_APPS_STREAMS_H

#include "apps/segmenter.h"
#include "apps/session.h"

/* One network several times over, for throughput: each stream has a back end of its own on its share of the threads, and plans of its
 * own; the weights are shared. The more threads work on one picture, the more they wait for each other; streams do not wait. */

enum { ATR_STREAMS_MAX = 64 };

typedef struct atr_streams {
    int count;
    atr_segmenter **segmenters; /* [count] */
    atr_backend **backends;     /* [count], own; all NULL with one stream, which uses the session's */
} atr_streams;

/* "auto", or a number of 1 to ATR_STREAMS_MAX, never more than the session's threads. auto: a thread for each stream, up to 16 streams, as long as
 * each has two passes to run of `passes` (0: not known). ATR_ERR_USAGE for another word. */
atr_status atr_streams_choose(const char *text, const atr_session *session, int64_t passes, int *out);

/* What atr_segmenter_create() and _set_views() take, for all streams. Borrows the session. */
atr_status atr_streams_open(atr_session *session, int count, atr_fit_mode fit, int64_t height, int64_t width,
                            const atr_views *views, atr_streams *out);
void atr_streams_close(atr_streams *streams);

#endif
