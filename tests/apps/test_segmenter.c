#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "apps/segmenter.h"
#include "apps/session.h"
#include "tests/support/network.h"
#include "tests/support/picture.h"

enum { CLASSES = 3 };

static atr_session session;

static int set_up(void **state)
{
    atr_model_info info;

    (void)state;
    setenv("OMP_NUM_THREADS", "1", 1);
    atr_session_describe("mobilenetv2", CLASSES, 16, &info);
    info.height = 33;
    info.width = 49;
    must(atr_session_open(&(atr_session_options){.backend = "ref", .threads = 1}, NULL, &session));
    must(atr_session_build(&session, &info, NULL));
    must(atr_model_init(session.params, ATR_INIT_KAIMING, 1, 3));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    atr_session_close(&session);
    return 0;
}

static atr_segmenter *segmenter_of(atr_fit_mode fit, int64_t height, int64_t width)
{
    atr_segmenter *segmenter = NULL;

    must(atr_segmenter_create(&session.info, session.graph, session.params, session.backend, fit, height,
                              width, &segmenter));
    return segmenter;
}

/* A picture, and room for all that can be wanted of it. */
typedef struct subject {
    atr_image image;
    uint8_t *ids;
    float *probabilities, *confidence;
} subject;

static subject subject_make(int64_t width, int64_t height)
{
    const size_t pixels = (size_t)(width * height);

    return (subject){{width, height, 3, picture_make(width, height, 3)},
                     calloc(pixels, 1),
                     calloc(pixels * CLASSES, sizeof(float)),
                     calloc(pixels, sizeof(float))};
}

static void subject_free(subject *s)
{
    free(s->image.pixels);
    free(s->ids);
    free(s->probabilities);
    free(s->confidence);
}

static void run(atr_segmenter *segmenter, subject *s)
{
    must(atr_segmenter_run(segmenter, &s->image,
                           &(atr_segmentation){s->ids, s->probabilities, s->confidence, NULL}));
}

static void ids_probabilities_and_confidence_belong_together(void **state)
{
    (void)state;
    for (int fit = ATR_RUN_LETTERBOX; fit <= ATR_RUN_NONE; fit++) {
        atr_segmenter *segmenter = segmenter_of((atr_fit_mode)fit, 0, 0);
        subject s = subject_make(61, 27);
        run(segmenter, &s);
        for (int64_t i = 0; i < 61 * 27; i++) {
            double sum = 0;
            for (int k = 0; k < CLASSES; k++) {
                sum += s.probabilities[k * 61 * 27 + i];
                assert_true(s.probabilities[k * 61 * 27 + i] <= s.probabilities[s.ids[i] * 61 * 27 + i]);
            }
            assert_true(fabs(sum - 1) < 1e-5);
            assert_true(fabsf(s.confidence[i] - s.probabilities[s.ids[i] * 61 * 27 + i]) < 1e-6f);
        }
        subject_free(&s);
        atr_segmenter_destroy(segmenter);
    }
}

static void a_picture_of_the_networks_size_needs_no_fitting(void **state)
{
    subject s[3];

    (void)state;
    for (int fit = 0; fit < 3; fit++) {
        atr_segmenter *segmenter = segmenter_of((atr_fit_mode)fit, 0, 0); /* 33 x 49 */
        s[fit] = subject_make(49, 33);
        run(segmenter, &s[fit]);
        atr_segmenter_destroy(segmenter);
    }
    for (int fit = 1; fit < 3; fit++) {
        assert_memory_equal(s[0].ids, s[fit].ids, 49 * 33);
        for (int i = 0; i < CLASSES * 49 * 33; i++)
            assert_true(fabsf(s[0].probabilities[i] - s[fit].probabilities[i]) < 1e-6f);
    }
    for (int fit = 0; fit < 3; fit++)
        subject_free(&s[fit]);
}

/* More sizes than plans are kept, there and back: an old plan must not answer for another size. */
static void answers_do_not_depend_on_what_was_run_before(void **state)
{
    static const int64_t sizes[][2] = {{20, 17}, {17, 20}, {33, 33}, {40, 9}, {9, 40}, {25, 25}};
    atr_segmenter *kept = segmenter_of(ATR_RUN_NONE, 0, 0);

    (void)state;
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 6; i++) {
            const int64_t *size = sizes[round == 0 ? i : 5 - i];
            atr_segmenter *fresh = segmenter_of(ATR_RUN_NONE, 0, 0);
            subject a = subject_make(size[0], size[1]), b = subject_make(size[0], size[1]);
            run(kept, &a);
            run(fresh, &b);
            assert_memory_equal(a.probabilities, b.probabilities,
                                sizeof(float) * CLASSES * (size_t)(size[0] * size[1]));
            assert_memory_equal(a.ids, b.ids, (size_t)(size[0] * size[1]));
            subject_free(&a);
            subject_free(&b);
            atr_segmenter_destroy(fresh);
        }
    atr_segmenter_destroy(kept);
}

