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

/* From class scores to label maps, on every back end of this build. */

enum { THREADS = 2, MOST_CASES = 16 };

/* A request with buffers of its own. */
typedef struct request {
    atr_segment_args args;
    float *logits, *probabilities, *confidence;
    uint8_t *ids;
} request;

static const struct shape {
    int64_t h, w, classes, height, width;
    int64_t box_y, box_x, box_h, box_w, out_h, out_w;
} shapes[] = {
    {9, 13, 21, 33, 49, 0, 0, 33, 49, 33, 49}, /* whole picture at its own size */
    {9, 13, 5, 33, 49, 4, 0, 25, 49, 77, 151}, /* letterbox, enlarged */
    {9, 13, 21, 33, 49, 0, 7, 33, 30, 20, 17}, /* letterbox, reduced */
    {5, 4, 2, 17, 13, 0, 0, 17, 13, 18, 14},   /* by one pixel */
    {7, 7, 11, 7, 7, 0, 0, 7, 7, 7, 7},        /* no enlargement at all */
    {1, 1, 3, 1, 1, 0, 0, 1, 1, 5, 7},         /* one pixel */
    {3, 2, 255, 9, 5, 8, 4, 1, 1, 3, 3},       /* a box of one pixel in the corner */
    {4, 6, 1, 13, 21, 0, 0, 13, 21, 13, 21},   /* one class */
    {6, 5, 19, 22, 18, 3, 2, 16, 13, 16, 13},  /* cut, not resized */
    {5, 5, 16, 17, 17, 0, 0, 17, 17, 64, 17},  /* one direction only */
};

enum { SHAPES = sizeof shapes / sizeof shapes[0] };

static void request_create(request *r, const struct shape *s)
{
    const int64_t pixels = s->out_h * s->out_w;

    memset(r, 0, sizeof *r);
    assert_int_equal(ATR_NEW(s->h * s->w * s->classes, &r->logits), ATR_OK);
    assert_int_equal(ATR_NEW(pixels * s->classes, &r->probabilities), ATR_OK);
    assert_int_equal(ATR_NEW(pixels, &r->confidence), ATR_OK);
    assert_int_equal(ATR_NEW(pixels, &r->ids), ATR_OK);
    r->args = (atr_segment_args){
        .logits = atr_tensor_nhwc(ATR_F32, 1, s->h, s->w, s->classes, r->logits),
        .height = s->height,
        .width = s->width,
        .box_y = s->box_y,
        .box_x = s->box_x,
        .box_h = s->box_h,
        .box_w = s->box_w,
        .out_h = s->out_h,
        .out_w = s->out_w,
        .ids = r->ids,
        .probabilities = r->probabilities,
        .confidence = r->confidence,
    };
    rig_fill(&r->args.logits, 5, 4.0, 0.0);
}

static void request_destroy(request *r)
{
    atr_free(r->logits);
    atr_free(r->probabilities);
    atr_free(r->confidence);
    atr_free(r->ids);
}

static void run(request *r, atr_backend *backend)
{
    const size_t bytes = backend->table->segment_scratch(&r->args);
    void *scratch = NULL;

    assert_int_equal(atr_alloc((int64_t)bytes, 1, &scratch), ATR_OK);
    if (bytes > 0)
        memset(scratch, 0x7F, bytes);
    r->args.scratch = scratch;
    atr_backend_enter(backend);
    if (backend->table->segment(backend, &r->args) != ATR_OK)
        fail_msg("%s", atr_status_message());
    atr_free(scratch);
}

