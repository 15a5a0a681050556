#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "io/split.h"
#include "tests/support/scratch.h"

static atr_split_rule *rule_of(const char *shares, const char *regex, uint64_t seed)
{
    atr_split_rule *rule = NULL;

    if (atr_split_rule_create(shares, regex, seed, &rule) != ATR_OK)
        fail_msg("%s", atr_status_message());
    return rule;
}

static void shares_come_out_about_right(void **state)
{
    (void)state;
    atr_split_rule *rule = rule_of("8:1:1", NULL, 1);
    int count[ATR_SPLITS] = {0};

    for (int i = 0; i < 10000; i++)
        count[atr_split_of(rule, scratch_text("scene_%05d", i))]++;
    assert_in_range(count[ATR_SPLIT_TRAIN], 7850, 8150);
    assert_in_range(count[ATR_SPLIT_VAL], 900, 1100);
    assert_in_range(count[ATR_SPLIT_TEST], 900, 1100);
    atr_split_rule_destroy(rule);
    rule = rule_of("0.9:0.1", NULL, 1);
    for (int i = 0; i < 10000; i++)
        assert_int_not_equal(atr_split_of(rule, scratch_text("scene_%05d", i)), ATR_SPLIT_TEST);
    atr_split_rule_destroy(rule);
}

/* The part of a name is a promise to data sets that grow: it must not change from version to version either. */
static void a_name_keeps_its_part(void **state)
{
    (void)state;
    atr_split_rule *a = rule_of("0.5:0.5", NULL, 1), *b = rule_of("50:50", NULL, 1),
                   *other = rule_of("1:1", NULL, 2);
    uint64_t word = 0;
    int moved = 0;

    for (int i = 0; i < 64; i++) {
        const char *name = scratch_text("IMG_%04d", i);
        assert_int_equal(atr_split_of(a, name), atr_split_of(b, name));
        moved += atr_split_of(a, name) != atr_split_of(other, name);
        word |= (uint64_t)(atr_split_of(a, name) == ATR_SPLIT_VAL) << i;
    }
    assert_true(moved > 10);
    assert_true(word == 0xBE74E3338DC82110u);
    atr_split_rule_destroy(a);
    atr_split_rule_destroy(b);
    atr_split_rule_destroy(other);
}

static void a_group_stays_together(void **state)
{
    (void)state;
    atr_split_rule *rule = rule_of("0.5:0.5", "(.*)_tile", 3);
    int seen[ATR_SPLITS] = {0};

    for (int scene = 0; scene < 50; scene++) {
        const atr_split first = atr_split_of(rule, scratch_text("s%d_tile0", scene));
        seen[first]++;
        for (int tile = 1; tile < 20; tile++)
            assert_int_equal(atr_split_of(rule, scratch_text("s%d_tile%d", scene, tile)), first);
    }
    assert_true(seen[ATR_SPLIT_TRAIN] > 5 && seen[ATR_SPLIT_VAL] > 5);
    atr_split_rule_destroy(rule);
}

static void shares_without_meaning_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",   "1",        "a:b",   "0.9:-0.1", "1:1:1:1", "0:1",        ":",
                                      "1:", "0.9:0.1:", "nan:1", "1:inf",    "0.9;0.1", "1e308:1e308"};
    atr_split_rule *rule = NULL;
    atr_split split;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(atr_split_rule_create(bad[i], NULL, 1, &rule), ATR_ERR_USAGE);
        assert_null(rule);
    }
    assert_int_equal(atr_split_rule_create("1:1", "(", 1, &rule), ATR_ERR_USAGE);
    assert_non_null(strstr(atr_status_message(), "--group-regex"));
    assert_int_equal(atr_split_parse("val", &split), ATR_OK);
    assert_int_equal(split, ATR_SPLIT_VAL);
    assert_int_equal(atr_split_parse("dev", &split), ATR_ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_come_out_about_right),
        cmocka_unit_test(a_name_keeps_its_part),
        cmocka_unit_test(a_group_stays_together),
        cmocka_unit_test(shares_without_meaning_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
