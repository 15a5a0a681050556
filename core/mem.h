#ifndef ATR_CORE_MEM_H
#define ATR_CORE_MEM_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

/* The one place where memory is taken. Blocks are aligned to ATR_ALIGN bytes (a cache line and an AVX-512
 * register), sizes are checked for overflow, and host blocks start as zeros. */

enum { ATR_ALIGN = 64 };

/* `count` elements of `element` bytes, zeroed, in `*out`; NULL in `*out` for a count of 0.
 * ATR_ERR_MEMORY names the size. Free with atr_free(). */
atr_status atr_alloc(int64_t count, size_t element, void **out);

/* atr_alloc() for a typed pointer: ATR_TRY(ATR_NEW(n, &pointer)). */
#define ATR_NEW(count, out) atr_alloc((count), sizeof **(out), (void **)(out))

/* Changes the size of a block from atr_alloc(), old contents kept, new elements zeroed. `*block` stays valid on failure. */
atr_status atr_grow(int64_t old_count, int64_t new_count, size_t element, void **block);

void atr_free(void *block);

/* A copy of `text` in `*out`, to be freed with atr_free(). */
atr_status atr_strdup(const char *text, char **out);

/* printf into a fresh string in `*out`, to be freed with atr_free(). */
atr_status atr_format(char **out, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* `bytes` rounded up to a multiple of ATR_ALIGN. */
size_t atr_align_up(size_t bytes);

/* Where blocks come from: the host, or a device. `take` may return NULL. */
typedef struct atr_allocator {
    void *(*take)(void *user, size_t bytes);
    void (*give)(void *user, void *block);
    void *user;
} atr_allocator;

/* The host's allocator: aligned, zeroed; pages of a large block that are never written take no memory. */
extern const atr_allocator atr_host_allocator;

/* One block for one lifetime, sized before its first use; pieces are offsets that the owner plans (see dnn/plan_memory). */
typedef struct atr_arena atr_arena;

atr_status atr_arena_create(const atr_allocator *allocator, size_t bytes, atr_arena **out);
void *atr_arena_at(const atr_arena *arena, size_t offset);
size_t atr_arena_bytes(const atr_arena *arena);
void atr_arena_destroy(atr_arena *arena);

#endif