/* Probabilities once more, by the words of the definition: enlarge, softmax, cut, resize about pixel centres. */
static double defined_probability(const request *r, const float *enlarged, int64_t k, int64_t y, int64_t x)
{
    const atr_segment_args *a = &r->args;
    const int64_t pixels = a->height * a->width;
    double p = 0.0;

    for (int64_t i = 0; i < a->box_h; i++)
        for (int64_t j = 0; j < a->box_w; j++) {
            const double v = ((double)y + 0.5) * (double)a->box_h / (double)a->out_h - 0.5;
            const double u = ((double)x + 0.5) * (double)a->box_w / (double)a->out_w - 0.5;
            const double cv = fmin(fmax(v, 0.0), (double)(a->box_h - 1)),
                         cu = fmin(fmax(u, 0.0), (double)(a->box_w - 1));
            const double weight =
                fmax(0.0, 1.0 - fabs(cv - (double)i)) * fmax(0.0, 1.0 - fabs(cu - (double)j));
            const float *l = enlarged + (a->box_y + i) * a->width + a->box_x + j;
            double sum = 0.0;
            if (weight == 0.0)
                continue;
            for (int64_t c = 0; c < a->logits.dims[3]; c++)
                sum += exp((double)l[c * pixels]);
            p += weight * exp((double)l[k * pixels]) / sum;
        }
    return p;
}

static void probabilities_are_what_the_definition_says(void **state)
{
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (int i = 0; i < SHAPES; i++)
        for (int b = 0; b < count; b++) {
            const struct shape *s = &shapes[i];
            float *enlarged = NULL;
            request r;
            request_create(&r, s);
            assert_int_equal(ATR_NEW(s->classes * s->height * s->width, &enlarged), ATR_OK);
            atr_backend_ref.enlarge(backends[count - 1], &r.args.logits, s->height, s->width, enlarged);
            run(&r, backends[b]);
            for (int64_t at = 0; at < s->out_h * s->out_w; at += 7)
                for (int64_t k = 0; k < s->classes; k++)
                    rig_assert_near((double)r.probabilities[k * s->out_h * s->out_w + at],
                                    defined_probability(&r, enlarged, k, at / s->out_w, at % s->out_w), 3e-6);
            atr_free(enlarged);
            request_destroy(&r);
        }
    rig_close_backends(backends, count);
}

/* ids are the arg-max of the probabilities, where two are not equal to rounding, and confidence is its probability. */
static void check_ids(const request *r, const struct shape *s)
{
    const int64_t pixels = s->out_h * s->out_w;

    for (int64_t at = 0; at < pixels; at++) {
        const double own = (double)r->probabilities[r->ids[at] * pixels + at];
        double sum = 0.0;
        assert_in_range(r->ids[at], 0, s->classes - 1);
        for (int64_t k = 0; k < s->classes; k++) {
            const double p = (double)r->probabilities[k * pixels + at];
            sum += p;
            assert_true(p <= own + 1e-6);
        }
        rig_assert_near(sum, 1.0, 1e-5);
        rig_assert_near((double)r->confidence[at], own, 1e-6);
    }
}

static void ids_are_the_most_probable_class_however_few_outputs_are_asked_for(void **state)
{
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (int i = 0; i < SHAPES; i++)
        for (int b = 0; b < count; b++) {
            const struct shape *s = &shapes[i];
            request all, only_ids, only_confidence;
            request_create(&all, s);
            request_create(&only_ids, s);
            request_create(&only_confidence, s);
            only_ids.args.probabilities = only_ids.args.confidence = NULL;
            only_confidence.args.probabilities = NULL;
            only_confidence.args.ids = NULL;
            run(&all, backends[b]);
            run(&only_ids, backends[b]);
            run(&only_confidence, backends[b]);
            check_ids(&all, s);
            for (int64_t at = 0; at < s->out_h * s->out_w; at++) {
                const int64_t pixels = s->out_h * s->out_w;
                rig_assert_near((double)all.probabilities[only_ids.ids[at] * pixels + at],
                                (double)all.confidence[at], 1e-6);
                rig_assert_near((double)only_confidence.confidence[at], (double)all.confidence[at], 1e-6);
            }
            request_destroy(&all);
            request_destroy(&only_ids);
            request_destroy(&only_confidence);
        }
    rig_close_backends(backends, count);
}

static void the_first_of_equal_classes_wins(void **state)
{
    const struct shape s = {4, 5, 9, 13, 17, 0, 0, 13, 17, 13, 17},
                       large = {4, 5, 9, 13, 17, 0, 0, 13, 17, 31, 40};
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (int b = 0; b < count; b++)
        for (int k = 0; k < 2; k++) {
            const struct shape *shape = k == 0 ? &s : &large;
            request r;
            request_create(&r, shape);
            for (int64_t i = 0; i < 4 * 5 * 9; i++)
                r.logits[i] = i % 9 == 3 || i % 9 == 7 ? 1.0f : 0.0f;
            r.args.probabilities = NULL;
            run(&r, backends[b]);
            for (int64_t at = 0; at < shape->out_h * shape->out_w; at++)
                assert_int_equal(r.ids[at], 3);
            request_destroy(&r);
        }
    rig_close_backends(backends, count);
}

