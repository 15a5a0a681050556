/* libatrous as a program sees it: <atrous/atrous.h> and nothing else of ours, but for making the models. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <atrous/atrous.h>

#include "apps/cli.h"
#include "apps/session.h"
#include "tests/support/network.h"
#include "tests/support/picture.h"
#include "tests/support/scratch.h"

enum { CLASSES = 5, WIDTH = 45, HEIGHT = 38, PIXELS = WIDTH * HEIGHT };

static char *folder;
static char models[2][4200];
static uint8_t *pixels;

static void write_model(const char *path, uint64_t seed)
{
    atr_session session;
    atr_model_info info;

    atr_session_describe("mobilenetv2", CLASSES, 16, &info);
    info.height = 33;
    info.width = 49;
    snprintf(info.class_names[2], sizeof info.class_names[2], "tree");
    must(atr_session_open(&(atr_session_options){.backend = "ref", .threads = 1}, NULL, &session));
    must(atr_session_build(&session, &info, NULL));
    must(atr_model_init(session.params, ATR_INIT_KAIMING, 1, seed));
    must(atr_checkpoint_write(path, &(atr_checkpoint){.info = &info, .params = session.params}));
    atr_session_close(&session);
}

static int set_up(void **state)
{
    (void)state;
    setenv("OMP_NUM_THREADS", "1", 1);
    folder = scratch_create();
    pixels = picture_make(WIDTH, HEIGHT, 3);
    for (int i = 0; i < 2; i++) {
        snprintf(models[i], sizeof models[i], "%s/model %d.h5", folder, i);
        write_model(models[i], 11 + (uint64_t)i);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(pixels);
    scratch_remove(folder);
    return 0;
}

static void done(int code)
{
    if (code != 0)
        fail_msg("code %d: %s", code, atrous_message());
}

static void a_picture_becomes_ids_and_probabilities(void **state)
{
    const atrous_picture picture = {WIDTH, HEIGHT, pixels};
    atrous_model *model = NULL;
    uint8_t ids[PIXELS], rgb[3];
    float *p = calloc(CLASSES * PIXELS, sizeof *p);

    (void)state;
    for (int fit = ATROUS_FIT_MODEL; fit <= ATROUS_FIT_NONE; fit++) {
        done(atrous_open(models[0], &(atrous_settings){.fit = (atrous_fit)fit}, &model));
        assert_int_equal(atrous_class_count(model), CLASSES);
        assert_string_equal(atrous_class_name(model, 2), "tree");
        assert_string_equal(atrous_class_name(model, 0), "");
        atrous_class_colour(model, 1, rgb);
        assert_memory_equal(rgb, ((uint8_t[3]){128, 0, 0}), 3);
        memset(ids, 0xEE, sizeof ids);
        done(atrous_segment(model, &picture, ids, p));
        for (int i = 0; i < PIXELS; i++) {
            double sum = 0;
            for (int k = 0; k < CLASSES; k++) {
                assert_true(p[k * PIXELS + i] >= 0 && p[k * PIXELS + i] <= 1);
                assert_true(p[k * PIXELS + i] <= p[ids[i] * PIXELS + i]);
                sum += p[k * PIXELS + i];
            }
            assert_true(fabs(sum - 1) < 1e-5);
        }
        atrous_close(model);
    }
    free(p);
}

static void either_result_may_be_left_out(void **state)
{
    const atrous_picture picture = {WIDTH, HEIGHT, pixels};
    atrous_model *model = NULL;
    uint8_t ids[PIXELS], alone[PIXELS];
    float *p = calloc(CLASSES * PIXELS, sizeof *p), *q = calloc(CLASSES * PIXELS, sizeof *q);

    (void)state;
    done(atrous_open(models[0], NULL, &model));
    done(atrous_segment(model, &picture, ids, p));
    done(atrous_segment(model, &picture, alone, NULL));
    done(atrous_segment(model, &picture, NULL, q));
    done(atrous_segment(model, &picture, NULL, NULL));
    assert_memory_equal(ids, alone, sizeof ids);
    assert_memory_equal(p, q, CLASSES * PIXELS * sizeof *p);
    atrous_close(model);
    free(p);
    free(q);
}

static void precision_changes_probabilities_a_little(void **state)
{
    const atrous_picture picture = {WIDTH, HEIGHT, pixels};
    atrous_model *model = NULL;
    float *p[2] = {calloc(CLASSES * PIXELS, sizeof(float)), calloc(CLASSES * PIXELS, sizeof(float))};
    double most = 0;

    (void)state;
    for (int i = 0; i < 2; i++) {
        const atrous_settings settings = {.precision = i == 0 ? ATROUS_PRECISION_F32 : ATROUS_PRECISION_BF16};
        done(atrous_open(models[0], &settings, &model));
        done(atrous_segment(model, &picture, NULL, p[i]));
        atrous_close(model);
    }
    for (int i = 0; i < CLASSES * PIXELS; i++)
        most = fmax(most, fabs((double)p[0][i] - (double)p[1][i]));
    assert_true(most > 0 && most < 0.05);
    assert_int_not_equal(atrous_open(models[0], &(atrous_settings){.precision = (atrous_precision)9}, &model),
                         0);
    assert_non_null(strstr(atrous_message(), "precision"));
    assert_null(model);
    free(p[0]);
    free(p[1]);
}

static void what_makes_no_sense_is_refused_with_words(void **state)
{
    const atrous_picture good = {WIDTH, HEIGHT, pixels};
    static const atrous_picture bad[] = {
        {0, 10, NULL}, {10, -1, NULL}, {INT32_MAX, INT32_MAX, NULL}, {-4, -4, NULL}, {10, 10, NULL}};
    static const atrous_settings senseless[] = {
        {.threads = -1},         {.height = -5},          {.width = -5},
        {.fit = (atrous_fit)77}, {.fit = (atrous_fit)-1}, {.height = INT32_MAX, .width = INT32_MAX}};
    atrous_model *model = (atrous_model *)(uintptr_t)1;
    uint8_t ids[PIXELS], rgb[3] = {1, 1, 1};

    (void)state;
    assert_int_not_equal(atrous_open(NULL, NULL, &model), 0);
    assert_null(model);
    assert_int_not_equal(atrous_open("nowhere.h5", NULL, &model), 0);
    assert_null(model);
    assert_non_null(strstr(atrous_message(), "nowhere.h5"));
    assert_int_not_equal(atrous_open(folder, NULL, &model), 0);
    assert_int_not_equal(atrous_open(models[0], NULL, NULL), 0);
    for (size_t i = 0; i < sizeof senseless / sizeof senseless[0]; i++) {
        assert_int_not_equal(atrous_open(models[0], &senseless[i], &model), 0);
        assert_null(model);
        assert_true(strlen(atrous_message()) > 0);
    }
    done(atrous_open(models[0], NULL, &model));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        atrous_picture picture = bad[i];
        assert_int_not_equal(atrous_segment(model, &picture, ids, NULL), 0);
        picture.pixels = i < 4 ? pixels : NULL;
        assert_int_not_equal(atrous_segment(model, &picture, ids, NULL), 0);
    }
    assert_int_not_equal(atrous_segment(model, NULL, ids, NULL), 0);
    assert_int_not_equal(atrous_segment(NULL, &good, ids, NULL), 0);
    done(atrous_segment(model, &good, ids, NULL)); /* and it still works */
    assert_null(atrous_class_name(model, -1));
    assert_null(atrous_class_name(model, CLASSES));
    assert_null(atrous_class_name(NULL, 0));
    assert_int_equal(atrous_class_count(NULL), 0);
    atrous_class_colour(model, 1000, rgb);
    assert_memory_equal(rgb, ((uint8_t[3]){0, 0, 0}), 3);
    atrous_class_colour(NULL, 0, rgb);
    atrous_close(model);
    atrous_close(NULL);
}

