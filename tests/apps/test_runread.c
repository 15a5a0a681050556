#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "apps/runlog.h"
#include "apps/runread.h"
#include "tests/support/network.h"
#include "tests/support/scratch.h"

static char *folder;

static int set_up(void **state)
{
    (void)state;
    folder = scratch_create();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

static const char *log_path(void)
{
    return scratch_text("%s/log.jsonl", folder);
}

static atr_run_history read_text(const char *text)
{
    atr_run_history h;

    scratch_write_text(log_path(), text);
    must(atr_run_history_read(folder, &h));
    return h;
}

static void what_a_run_writes_is_read_back(void **state)
{
    atr_runlog *log = NULL;
    atr_run_history h;
    atr_scores scores = {
        .classes = 3, .present = 2, .iou = {0.5, NAN, 0.25}, .miou = 0.375, .pixel_accuracy = 0.75};

    (void)state;
    remove(log_path());
    must(atr_runlog_open(folder, -1, &log));
    for (int64_t i = 1; i <= 3000; i++) /* more than the first room */
        must(atr_runlog_step(log, &(atr_log_step){.epoch = 1 + i / 100,
                                                  .step = i,
                                                  .loss = i == 5 ? NAN : 1.0 / (double)i,
                                                  .lr = 1e-3,
                                                  .images_per_s = 2}));
    for (int64_t i = 1; i <= 100; i++)
        must(atr_runlog_eval(
            log,
            &(atr_log_eval){.epoch = i, .step = i * 30, .split = "val", .scores = &scores, .seconds = 1}));
    atr_runlog_close(log);
    must(atr_run_history_read(folder, &h));
    assert_int_equal(h.step_count, 3000);
    for (int64_t i = 0; i < 3000; i++) {
        assert_true(h.step[i] == (double)(i + 1));
        assert_true(i == 4 ? isnan(h.loss[i]) : h.loss[i] == 1.0 / (double)(i + 1));
        assert_true(h.lr[i] == 1e-3 && h.images_per_s[i] == 2);
    }
    assert_int_equal(h.eval_count, 100);
    assert_true(h.evals[99].epoch == 100 && h.evals[99].miou == 0.375 && h.evals[99].pixel_accuracy == 0.75);
    assert_int_equal(h.evals[99].classes, 3);
    assert_true(h.evals[99].iou[0] == 0.5 && isnan(h.evals[99].iou[1]) && h.evals[99].iou[2] == 0.25);
    assert_int_equal(h.data_count, 0);
    atr_run_history_free(&h);
}

static void the_torn_last_line_of_a_killed_run_is_left_out(void **state)
{
    (void)state;
    atr_run_history h =
        read_text("{\"kind\":\"start\",\"data\":\"d.h5\"}\n{\"kind\":\"step\",\"step\":1,\"loss\":2}\n"
                  "{\"kind\":\"step\",\"step\":2,\"lo");
    assert_int_equal(h.step_count, 1);
    assert_int_equal(h.data_count, 1);
    assert_string_equal(h.data[0], "d.h5");
    assert_true(isnan(h.lr[0]));
    atr_run_history_free(&h);
    h = read_text("{\"kind\":\"start\",\"data\":[\"a.h5\",\"b c.h5\"]}\n");
    assert_int_equal(h.data_count, 2);
    assert_string_equal(h.data[1], "b c.h5");
    atr_run_history_free(&h);
    h = read_text("");
    assert_int_equal(h.step_count + h.eval_count, 0);
    atr_run_history_free(&h);
}

static void lines_of_other_kinds_and_odd_values_do_no_harm(void **state)
{
    char many[ATR_MAX_CLASSES * 12 + 200] = "{\"kind\":\"eval\",\"epoch\":1,\"iou\":[0.5";

    (void)state;
    for (int i = 0; i < ATR_MAX_CLASSES + 20; i++)
        strcat(many, ",null");
    strcat(many, "]}\n");
    atr_run_history h = read_text(many);
    assert_int_equal(h.evals[0].classes, ATR_MAX_CLASSES);
    assert_true(isnan(h.evals[0].miou));
    atr_run_history_free(&h);
    h = read_text(
        "{}\n{\"kind\":7}\n{\"kind\":\"new "
        "thing\",\"step\":4}\n{\"kind\":\"step\",\"step\":\"x\",\"loss\":[]}\n"
        "{\"kind\":\"eval\",\"iou\":{\"a\":1}}\n{\"kind\":\"step\",\"step\":1e308,\"loss\":-1e308}\n");
    assert_int_equal(h.step_count, 2);
    assert_true(isnan(h.step[0]) && isnan(h.loss[0]) && h.loss[1] == -1e308);
    assert_int_equal(h.eval_count, 1);
    assert_int_equal(h.evals[0].classes, 0);
    atr_run_history_free(&h);
}

static void what_is_no_log_is_refused_with_its_line(void **state)
{
    static const char *const bad[] = {"{}\n{}\nnot json\n", "{}\n{}\n[1,2]\n", "{}\n{}\n{\"kind\":\"step\"\n",
                                      "{}\n{}\n\n{}\n", "{}\n{}\n{\"a\":1e999}\n"};
    atr_run_history h;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        scratch_write_text(log_path(), bad[i]);
        assert_int_equal(atr_run_history_read(folder, &h), ATR_ERR_DATA);
        assert_non_null(strstr(atr_status_message(), "line 3"));
        assert_int_equal(h.step_count, 0);
    }
    remove(log_path());
    assert_int_equal(atr_run_history_read(folder, &h), ATR_ERR_NOT_FOUND);
    assert_non_null(strstr(atr_status_message(), "log.jsonl"));
}

static void the_last_word_says_whether_the_run_has_ended(void **state)
{
    static const char *const logs[] = {
        "{\"kind\":\"start\"}\n{\"kind\":\"end\",\"step\":3}\n",
        "{\"kind\":\"start\"}\n{\"kind\":\"end\",\"step\":3}\n{\"kind\":\"start\"}\n",
        "{\"kind\":\"start\"}\n{\"kind\":\"end\",\"st",
    };

    (void)state;
    for (int i = 0; i < 3; i++) {
        atr_run_history h = read_text(logs[i]);
        assert_int_equal(h.ended, i == 0);
        atr_run_history_free(&h);
    }
    atr_run_history h = read_text("{\"kind\":\"step\",\"epoch\":2,\"step\":5,\"loss\":1}\n"
                                  "{\"kind\":\"eval\",\"epoch\":2,\"step\":5,\"loss\":0.25}\n"
                                  "{\"kind\":\"eval\",\"epoch\":3}\n");
    assert_true(h.epoch[0] == 2 && h.evals[0].step == 5 && h.evals[0].loss == 0.25);
    assert_true(isnan(h.evals[1].loss));
    atr_run_history_free(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_word_says_whether_the_run_has_ended),
        cmocka_unit_test(what_a_run_writes_is_read_back),
        cmocka_unit_test(the_torn_last_line_of_a_killed_run_is_left_out),
        cmocka_unit_test(lines_of_other_kinds_and_odd_values_do_no_harm),
        cmocka_unit_test(what_is_no_log_is_refused_with_its_line),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
