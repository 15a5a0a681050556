#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>

#include "core/log.h"
#include "core/status.h"

static void the_message_is_set_where_the_fault_is_seen(void **state)
{
    (void)state;
    assert_int_equal(atr_fail(ATR_ERR_SHAPE, "%s: input has %d channels", "aspp2", 3), ATR_ERR_SHAPE);
    assert_string_equal(atr_status_message(), "aspp2: input has 3 channels");
}

static void a_message_may_quote_the_one_before_it(void **state)
{
    (void)state;
    atr_fail(ATR_ERR_IO, "disk full");
    assert_int_equal(atr_fail(ATR_ERR_DATA, "first %s, then %s", atr_status_message(), atr_status_message()),
                     ATR_ERR_DATA);
    assert_string_equal(atr_status_message(), "first disk full, then disk full");
    atr_fail_prefix(ATR_ERR_DATA, "(%s)", atr_status_message());
    assert_string_equal(atr_status_message(),
                        "(first disk full, then disk full): first disk full, then disk full");
}

static void a_prefix_stands_before_the_message_and_leaves_success_alone(void **state)
{
    (void)state;
    atr_fail(ATR_ERR_IO, "disk full");
    assert_int_equal(atr_fail_prefix(ATR_OK, "never"), ATR_OK);
    assert_int_equal(atr_fail_prefix(ATR_ERR_IO, "%s", "train.h5"), ATR_ERR_IO);
    assert_string_equal(atr_status_message(), "train.h5: disk full");
}

static void a_long_message_is_cut(void **state)
{
    char text[10000];

    (void)state;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    atr_fail(ATR_ERR_DATA, "%s", text);
    const size_t length = strlen(atr_status_message());
    assert_in_range(length, 1000, 9000);
    atr_fail_prefix(ATR_ERR_DATA, "%s", text);
    assert_true(strlen(atr_status_message()) <= length);
}

static void *fail_elsewhere(void *user)
{
    (void)user;
    atr_fail(ATR_ERR_MEMORY, "another thread's trouble");
    return NULL;
}

static void each_thread_has_its_own_message(void **state)
{
    pthread_t thread;

    (void)state;
    atr_fail(ATR_ERR_IO, "mine");
    assert_int_equal(pthread_create(&thread, NULL, fail_elsewhere, NULL), 0);
    pthread_join(thread, NULL);
    assert_string_equal(atr_status_message(), "mine");
}

static void every_code_has_a_name(void **state)
{
    (void)state;
    for (int i = ATR_OK; i <= ATR_ERR_INTERNAL; i++) {
        assert_non_null(atr_status_name((atr_status)i));
        assert_string_not_equal(atr_status_name((atr_status)i), "unknown status");
    }
    assert_string_equal(atr_status_name((atr_status)999), "unknown status");
    assert_string_equal(atr_status_name((atr_status)-1), "unknown status");
}

static atr_status try_twice(int *reached)
{
    atr_status status = ATR_OK;

    ATR_TRY(ATR_OK);
    *reached = 1;
    ATR_TRY(atr_fail(ATR_ERR_NUMERIC, "stop here"));
    *reached = 2;
done:
    return status;
}

static void try_leaves_at_the_first_failure(void **state)
{
    int reached = 0;

    (void)state;
    assert_int_equal(try_twice(&reached), ATR_ERR_NUMERIC);
    assert_int_equal(reached, 1);
}

typedef struct heard {
    int lines;
    atr_log_level level;
    char last[5000];
} heard;

static void hear(void *user, atr_log_level level, const char *line)
{
    heard *h = user;

    h->lines++;
    h->level = level;
    strncpy(h->last, line, sizeof h->last - 1);
}

static void the_log_reaches_its_sink_from_the_chosen_level_on(void **state)
{
    heard h = {0};

    (void)state;
    atr_log(ATR_LOG_ERROR, "nobody listens");
    atr_log_to(hear, &h, ATR_LOG_WARN);
    atr_log(ATR_LOG_INFO, "too quiet");
    assert_int_equal(h.lines, 0);
    atr_log(ATR_LOG_WARN, "rank %d", 3);
    assert_int_equal(h.lines, 1);
    assert_int_equal(h.level, ATR_LOG_WARN);
    assert_string_equal(h.last, "rank 3");
    atr_log_to(NULL, NULL, ATR_LOG_DEBUG);
    atr_log(ATR_LOG_ERROR, "nobody listens");
    assert_int_equal(h.lines, 1);
}

static void *log_many(void *user)
{
    (void)user;
    for (int i = 0; i < 1000; i++)
        atr_log(ATR_LOG_INFO, "line %d", i);
    return NULL;
}

static void lines_of_many_threads_come_one_at_a_time(void **state)
{
    heard h = {0};
    pthread_t threads[4];

    (void)state;
    atr_log_to(hear, &h, ATR_LOG_INFO);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, log_many, NULL), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    atr_log_to(NULL, NULL, ATR_LOG_INFO);
    assert_int_equal(h.lines, 4000);
    assert_string_equal(h.last, "line 999");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_message_is_set_where_the_fault_is_seen),
        cmocka_unit_test(a_message_may_quote_the_one_before_it),
        cmocka_unit_test(a_prefix_stands_before_the_message_and_leaves_success_alone),
        cmocka_unit_test(a_long_message_is_cut),
        cmocka_unit_test(each_thread_has_its_own_message),
        cmocka_unit_test(every_code_has_a_name),
        cmocka_unit_test(try_leaves_at_the_first_failure),
        cmocka_unit_test(the_log_reaches_its_sink_from_the_chosen_level_on),
        cmocka_unit_test(lines_of_many_threads_come_one_at_a_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