static void a_damaged_model_is_refused(void **state)
{
    const char *path = scratch_text("%s/damaged.h5", folder);
    atrous_model *model = NULL;
    size_t size = 0;
    uint8_t *bytes = scratch_read(models[0], &size);

    (void)state;
    bytes[size / 2] ^= 4;
    scratch_write(path, bytes, size);
    assert_int_not_equal(atrous_open(path, NULL, &model), 0);
    assert_null(model);
    assert_non_null(strstr(atrous_message(), "checksum"));
    scratch_write(path, bytes, size / 2);
    assert_int_not_equal(atrous_open(path, NULL, &model), 0);
    assert_non_null(strstr(atrous_message(), "cut short"));
    free(bytes);
}

/* What one thread does with its own model, or all with one. */
typedef struct worker {
    const char *path;
    atrous_model *shared; /* NULL: opens `path` itself */
    const uint8_t *expected;
    int code;
    int wrong; /* pixels other than expected */
    char message[256];
} worker;

static void *work(void *opaque)
{
    worker *w = opaque;
    const atrous_picture picture = {WIDTH, HEIGHT, pixels};
    atrous_model *model = w->shared;
    uint8_t ids[PIXELS];

    if (model == NULL)
        w->code = atrous_open(w->path, &(atrous_settings){.threads = 1}, &model);
    for (int round = 0; round < 3 && w->code == 0; round++) {
        w->code = atrous_segment(model, &picture, ids, NULL);
        for (int i = 0; i < PIXELS && w->code == 0; i++)
            w->wrong += ids[i] != w->expected[i];
    }
    /* A message belongs to the thread whose call failed. */
    atrous_model *none = NULL;
    atrous_open(w->path + 1, NULL, &none);
    snprintf(w->message, sizeof w->message, "%s", atrous_message());
    if (w->shared == NULL)
        atrous_close(model);
    return NULL;
}

