#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "dnn/metrics.h"
#include "tests/support/parity.h"
#include "tests/support/rig.h"

enum { MOST_CASES = 16 };

static atr_confusion confusion_of(int64_t classes, const uint8_t *truth, const uint8_t *predicted,
                                  int64_t count)
{
    atr_confusion confusion;

    assert_int_equal(atr_confusion_init(classes, &confusion), ATR_OK);
    atr_confusion_add(&confusion, truth, predicted, count);
    return confusion;
}

static void pixels_are_counted_by_truth_and_prediction(void **state)
{
    const uint8_t truth[] = {0, 0, 1, 1, 1, 2, 255, 3}, predicted[] = {0, 1, 1, 1, 0, 2, 2, 0};
    atr_confusion c = confusion_of(3, truth, predicted, 8);
    const int64_t want[] = {1, 1, 0, 1, 2, 0, 0, 0, 1};

    (void)state;
    assert_memory_equal(c.counts, want, sizeof want);
    assert_int_equal(c.ignored, 2);
    atr_confusion_add(&c, truth, predicted, 8);
    assert_int_equal(c.counts[4], 4);
    atr_confusion_clear(&c);
    assert_int_equal(c.counts[4], 0);
    assert_int_equal(c.ignored, 0);
    atr_confusion_free(&c);
}

static void scores_follow_their_definitions(void **state)
{
    const uint8_t truth[] = {0, 0, 0, 0, 1, 1, 1, 1, 1, 1}, predicted[] = {0, 0, 0, 1, 1, 1, 1, 1, 0, 0};
    atr_confusion c = confusion_of(2, truth, predicted, 10);
    atr_scores s;

    (void)state;
    atr_scores_from(&c, &s);
    rig_assert_near(s.iou[0], 3.0 / 6.0, 1e-15);
    rig_assert_near(s.iou[1], 4.0 / 7.0, 1e-15);
    rig_assert_near(s.recall[0], 3.0 / 4.0, 1e-15);
    rig_assert_near(s.precision[0], 3.0 / 5.0, 1e-15);
    rig_assert_near(s.f1[0], 6.0 / 9.0, 1e-15);
    rig_assert_near(s.miou, (3.0 / 6.0 + 4.0 / 7.0) / 2.0, 1e-15);
    rig_assert_near(s.pixel_accuracy, 0.7, 1e-15);
    rig_assert_near(s.frequency_iou, 0.4 * 3.0 / 6.0 + 0.6 * 4.0 / 7.0, 1e-15);
    assert_int_equal(s.truth_pixels[1], 6);
    assert_int_equal(s.predicted_pixels[1], 5);
    atr_confusion_free(&c);
}

static void an_absent_class_has_no_score_and_is_left_out_of_the_mean(void **state)
{
    const uint8_t truth[] = {0, 0, 2, 2}, predicted[] = {0, 3, 2, 2};
    atr_confusion c = confusion_of(5, truth, predicted, 4);
    atr_scores s;

    (void)state;
    atr_scores_from(&c, &s);
    assert_int_equal(s.present, 3); /* 0, 2, and 3, which was predicted wrongly */
    assert_true(isnan(s.iou[1]) && isnan(s.recall[1]) && isnan(s.precision[1]) && isnan(s.f1[1]));
    rig_assert_near(s.iou[3], 0.0, 0.0);
    assert_true(isnan(s.recall[3]));
    rig_assert_near(s.precision[3], 0.0, 0.0);
    rig_assert_near(s.miou, (0.5 + 1.0 + 0.0) / 3.0, 1e-15);
    rig_assert_near(s.miou_all, 1.5 / 5.0, 1e-15);
    rig_assert_near(s.mean_recall, (0.5 + 1.0) / 2.0, 1e-15); /* of those in the truth: 0 and 2 */
    rig_assert_near(s.mean_precision, (1.0 + 1.0 + 0.0) / 3.0, 1e-15);
    rig_assert_near(s.mean_f1, (2.0 / 3.0 + 1.0 + 0.0) / 3.0, 1e-15);
    rig_assert_near(s.frequency_iou, 0.5 * 0.5 + 0.5 * 1.0, 1e-15);
    atr_confusion_free(&c);
}

