#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/cpu.h"

static void every_level_has_a_name_that_is_read_back(void **state)
{
    (void)state;
    for (int i = 0; i < ATR_ISA_LEVELS; i++) {
        atr_isa level = ATR_ISA_LEVELS;
        assert_int_equal(atr_isa_parse(atr_isa_name((atr_isa)i), &level), ATR_OK);
        assert_int_equal(level, i);
    }
    assert_string_equal(atr_isa_name((atr_isa)99), "unknown");
}

static void an_unknown_level_names_the_known(void **state)
{
    atr_isa level = ATR_ISA_LEVELS;

    (void)state;
    assert_int_equal(atr_isa_parse("avx1024", &level), ATR_ERR_USAGE);
    assert_non_null(strstr(atr_status_message(), "avx1024"));
    assert_non_null(strstr(atr_status_message(), "avx512_bf16"));
    assert_int_equal(level, ATR_ISA_LEVELS);
}

/* What atr_isa_level() says in a fresh process with ATR_ISA set to `cap` (NULL: unset). */
static int level_under(const char *cap)
{
    int status = 0;
    const pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        if (cap != NULL)
            setenv("ATR_ISA", cap, 1);
        else
            unsetenv("ATR_ISA");
        _exit((int)atr_isa_level() + (atr_isa_check() == ATR_OK ? 0 : 100));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void the_environment_caps_what_the_machine_can(void **state)
{
    const int most = (int)atr_isa_detected();

    (void)state;
    printf("this machine: %s\n", atr_isa_name((atr_isa)most));
    assert_int_equal(level_under(NULL), most);
    for (int i = 0; i < ATR_ISA_LEVELS; i++)
        assert_int_equal(level_under(atr_isa_name((atr_isa)i)), i < most ? i : most);
    assert_int_equal(level_under(""), most);
    assert_int_equal(level_under("mmx"), most + 100); /* told by the check, capped by nothing */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_level_has_a_name_that_is_read_back),
        cmocka_unit_test(an_unknown_level_names_the_known),
        cmocka_unit_test(the_environment_caps_what_the_machine_can),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
