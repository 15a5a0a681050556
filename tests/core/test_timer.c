#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>
#include <time.h>

#include "core/progress.h"
#include "core/text.h"
#include "core/timer.h"

static void time_goes_forward(void **state)
{
    const double start = atr_seconds();
    const struct timespec pause = {0, 2000000};

    (void)state;
    nanosleep(&pause, NULL);
    const double end = atr_seconds();
    assert_true(end - start >= 0.002 && end - start < 10);
}

static void a_stopwatch_sums_its_laps(void **state)
{
    atr_stopwatch watch = {0};
    double sum = 0, longest = 0;

    (void)state;
    for (int i = 1; i <= 3; i++) {
        const struct timespec pause = {0, i * 1000000};
        atr_stopwatch_start(&watch);
        nanosleep(&pause, NULL);
        const double lap = atr_stopwatch_stop(&watch);
        assert_true(lap >= i * 0.001);
        sum += lap;
        longest = lap > longest ? lap : longest;
    }
    assert_int_equal(watch.laps, 3);
    assert_true(fabs(watch.total - sum) < 1e-12);
    assert_true(watch.longest == longest);
}

static void wall_clock_time_is_iso_8601_in_utc(void **state)
{
    char text[ATR_TIME_TEXT_BYTES];
    struct tm parsed = {0};

    (void)state;
    atr_time_text(text);
    assert_int_equal(strlen(text), 20);
    assert_non_null(strptime(text, "%Y-%m-%dT%H:%M:%SZ", &parsed));
    assert_true(labs((long)(timegm(&parsed) - time(NULL))) < 60);
}

static void samples_tell_median_and_95th_percentile(void **state)
{
    double hundred[101], pair[] = {3, 1}, one[] = {7};

    (void)state;
    for (int i = 0; i <= 100; i++)
        hundred[i] = (i * 37) % 101; /* 0..100 in disorder */
    atr_samples s = atr_samples_of(hundred, 101);
    assert_int_equal(s.count, 101);
    assert_true(s.min == 0 && s.median == 50 && s.p95 == 95 && s.max == 100 && s.mean == 50);
    s = atr_samples_of(pair, 2);
    assert_true(s.min == 1 && s.median == 2 && fabs(s.p95 - 2.9) < 1e-12 && s.max == 3);
    s = atr_samples_of(one, 1);
    assert_true(s.min == 7 && s.median == 7 && s.p95 == 7 && s.max == 7);
    s = atr_samples_of(NULL, 0);
    assert_true(s.count == 0 && s.median == 0);
}

static void durations_are_read_at_a_glance(void **state)
{
    char text[24];

    (void)state;
    assert_string_equal(atr_duration_text(0, text), "0:00");
    assert_string_equal(atr_duration_text(75.4, text), "1:15");
    assert_string_equal(atr_duration_text(59.6, text), "1:00");
    assert_string_equal(atr_duration_text(3723, text), "1:02:03");
    assert_string_equal(atr_duration_text(1e6, text), "277:46:40");
    assert_string_equal(atr_duration_text(NAN, text), "?");
    assert_string_equal(atr_duration_text(INFINITY, text), "?");
    assert_string_equal(atr_duration_text(-1, text), "?");
}

static const atr_progress middle = {.label = "epoch 3/25",
                                    .unit = "images",
                                    .done = 188,
                                    .total = 367,
                                    .seconds = 15.16,
                                    .extra = "loss 0.4312"};

static void progress_shows_bar_rate_and_time_left(void **state)
{
    char line[256];

    (void)state;
    assert_string_equal(atr_progress_line(&middle, 0, line, sizeof line),
                        "epoch 3/25  51% 188/367 images, 12.4/s, 0:14 left, loss 0.4312");
    assert_string_equal(
        atr_progress_line(&middle, 85, line, sizeof line),
        "epoch 3/25 [==========>         ]  51% 188/367 images, 12.4/s, 0:14 left, loss 0.4312");
}

static void progress_fits_any_width(void **state)
{
    char line[1024];
    atr_progress p = middle;

    (void)state;
    p.extra = "stra\xC3\x9F"
              "e \xC3\xA4\xC3\xB6\xC3\xBC";
    for (int columns = 1; columns < 200; columns++) {
        atr_progress_line(&p, columns, line, sizeof line);
        assert_true(atr_text_width(line) <= columns);
        const size_t length = strlen(line); /* no letter is cut in two */
        assert_true((unsigned char)line[length - 1] < 0xC0);
        if (columns >= 80)
            assert_non_null(strchr(line, '['));
    }
    for (size_t bytes = 1; bytes < 40; bytes++) {
        atr_progress_line(&p, 100, line, bytes);
        assert_true(strlen(line) < bytes);
    }
}