static void run_threads(worker *workers, int count)
{
    pthread_t threads[8];

    for (int i = 0; i < count; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    for (int i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < count; i++) {
        assert_int_equal(workers[i].code, 0);
        assert_int_equal(workers[i].wrong, 0);
        assert_non_null(strstr(workers[i].message, workers[i].path + 1));
    }
}

static void threads_with_models_of_their_own_and_with_one_model_get_the_same_answers(void **state)
{
    const atrous_picture picture = {WIDTH, HEIGHT, pixels};
    uint8_t expected[2][PIXELS];
    atrous_model *model = NULL;
    worker workers[4] = {{0}};

    (void)state;
    for (int i = 0; i < 2; i++) {
        done(atrous_open(models[i], &(atrous_settings){.threads = 1}, &model));
        done(atrous_segment(model, &picture, expected[i], NULL));
        atrous_close(model);
    }
    assert_memory_not_equal(expected[0], expected[1], PIXELS);
    for (int i = 0; i < 4; i++)
        workers[i] = (worker){.path = models[i % 2], .expected = expected[i % 2]};
    run_threads(workers, 4);
    done(atrous_open(models[0], NULL, &model));
    for (int i = 0; i < 4; i++)
        workers[i] = (worker){.path = models[0], .shared = model, .expected = expected[0]};
    run_threads(workers, 4);
    atrous_close(model);
}

static void library_and_program_say_the_same_version(void **state)
{
    (void)state;
    assert_string_equal(atrous_version(), atr_cli_version());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_picture_becomes_ids_and_probabilities),
        cmocka_unit_test(either_result_may_be_left_out),
        cmocka_unit_test(precision_changes_probabilities_a_little),
        cmocka_unit_test(what_makes_no_sense_is_refused_with_words),
        cmocka_unit_test(a_damaged_model_is_refused),
        cmocka_unit_test(threads_with_models_of_their_own_and_with_one_model_get_the_same_answers),
        cmocka_unit_test(library_and_program_say_the_same_version),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
