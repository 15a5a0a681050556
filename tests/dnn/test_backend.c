#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <omp.h>

#include "dnn/backend.h"

static void an_unknown_back_end_is_refused_with_what_there_is(void **state)
{
    char want[256];
    atr_backend *backend = NULL;

    (void)state;
    snprintf(want, sizeof want, "--backend cuda: not compiled into this build (have: %s)",
             atr_backend_names());
    assert_int_equal(atr_backend_open("cuda", 1, &backend), ATR_ERR_UNSUPPORTED);
    assert_string_equal(atr_status_message(), want);
    assert_null(backend);
    assert_non_null(strstr(atr_backend_names(), "ref"));
}

static void no_threads_are_refused(void **state)
{
    atr_backend *backend = NULL;

    (void)state;
    assert_int_equal(atr_backend_open("ref", 0, &backend), ATR_ERR_USAGE);
    assert_null(backend);
}

static void names_open_what_they_say_and_auto_the_first(void **state)
{
    atr_backend *backend = NULL;
    char names[256], *rest = names, *first;

    (void)state;
    snprintf(names, sizeof names, "%s", atr_backend_names());
    first = strtok_r(rest, ", ", &rest);
    for (char *name = first; name != NULL; name = strtok_r(NULL, ", ", &rest)) {
        assert_int_equal(atr_backend_open(name, 2, &backend), ATR_OK);
        assert_string_equal(backend->table->name, name);
        assert_non_null(atr_backend_allocator(backend));
        atr_backend_close(backend);
    }
    assert_int_equal(atr_backend_open("auto", 1, &backend), ATR_OK);
    assert_string_equal(backend->table->name, first);
    atr_backend_close(backend);
    atr_backend_close(NULL);
}

static void enter_sets_the_width_of_teams(void **state)
{
    atr_backend *narrow = NULL, *wide = NULL;

    (void)state;
    if (omp_get_thread_limit() < 3)
        skip();
    assert_int_equal(atr_backend_open("ref", 1, &narrow), ATR_OK);
    assert_int_equal(atr_backend_open("ref", 3, &wide), ATR_OK);
    atr_backend_enter(narrow);
    assert_int_equal(omp_get_max_threads(), 1);
    atr_backend_enter(wide);
    assert_int_equal(omp_get_max_threads(), 3);
    atr_backend_close(narrow);
    atr_backend_close(wide);
}

static void an_opened_host_back_end_lacks_nothing(void **state)
{
    char names[256], *rest = names;

    (void)state;
    snprintf(names, sizeof names, "%s", atr_backend_names());
    for (char *name = strtok_r(rest, ", ", &rest); name != NULL; name = strtok_r(NULL, ", ", &rest)) {
        atr_backend *backend = NULL;
        assert_int_equal(atr_backend_open(name, 1, &backend), ATR_OK);
        const atr_backend_table *table = backend->table;
        for (int op = ATR_OP_INPUT + 1; op < ATR_OP_CONV_RESIZED && table->host; op++)
            assert_non_null(table->op[op].forward);
        if (table->host)
            assert_true(table->loss_scratch != NULL && table->loss_sums != NULL && table->loss != NULL &&
                        table->segment_scratch != NULL && table->segment != NULL && table->enlarge != NULL &&
                        table->sgd != NULL && table->adam != NULL && table->sum_squares != NULL);
        atr_backend_close(backend);
    }
}

static void ref_has_every_operation(void **state)
{
    (void)state;
    for (int op = ATR_OP_INPUT + 1; op < ATR_OP_CONV_RESIZED;
         op++) { /* what only plans make is no operation of a graph */
        const atr_kernel *kernel = &atr_backend_ref.op[op];
        assert_non_null(kernel->prepare);
        assert_non_null(kernel->forward);
        if (op != ATR_OP_ADD && op != ATR_OP_CONCAT)
            assert_non_null(kernel->backward);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unknown_back_end_is_refused_with_what_there_is),
        cmocka_unit_test(no_threads_are_refused),
        cmocka_unit_test(names_open_what_they_say_and_auto_the_first),
        cmocka_unit_test(enter_sets_the_width_of_teams),
        cmocka_unit_test(an_opened_host_back_end_lacks_nothing),
        cmocka_unit_test(ref_has_every_operation),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
