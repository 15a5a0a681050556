#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "core/rng.h"

/* The numbers of ../shared/parity/README.md section 1. */
static void known_values_are_met(void **state)
{
    const uint64_t key = UINT64_C(0x1ebbae8f5810b65b) ^ 1001;
    const uint64_t z[] = {UINT64_C(0xde67892288645a74), UINT64_C(0xab5d95f17899c9cc),
                          UINT64_C(0xc8cd512f74f5926b), UINT64_C(0xc95ae685c09a368b)};
    const double u[] = {0.8687673211, 0.6693966985, 0.7843828797, 0.7865432501};

    (void)state;
    assert_int_equal(atr_fnv1a64(""), UINT64_C(0xcbf29ce484222325));
    assert_int_equal(atr_fnv1a64("a"), UINT64_C(0xaf63dc4c8601ec8c));
    assert_int_equal(atr_fnv1a64("input"), UINT64_C(0x1ebbae8f5810b65b));
    assert_int_equal(atr_mix64(1), UINT64_C(0x5692161d100b05e5));
    assert_int_equal(key, UINT64_C(0x1ebbae8f5810b5b2));
    for (uint64_t i = 0; i < 4; i++) {
        assert_int_equal(atr_rng_u64(key, i), z[i]);
        assert_true(fabs(atr_rng_unit(key, i) - u[i]) < 1e-10);
    }
}

static void unit_numbers_fill_the_interval_evenly(void **state)
{
    enum { COUNT = 100000, BINS = 20 };
    int bins[BINS] = {0};
    double sum = 0;

    (void)state;
    for (uint64_t i = 0; i < COUNT; i++) {
        const double u = atr_rng_unit(12345, i);
        assert_true(u >= 0 && u < 1 && u == (double)(float)u);
        bins[(int)(u * BINS)]++;
        sum += u;
    }
    assert_true(fabs(sum / COUNT - 0.5) < 0.005);
    double chi2 = 0;
    for (int i = 0; i < BINS; i++) {
        const double d = bins[i] - (double)COUNT / BINS;
        chi2 += d * d / ((double)COUNT / BINS);
    }
    assert_true(chi2 < 50); /* 19 degrees of freedom: 1 in 7000 */
}

static void normal_numbers_have_mean_0_and_variance_1(void **state)
{
    enum { COUNT = 100000 };
    double sum = 0, squares = 0, fourth = 0;

    (void)state;
    for (uint64_t i = 0; i < COUNT; i++) {
        const double x = atr_rng_normal(99, i);
        assert_true(isfinite(x));
        sum += x;
        squares += x * x;
        fourth += x * x * x * x;
    }
    assert_true(fabs(sum / COUNT) < 0.015);
    assert_true(fabs(squares / COUNT - 1) < 0.02);
    assert_true(fabs(fourth / COUNT - 3) < 0.15);
}

static void streams_of_any_two_keys_differ(void **state)
{
    uint64_t keys[2 * 6 * 4 * 4];
    int count = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 2; seed++)
        for (int purpose = ATR_RNG_INIT; purpose <= ATR_RNG_TEST; purpose++)
            for (uint64_t a = 0; a < 4; a++)
                for (uint64_t b = 0; b < 4; b++)
                    keys[count++] = atr_rng_key(seed, (atr_rng_purpose)purpose, a, b);
    for (int i = 0; i < count; i++)
        for (int j = 0; j < i; j++)
            assert_true(keys[i] != keys[j]);
}

static void neighbouring_streams_are_not_correlated(void **state)
{
    enum { COUNT = 20000 };

    (void)state;
    for (uint64_t sample = 0; sample < 8; sample++) {
        const uint64_t a = atr_rng_key(1, ATR_RNG_AUGMENT, 0, sample),
                       b = atr_rng_key(1, ATR_RNG_AUGMENT, 0, sample + 1);
        double product = 0;
        for (uint64_t i = 0; i < COUNT; i++)
            product += (atr_rng_unit(a, i) - 0.5) * (atr_rng_unit(b, i) - 0.5);
        assert_true(fabs(12 * product / COUNT) < 5 / sqrt(COUNT));
    }
}

static void bounded_numbers_reach_all_values_and_no_other(void **state)
{
    int seen[7] = {0};

    (void)state;
    for (uint64_t i = 0; i < 7000; i++) {
        const uint64_t x = atr_rng_below(5, i, 7);
        assert_true(x < 7);
        seen[x]++;
    }
    for (int i = 0; i < 7; i++)
        assert_in_range(seen[i], 850, 1150);
    assert_int_equal(atr_rng_below(5, 3, 1), 0);
    assert_true(atr_rng_below(5, 3, UINT64_MAX) < UINT64_MAX);
}

static void a_shuffle_is_a_permutation_that_depends_on_the_key_only(void **state)
{
    enum { COUNT = 367 };
    int64_t order[COUNT], again[COUNT], other[COUNT];
    int seen[COUNT] = {0}, moved = 0, same = 0;

    (void)state;
    atr_rng_shuffle(42, COUNT, order);
    atr_rng_shuffle(42, COUNT, again);
    atr_rng_shuffle(43, COUNT, other);
    assert_memory_equal(order, again, sizeof order);
    for (int i = 0; i < COUNT; i++) {
        assert_true(order[i] >= 0 && order[i] < COUNT);
        seen[order[i]]++;
        moved += order[i] != i;
        same += order[i] == other[i];
    }
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(seen[i], 1);
    assert_true(moved > COUNT - 12);
    assert_true(same < 12);
}

static void every_permutation_is_equally_likely(void **state)
{
    enum { ROUNDS = 24000 };
    int seen[27] = {0};

    (void)state;
    for (uint64_t key = 0; key < ROUNDS; key++) {
        int64_t order[3];
        atr_rng_shuffle(atr_mix64(key), 3, order);
        seen[order[0] * 9 + order[1] * 3 + order[2]]++;
    }
    for (int i = 0; i < 27; i++)
        assert_true(seen[i] == 0 || (seen[i] > ROUNDS / 6 - 300 && seen[i] < ROUNDS / 6 + 300));
}

static void shuffles_of_none_and_one_are_harmless(void **state)
{
    int64_t order[1] = {-1};

    (void)state;
    atr_rng_shuffle(1, 0, order);
    assert_int_equal(order[0], -1);
    atr_rng_shuffle(1, 1, order);
    assert_int_equal(order[0], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_values_are_met),
        cmocka_unit_test(unit_numbers_fill_the_interval_evenly),
        cmocka_unit_test(normal_numbers_have_mean_0_and_variance_1),
        cmocka_unit_test(streams_of_any_two_keys_differ),
        cmocka_unit_test(neighbouring_streams_are_not_correlated),
        cmocka_unit_test(bounded_numbers_reach_all_values_and_no_other),
        cmocka_unit_test(a_shuffle_is_a_permutation_that_depends_on_the_key_only),
        cmocka_unit_test(every_permutation_is_equally_likely),
        cmocka_unit_test(shuffles_of_none_and_one_are_harmless),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