static void background_only_scores_half_of_two_classes(void **state)
{
    const uint8_t truth[] = {0, 0, 0, 1}, predicted[] = {0, 0, 0, 0};
    atr_confusion c = confusion_of(2, truth, predicted, 4);
    atr_scores s;

    (void)state;
    atr_scores_from(&c, &s);
    rig_assert_near(s.miou, 0.375, 1e-15);
    rig_assert_near(s.pixel_accuracy, 0.75, 1e-15);
    atr_confusion_free(&c);
}

static void no_pixels_give_no_scores(void **state)
{
    atr_confusion c = confusion_of(3, NULL, NULL, 0);
    atr_scores s;

    (void)state;
    atr_scores_from(&c, &s);
    assert_true(isnan(s.miou) && isnan(s.pixel_accuracy) && isnan(s.frequency_iou));
    assert_true(isnan(s.mean_recall) && isnan(s.mean_precision) && isnan(s.mean_f1));
    assert_int_equal(s.present, 0);
    atr_confusion_free(&c);
}

static void class_counts_out_of_range_are_refused(void **state)
{
    atr_confusion c;

    (void)state;
    assert_int_equal(atr_confusion_init(0, &c), ATR_ERR_USAGE);
    assert_int_equal(atr_confusion_init(256, &c), ATR_ERR_USAGE);
    atr_confusion_free(&c);
}

/* The reference writes 0 where we say that there is no value. */
static void assert_score(double got, double want)
{
    rig_assert_near(isnan(got) ? 0.0 : got, want, 1e-12);
}

static void scores_of_stored_matrices_are_pytorchs(void **state)
{
    parity_case cases[MOST_CASES];
    atr_h5 *file = parity_open();

    (void)state;
    if (file == NULL)
        skip();
    int found = parity_cases(file, "mobilenet", cases, MOST_CASES);
    found += parity_cases(file, "xception", cases + found, MOST_CASES - found);
    assert_true(found >= 10);
    for (int i = 0; i < found; i++) {
        const parity_case *c = &cases[i];
        double *hist = parity_read(file, c, NULL, "metrics/hist"),
               *iou = parity_read(file, c, NULL, "metrics/iou");
        double *recall = parity_read(file, c, NULL, "metrics/recall");
        double *precision = parity_read(file, c, NULL, "metrics/precision");
        atr_confusion confusion;
        atr_scores s;
        assert_int_equal(atr_confusion_init(c->classes, &confusion), ATR_OK);
        for (int64_t k = 0; k < c->classes * c->classes; k++)
            confusion.counts[k] = (int64_t)hist[k];
        atr_scores_from(&confusion, &s);
        for (int64_t k = 0; k < c->classes; k++) {
            assert_score(s.iou[k], iou[k]);
            assert_score(s.recall[k], recall[k]);
            assert_score(s.precision[k], precision[k]);
        }
        assert_score(s.pixel_accuracy, parity_scalar(file, c, "metrics/accuracy"));
        atr_confusion_free(&confusion);
        atr_free(hist);
        atr_free(iou);
        atr_free(recall);
        atr_free(precision);
    }
    atr_h5_destroy(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pixels_are_counted_by_truth_and_prediction),
        cmocka_unit_test(scores_follow_their_definitions),
        cmocka_unit_test(an_absent_class_has_no_score_and_is_left_out_of_the_mean),
        cmocka_unit_test(background_only_scores_half_of_two_classes),
        cmocka_unit_test(no_pixels_give_no_scores),
        cmocka_unit_test(class_counts_out_of_range_are_refused),
        cmocka_unit_test(scores_of_stored_matrices_are_pytorchs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
