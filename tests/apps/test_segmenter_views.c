/* Batches give what each picture gives alone; views are averaged as by hand. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "apps/segmenter.h"
#include "apps/session.h"
#include "io/letterbox.h"
#include "tests/support/network.h"
#include "tests/support/picture.h"

enum { CLASSES = 3, MOST = 5 };

static atr_session sessions[2]; /* ref, cpu */

static int set_up(void **state)
{
    static const char *const backends[] = {"ref", "cpu"};
    atr_model_info info;

    (void)state;
    setenv("OMP_NUM_THREADS", "2", 1);
    atr_session_describe("mobilenetv2", CLASSES, 16, &info);
    info.height = 33;
    info.width = 49;
    for (int i = 0; i < 2; i++) {
        must(atr_session_open(&(atr_session_options){.backend = backends[i], .threads = 0}, NULL,
                              &sessions[i]));
        must(atr_session_build(&sessions[i], &info, NULL));
        must(atr_model_init(sessions[i].params, ATR_INIT_KAIMING, 1, 3));
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    atr_session_close(&sessions[0]);
    atr_session_close(&sessions[1]);
    return 0;
}

static atr_segmenter *segmenter_of(atr_session *s, atr_fit_mode fit)
{
    atr_segmenter *segmenter = NULL;

    must(atr_segmenter_create(&s->info, s->graph, s->params, s->backend, fit, 0, 0, &segmenter));
    return segmenter;
}

/* A picture, and all that can be wanted of it. */
typedef struct subject {
    atr_image image;
    atr_segmentation result;
    int64_t pixels, outputs; /* of the picture, of the network's output */
} subject;

static subject subject_make(const atr_segmenter *segmenter, int64_t width, int64_t height, int64_t shift)
{
    subject s = {.image = {width, height, 3, malloc((size_t)(3 * width * height))}, .pixels = width * height};
    int64_t h = 0, w = 0;

    for (int64_t y = 0; y < height; y++)
        for (int64_t x = 0; x < width; x++)
            for (int64_t c = 0; c < 3; c++)
                s.image.pixels[(y * width + x) * 3 + c] = picture_sample(x + shift, y, c);
    atr_segmenter_logits_size(segmenter, &s.image, &h, &w);
    s.outputs = h * w;
    s.result = (atr_segmentation){calloc((size_t)s.pixels, 1), calloc((size_t)(CLASSES * s.pixels), 4),
                                  calloc((size_t)s.pixels, 4), calloc((size_t)(CLASSES * s.outputs), 4)};
    return s;
}

static void subject_free(subject *s)
{
    free(s->image.pixels);
    free(s->result.ids);
    free(s->result.probabilities);
    free(s->result.confidence);
    free(s->result.logits);
}

static void assert_same(const subject *a, const subject *b)
{
    assert_memory_equal(a->result.ids, b->result.ids, (size_t)a->pixels);
    assert_memory_equal(a->result.probabilities, b->result.probabilities, (size_t)(CLASSES * a->pixels) * 4);
    assert_memory_equal(a->result.confidence, b->result.confidence, (size_t)a->pixels * 4);
    assert_memory_equal(a->result.logits, b->result.logits, (size_t)(CLASSES * a->outputs) * 4);
}

/* Pictures `order` in one pass against each alone, all results bit for bit. */
static void compare_batch(atr_segmenter *segmenter, bool own_size, const int *order, int count)
{
    static const int64_t sizes[MOST][2] = {{61, 27}, {33, 49}, {49, 33}, {7, 90}, {1, 1}};
    subject together[MOST], alone[MOST];
    const atr_image *pictures[MOST];
    atr_segmentation wanted[MOST];

    for (int i = 0; i < count; i++) {
        const int64_t *size = sizes[own_size ? 0 : order[i]];
        together[i] = subject_make(segmenter, size[0], size[1], order[i]);
        alone[i] = subject_make(segmenter, size[0], size[1], order[i]);
        pictures[i] = &together[i].image;
        wanted[i] = together[i].result;
    }
    must(atr_segmenter_run_batch(segmenter, pictures, wanted, count));
    for (int i = 0; i < count; i++) {
        must(atr_segmenter_run(segmenter, &alone[i].image, &alone[i].result));
        assert_same(&together[i], &alone[i]);
        subject_free(&together[i]);
        subject_free(&alone[i]);
    }
}

static void a_batch_gives_what_each_picture_gives_alone(void **state)
{
    static const int orders[][MOST] = {{0, 1, 2, 3, 4}, {4, 2, 0, 1, 3}};
    const atr_views several = {.mirror = ATR_MIRROR_FLIP, .scale_count = 2, .scales = {0.75, 1}};

    (void)state;
    for (int b = 0; b < 2; b++)
        for (int fit = ATR_RUN_LETTERBOX; fit <= ATR_RUN_NONE; fit++)
            for (int count = 2; count <= MOST; count += 3)
                for (int o = 0; o < 2; o++) {
                    atr_segmenter *segmenter = segmenter_of(&sessions[b], (atr_fit_mode)fit);
                    compare_batch(segmenter, fit == ATR_RUN_NONE, orders[o], count);
                    must(atr_segmenter_set_views(segmenter, &several));
                    if (count == 2)
                        compare_batch(segmenter, fit == ATR_RUN_NONE, orders[o], count);
                    atr_segmenter_destroy(segmenter);
                }
}

static void one_plain_view_is_the_plain_run(void **state)
{
    (void)state;
    for (int fit = ATR_RUN_LETTERBOX; fit <= ATR_RUN_NONE; fit++) {
        atr_segmenter *segmenter = segmenter_of(&sessions[0], (atr_fit_mode)fit);
        subject a = subject_make(segmenter, 40, 31, 0), b = subject_make(segmenter, 40, 31, 0);
        must(atr_segmenter_run(segmenter, &a.image, &a.result));
        must(atr_segmenter_set_views(segmenter, &(atr_views){.scale_count = 1, .scales = {1}}));
        must(atr_segmenter_run(segmenter, &b.image, &b.result));
        assert_same(&a, &b);
        subject_free(&a);
        subject_free(&b);
        atr_segmenter_destroy(segmenter);
    }
}

/* Pixel (x, y) of the mirrored picture is taken from here. */
static int64_t mirrored(const atr_image *image, int64_t x, int64_t y, bool across, bool down)
{
    return (down ? image->height - 1 - y : y) * image->width + (across ? image->width - 1 - x : x);
}

/* The mean of the logits of mirrored pictures, each turned back: by hand on `ref`, at the picture's own size. */
static void flips_are_the_mean_of_mirrored_logits_turned_back(void **state)
{
    (void)state;
    for (int mode = ATR_MIRROR_FLIP; mode <= ATR_MIRROR_ALL; mode++) {
        atr_segmenter *segmenter = segmenter_of(&sessions[0], ATR_RUN_NONE);
        subject s = subject_make(segmenter, 37, 22, 0), m = subject_make(segmenter, 37, 22, 0);
        float *mean = calloc((size_t)(CLASSES * s.pixels), sizeof *mean);
        const int views = mode == ATR_MIRROR_FLIP ? 2 : 4;
        for (int v = 0; v < views; v++) {
            for (int64_t y = 0; y < 22; y++)
                for (int64_t x = 0; x < 37; x++)
                    memcpy(m.image.pixels + 3 * (y * 37 + x),
                           s.image.pixels + 3 * mirrored(&s.image, x, y, v & 1, v & 2), 3);
            must(atr_segmenter_run(segmenter, &m.image, &m.result));
            for (int64_t k = 0; k < CLASSES; k++)
                for (int64_t y = 0; y < 22; y++)
                    for (int64_t x = 0; x < 37; x++)
                        mean[k * s.pixels + y * 37 + x] +=
                            m.result.logits[k * s.pixels + mirrored(&s.image, x, y, v & 1, v & 2)];
        }
        must(atr_segmenter_set_views(segmenter, &(atr_views){.mirror = (atr_mirror)mode}));
        must(atr_segmenter_run(segmenter, &s.image, &s.result));
        for (int64_t i = 0; i < CLASSES * s.pixels; i++)
            assert_true(s.result.logits[i] == mean[i] / (float)views);
        for (int64_t p = 0; p < s.pixels; p++) {
            double sum = 0;
            for (int k = 0; k < CLASSES; k++)
                sum += exp((double)(mean[k * s.pixels + p] - mean[s.result.ids[p] * s.pixels + p]) / views);
            assert_true(fabs(1 / sum - s.result.confidence[p]) < 1e-5);
        }
        free(mean);
        subject_free(&s);
        subject_free(&m);
        atr_segmenter_destroy(segmenter);
    }
}

/* A symmetric picture has symmetric scores once flips are averaged, whatever the weights. */
static void flips_make_a_letterboxed_symmetric_picture_symmetric(void **state)
{
    atr_segmenter *segmenter = segmenter_of(&sessions[0], ATR_RUN_LETTERBOX);
    subject s = subject_make(segmenter, 49, 20, 0);

    (void)state;
    for (int64_t y = 0; y < 20; y++)
        for (int64_t x = 0; x < 24; x++)
            memcpy(s.image.pixels + 3 * (y * 49 + 48 - x), s.image.pixels + 3 * (y * 49 + x), 3);
    must(atr_segmenter_set_views(segmenter, &(atr_views){.mirror = ATR_MIRROR_FLIP}));
    must(atr_segmenter_run(segmenter, &s.image, &s.result));
    for (int64_t y = 0; y < 20; y++)
        for (int64_t x = 0; x < 49; x++)
            assert_true(fabsf(s.result.confidence[y * 49 + x] - s.result.confidence[y * 49 + 48 - x]) <
                        1e-5f);
    subject_free(&s);
    atr_segmenter_destroy(segmenter);
}

/* Half-pixel bilinear interpolation of one class's map, the edge repeated. */
static double at(const float *map, int64_t height, int64_t width, double y, double x)
{
    const double cy = y < 0 ? 0 : y > (double)height - 1 ? (double)height - 1 : y;
    const double cx = x < 0 ? 0 : x > (double)width - 1 ? (double)width - 1 : x;
    const int64_t y0 = (int64_t)cy, x0 = (int64_t)cx;
    const int64_t y1 = y0 + 1 < height ? y0 + 1 : y0, x1 = x0 + 1 < width ? x0 + 1 : x0;
    const double v = cy - (double)y0, h = cx - (double)x0;

    return (1 - v) * ((1 - h) * map[y0 * width + x0] + h * map[y0 * width + x1]) +
           v * ((1 - h) * map[y1 * width + x0] + h * map[y1 * width + x1]);
}

static void scales_are_the_mean_of_logits_brought_to_one_size(void **state)
{
    enum { W = 30, H = 21 };
    static const double scales[] = {1, 0.5, 1.6};
    atr_segmenter *segmenter = segmenter_of(&sessions[0], ATR_RUN_NONE);
    subject s = subject_make(segmenter, W, H, 0);
    double mean[CLASSES * W * H] = {0};
    atr_workspace workspace = {0};

    (void)state;
    for (int i = 0; i < 3; i++) {
        const int64_t w = llround(W * scales[i]), h = llround(H * scales[i]);
        subject m = subject_make(segmenter, w, h, 0);
        if (i > 0)
            must(atr_fit_canvas(ATR_FIT_STRETCH, &s.image, NULL, w, h, 0, m.image.pixels, NULL, NULL,
                                &workspace));
        must(atr_segmenter_run(segmenter, &m.image, &m.result));
        for (int64_t k = 0; k < CLASSES; k++)
            for (int64_t y = 0; y < H; y++)
                for (int64_t x = 0; x < W; x++)
                    mean[(k * H + y) * W + x] +=
                        at(m.result.logits + k * h * w, h, w, ((double)y + 0.5) * (double)h / H - 0.5,
                           ((double)x + 0.5) * (double)w / W - 0.5) /
                        3;
        subject_free(&m);
    }
    must(atr_segmenter_set_views(segmenter, &(atr_views){.scale_count = 3, .scales = {1, 0.5, 1.6}}));
    must(atr_segmenter_run(segmenter, &s.image, &s.result));
    for (int64_t i = 0; i < CLASSES * W * H; i++)
        assert_true(fabs(s.result.logits[i] - mean[i]) < 1e-4 * (1 + fabs(mean[i])));
    atr_workspace_free(&workspace);
    subject_free(&s);
    atr_segmenter_destroy(segmenter);
}

static void views_and_batches_without_meaning_are_refused(void **state)
{
    atr_segmenter *segmenter = segmenter_of(&sessions[0], ATR_RUN_NONE);
    subject a = subject_make(segmenter, 9, 8, 0), b = subject_make(segmenter, 8, 9, 0);

    (void)state;
    assert_int_equal(atr_segmenter_run_batch(segmenter, (const atr_image *[]){&a.image, &b.image},
                                             (atr_segmentation[]){a.result, b.result}, 2),
                     ATR_ERR_SHAPE);
    must(atr_segmenter_run_batch(segmenter, NULL, NULL, 0));
    assert_int_equal(atr_segmenter_set_views(segmenter, &(atr_views){.scale_count = 1, .scales = {0.01}}),
                     ATR_ERR_USAGE);
    assert_int_equal(atr_segmenter_set_views(segmenter, &(atr_views){.scale_count = 1, .scales = {NAN}}),
                     ATR_ERR_USAGE);
    assert_int_equal(atr_segmenter_set_views(segmenter, &(atr_views){.scale_count = ATR_SCALES_MAX + 1}),
                     ATR_ERR_USAGE);
    subject_free(&a);
    subject_free(&b);
    atr_segmenter_destroy(segmenter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_gives_what_each_picture_gives_alone),
        cmocka_unit_test(one_plain_view_is_the_plain_run),
        cmocka_unit_test(flips_are_the_mean_of_mirrored_logits_turned_back),
        cmocka_unit_test(flips_make_a_letterboxed_symmetric_picture_symmetric),
        cmocka_unit_test(scales_are_the_mean_of_logits_brought_to_one_size),
        cmocka_unit_test(views_and_batches_without_meaning_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
