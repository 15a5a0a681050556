#include "io/names.h"

#include <string.h>
#include <xxhash.h>

/* Open addressing with linear probing, at most half full. */
typedef struct slot {
    uint64_t hash;
    char *name; /* NULL: free */
    size_t length;
    int64_t position;
} slot;

struct atr_names {
    int64_t count, capacity; /* capacity: a power of two */
    slot *slots;
};

enum { FIRST_CAPACITY = 64 };

atr_status atr_names_create(atr_names **out)
{
    atr_status status = ATR_OK;
    atr_names *names = NULL;

    *out = NULL;
    ATR_TRY(ATR_NEW(1, &names));
    ATR_TRY(ATR_NEW(FIRST_CAPACITY, &names->slots));
    names->capacity = FIRST_CAPACITY;
    *out = names;
    names = NULL;

done:
    atr_names_destroy(names);
    return status;
}

void atr_names_destroy(atr_names *names)
{
    if (names == NULL)
        return;
    for (int64_t i = 0; i < names->capacity; i++)
        atr_free(names->slots[i].name);
    atr_free(names->slots);
    atr_free(names);
}

/* The slot that holds the name, or the free one where it belongs. */
static slot *probe(slot *slots, int64_t capacity, uint64_t hash, const char *name, size_t length)
{
    uint64_t i = hash & (uint64_t)(capacity - 1);

    while (slots[i].name != NULL &&
           (slots[i].hash != hash || slots[i].length != length || memcmp(slots[i].name, name, length) != 0))
        i = (i + 1) & (uint64_t)(capacity - 1);
    return &slots[i];
}

int64_t atr_names_find(const atr_names *names, const char *name, size_t length)
{
    const slot *s = probe(names->slots, names->capacity, XXH3_64bits(name, length), name, length);

    return s->name != NULL ? s->position : -1;
}

static atr_status widen(atr_names *names)
{
    slot *fresh = NULL;
    const atr_status status = ATR_NEW(names->capacity * 2, &fresh);

    if (status != ATR_OK)
        return status;
    for (int64_t i = 0; i < names->capacity; i++) {
        const slot *old = &names->slots[i];
        if (old->name != NULL)
            *probe(fresh, names->capacity * 2, old->hash, old->name, old->length) = *old;
    }
    atr_free(names->slots);
    names->slots = fresh;
    names->capacity *= 2;
    return ATR_OK;
}

atr_status atr_names_add(atr_names *names, const char *name, size_t length, int64_t position)
{
    atr_status status = ATR_OK;
    const uint64_t hash = XXH3_64bits(name, length);
    char *copy = NULL;

    if (names->count * 2 >= names->capacity)
        ATR_TRY(widen(names));
    ATR_TRY(ATR_NEW((int64_t)length + 1, &copy));
    memcpy(copy, name, length);
    *probe(names->slots, names->capacity, hash, name, length) = (slot){hash, copy, length, position};
    names->count++;

done:
    return status;
}
