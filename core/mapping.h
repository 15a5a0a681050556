#ifndef ATR_CORE_MAPPING_H
#define ATR_CORE_MAPPING_H

#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A file's bytes in the address space: read when they are looked at, kept by the system's cache, not by this process. What is written to
 * them stays in this process. */

typedef struct atr_mapping atr_mapping;

/* The whole of a plain file that is not empty. ATR_ERR_NOT_FOUND, ATR_ERR_IO. */
atr_status atr_mapping_open(const char *path, atr_mapping **out);
void atr_mapping_close(atr_mapping *mapping);

/* Bytes [offset, offset + bytes) of the file, borrowed; NULL where it is shorter. */
void *atr_mapping_at(const atr_mapping *mapping, int64_t offset, size_t bytes);

/* Whether these bytes are part of the mapping. */
bool atr_mapping_holds(const atr_mapping *mapping, const void *at, size_t bytes);

/* The pages that lie within these bytes, which must lie in the mapping, take no memory of this process until they are looked at again; what
 * was written to them is lost. */
void atr_mapping_drop(const atr_mapping *mapping, const void *at, size_t bytes);

/* ATR_ERR_IO when the file was written to since it was opened: looking at it may end the process then. (A new file under its name is
 * another file, and harmless.) */
atr_status atr_mapping_check(const atr_mapping *mapping);

#endif
