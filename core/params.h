#ifndef ATR_CORE_PARAMS_H
#define ATR_CORE_PARAMS_H

#include <stdbool.h>

#include "core/mapping.h"
#include "core/mem.h"
#include "core/tensor.h"

/* The trainable parameters and the buffers of a network under the names and shapes of the PyTorch reference
 * (`backbone.features.0.0.weight`, OIHW): a user's weight file is at home here.
 *
 * Trainable values lie in one flat f32 block, gradients in a second one of the same layout, in REVERSE order of
 * declaration: backward finishes gradients front to back, so a bucket to be reduced is a contiguous slice.
 * Each parameter starts on a cache line; the gap behind it stays zero in values and gradients.
 * Buffers (running statistics, counters) lie apart: no gradient, no optimiser. */

enum { ATR_NAME_BYTES = 128 };

typedef enum atr_param_kind {
    ATR_PARAM_CONV_WEIGHT,  /* [O, I/groups, kh, kw] f32 */
    ATR_PARAM_CONV_BIAS,    /* [O] f32 */
    ATR_PARAM_NORM_WEIGHT,  /* [C] f32 */
    ATR_PARAM_NORM_BIAS,    /* [C] f32 */
    ATR_PARAM_RUNNING_MEAN, /* [C] f32, buffer */
    ATR_PARAM_RUNNING_VAR,  /* [C] f32, buffer */
    ATR_PARAM_TRACKED       /* [] i64, buffer: batches seen by the batch norm */
} atr_param_kind;

typedef struct atr_param_spec {
    char name[ATR_NAME_BYTES];
    atr_param_kind kind;
    int rank;
    int64_t dims[4];
} atr_param_spec;

typedef struct atr_params atr_params;

bool atr_param_is_buffer(atr_param_kind kind);

/* Makes zeroed blocks for `count` specs, which are copied. `allocator` is the back end's (host or device). */
atr_status atr_params_create(const atr_param_spec *specs, int64_t count, const atr_allocator *allocator,
                             atr_params **out);
/* The same without gradients, for moments and averages of a network's values. */
atr_status atr_params_create_plain(const atr_param_spec *specs, int64_t count, const atr_allocator *allocator,
                                   atr_params **out);
void atr_params_destroy(atr_params *params);

/* Entries keep their order of declaration: the order of the reference's state_dict. */
int64_t atr_params_count(const atr_params *params);
const atr_param_spec *atr_params_spec(const atr_params *params, int64_t index);
/* Index of `name`, or -1. */
int64_t atr_params_find(const atr_params *params, const char *name);

/* Views of entry `index`; borrowed. The gradient's data is NULL for a buffer, and where there are none. */
atr_tensor atr_params_value(const atr_params *params, int64_t index);
atr_tensor atr_params_gradient(const atr_params *params, int64_t index);

/* Values in a file that stand there as they do in memory, instead of copies: for networks that are only run. `mapping` becomes the params' own, also on
 * failure; then each entry of whom atr_params_map_value() is told has its value in the mapping. The flat blocks know nothing of it. */
void atr_params_own_mapping(atr_params *params, atr_mapping *mapping);
void atr_params_map_value(atr_params *params, int64_t index, void *value);
/* Before values are read again: ATR_ERR_IO when their file has been written to. Without a mapping all is well. */
atr_status atr_params_check_mapping(const atr_params *params);
/* Nobody needs these values for now: their memory may go where they stand in a file. They can be read all the same. */
void atr_params_drop(const atr_params *params, const float *values, int64_t count);

/* The flat blocks: `atr_params_flat_count` f32 each, gaps included. */
int64_t atr_params_flat_count(const atr_params *params);
float *atr_params_flat_values(const atr_params *params);
float *atr_params_flat_gradients(const atr_params *params);
/* Where entry `index` (not a buffer) starts in the flat blocks, in elements. */
int64_t atr_params_flat_offset(const atr_params *params, int64_t index);

/* Elements from the start of entry `index` (not a buffer) to that of the next one: its own and the gap. */
int64_t atr_params_flat_room(const atr_params *params, int64_t index);

/* Frozen entries are not trained: plans compute no gradient for them and keep nothing that only it would need, optimisers and
 * reducers pass them by. A frozen running mean makes its batch norm use the running statistics, which then stay as they are. At
 * first nothing is frozen. Plans look when they are made. */
void atr_params_set_frozen(atr_params *params, int64_t index, bool frozen);
bool atr_params_frozen(const atr_params *params, int64_t index);
/* The same for all entries whose names start with `prefix`, for the trainable ones and the buffers apart. */
void atr_params_freeze(atr_params *params, const char *prefix, bool trainable, bool buffers);

/* Elements [offset, offset + count) of a flat block. */
typedef struct atr_span {
    int64_t offset, count;
} atr_span;

/* The next longest run of entries that are not frozen, of the flat values (and gradients) or, with `buffers`, of the flat
 * buffers. Begin with a span of zeros; false: there is no further one. */
bool atr_params_next_span(const atr_params *params, bool buffers, atr_span *span);

/* The buffers as one block, for copies and averages of all running statistics: f32 part only (counters apart). */
int64_t atr_params_buffer_count(const atr_params *params);
float *atr_params_flat_buffers(const atr_params *params);

/* Copies values and buffers (not gradients) between two sets of the same specs on the host. ATR_ERR_SHAPE if they differ. */
atr_status atr_params_copy(const atr_params *from, atr_params *to);

/* A number that grows each time somebody says that values changed; plans repack weights when it differs. */
uint64_t atr_params_version(const atr_params *params);
void atr_params_touch(atr_params *params);

#endif
