/* The page about a run: its parts, and the command that puts them together. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apps/commands.h"
#include "apps/plot.h"
#include "apps/report.h"
#include "apps/session.h"
#include "io/path.h"
#include "tests/support/command.h"
#include "tests/support/network.h"
#include "tests/support/scratch.h"

enum { CLASSES = 5 };

static char *folder;

/* A drawn data set, and a run folder with an untrained network and a log. */
static int set_up(void **state)
{
    atr_session session;
    atr_model_info info;

    (void)state;
    setenv("OMP_NUM_THREADS", "1", 1);
    folder = scratch_create();
    command_expect(0, NULL, atr_cmd_sample, "sample", scratch_text("%s/shapes", folder), "--count", "6",
                   "--val", "0.5", "--width", "48", "--height", "32", NULL);
    command_expect(0, NULL, atr_cmd_pack, "pack", scratch_text("%s/shapes", folder), "-o",
                   scratch_text("%s/shapes.h5", folder), "--classes",
                   scratch_text("%s/shapes/classes.txt", folder), NULL);
    atr_session_describe("mobilenetv2", CLASSES, 16, &info);
    info.height = info.width = 33;
    snprintf(info.class_names[1], sizeof info.class_names[1], "<script>&\"");
    must(atr_session_open(&(atr_session_options){.backend = "ref", .threads = 1}, NULL, &session));
    must(atr_session_build(&session, &info, NULL));
    must(atr_model_init(session.params, ATR_INIT_KAIMING, 1, 5));
    scratch_folders_above(scratch_text("%s/run/x", folder));
    must(atr_checkpoint_write(scratch_text("%s/run/last.h5", folder),
                              &(atr_checkpoint){.info = &info, .params = session.params}));
    atr_session_close(&session);
    scratch_write_text(scratch_text("%s/run/config.yaml", folder), "lr: 0.01 # <b>\n");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

static int count(const char *text, const char *part)
{
    int found = 0;

    for (const char *at = text; (at = strstr(at, part)) != NULL; at += strlen(part))
        found++;
    return found;
}

static void says(const atr_text *page, const char *part)
{
    assert_int_equal(page->status, ATR_OK);
    if (strstr(page->bytes, part) == NULL)
        fail_msg("'%s' is not in: %s", part, page->bytes);
}

static void text_of_files_cannot_become_markup(void **state)
{
    atr_text page = {0};

    (void)state;
    atr_report_escape("a<b>&\"c\" \x1b[31m\x01 \xc3\xa4", &page);
    assert_string_equal(page.bytes, "a&lt;b&gt;&amp;&quot;c&quot;  [31m  \xc3\xa4");
    atr_free(page.bytes);
}

static void base64_is_rfc_4648s(void **state)
{
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"},
                                           {"\xff\xfe\xfb", "//77"}};

    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        atr_text page = {0};
        atr_report_base64(pairs[i][0], strlen(pairs[i][0]), &page);
        assert_string_equal(page.bytes != NULL ? page.bytes : "", pairs[i][1]);
        atr_free(page.bytes);
    }
}

static void scores_and_confusion_show_the_numbers(void **state)
{
    /* Class 0: 90 right, 10 seen as 1. Class 1: 1234567 right. Class 2 is nowhere. */
    int64_t counts[9] = {90, 10, 0, 0, 1234567, 0, 0, 0, 0};
    const atr_confusion confusion = {3, counts, 7};
    atr_scores *scores = calloc(1, sizeof *scores);
    atr_model_info *info = calloc(1, sizeof *info);
    atr_text page = {0};

    (void)state;
    atr_session_describe("mobilenetv2", 3, 16, info);
    snprintf(info->class_names[0], sizeof info->class_names[0], "sky");
    snprintf(info->class_names[1], sizeof info->class_names[1], "<i>");
    atr_scores_from(&confusion, scores);
    atr_report_scores(scores, info, &page);
    says(&page, "sky</td><td>90.0</td>");
    says(&page, "&lt;i&gt;</td><td>100.0</td>");
    says(&page, "class 2</td><td>n/a</td>");
    says(&page, "1&#8239;234&#8239;567");
    says(&page, "mIoU <b>95.0 %</b> over 2 of 3 classes");
    says(&page, "left out of the mean; counted as 0 it would make the mIoU 63.3 %");
    says(&page, "mean</td><td>95.0</td><td class=\"bar\"><div style=\"width:95.0%\"></div></td>");
    says(&page, "frequency-weighted IoU <b>");
    says(&page, "background:#800000");
    atr_free(page.bytes);
    page = (atr_text){0};
    atr_report_confusion(&confusion, info, &page);
    says(&page, "title=\"90 pixels\">90.0</td>");
    says(&page, "title=\"10 pixels\">10.0</td>");
    says(&page, "title=\"1234567 pixels\">100.0</td>");
    says(&page, "title=\"0 pixels\"></td>");
    assert_int_equal(count(page.bytes, "<tr>"), 4);
    assert_int_equal(count(page.bytes, "<td style"), 9);
    atr_free(page.bytes);
    free(scores);
    free(info);
}