static void enlarge_is_the_resize_step(void **state)
{
    const rig_case spec = {
        .label = "enlarge", .op = ATR_OP_RESIZE, .n = 1, .h = 7, .w = 9, .c = 21, .out_h = 25, .out_w = 33};
    atr_backend *backends[RIG_BACKENDS];
    const int count = rig_open_backends(THREADS, backends);

    (void)state;
    for (int b = 0; b < count; b++) {
        float *out = NULL;
        rig r;
        rig_create(&r, &spec, backends[count - 1], 3);
        rig_forward(&r);
        assert_int_equal(ATR_NEW(21 * 25 * 33, &out), ATR_OK);
        assert_int_equal(backends[b]->table->enlarge(backends[b], &r.x[0].view, 25, 33, out), ATR_OK);
        for (int64_t i = 0; i < 21 * 25 * 33; i++)
            rig_assert_near((double)out[i], (double)r.y.block[i % (25 * 33) * 21 + i / (25 * 33)], 1e-6);
        atr_free(out);
        rig_destroy(&r);
    }
    rig_close_backends(backends, count);
}

/* One picture's stored logits [K,H,W] through segment into the confusion matrix. */
static void count_picture(const parity_case *c, const double *stored, const uint8_t *truth,
                          atr_backend *backend, atr_confusion *confusion)
{
    const struct shape s = {c->height, c->width,  c->classes, c->height, c->width, 0,
                            0,         c->height, c->width,   c->height, c->width};
    const int64_t pixels = c->height * c->width;
    request r;

    request_create(&r, &s);
    r.args.probabilities = r.args.confidence = NULL;
    for (int64_t i = 0; i < pixels * c->classes; i++)
        r.logits[i % pixels * c->classes + i / pixels] = (float)stored[i];
    run(&r, backend);
    atr_confusion_add(confusion, truth, r.ids, pixels);
    request_destroy(&r);
}

static void confusion_of_stored_logits_is_pytorchs(void **state)
{
    atr_backend *backends[RIG_BACKENDS];
    parity_case cases[MOST_CASES];
    atr_h5 *file = parity_open();

    (void)state;
    if (file == NULL)
        skip();
    const int count = rig_open_backends(THREADS, backends);
    int found = parity_cases(file, "mobilenet", cases, MOST_CASES);
    found += parity_cases(file, "xception", cases + found, MOST_CASES - found);
    for (int i = 0; i < found; i++) {
        const parity_case *c = &cases[i];
        const int64_t pixels = c->height * c->width;
        double *stored = parity_read(file, c, NULL, "eval_logits_m1");
        double *hist = parity_read(file, c, NULL, "metrics/hist");
        uint8_t *labels = parity_labels(c);
        for (int b = 0; b < count; b++) {
            atr_confusion confusion;
            assert_int_equal(atr_confusion_init(c->classes, &confusion), ATR_OK);
            for (int64_t n = 0; n < c->batch; n++)
                count_picture(c, stored + n * pixels * c->classes, labels + n * pixels, backends[b],
                              &confusion);
            for (int64_t k = 0; k < c->classes * c->classes; k++)
                assert_int_equal(confusion.counts[k], (int64_t)hist[k]);
            atr_confusion_free(&confusion);
        }
        atr_free(stored);
        atr_free(hist);
        atr_free(labels);
    }
    atr_h5_destroy(file);
    rig_close_backends(backends, count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probabilities_are_what_the_definition_says),
        cmocka_unit_test(ids_are_the_most_probable_class_however_few_outputs_are_asked_for),
        cmocka_unit_test(the_first_of_equal_classes_wins),
        cmocka_unit_test(enlarge_is_the_resize_step),
        cmocka_unit_test(confusion_of_stored_logits_is_pytorchs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
