#ifndef ATR_IO_ORDERED_H
#define ATR_IO_ORDERED_H

#include "core/mem.h"

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
