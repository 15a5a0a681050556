#include "core/params.h"

#include <string.h>

#define MOST_ELEMENTS ((int64_t)1 << 40)

typedef struct entry {
    atr_param_spec spec;
    int64_t offset; /* elements: into the flat values, the f32 buffers, or the counters */
    bool frozen;
    void *mapped; /* the value, where it stands in a file; NULL: it is in the blocks */
} entry;

struct atr_params {
    int64_t count;
    entry *entries;
    atr_arena *values, *gradients, *buffers, *counters;
    int64_t flat_count, buffer_count, counter_count;
    uint64_t version;
    atr_mapping *mapping; /* NULL: none */
};

bool atr_param_is_buffer(atr_param_kind kind)
{
    return kind >= ATR_PARAM_RUNNING_MEAN;
}

static int64_t spec_elements(const atr_param_spec *spec)
{
    int64_t count = 1;

    for (int i = 0; i < spec->rank; i++)
        count *= spec->dims[i];
    return count;
}

/* Shapes may come from a file: no dimension below 1, no count that overflows when it becomes bytes. */
static atr_status check_spec(const atr_param_spec *spec)
{
    int64_t count = 1;
    bool good = spec->rank >= 0 && spec->rank <= 4;

    for (int i = 0; good && i < spec->rank; i++)
        good = spec->dims[i] > 0 && !__builtin_mul_overflow(count, spec->dims[i], &count) &&
               count <= MOST_ELEMENTS;
    if (!good)
        return atr_fail(ATR_ERR_SHAPE, "parameter %s has no sensible shape", spec->name);
    return ATR_OK;
}

/* Elements with the gap up to the next cache line. */
static int64_t padded_elements(const atr_param_spec *spec)
{
    return (int64_t)(atr_align_up((size_t)spec_elements(spec) * sizeof(float)) / sizeof(float));
}

/* Trainable entries from the last to the first, buffers from the first to the last. */
static void place_entries(atr_params *params)
{
    for (int64_t i = params->count - 1; i >= 0; i--) {
        entry *e = &params->entries[i];
        if (!atr_param_is_buffer(e->spec.kind)) {
            e->offset = params->flat_count;
            params->flat_count += padded_elements(&e->spec);
        }
    }
    for (int64_t i = 0; i < params->count; i++) {
        entry *e = &params->entries[i];
        if (e->spec.kind == ATR_PARAM_TRACKED) {
            e->offset = params->counter_count++;
        } else if (atr_param_is_buffer(e->spec.kind)) {
            e->offset = params->buffer_count;
            params->buffer_count += padded_elements(&e->spec);
        }
    }
}

static atr_status create(const atr_param_spec *specs, int64_t count, bool gradients,
                         const atr_allocator *allocator, atr_params **out)
{
    atr_status status = ATR_OK;
    atr_params *params = NULL;

    *out = NULL;
    ATR_TRY(ATR_NEW(1, &params));
    ATR_TRY(ATR_NEW(count, &params->entries));
    params->count = count;
    params->version = 1;
    for (int64_t i = 0; i < count; i++) {
        ATR_TRY(check_spec(&specs[i]));
        params->entries[i].spec = specs[i];
    }
    place_entries(params);
    const size_t bytes = (size_t)params->flat_count * sizeof(float);
    ATR_TRY(atr_arena_create(allocator, bytes, &params->values));
    if (gradients)
        ATR_TRY(atr_arena_create(allocator, bytes, &params->gradients));
    ATR_TRY(atr_arena_create(allocator, (size_t)params->buffer_count * sizeof(float), &params->buffers));
    ATR_TRY(atr_arena_create(&atr_host_allocator, (size_t)params->counter_count * sizeof(int64_t),
                             &params->counters));
    *out = params;
    params = NULL;

done:
    atr_params_destroy(params);
    return status;
}

atr_status atr_params_create(const atr_param_spec *specs, int64_t count, const atr_allocator *allocator,
                             atr_params **out)
{
    return create(specs, count, true, allocator, out);
}

atr_status atr_params_create_plain(const atr_param_spec *specs, int64_t count, const atr_allocator *allocator,
                                   atr_params **out)
{
    return create(specs, count, false, allocator, out);
}

void atr_params_destroy(atr_params *params)
{
    if (params == NULL)
        return;
    atr_arena_destroy(params->values);
    atr_arena_destroy(params->gradients);
    atr_arena_destroy(params->buffers);
    atr_arena_destroy(params->counters);
    atr_mapping_close(params->mapping);
    atr_free(params->entries);
    atr_free(params);
}

int64_t atr_params_count(const atr_params *params)
{
    return params->count;
}

const atr_param_spec *atr_params_spec(const atr_params *params, int64_t index)
{
    return &params->entries[index].spec;
}

int64_t atr_params_find(const atr_params *params, const char *name)
{
    for (int64_t i = 0; i < params->count; i++)
        if (strcmp(params->entries[i].spec.name, name) == 0)
            return i;
    return -1;
}

atr_tensor atr_params_value(const atr_params *params, int64_t index)
{
    const entry *e = &params->entries[index];

    if (e->mapped != NULL)
        return atr_tensor_make(e->spec.kind == ATR_PARAM_TRACKED ? ATR_I64 : ATR_F32, e->spec.rank,
                               e->spec.dims, e->mapped);
    if (e->spec.kind == ATR_PARAM_TRACKED)
        return atr_tensor_make(ATR_I64, 0, NULL, (int64_t *)atr_arena_at(params->counters, 0) + e->offset);
    const atr_arena *block = atr_param_is_buffer(e->spec.kind) ? params->buffers : params->values;
    return atr_tensor_make(ATR_F32, e->spec.rank, e->spec.dims, (float *)atr_arena_at(block, 0) + e->offset);
}

