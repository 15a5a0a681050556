#include "core/mem.h"

#include <assert.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { HUGE_PAGE = 2 << 20 };

struct atr_arena {
    atr_allocator allocator;
    void *block;
    size_t bytes;
};

size_t atr_align_up(size_t bytes)
{
    return (bytes + ATR_ALIGN - 1) / ATR_ALIGN * ATR_ALIGN;
}

/* Large blocks are aligned to huge pages and offered to the kernel as such: fewer TLB misses in wide convolutions. What does not fill
 * the last one stays in small pages: it would take two megabytes for a few bytes. */
static void offer_huge_pages(void *block, size_t bytes)
{
    madvise(block, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
}

static void *host_take(size_t bytes)
{
    const size_t align = bytes >= HUGE_PAGE ? HUGE_PAGE : ATR_ALIGN;
    void *block = NULL;

    if (bytes > SIZE_MAX - ATR_ALIGN || posix_memalign(&block, align, atr_align_up(bytes)) != 0)
        return NULL;
    if (align == HUGE_PAGE)
        offer_huge_pages(block, bytes);
    memset(block, 0, bytes);
    return block;
}

/* Where the block that holds an arena's memory begins; stands right before that memory. */
typedef struct arena_head {
    void *block;
} arena_head;

/* As host_take(), but pages that nobody writes take no memory: calloc() of a large block gets zeroed pages from the system and does
 * not touch them. A frozen network's gradients and moments cost nothing so, and each page lies near the thread that fills it first. */
static void *arena_take(void *user, size_t bytes)
{
    const size_t align = bytes >= HUGE_PAGE ? HUGE_PAGE : ATR_ALIGN, head = sizeof(arena_head);

    (void)user;
    if (bytes > SIZE_MAX - 2 * align - head)
        return NULL;
    const size_t rounded = (bytes + align - 1) / align * align;
    char *const block = calloc(1, rounded + align + head);
    if (block == NULL)
        return NULL;
    char *const start = block + head + (align - ((uintptr_t)block + head) % align) % align;
    if (align == HUGE_PAGE)
        offer_huge_pages(start, bytes);
    memcpy(start - head, &(arena_head){block}, head);
    return start;
}

static void arena_give(void *user, void *start)
{
    arena_head head;

    (void)user;
    if (start == NULL)
        return;
    memcpy(&head, (char *)start - sizeof head, sizeof head);
    free(head.block);
}

const atr_allocator atr_host_allocator = {arena_take, arena_give, NULL};

atr_status atr_alloc(int64_t count, size_t element, void **out)
{
    size_t bytes = 0;

    *out = NULL;
    if (count < 0 || __builtin_mul_overflow((size_t)count, element, &bytes))
        return atr_fail(ATR_ERR_MEMORY, "cannot allocate %lld elements of %zu bytes", (long long)count,
                        element);
    if (bytes == 0)
        return ATR_OK;
    *out = host_take(bytes);
    if (*out == NULL)
        return atr_fail(ATR_ERR_MEMORY, "cannot allocate %.1f MiB", (double)bytes / (1 << 20));
    return ATR_OK;
}

atr_status atr_grow(int64_t old_count, int64_t new_count, size_t element, void **block)
{
    void *fresh = NULL;
    const atr_status status = atr_alloc(new_count, element, &fresh);

    if (status != ATR_OK)
        return status;
    const int64_t kept = old_count < new_count ? old_count : new_count;
    if (kept > 0)
        memcpy(fresh, *block, (size_t)kept * element);
    atr_free(*block);
    *block = fresh;
    return ATR_OK;
}

void atr_free(void *block)
{
    free(block);
}

atr_status atr_strdup(const char *text, char **out)
{
    return atr_format(out, "%s", text);
}

atr_status atr_format(char **out, const char *format, ...)
{
    va_list args;

    *out = NULL;
    va_start(args, format);
    const int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0)
        return atr_fail(ATR_ERR_INTERNAL, "cannot format text");
    const atr_status status = atr_alloc(length + 1, 1, (void **)out);
    if (status != ATR_OK)
        return status;
    va_start(args, format);
    vsnprintf(*out, (size_t)length + 1, format, args);
    va_end(args);
    return ATR_OK;
}

atr_status atr_arena_create(const atr_allocator *allocator, size_t bytes, atr_arena **out)
{
    atr_arena *arena = NULL;
    const atr_status status = ATR_NEW(1, &arena);

    *out = NULL;
    if (status != ATR_OK)
        return status;
    arena->allocator = *allocator;
    arena->bytes = bytes;
    arena->block = bytes == 0 ? NULL : allocator->take(allocator->user, bytes);
    if (bytes != 0 && arena->block == NULL) {
        atr_free(arena);
        return atr_fail(ATR_ERR_MEMORY, "cannot allocate an arena of %.1f MiB", (double)bytes / (1 << 20));
    }
    *out = arena;
    return ATR_OK;
}

void *atr_arena_at(const atr_arena *arena, size_t offset)
{
    assert(offset <= arena->bytes);
    return (char *)arena->block + offset;
}

size_t atr_arena_bytes(const atr_arena *arena)
{
    return arena->bytes;
}

void atr_arena_destroy(atr_arena *arena)
{
    if (arena == NULL)
        return;
    if (arena->block != NULL)
        arena->allocator.give(arena->allocator.user, arena->block);
    atr_free(arena);
}
