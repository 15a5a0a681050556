#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "apps/placement.h"

static atr_place place(int node, const char *host, const char *cores, int threads)
{
    atr_place p = {.node = node, .threads = threads};

    assert_true(atr_cpu_mask_parse(cores, &p.mask));
    snprintf(p.host, sizeof p.host, "%s", host);
    snprintf(p.domains, sizeof p.domains, "0");
    return p;
}

static void expect_warning(const atr_place *places, int count, const char *wanted)
{
    atr_text text = {0};

    atr_place_warning(places, count, &text);
    assert_int_equal(text.status, ATR_OK);
    if (wanted == NULL)
        assert_null(text.bytes);
    else
        assert_non_null(strstr(text.bytes, wanted));
    atr_free(text.bytes);
}

static void ranks_with_their_own_cores_are_left_in_peace(void **state)
{
    const atr_place places[] = {place(0, "c1", "0-7", 8), place(0, "c1", "8-15", 8),
                                place(2, "c2", "0-7", 8)};

    (void)state;
    expect_warning(places, 3, NULL);
    expect_warning(places, 1, NULL);
}

static void the_first_pair_on_the_same_cores_is_named(void **state)
{
    const atr_place places[] = {place(0, "c1", "0-7", 8), place(1, "c2", "0-5", 2), place(1, "c2", "6-7", 2),
                                place(1, "c2", "5-7", 2)};

    (void)state;
    expect_warning(places, 4, "R02: ranks 1 and 3 on node c2 may run on the same cores (0-7)");
    expect_warning(places, 4, "ppr:3:node:PE=2");
    expect_warning(places, 3, NULL);
}

static void more_ranks_than_cores_or_quota_are_too_many(void **state)
{
    atr_place places[] = {place(0, "c1", "0-1", 1), place(0, "c1", "0-1", 1), place(0, "c1", "0-1", 1)};

    (void)state;
    expect_warning(places, 3, "R02: 3 ranks on 2 cores of node c1: 1.5x too many");
    for (int i = 0; i < 3; i++) {
        places[i] = place(0, "c1", i == 0 ? "0-3" : i == 1 ? "4-7" : "8-11", 1);
        places[i].quota = 1.5;
    }
    expect_warning(places, 3, "R02: 3 ranks on 2 cores of node c1");
}

static void nodes_that_look_alike_are_told_once(void **state)
{
    const atr_place places[] = {place(0, "c1", "0-3", 4), place(0, "c1", "4-7", 4), place(2, "c2", "0-3", 4),
                                place(2, "c2", "4-7", 4), place(4, "c3", "0-7", 8)};
    atr_text text = {0};
    char *map = NULL;

    (void)state;
    atr_place_map(places, 5, &text);
    assert_int_equal(atr_text_take(&text, &map), ATR_OK);
    assert_non_null(strstr(map, "     0  c1                   0-3              0      4\n"));
    assert_non_null(strstr(map, "     1  c1                   4-7              0      4\n"));
    assert_non_null(strstr(map, "and 1 more node like it\n"));
    assert_null(strstr(map, "c2"));
    assert_non_null(strstr(map, "     4  c3                   0-7              0      8\n"));
    atr_free(map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_with_their_own_cores_are_left_in_peace),
        cmocka_unit_test(the_first_pair_on_the_same_cores_is_named),
        cmocka_unit_test(more_ranks_than_cores_or_quota_are_too_many),
        cmocka_unit_test(nodes_that_look_alike_are_told_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