atr_tensor atr_params_gradient(const atr_params *params, int64_t index)
{
    const entry *e = &params->entries[index];
    float *const block = atr_params_flat_gradients(params);
    float *data = atr_param_is_buffer(e->spec.kind) || block == NULL ? NULL : block + e->offset;

    return atr_tensor_make(ATR_F32, e->spec.rank, e->spec.dims, data);
}

void atr_params_own_mapping(atr_params *params, atr_mapping *mapping)
{
    atr_mapping_close(params->mapping);
    params->mapping = mapping;
    for (int64_t i = 0; i < params->count; i++)
        params->entries[i].mapped = NULL;
}

void atr_params_map_value(atr_params *params, int64_t index, void *value)
{
    params->entries[index].mapped = value;
}

atr_status atr_params_check_mapping(const atr_params *params)
{
    return params->mapping == NULL ? ATR_OK : atr_mapping_check(params->mapping);
}

void atr_params_drop(const atr_params *params, const float *values, int64_t count)
{
    const size_t bytes = (size_t)count * sizeof *values;

    if (params->mapping != NULL && values != NULL && atr_mapping_holds(params->mapping, values, bytes))
        atr_mapping_drop(params->mapping, values, bytes);
}

int64_t atr_params_flat_count(const atr_params *params)
{
    return params->flat_count;
}

float *atr_params_flat_values(const atr_params *params)
{
    return atr_arena_at(params->values, 0);
}

float *atr_params_flat_gradients(const atr_params *params)
{
    return params->gradients == NULL ? NULL : atr_arena_at(params->gradients, 0);
}

int64_t atr_params_flat_offset(const atr_params *params, int64_t index)
{
    return params->entries[index].offset;
}

int64_t atr_params_flat_room(const atr_params *params, int64_t index)
{
    return padded_elements(&params->entries[index].spec);
}

void atr_params_set_frozen(atr_params *params, int64_t index, bool frozen)
{
    params->entries[index].frozen = frozen;
}

bool atr_params_frozen(const atr_params *params, int64_t index)
{
    return params->entries[index].frozen;
}

void atr_params_freeze(atr_params *params, const char *prefix, bool trainable, bool buffers)
{
    const size_t length = strlen(prefix);

    for (int64_t i = 0; i < params->count; i++) {
        entry *e = &params->entries[i];
        if (strncmp(e->spec.name, prefix, length) == 0)
            e->frozen = atr_param_is_buffer(e->spec.kind) ? buffers : trainable;
    }
}

/* Trainable entries lie in reverse order of declaration, buffers in order; counters lie elsewhere. */
bool atr_params_next_span(const atr_params *params, bool buffers, atr_span *span)
{
    const int64_t from = span->offset + span->count;

    *span = (atr_span){0, 0};
    for (int64_t k = 0; k < params->count; k++) {
        const entry *e = &params->entries[buffers ? k : params->count - 1 - k];
        if (atr_param_is_buffer(e->spec.kind) != buffers || e->spec.kind == ATR_PARAM_TRACKED ||
            e->offset < from)
            continue;
        if (e->frozen && span->count > 0)
            break;
        if (e->frozen)
            continue;
        if (span->count == 0)
            span->offset = e->offset;
        span->count += padded_elements(&e->spec);
    }
    return span->count > 0;
}

int64_t atr_params_buffer_count(const atr_params *params)
{
    return params->buffer_count;
}

float *atr_params_flat_buffers(const atr_params *params)
{
    return atr_arena_at(params->buffers, 0);
}

static bool same_specs(const atr_params *a, const atr_params *b)
{
    if (a->count != b->count)
        return false;
    for (int64_t i = 0; i < a->count; i++) {
        const atr_param_spec *x = &a->entries[i].spec, *y = &b->entries[i].spec;
        if (x->kind != y->kind || x->rank != y->rank || strcmp(x->name, y->name) != 0 ||
            memcmp(x->dims, y->dims, (size_t)x->rank * sizeof x->dims[0]) != 0)
            return false;
    }
    return true;
}

atr_status atr_params_copy(const atr_params *from, atr_params *to)
{
    if (from->mapping != NULL || to->mapping != NULL)
        return atr_fail(ATR_ERR_INTERNAL, "parameters that stand in a file are not copied by blocks");
    if (!same_specs(from, to))
        return atr_fail(ATR_ERR_SHAPE, "cannot copy %lld parameters onto %lld with other names or shapes",
                        (long long)from->count, (long long)to->count);
    if (from->flat_count > 0)
        memcpy(atr_params_flat_values(to), atr_params_flat_values(from), atr_arena_bytes(from->values));
    if (from->buffer_count > 0)
        memcpy(atr_params_flat_buffers(to), atr_params_flat_buffers(from), atr_arena_bytes(from->buffers));
    if (from->counter_count > 0)
        memcpy(atr_arena_at(to->counters, 0), atr_arena_at(from->counters, 0),
               atr_arena_bytes(from->counters));
    atr_params_touch(to);
    return ATR_OK;
}

uint64_t atr_params_version(const atr_params *params)
{
    return params->version;
}

void atr_params_touch(atr_params *params)
{
    params->version++;
}
