#ifndef ATR_IO_ORDERED_H
#define ATR_IO_ORDERED_H

#include <stdbool.h>

#include "core/mem.h"

/* Told now and then how far a long piece of work is ("checking", 120 of 367). Returning false stops the work
 * (ATR_ERR_STOPPED). `say` may be NULL. Called on the thread that started the work. */
typedef struct atr_watch {
    bool (*say)(void *user, const char *stage, int64_t done, int64_t total);
    void *user;
} atr_watch;

/* Says it; ATR_ERR_STOPPED where the listener wants an end. */
atr_status atr_watch_say(const atr_watch *watch, const char *stage, int64_t done, int64_t total);

/* Many independent pieces of work on several threads, their results taken one by one in order: what goes to disk does not
 * depend on the number of threads. */

typedef struct atr_ordered {
    /* Piece `index` on thread `thread` (0..threads-1); leaves a result of its own making. Runs on many threads. */
    atr_status (*work)(void *user, int thread, int64_t index, void **result);
    /* Takes over the result of piece `index`, in ascending order, on the calling thread. */
    atr_status (*take)(void *user, int64_t index, void *result);
    /* Frees a result that nobody takes any more after a failure. */
    void (*drop)(void *user, void *result);
    void *user;
} atr_ordered;

/* Runs pieces 0..count-1; at most a few per thread are ahead of `take`, so memory does not grow with `count`. Ends at the
 * first failure in order of index (of work or take), which it returns with its message. */
atr_status atr_ordered_run(const atr_ordered *job, int64_t count, int threads);

#endif
