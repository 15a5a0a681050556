#ifndef ATR_CORE_DEAL_H
#define ATR_CORE_DEAL_H

#include <stdint.h>

/* How the samples of a step go to its passes and to ranks: one formula for who loads and who computes. */

/* A run of samples. */
typedef struct atr_share {
    int64_t first, count;
} atr_share;

/* Share `index` of `shares` of n samples: as equal as they can be, in order, none twice. */
static inline atr_share atr_deal(int64_t n, int64_t shares, int64_t index)
{
    const int64_t first = index * n / shares, end = (index + 1) * n / shares;

    return (atr_share){first, end - first};
}

/* In how many passes a step of n samples is computed where one of `batch` >= n takes `parts` <= batch: no pass is larger than in
 * that one, and none is empty. */
static inline int64_t atr_deal_passes(int64_t n, int64_t batch, int64_t parts)
{
    return (n * parts + batch - 1) / batch;
}

/* What ranks first .. end-1 have of pass `pass`. Samples are dealt to passes, then those of a pass to ranks: so the samples of a
 * pass do not depend on the number of ranks. */
static inline atr_share atr_deal_pass(int64_t n, int64_t passes, int64_t pass, int64_t ranks, int64_t first,
                                      int64_t end)
{
    const atr_share whole = atr_deal(n, passes, pass);
    const int64_t from = first * whole.count / ranks, to = end * whole.count / ranks;

    return (atr_share){whole.first + from, to - from};
}

#endif