static void the_summary_names_the_best_evaluation(void **state)
{
    double step[3] = {1, 2, 3}, loss[3] = {3, 2, 1.25}, lr[3] = {1, 1, 1}, speed[3] = {NAN, 4, 6};
    atr_run_eval evals[3] = {{.epoch = 1, .miou = 0.5, .pixel_accuracy = 0.6},
                             {.epoch = 2, .miou = 0.75, .pixel_accuracy = 0.875},
                             {.epoch = 3, .miou = NAN, .pixel_accuracy = NAN}};
    atr_run_history h = {.step_count = 3,
                         .step = step,
                         .loss = loss,
                         .lr = lr,
                         .images_per_s = speed,
                         .eval_count = 3,
                         .evals = evals};
    atr_text page = {0};

    (void)state;
    atr_report_summary(&h, &page);
    says(&page, "<b>75.0 %</b><span>best mIoU on val, epoch 2</span>");
    says(&page, "<b>87.5 %</b>");
    says(&page, "<b>1.2500</b>");
    says(&page, "<b>5.0</b><span>pictures per second");
    atr_free(page.bytes);
    page = (atr_text){0};
    h.step_count = h.eval_count = 0;
    atr_report_summary(&h, &page); /* an empty log has no numbers, and no nan */
    assert_null(strstr(page.bytes, "nan"));
    atr_free(page.bytes);
}

static void plots_are_svg_with_a_line_for_each_curve(void **state)
{
    const double x[4] = {1, 2, NAN, 4}, y[4] = {1, 2, 3, 1}, none[4] = {NAN, NAN, INFINITY, NAN};
    const atr_curve curves[3] = {{"first", x, y, 4, true, false},
                                 {"second", x, none, 4, false, false},
                                 {"third", y, x, 4, false, true}};
    const atr_plot plot = {"Title % here", "steps", "loss", curves, 3, .from_zero = true},
                   empty = {"t", "x", NULL, curves + 1, 1, .from_zero = true};
    atr_text page = {0};

    (void)state;
    if (atr_plot_svg(&plot, &page) == ATR_ERR_NOT_FOUND) {
        printf("skipped: %s\n", atr_status_message());
        skip();
    }
    says(&page, "<svg");
    says(&page, "</svg>");
    says(&page, "Title % here");
    says(&page, "first");
    says(&page, "third");
    assert_null(strstr(page.bytes, "second")); /* has no point */
    assert_null(strstr(page.bytes, "<?xml"));
    assert_int_equal(strncmp(page.bytes, "<svg", 4), 0);
    atr_free(page.bytes);
    page = (atr_text){0};
    assert_false(atr_plot_has_points(&empty));
    assert_int_equal(atr_plot_svg(&empty, &page), ATR_ERR_USAGE);
    assert_int_equal(page.used, 0);
}

static void without_gnuplot_the_page_says_what_to_install(void **state)
{
    char *path = strdup(getenv("PATH"));

    (void)state;
    scratch_write_text(
        scratch_text("%s/run/log.jsonl", folder),
        "{\"kind\":\"step\",\"step\":1,\"loss\":2}\n{\"kind\":\"step\",\"step\":2,\"loss\":1}\n");
    setenv("PATH", folder, 1);
    command_result r = command_run(atr_cmd_report, "report", scratch_text("%s/run", folder), "--data",
                                   scratch_text("%s/shapes.h5", folder), "--backend", "ref", NULL);
    setenv("PATH", path, 1);
    assert_int_equal(r.exit_code, 3);
    assert_non_null(strstr(r.err, "gnuplot-nox"));
    command_free(&r);
    free(path);
}

/* The bytes of picture number `index` of kind "jpeg" or "png" in the page; free(). */
static uint8_t *embedded(const char *page, const char *kind, int index, size_t *size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = page, *mark = scratch_text("data:image/%s;base64,", kind);

    for (int i = 0; i <= index; i++) {
        at = strstr(at, mark);
        assert_non_null(at);
        at += strlen(mark);
    }
    const size_t length = strcspn(at, "\"");
    uint8_t *bytes = calloc(length + 4, 1);
    uint32_t word = 0;
    *size = 0;
    for (size_t i = 0; i < length && at[i] != '='; i++) {
        word = word << 6 | (uint32_t)(strchr(digits, at[i]) - digits);
        if (i % 4 != 0)
            bytes[(*size)++] = (uint8_t)(word >> (6 - 2 * (i % 4)));
    }
    return bytes;
}

