#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <float.h>
#include <math.h>

#include "core/rng.h"
#include "core/text.h"

static void whole_numbers_are_read_whole_or_not_at_all(void **state)
{
    static const char *const bad[] = {
        "", "-", "+", " 1", "1 ", "1.0", "0x10", "1e3", "abc", "9223372036854775808", "--1", "1,2"};
    int64_t value = 42;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(atr_parse_int(bad[i], &value));
    assert_int_equal(value, 42);
    assert_true(atr_parse_int("-9223372036854775808", &value));
    assert_true(value == INT64_MIN);
    assert_true(atr_parse_int("+7", &value));
    assert_int_equal(value, 7);
}

static void real_numbers_are_finite_and_decimal(void **state)
{
    static const char *const bad[] = {"",      ".",  "-",  "e",     "1e",  "nan", "inf", "-inf",
                                      "0x1p3", " 1", "1 ", "1e999", "1,5", "1-2", "1f"};
    double value = 42;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(atr_parse_real(bad[i], &value));
    assert_true(value == 42);
    assert_true(atr_parse_real("-1.5e-3", &value) && value == -1.5e-3);
    assert_true(atr_parse_real(".5", &value) && value == 0.5);
    assert_true(atr_parse_real("5e-324", &value) && value == 5e-324);
}

static void real_text_is_short_and_exact(void **state)
{
    char text[ATR_REAL_TEXT_BYTES];
    const double edges[] = {0,       1,       -1,       0.1,    5e-4,    1e300,
                            DBL_MIN, DBL_MAX, -DBL_MAX, 5e-324, 1.0 / 3, 123456789012345678.0};

    (void)state;
    assert_string_equal(atr_real_text(0.1, text), "0.1");
    assert_string_equal(atr_real_text(5e-4, text), "0.0005");
    assert_string_equal(atr_real_text(25, text), "25");
    for (uint64_t i = 0; i < 20000; i++) {
        const uint64_t bits = atr_rng_u64(7, i);
        double value = 0, back = 0;
        memcpy(&value, &bits, sizeof value);
        if (i < sizeof edges / sizeof edges[0])
            value = edges[i];
        if (!isfinite(value))
            continue;
        assert_true(atr_parse_real(atr_real_text(value, text), &back));
        assert_memory_equal(&value, &back, sizeof value);
    }
    double zero = 1;
    assert_true(atr_parse_real(atr_real_text(-0.0, text), &zero) && signbit(zero));
}

static void edit_distance_counts_slips_of_the_fingers(void **state)
{
    char word[200];

    (void)state;
    assert_int_equal(atr_edit_distance("", ""), 0);
    assert_int_equal(atr_edit_distance("", "abc"), 3);
    assert_int_equal(atr_edit_distance("epochs", "epochs"), 0);
    assert_int_equal(atr_edit_distance("Epochs", "epochs"), 0);
    assert_int_equal(atr_edit_distance("epohcs", "epochs"), 1); /* swapped */
    assert_int_equal(atr_edit_distance("epoch", "epochs"), 1);
    assert_int_equal(atr_edit_distance("ebochs", "epochs"), 1);
    assert_int_equal(atr_edit_distance("kitten", "sitting"), 3);
    memset(word, 'a', sizeof word - 1);
    word[sizeof word - 1] = '\0';
    assert_int_equal(atr_edit_distance(word, "a"), 64);
    word[63] = '\0';
    assert_int_equal(atr_edit_distance(word, word), 0);
}

static void the_nearest_name_is_suggested_if_it_is_near(void **state)
{
    static const char *const names[] = {"epochs", "learning-rate", "augment-flip", "augment-blur",
                                        "lr",     "output-stride"};

    (void)state;
    assert_string_equal(atr_did_you_mean("epoch", names, 6), "epochs");
    assert_string_equal(atr_did_you_mean("epcohs", names, 6), "epochs");
    assert_string_equal(atr_did_you_mean("learningrate", names, 6), "learning-rate");
    assert_string_equal(atr_did_you_mean("learning_rate", names, 6), "learning-rate");
    assert_string_equal(atr_did_you_mean("flip", names, 6), "augment-flip");
    assert_string_equal(atr_did_you_mean("output", names, 6), "output-stride");
    assert_null(atr_did_you_mean("gpu", names, 6));
    assert_null(atr_did_you_mean("", names, 6));
    assert_null(atr_did_you_mean("x", names, 6));
    assert_null(atr_did_you_mean("epochs", names, 0));
}

static void text_grows_piece_by_piece(void **state)
{
    atr_text text = {0};
    char *out = NULL;

    (void)state;
    for (int i = 0; i < 1000; i++)
        atr_text_append(&text, "%d,", i % 10);
    atr_text_append_bytes(&text, "end\n", 3);
    assert_int_equal(atr_text_take(&text, &out), ATR_OK);
    assert_int_equal(strlen(out), 2003);
    assert_string_equal(out + 1996, "8,9,end");
    atr_free(out);
    assert_int_equal(atr_text_take(&text, &out), ATR_OK); /* nothing is the empty string */
    assert_string_equal(out, "");
    atr_free(out);
}

static void a_failed_append_is_told_once_at_the_end(void **state)
{
    atr_text text = {0};
    char *out = (char *)1;

    (void)state;
    atr_text_append(&text, "begin");
    text.status = ATR_ERR_MEMORY;
    atr_text_append(&text, "lost");
    atr_text_append_bytes(&text, "lost", 4);
    assert_int_equal(atr_text_take(&text, &out), ATR_ERR_MEMORY);
    assert_null(out);
    assert_null(text.bytes);
}

static void printable_text_has_no_control_characters_and_fits(void **state)
{
    char out[16];

    (void)state;
    assert_string_equal(atr_printable("a\033[31mb\n", out, sizeof out), "a?[31mb?");
    assert_string_equal(atr_printable("0123456789abcde", out, sizeof out), "0123456789abcde");
    assert_string_equal(atr_printable("0123456789abcdefg", out, sizeof out), "0123456789ab...");
    assert_string_equal(atr_printable("0123456789a\xC3\xA4\xC3\xA4\xC3\xA4", out, sizeof out),
                        "0123456789a...");
}

static void width_counts_letters_not_bytes(void **state)
{
    (void)state;
    assert_int_equal(atr_text_width(""), 0);
    assert_int_equal(atr_text_width("stra\xC3\x9F"
                                    "e"),
                     6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_numbers_are_read_whole_or_not_at_all),
        cmocka_unit_test(real_numbers_are_finite_and_decimal),
        cmocka_unit_test(real_text_is_short_and_exact),
        cmocka_unit_test(edit_distance_counts_slips_of_the_fingers),
        cmocka_unit_test(the_nearest_name_is_suggested_if_it_is_near),
        cmocka_unit_test(text_grows_piece_by_piece),
        cmocka_unit_test(a_failed_append_is_told_once_at_the_end),
        cmocka_unit_test(printable_text_has_no_control_characters_and_fits),
        cmocka_unit_test(width_counts_letters_not_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
