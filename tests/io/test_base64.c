#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "io/base64.h"

static void decodes(const char *text, const char *expected)
{
    void *bytes = NULL;
    size_t size = 0;

    if (atr_base64_decode(text, strlen(text), &bytes, &size) != ATR_OK)
        fail_msg("%s: %s", text, atr_status_message());
    assert_int_equal(size, strlen(expected));
    assert_memory_equal(bytes, expected, size);
    atr_free(bytes);
}

static void refuses(const char *text, size_t length, const char *words)
{
    void *bytes = NULL;
    size_t size = 0;

    assert_int_equal(atr_base64_decode(text, length, &bytes, &size), ATR_ERR_DATA);
    assert_null(bytes);
    if (strstr(atr_status_message(), words) == NULL)
        fail_msg("'%s' lacks '%s'", atr_status_message(), words);
}

/* The examples of RFC 4648, section 10. */
static void the_standard_examples_decode(void **state)
{
    (void)state;
    decodes("", "");
    decodes("Zg==", "f");
    decodes("Zm8=", "fo");
    decodes("Zm9v", "foo");
    decodes("Zm9vYg==", "foob");
    decodes("Zm9vYmE=", "fooba");
    decodes("Zm9vYmFy", "foobar");
}

static void blanks_and_missing_padding_are_forgiven(void **state)
{
    (void)state;
    decodes(" Zm9v\r\nYmE\t=\n", "fooba");
    decodes("Zm9vYmE", "fooba");
    decodes("Zg", "f");
    decodes("+/+/", "\xFB\xFF\xBF");
}

static void garbage_is_refused_with_its_place(void **state)
{
    (void)state;
    refuses("Zm9v?mFy", 8, "'?' at letter 5");
    refuses("Zm\xC3\xA4v", 5, "byte 195 at letter 3");
    refuses("Zm9\0YmFy", 8, "byte 0 at letter 4");
    refuses("Zm8=Zm8=", 8, "'Z' at letter 5");
    refuses("Zg===", 5, "'=' at letter 5");
    refuses("Zm9vY", 5, "cut off");
    refuses("data:image/png;base64,Zm9v", 26, "':' at letter 5");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_standard_examples_decode),
        cmocka_unit_test(blanks_and_missing_padding_are_forgiven),
        cmocka_unit_test(garbage_is_refused_with_its_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