static void changed_parameters_are_noticed(void **state)
{
    atr_segmenter *segmenter = segmenter_of(ATR_RUN_NONE, 0, 0);
    subject s = subject_make(20, 20);
    const int64_t bias = atr_params_find(session.params, "cls_conv.bias");
    float *values = atr_params_value(session.params, bias).data, kept[CLASSES];

    (void)state;
    memcpy(kept, values, sizeof kept);
    for (int k = 0; k < CLASSES; k++) {
        memcpy(values, kept, sizeof kept);
        values[k] += 1e6f;
        atr_params_touch(session.params);
        run(segmenter, &s);
        for (int i = 0; i < 400; i++)
            assert_int_equal(s.ids[i], k);
    }
    memcpy(values, kept, sizeof kept);
    atr_params_touch(session.params);
    subject_free(&s);
    atr_segmenter_destroy(segmenter);
}

/* At the picture's own size the network's output is what the probabilities are of. */
static void the_loss_is_that_of_the_picture_run_alone(void **state)
{
    static const float weights[CLASSES] = {0.5f, 2, 1};
    atr_segmenter *segmenter = segmenter_of(ATR_RUN_NONE, 0, 0);
    subject s = subject_make(37, 29);
    const atr_image *const two[] = {&s.image, &s.image};
    const atr_segmentation nothing[2] = {{NULL, NULL, NULL, NULL}, {NULL, NULL, NULL, NULL}};
    uint8_t truth[37 * 29];
    double loss = 0, weight = 0, wanted = 0, wanted_weight = 0;

    (void)state;
    for (int i = 0; i < 37 * 29; i++)
        truth[i] = i % 5 == 4 ? 255 : (uint8_t)(i % 5 % CLASSES);
    assert_int_equal(atr_segmenter_loss(segmenter, truth, 37, 29, NULL, &loss, &weight), ATR_ERR_USAGE);
    run(segmenter, &s);
    must(atr_segmenter_loss(segmenter, truth, 37, 29, weights, &loss, &weight));
    for (int i = 0; i < 37 * 29; i++)
        if (truth[i] < CLASSES) {
            wanted -=
                (double)weights[truth[i]] * log((double)s.probabilities[(int64_t)truth[i] * 37 * 29 + i]);
            wanted_weight += (double)weights[truth[i]];
        }
    assert_true(fabs(loss - wanted) < 1e-4 * wanted);
    assert_true(weight == wanted_weight);

    must(atr_segmenter_run_batch(segmenter, two, nothing, 2));
    assert_int_equal(atr_segmenter_loss(segmenter, truth, 37, 29, NULL, &loss, &weight), ATR_ERR_USAGE);
    must(atr_segmenter_set_views(segmenter, &(atr_views){.mirror = ATR_MIRROR_FLIP}));
    run(segmenter, &s);
    assert_int_equal(atr_segmenter_loss(segmenter, truth, 37, 29, NULL, &loss, &weight), ATR_ERR_USAGE);
    subject_free(&s);
    atr_segmenter_destroy(segmenter);
}

static void what_cannot_be_run_is_refused(void **state)
{
    atr_segmenter *segmenter = NULL;
    uint8_t pixel = 0, ids = 0;
    const atr_image grey = {1, 1, 1, &pixel};
    atr_model_info sizeless = session.info;
    atr_fit_mode fit;

    (void)state;
    sizeless.height = 0;
    assert_int_equal(atr_segmenter_create(&sizeless, session.graph, session.params, session.backend,
                                          ATR_RUN_LETTERBOX, 0, 0, &segmenter),
                     ATR_ERR_USAGE);
    assert_null(segmenter);
    sizeless.height = sizeless.width = INT64_MAX;
    assert_int_equal(atr_segmenter_create(&sizeless, session.graph, session.params, session.backend,
                                          ATR_RUN_STRETCH, 0, 0, &segmenter),
                     ATR_ERR_SHAPE);
    assert_int_equal(atr_segmenter_create(&session.info, session.graph, session.params, session.backend,
                                          ATR_RUN_NONE, 33, 33, &segmenter),
                     ATR_ERR_USAGE);
    segmenter = segmenter_of(ATR_RUN_NONE, 0, 0);
    assert_int_equal(atr_segmenter_run(segmenter, &grey, &(atr_segmentation){.ids = &ids}), ATR_ERR_SHAPE);
    atr_segmenter_destroy(segmenter);
    atr_segmenter_destroy(NULL);
    assert_int_equal(atr_fit_mode_parse("none", &fit), ATR_OK);
    assert_int_equal(fit, ATR_RUN_NONE);
    assert_int_equal(atr_fit_mode_parse("None", &fit), ATR_ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_probabilities_and_confidence_belong_together),
        cmocka_unit_test(a_picture_of_the_networks_size_needs_no_fitting),
        cmocka_unit_test(answers_do_not_depend_on_what_was_run_before),
        cmocka_unit_test(changed_parameters_are_noticed),
        cmocka_unit_test(the_loss_is_that_of_the_picture_run_alone),
        cmocka_unit_test(what_cannot_be_run_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