static void the_page_of_a_run_holds_curves_scores_and_pictures_beside_truth_and_prediction(void **state)
{
    const char *data = scratch_text("%s/shapes.h5", folder);
    const int64_t *indices = NULL;
    atr_dataset *dataset = NULL;
    uint8_t *truth = NULL;
    size_t size = 0;
    atr_mask shown;
    char log[5000];

    (void)state;
    snprintf(log, sizeof log,
             "{\"kind\":\"start\",\"data\":\"%s\"}\n{\"kind\":\"step\",\"step\":1,\"loss\":2,\"lr\":0.1}\n"
             "{\"kind\":\"step\",\"step\":2,\"loss\":1,\"lr\":0.1}\n"
             "{\"kind\":\"eval\",\"epoch\":1,\"miou\":0.25,\"pixel_accuracy\":0.5,\"iou\":[]}\n",
             data);
    scratch_write_text(scratch_text("%s/run/log.jsonl", folder), log);
    command_result r = command_run(atr_cmd_report, "report", scratch_text("%s/run", folder), "--samples", "2",
                                   "-o", scratch_text("%s/page.html", folder), "--backend", "ref", NULL);
    if (r.exit_code == 3 && strstr(r.err, "gnuplot") != NULL) {
        printf("skipped: %s\n", r.err);
        command_free(&r);
        skip();
    }
    if (r.exit_code != 0)
        fail_msg("exit %d: %s", r.exit_code, r.err);
    command_free(&r);
    char *page = (char *)scratch_read(scratch_text("%s/page.html", folder), &size);
    assert_int_equal(count(page, "<svg"), 3);
    assert_int_equal(count(page, "data:image/jpeg"), 2);
    assert_int_equal(count(page, "data:image/png"), 4);
    assert_int_equal(count(page, "<script"), 0);
    assert_int_equal(count(page, "http://") - count(page, "http://www.w3.org/"), 0); /* needs no network */
    assert_int_equal(count(page, "https://"), 0);
    assert_non_null(strstr(page, "&lt;script&gt;&amp;&quot;"));
    assert_non_null(strstr(page, "The last network"));
    assert_non_null(strstr(page, "lr: 0.01 # &lt;b&gt;"));

    /* The first picture shown is the first of val: its truth is in the page pixel by pixel. */
    uint8_t *png = embedded(page, "png", 0, &size);
    must(atr_mask_decode(png, size, &shown));
    must(atr_dataset_open(data, &dataset));
    assert_int_equal(atr_dataset_split(dataset, ATR_SPLIT_VAL, &indices), 3);
    must(atr_dataset_read_mask(dataset, indices[0], &truth));
    assert_int_equal(shown.width, 48);
    assert_int_equal(shown.height, 32);
    for (int i = 0; i < 48 * 32; i++)
        assert_int_equal(shown.values[i], truth[i]);
    atr_free(truth);
    atr_mask_free(&shown);
    atr_dataset_close(dataset);
    free(png);
    free(page);
}

static void what_is_missing_is_said_on_the_page_and_by_the_exit_code(void **state)
{
    size_t size = 0;

    (void)state;
    command_expect(1, "log.jsonl", atr_cmd_report, "report", scratch_text("%s/nowhere", folder), NULL);
    scratch_write_text(scratch_text("%s/run/log.jsonl", folder), "");
    command_expect(3, "--data", atr_cmd_report, "report", scratch_text("%s/run", folder), NULL);
    command_expect(3, "gone.h5", atr_cmd_report, "report", scratch_text("%s/run", folder), "--data",
                   "gone.h5", "--backend", "ref", NULL);
    char *page = (char *)scratch_read(scratch_text("%s/run/report.html", folder), &size);
    assert_non_null(strstr(page, "gone.h5"));
    assert_non_null(strstr(page, "</html>"));
    free(page);
    scratch_write_text(scratch_text("%s/run/log.jsonl", folder), "{}\nnonsense\n");
    command_expect(1, "line 2", atr_cmd_report, "report", scratch_text("%s/run", folder), NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_of_files_cannot_become_markup),
        cmocka_unit_test(base64_is_rfc_4648s),
        cmocka_unit_test(scores_and_confusion_show_the_numbers),
        cmocka_unit_test(the_summary_names_the_best_evaluation),
        cmocka_unit_test(plots_are_svg_with_a_line_for_each_curve),
        cmocka_unit_test(without_gnuplot_the_page_says_what_to_install),
        cmocka_unit_test(the_page_of_a_run_holds_curves_scores_and_pictures_beside_truth_and_prediction),
        cmocka_unit_test(what_is_missing_is_said_on_the_page_and_by_the_exit_code),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
