#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/mem.h"

static void blocks_are_aligned_and_zeroed(void **state)
{
    const int64_t sizes[] = {1, 63, 64, 65, 4096, (2 << 20) - 1, 2 << 20, (2 << 20) + 1};

    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        uint8_t *block = NULL;
        assert_int_equal(ATR_NEW(sizes[s], &block), ATR_OK);
        assert_int_equal((uintptr_t)block % ATR_ALIGN, 0);
        for (int64_t i = 0; i < sizes[s]; i++)
            assert_int_equal(block[i], 0);
        memset(block, 0xA5, (size_t)sizes[s]);
        atr_free(block);
    }
}

static void nothing_is_a_null_pointer(void **state)
{
    double *block = (double *)1;

    (void)state;
    assert_int_equal(ATR_NEW(0, &block), ATR_OK);
    assert_null(block);
    atr_free(block);
}

static void a_size_that_overflows_is_a_message(void **state)
{
    void *block = (void *)1;

    (void)state;
    assert_int_equal(atr_alloc(INT64_MAX, 8, &block), ATR_ERR_MEMORY);
    assert_null(block);
    assert_int_equal(atr_alloc(-1, 1, &block), ATR_ERR_MEMORY);
    assert_int_equal(atr_alloc(INT64_MIN, 4, &block), ATR_ERR_MEMORY);
    assert_int_equal(atr_alloc((int64_t)1 << 33, (size_t)1 << 31, &block), ATR_ERR_MEMORY);
    assert_int_equal(atr_alloc(1, SIZE_MAX, &block), ATR_ERR_MEMORY);
    assert_int_equal(atr_alloc(1, SIZE_MAX - 100, &block), ATR_ERR_MEMORY);
    assert_non_null(strstr(atr_status_message(), "MiB"));
}

static void growing_keeps_the_old_and_clears_the_new(void **state)
{
    int64_t *block = NULL;

    (void)state;
    assert_int_equal(atr_grow(0, 3, sizeof *block, (void **)&block), ATR_OK);
    for (int i = 0; i < 3; i++)
        block[i] = i + 1;
    assert_int_equal(atr_grow(3, 1000, sizeof *block, (void **)&block), ATR_OK);
    assert_int_equal(block[2], 3);
    assert_int_equal(block[3], 0);
    assert_int_equal(block[999], 0);
    assert_int_equal(atr_grow(1000, 2, sizeof *block, (void **)&block), ATR_OK);
    assert_int_equal(block[1], 2);
    atr_free(block);
}

static void a_failed_growth_keeps_the_block(void **state)
{
    int64_t *block = NULL;

    (void)state;
    assert_int_equal(ATR_NEW(4, &block), ATR_OK);
    block[3] = 7;
    assert_int_equal(atr_grow(4, INT64_MAX, sizeof *block, (void **)&block), ATR_ERR_MEMORY);
    assert_int_equal(block[3], 7);
    atr_free(block);
}

static void strings_are_copied_and_formatted_at_any_length(void **state)
{
    char *text = NULL, *longer = NULL;

    (void)state;
    assert_int_equal(atr_strdup("100% %s", &text), ATR_OK);
    assert_string_equal(text, "100% %s");
    atr_free(text);
    assert_int_equal(atr_format(&longer, "%05000d|%s", 7, "end"), ATR_OK);
    assert_int_equal(strlen(longer), 5004);
    assert_string_equal(longer + 4999, "7|end");
    atr_free(longer);
    assert_int_equal(atr_strdup("", &text), ATR_OK);
    assert_string_equal(text, "");
    atr_free(text);
}

static void sizes_round_up_to_cache_lines(void **state)
{
    (void)state;
    assert_int_equal(atr_align_up(0), 0);
    assert_int_equal(atr_align_up(1), 64);
    assert_int_equal(atr_align_up(64), 64);
    assert_int_equal(atr_align_up(65), 128);
}

typedef struct counting {
    int taken, given;
} counting;

static void *count_take(void *user, size_t bytes)
{
    ((counting *)user)->taken++;
    return bytes > 1 << 20 ? NULL : malloc(bytes);
}

static void count_give(void *user, void *block)
{
    ((counting *)user)->given++;
    free(block);
}

static void an_arena_is_one_block_of_its_allocator(void **state)
{
    counting count = {0, 0};
    const atr_allocator allocator = {count_take, count_give, &count};
    atr_arena *arena = NULL;

    (void)state;
    assert_int_equal(atr_arena_create(&allocator, 1000, &arena), ATR_OK);
    assert_int_equal(atr_arena_bytes(arena), 1000);
    assert_ptr_equal((char *)atr_arena_at(arena, 0) + 640, atr_arena_at(arena, 640));
    atr_arena_destroy(arena);
    assert_int_equal(count.taken, 1);
    assert_int_equal(count.given, 1);
    atr_arena_destroy(NULL);
}

static void an_allocator_that_refuses_is_a_message(void **state)
{
    counting count = {0, 0};
    const atr_allocator allocator = {count_take, count_give, &count};
    atr_arena *arena = (atr_arena *)1;

    (void)state;
    assert_int_equal(atr_arena_create(&allocator, 2 << 20, &arena), ATR_ERR_MEMORY);
    assert_null(arena);
    assert_int_equal(count.given, 0);
}

static void an_empty_arena_asks_for_nothing(void **state)
{
    counting count = {0, 0};
    const atr_allocator allocator = {count_take, count_give, &count};
    atr_arena *arena = NULL;

    (void)state;
    assert_int_equal(atr_arena_create(&allocator, 0, &arena), ATR_OK);
    atr_arena_destroy(arena);
    assert_int_equal(count.taken + count.given, 0);
}

/* MiB of this process in memory. */
static double resident(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    long pages = 0;

    assert_non_null(file);
    assert_int_equal(fscanf(file, "%*s %ld", &pages), 1);
    fclose(file);
    return (double)pages * (double)sysconf(_SC_PAGESIZE) / (1 << 20);
}

static void an_arena_takes_memory_where_it_is_written(void **state)
{
    const char *const sanitizer = getenv("ATR_SANITIZE");
    const size_t bytes = (size_t)256 << 20, part = (size_t)32 << 20;
    const double before = resident();
    atr_arena *arena = NULL;

    (void)state;
    if (sanitizer != NULL && sanitizer[0] != '\0')
        skip(); /* its allocator has its own mind */
    assert_int_equal(atr_arena_create(&atr_host_allocator, bytes, &arena), ATR_OK);
    memset((char *)atr_arena_at(arena, 0) + part, 1, part);
    assert_true(resident() - before >= 31 && resident() - before < 64);
    assert_int_equal(*(char *)atr_arena_at(arena, bytes - 1), 0);
    atr_arena_destroy(arena);
    assert_true(resident() - before < 31);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_aligned_and_zeroed),
        cmocka_unit_test(nothing_is_a_null_pointer),
        cmocka_unit_test(a_size_that_overflows_is_a_message),
        cmocka_unit_test(growing_keeps_the_old_and_clears_the_new),
        cmocka_unit_test(a_failed_growth_keeps_the_block),
        cmocka_unit_test(strings_are_copied_and_formatted_at_any_length),
        cmocka_unit_test(sizes_round_up_to_cache_lines),
        cmocka_unit_test(an_arena_is_one_block_of_its_allocator),
        cmocka_unit_test(an_allocator_that_refuses_is_a_message),
        cmocka_unit_test(an_empty_arena_asks_for_nothing),
        cmocka_unit_test(an_arena_takes_memory_where_it_is_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
