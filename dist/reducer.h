#ifndef ATR_DIST_REDUCER_H
#define ATR_DIST_REDUCER_H

#include "dist/comm.h"

/* Sums the flat gradient block over the ranks. Parameters lie in reverse graph order, so gradients become final front to
 * back, and whatever is final so far is a contiguous slice: no packing copy.
 *
 *     atr_reducer_begin(reducer);
 *     atr_plan_backward(plan, atr_reducer_ready, reducer);
 *     atr_reducer_wait(reducer);          always, also when this rank's backward failed: the others wait for it
 *
 * Now the whole block is summed in atr_reducer_wait(). The callback is there so that sums of slices can run beside backward
 * without any change to `dnn`. */
typedef struct atr_reducer atr_reducer;

/* Borrows both. */
atr_status atr_reducer_create(atr_comm *comm, atr_params *params, atr_reducer **out);
void atr_reducer_destroy(atr_reducer *reducer);

/* A new backward starts. */
void atr_reducer_begin(atr_reducer *reducer);

/* An atr_grad_ready_fn; `user` is the reducer. Elements [offset, offset+count) are final.
 * ATR_ERR_INTERNAL when the calls go back or leave the block. */
atr_status atr_reducer_ready(void *user, int64_t offset, int64_t count);

/* Collective. Afterwards the gradients of all parameters that are not frozen hold the sum over all ranks, the same bits on all. */
atr_status atr_reducer_wait(atr_reducer *reducer);

#endif
