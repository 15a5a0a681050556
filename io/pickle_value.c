#include <string.h>

#include "io/pickle_impl.h"

enum { POOL_VALUES = 256 };

/* Values come from pools, so that they keep their addresses while item arrays grow. */
struct value_pool {
    value_pool *next;
    atr_pickle_value values[POOL_VALUES];
};

atr_status atr_pickle_push(value_list *to, atr_pickle_value *v)
{
    if (to->count == to->capacity) {
        const int64_t capacity = to->capacity == 0 ? 64 : to->capacity * 2;
        const atr_status status = atr_grow(to->capacity, capacity, sizeof *to->at, (void **)&to->at);
        if (status != ATR_OK)
            return status;
        to->capacity = capacity;
    }
    to->at[to->count++] = v;
    return ATR_OK;
}

atr_status atr_pickle_new(atr_pickle *pickle, atr_pickle_kind kind, atr_pickle_value **out)
{
    atr_status status = ATR_OK;
    const int64_t slot = pickle->values % POOL_VALUES;

    if (pickle->values >= ATR_PICKLE_MAX_VALUES)
        return atr_fail(ATR_ERR_DATA, "pickle: more than %d values, which no weight file has",
                        ATR_PICKLE_MAX_VALUES);
    if (slot == 0) {
        value_pool *fresh = NULL;
        ATR_TRY(ATR_NEW(1, &fresh));
        fresh->next = pickle->pools;
        pickle->pools = fresh;
    }
    *out = &pickle->pools->values[slot];
    (*out)->kind = kind;
    pickle->values++;

done:
    return status;
}

atr_status atr_pickle_append(atr_pickle *pickle, atr_pickle_value *to, atr_pickle_value *const *from,
                             int64_t count)
{
    atr_status status = ATR_OK;

    if (count == 0)
        return ATR_OK;
    if (to->count + count > to->capacity) {
        const int64_t capacity = to->capacity * 2 > to->count + count ? to->capacity * 2 : to->count + count;
        if (to->capacity == 0)
            ATR_TRY(atr_pickle_push(&pickle->containers, to));
        ATR_TRY(atr_grow(to->capacity, capacity, sizeof *to->items, (void **)&to->items));
        to->capacity = capacity;
    }
    memcpy(to->items + to->count, from, (size_t)count * sizeof *from);
    to->count += count;

done:
    return status;
}

void atr_pickle_destroy(atr_pickle *pickle)
{
    if (pickle == NULL)
        return;
    for (int64_t i = 0; i < pickle->containers.count; i++)
        atr_free(pickle->containers.at[i]->items);
    for (int64_t i = 0; i < pickle->names.count; i++)
        atr_free((char *)pickle->names.at[i]->text);
    while (pickle->pools != NULL) {
        value_pool *next = pickle->pools->next;
        atr_free(pickle->pools);
        pickle->pools = next;
    }
    atr_free(pickle->containers.at);
    atr_free(pickle->names.at);
    atr_free(pickle->persids.at);
    atr_free(pickle);
}

const atr_pickle_value *atr_pickle_root(const atr_pickle *pickle)
{
    return pickle->root;
}

int64_t atr_pickle_persid_count(const atr_pickle *pickle)
{
    return pickle->persids.count;
}

const atr_pickle_value *atr_pickle_persid(const atr_pickle *pickle, int64_t index)
{
    return pickle->persids.at[index];
}

bool atr_pickle_is_text(const atr_pickle_value *v, const char *text)
{
    return v->kind == ATR_PICKLE_TEXT && v->length == strlen(text) && memcmp(v->text, text, v->length) == 0;
}
