#ifndef ATR_IO_NAMES_H
#define ATR_IO_NAMES_H

#include "core/mem.h"

/* A hash table from names to positions, for files that may hold very many of them. Keys are copied. */

typedef struct atr_names atr_names;

atr_status atr_names_create(atr_names **out);
void atr_names_destroy(atr_names *names);

/* Position of the name of `length` bytes, or -1. */
int64_t atr_names_find(const atr_names *names, const char *name, size_t length);

/* Adds a name that is not there yet, with its position (>= 0). */
atr_status atr_names_add(atr_names *names, const char *name, size_t length, int64_t position);

#endif