static void progress_leaves_out_whole_fields(void **state)
{
    char line[256];
    atr_progress p = middle;

    (void)state;
    p.unit = "steps";
    p.extra = "loss 0.4312, f-score 0.713, lr 0.0035";
    p.rate_unit = "images";
    p.rate_each = 8;
    assert_string_equal(
        atr_progress_line(&p, 0, line, sizeof line),
        "epoch 3/25  51% 188/367 steps, 99.2 images/s, 0:14 left, loss 0.4312, f-score 0.713, lr 0.0035");
    assert_string_equal(atr_progress_line(&p, 82, line, sizeof line),
                        "epoch 3/25 [=====>     ]  51% 188/367 steps, 99.2 images/s, 0:14 left, loss 0.4312");
    assert_string_equal(atr_progress_line(&p, 60, line, sizeof line),
                        "epoch 3/25  51% 188/367 steps, 99.2 images/s, 0:14 left");
    assert_string_equal(atr_progress_line(&p, 20, line, sizeof line), "epoch 3/25  51% 188/");
}

static void progress_at_start_end_and_beyond_makes_sense(void **state)
{
    char line[256];
    atr_progress p = {.total = 10, .seconds = 0};

    (void)state;
    assert_string_equal(atr_progress_line(&p, 0, line, sizeof line), "  0% 0/10 items");
    p.done = 10;
    p.seconds = 5;
    assert_string_equal(atr_progress_line(&p, 0, line, sizeof line), "100% 10/10 items, 2.00/s, 0:05");
    p.done = 12;
    assert_string_equal(atr_progress_line(&p, 0, line, sizeof line), "100% 12/10 items, 2.40/s, 0:05");
    atr_progress_line(&p, 60, line, sizeof line);
    assert_null(strchr(line, '>'));
    p.done = -3;
    assert_string_equal(atr_progress_line(&p, 0, line, sizeof line), "  0% -3/10 items");
    p.done = 9;
    p.total = 1000000;
    p.seconds = 1e9;
    assert_string_equal(atr_progress_line(&p, 0, line, sizeof line),
                        "  0% 9/1000000 items, 0.0000/s, ? left");
}

static void progress_without_a_known_end_counts(void **state)
{
    char line[256];
    const atr_progress p = {.unit = "frames", .done = 2400, .seconds = 2};

    (void)state;
    assert_string_equal(atr_progress_line(&p, 80, line, sizeof line), "2400 frames, 1200/s, 0:02");
}

static void resumed_work_counts_only_its_own_pace(void **state)
{
    char line[256];
    const atr_progress p = {.unit = "steps", .done = 110, .first = 100, .total = 120, .seconds = 10};

    (void)state;
    assert_string_equal(atr_progress_line(&p, 0, line, sizeof line), " 91% 110/120 steps, 1.00/s, 0:10 left");
}

static void progress_holds_no_control_characters(void **state)
{
    char line[256];
    const atr_progress p = {.label = "a\nb\033", .done = 1, .extra = "\r\t"};

    (void)state;
    atr_progress_line(&p, 0, line, sizeof line);
    for (const char *c = line; *c != '\0'; c++)
        assert_true((unsigned char)*c >= 0x20 && *c != 0x7F);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_goes_forward),
        cmocka_unit_test(a_stopwatch_sums_its_laps),
        cmocka_unit_test(wall_clock_time_is_iso_8601_in_utc),
        cmocka_unit_test(samples_tell_median_and_95th_percentile),
        cmocka_unit_test(durations_are_read_at_a_glance),
        cmocka_unit_test(progress_shows_bar_rate_and_time_left),
        cmocka_unit_test(progress_fits_any_width),
        cmocka_unit_test(progress_leaves_out_whole_fields),
        cmocka_unit_test(progress_at_start_end_and_beyond_makes_sense),
        cmocka_unit_test(progress_without_a_known_end_counts),
        cmocka_unit_test(resumed_work_counts_only_its_own_pace),
        cmocka_unit_test(progress_holds_no_control_characters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
