#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "apps/runlog.h"
#include "tests/support/scratch.h"

static char *folder;

static int open_folder(void **state)
{
    (void)state;
    folder = scratch_create();
    return 0;
}

static int close_folder(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

static const char *log_path(void)
{
    return scratch_text("%s/log.jsonl", folder);
}

static void write_steps(int64_t first, int64_t last, int64_t resumed_at)
{
    atr_runlog *log = NULL;

    assert_int_equal(atr_runlog_open(folder, resumed_at, &log), ATR_OK);
    for (int64_t step = first; step <= last; step++) {
        const atr_log_step record = {.epoch = 1, .step = step, .loss = 1.0 / (double)step, .lr = 0.007};
        assert_int_equal(atr_runlog_step(log, &record), ATR_OK);
    }
    atr_runlog_close(log);
}

/* Numbers of all `step` lines, in order, as text; every line must be an object. */
static char *steps_of_log(void)
{
    static char found[256];
    size_t size = 0;
    char *const text = (char *)scratch_read(log_path(), &size);
    char *rest = NULL;

    found[0] = '\0';
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        json_t *const object = json_loads(line, 0, NULL);
        assert_true(json_is_object(object));
        if (strcmp(json_string_value(json_object_get(object, "kind")), "step") == 0)
            strncat(found, scratch_text("%d ", (int)json_integer_value(json_object_get(object, "step"))),
                    sizeof found - strlen(found) - 1);
        json_decref(object);
    }
    free(text);
    return found;
}

static void resuming_takes_out_steps_that_are_done_again_and_a_torn_line(void **state)
{
    atr_text line = {0};
    atr_runlog *log = NULL;

    (void)state;
    assert_int_equal(atr_runlog_open(folder, 0, &log), ATR_OK);
    atr_text_append(&line, "{\"kind\":\"start\"}");
    assert_int_equal(atr_runlog_line(log, &line), ATR_OK);
    atr_runlog_close(log);
    write_steps(1, 5, -1);
    FILE *const file = fopen(log_path(), "a");
    fputs("{\"kind\":\"step\",\"epoch\":1,\"st", file);
    fclose(file);
    write_steps(4, 6, 3);
    assert_string_equal(steps_of_log(), "1 2 3 4 5 6 ");
    size_t size = 0;
    char *const text = (char *)scratch_read(log_path(), &size);
    assert_memory_equal(text, "{\"kind\":\"start\"}\n", 17);
    free(text);
}

static void numbers_come_back_exactly(void **state)
{
    const double values[] = {0.1 + 0.2, 1.0 / 3.0, 5e-324, -1.7976931348623157e308, 0};
    atr_text text = {0};

    (void)state;
    atr_json_reals(&text, values, 5);
    json_t *const list = json_loads(text.bytes, 0, NULL);
    assert_int_equal(json_array_size(list), 5);
    for (size_t i = 0; i < 5; i++)
        assert_true(json_number_value(json_array_get(list, i)) == values[i]);
    json_decref(list);
    atr_free(text.bytes);
}

static void what_is_not_finite_is_null_and_lists_may_be_empty(void **state)
{
    const double values[] = {NAN, INFINITY, 1};
    atr_text text = {0};

    (void)state;
    atr_json_reals(&text, values, 3);
    atr_json_reals(&text, values, 0);
    atr_json_integers(&text, NULL, 0);
    assert_string_equal(text.bytes, "[null,null,1][][]");
    atr_free(text.bytes);
}

static void an_evaluation_has_the_fixed_keys(void **state)
{
    atr_scores scores = {.classes = 2, .miou = 0.25, .pixel_accuracy = 0.5};
    atr_runlog *log = NULL;
    size_t size = 0;

    (void)state;
    scores.iou[0] = 0.25;
    scores.iou[1] = NAN;
    assert_int_equal(atr_runlog_open(folder, 0, &log), ATR_OK);
    const atr_log_eval record = {.epoch = 3, .step = 0, .split = "val", .scores = &scores};
    assert_int_equal(atr_runlog_eval(log, &record), ATR_OK);
    atr_runlog_close(log);
    char *const text = (char *)scratch_read(log_path(), &size);
    assert_non_null(strstr(text, "{\"kind\":\"eval\",\"epoch\":3,\"step\":0,\"split\":\"val\",\"miou\":0.25,"
                                 "\"pixel_accuracy\":0.5,\"iou\":[0.25,null]"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resuming_takes_out_steps_that_are_done_again_and_a_torn_line),
        cmocka_unit_test(numbers_come_back_exactly),
        cmocka_unit_test(what_is_not_finite_is_null_and_lists_may_be_empty),
        cmocka_unit_test(an_evaluation_has_the_fixed_keys),
    };

    return cmocka_run_group_tests(tests, open_folder, close_folder);
}
