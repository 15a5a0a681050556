#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "apps/precision.h"
#include "io/path.h"
#include "tests/support/network.h"

/* --precision auto with made-up times: this machine need not know bf16. */

static int measured;
static double in_f32, in_bf16;

static atr_status measure(atr_backend *backend, atr_dtype type, double *seconds)
{
    assert_int_equal(backend->precision, ATR_F32);
    measured++;
    *seconds = type == ATR_BF16 ? in_bf16 : in_f32;
    return ATR_OK;
}

typedef struct subject {
    atr_backend *backend;
    char folder[64], path[128];
} subject;

static int set_up(void **state)
{
    static subject s;

    snprintf(s.folder, sizeof s.folder, "/tmp/atrous-precision.XXXXXX");
    assert_non_null(mkdtemp(s.folder));
    snprintf(s.path, sizeof s.path, "%s/cache/atrous/precision", s.folder);
    must(atr_backend_open("cpu", 1, &s.backend));
    measured = 0;
    in_f32 = 2e-3;
    in_bf16 = 1e-3;
    *state = &s;
    return 0;
}

static int tear_down(void **state)
{
    subject *s = *state;
    char path[160];

    atr_backend_close(s->backend);
    remove(s->path);
    snprintf(path, sizeof path, "%s/cache/atrous", s->folder);
    rmdir(path);
    snprintf(path, sizeof path, "%s/cache", s->folder);
    rmdir(path);
    return rmdir(s->folder);
}

/* Chooses at `level`; says what came out and sees how often it was measured. */
static atr_dtype choose(const subject *s, atr_isa level, int wanted_measures)
{
    measured = 0;
    s->backend->precision = ATR_F32;
    must(atr_precision_auto(s->backend, level, s->path, measure));
    assert_int_equal(measured, wanted_measures);
    return s->backend->precision;
}

static void without_native_bf16_nothing_is_measured(void **state)
{
    const subject *s = *state;

    for (int level = ATR_ISA_PORTABLE; level <= ATR_ISA_AVX512; level++)
        assert_int_equal(choose(s, (atr_isa)level, 0), ATR_F32);
    assert_false(atr_path_exists(s->path));
}

static void the_faster_one_is_taken_and_remembered(void **state)
{
    const subject *s = *state;

    assert_int_equal(choose(s, ATR_ISA_AMX, 2), ATR_BF16);
    in_bf16 = 1;
    assert_int_equal(choose(s, ATR_ISA_AMX, 0), ATR_BF16);
    assert_int_equal(choose(s, ATR_ISA_AVX512_BF16, 2), ATR_F32); /* another machine as far as times go */
    assert_int_equal(choose(s, ATR_ISA_AVX512_BF16, 0), ATR_F32);
    assert_int_equal(choose(s, ATR_ISA_AMX, 0), ATR_BF16);
}

static void other_numbers_of_threads_are_measured_for_themselves(void **state)
{
    const subject *s = *state;
    atr_backend *wider = NULL;

    choose(s, ATR_ISA_AMX, 2);
    must(atr_backend_open("cpu", 2, &wider));
    measured = 0;
    must(atr_precision_auto(wider, ATR_ISA_AMX, s->path, measure));
    assert_int_equal(measured, wider->threads == 1 ? 0 : 2);
    atr_backend_close(wider);
}

static void write_file(const char *path, const char *text, size_t bytes)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

static void a_damaged_memory_is_measured_anew(void **state)
{
    static const char *const damages[] = {
        "", "\n\n", "what is this\n", "1 2", "-1 -2 KEY\n", "nan nan KEY\n", "0 0 KEY\n"};
    const subject *s = *state;
    char good[1024] = "", text[2048];

    choose(s, ATR_ISA_AMX, 2);
    FILE *file = fopen(s->path, "r");
    assert_non_null(file);
    while (strlen(good) < 2)
        assert_non_null(fgets(good, sizeof good, file));
    fclose(file);
    char *const key = strchr(strchr(good, ' ') + 1, ' ') + 1;
    key[strcspn(key, "\n")] = '\0';
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        const char *const at = strstr(damages[i], "KEY");
        const int before = at == NULL ? (int)strlen(damages[i]) : (int)(at - damages[i]);
        snprintf(text, sizeof text, "%.*s%s", before, damages[i], at == NULL ? "" : key);
        write_file(s->path, text, strlen(text));
        assert_int_equal(choose(s, ATR_ISA_AMX, 2), ATR_BF16);
        assert_int_equal(choose(s, ATR_ISA_AMX, 0), ATR_BF16); /* and remembered behind the damage */
    }
    memset(text, 0xA5, sizeof text);
    write_file(s->path, text, sizeof text);
    assert_int_equal(choose(s, ATR_ISA_AMX, 2), ATR_BF16);
    assert_int_equal(choose(s, ATR_ISA_AMX, 0), ATR_BF16);
}

static void times_without_meaning_choose_f32_and_are_forgotten(void **state)
{
    const subject *s = *state;

    in_bf16 = NAN;
    assert_int_equal(choose(s, ATR_ISA_AMX, 2), ATR_F32);
    assert_int_equal(choose(s, ATR_ISA_AMX, 2), ATR_F32);
}

static void nowhere_to_remember_is_no_fault(void **state)
{
    const subject *s = *state;

    must(atr_precision_auto(s->backend, ATR_ISA_AMX, NULL, measure));
    assert_int_equal(s->backend->precision, ATR_BF16);
    s->backend->precision = ATR_F32;
    must(atr_precision_auto(s->backend, ATR_ISA_AMX, "/dev/null/atrous/precision", measure));
    assert_int_equal(s->backend->precision, ATR_BF16);
    assert_int_equal(measured, 4);
}

static void ref_stays_in_f32(void **state)
{
    const subject *s = *state;
    atr_backend *ref = NULL;

    must(atr_backend_open("ref", 1, &ref));
    must(atr_precision_auto(ref, ATR_ISA_AMX, s->path, measure));
    assert_int_equal(ref->precision, ATR_F32);
    assert_int_equal(measured, 0);
    atr_backend_close(ref);
}

/* The real measurement, whatever it says here. */
static void the_sample_runs_in_both_types(void **state)
{
    const subject *s = *state;
    char cache[128];

    snprintf(cache, sizeof cache, "%s/cache", s->folder);
    setenv("XDG_CACHE_HOME", cache, 1);
    for (int type = 0; type < 2; type++) {
        double seconds = 0;
        must(atr_precision_sample(s->backend, type == 0 ? ATR_F32 : ATR_BF16, &seconds));
        assert_true(isfinite(seconds) && seconds > 0);
        assert_int_equal(s->backend->precision, ATR_F32);
    }
    must(atr_precision_choose(ATR_PRECISION_AUTO, NULL, s->backend));
    assert_int_equal(atr_path_exists(s->path), atr_isa_level() >= ATR_ISA_AVX512_BF16);
    unsetenv("XDG_CACHE_HOME");
}

int main(void)
{
#define PRECISION_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        PRECISION_TEST(without_native_bf16_nothing_is_measured),
        PRECISION_TEST(the_faster_one_is_taken_and_remembered),
        PRECISION_TEST(other_numbers_of_threads_are_measured_for_themselves),
        PRECISION_TEST(a_damaged_memory_is_measured_anew),
        PRECISION_TEST(times_without_meaning_choose_f32_and_are_forgotten),
        PRECISION_TEST(nowhere_to_remember_is_no_fault),
        PRECISION_TEST(ref_stays_in_f32),
        PRECISION_TEST(the_sample_runs_in_both_types),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
