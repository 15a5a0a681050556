#ifndef ATR_IO_PICKLE_IMPL_H
#define ATR_IO_PICKLE_IMPL_H

#include "core/mem.h"
#include "io/pickle.h"

/* Where the values of a pickle live; the machine in pickle.c makes them. */

typedef struct value_list {
    atr_pickle_value **at;
    int64_t count, capacity;
} value_list;

typedef struct value_pool value_pool;

struct atr_pickle {
    value_pool *pools;
    int64_t values;        /* made so far */
    value_list containers; /* that own an item array */
    value_list names;      /* globals: they own their text */
    value_list persids;
    atr_pickle_value *root;
};

atr_status atr_pickle_push(value_list *to, atr_pickle_value *v);

/* A fresh value, zeroed but for its kind; owned by the pickle. ATR_ERR_DATA over ATR_PICKLE_MAX_VALUES. */
atr_status atr_pickle_new(atr_pickle *pickle, atr_pickle_kind kind, atr_pickle_value **out);

/* Appends `count` values to the items of `to`. */
atr_status atr_pickle_append(atr_pickle *pickle, atr_pickle_value *to, atr_pickle_value *const *from,
                             int64_t count);

#endif
