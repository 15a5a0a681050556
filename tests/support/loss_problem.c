#include "tests/support/loss_problem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/rng.h"
#include "tests/support/rig.h"

int64_t loss_problem_logits(const loss_problem *p)
{
    return p->n * p->h * p->w * p->classes;
}

int64_t loss_problem_pixels(const loss_problem *p)
{
    return p->n * p->height * p->width;
}

atr_tensor loss_problem_tensor(const loss_problem *p, float *data)
{
    return atr_tensor_nhwc(ATR_F32, p->n, p->h, p->w, p->classes, data);
}

void loss_problem_create(loss_problem *p, int64_t n, int64_t h, int64_t w, int64_t classes, int64_t height,
                         int64_t width, const char *loss)
{
    *p = (loss_problem){.n = n, .h = h, .w = w, .classes = classes, .height = height, .width = width};
    assert_int_equal(ATR_NEW(loss_problem_logits(p), &p->logits), ATR_OK);
    assert_int_equal(ATR_NEW(loss_problem_logits(p), &p->dlogits), ATR_OK);
    assert_int_equal(ATR_NEW(loss_problem_pixels(p), &p->labels), ATR_OK);
    const atr_tensor logits = loss_problem_tensor(p, p->logits);
    rig_fill(&logits, 17, 3.0, 0.0);
    for (int64_t i = 0; i < loss_problem_pixels(p); i++) {
        const uint64_t label = atr_rng_below(18, (uint64_t)i, (uint64_t)classes + 1);
        p->labels[i] = label < (uint64_t)classes ? (uint8_t)label : 255;
    }
    atr_loss_defaults(&p->config);
    if (atr_loss_parse(loss, &p->config) != ATR_OK)
        fail_msg("%s", atr_status_message());
}

void loss_problem_destroy(loss_problem *p)
{
    atr_free(p->logits);
    atr_free(p->dlogits);
    atr_free(p->labels);
}

void loss_problem_weigh(loss_problem *p)
{
    p->config.class_weight_count = p->classes;
    for (int64_t k = 0; k < p->classes; k++)
        p->config.class_weights[k] = 1.0f + 0.25f * (float)(k % 4);
}

double loss_problem_run_part(loss_problem *p, atr_backend *backend, atr_loss *loss, int64_t first,
                             int64_t count, bool sums_only)
{
    atr_loss_args args = {.logits = atr_tensor_nhwc(ATR_F32, count, p->h, p->w, p->classes,
                                                    p->logits + first * p->h * p->w * p->classes),
                          .labels = p->labels + first * p->height * p->width,
                          .height = p->height,
                          .width = p->width,
                          .sums = atr_loss_sums_of(loss),
                          .form = atr_loss_form_of(loss),
                          .votes = atr_loss_votes_of(loss)};
    const size_t bytes = backend->table->loss_scratch(&args);
    void *scratch = NULL;

    args.dlogits = args.logits;
    args.dlogits.data = p->dlogits + first * p->h * p->w * p->classes;
    assert_int_equal(atr_alloc((int64_t)bytes, 1, &scratch), ATR_OK);
    memset(scratch, 0x7F, bytes); /* rubbish */
    args.scratch = scratch;
    atr_backend_enter(backend);
    const atr_status status =
        sums_only ? backend->table->loss_sums(backend, &args) : backend->table->loss(backend, &args);
    if (status != ATR_OK)
        fail_msg("%s", atr_status_message());
    atr_free(scratch);
    return args.loss;
}

double loss_problem_run_split(loss_problem *p, atr_backend *backend, bool split)
{
    const int64_t step = split ? 1 : p->n;
    int64_t pixels[256] = {0};
    atr_loss *loss = NULL;
    double value = 0.0;

    if (atr_loss_create(&p->config, p->classes, &loss) != ATR_OK)
        fail_msg("%s", atr_status_message());
    for (int64_t i = 0; i < loss_problem_pixels(p); i++)
        pixels[p->labels[i] < p->classes ? p->labels[i] : 255]++;
    atr_loss_begin(loss, pixels, pixels[255], 1);
    for (int64_t first = 0; first < p->n && atr_loss_needs_sums(loss); first += step)
        loss_problem_run_part(p, backend, loss, first, step, true);
    atr_loss_settle(loss);
    for (int64_t first = 0; first < p->n; first += step)
        value += loss_problem_run_part(p, backend, loss, first, step, false);
    value += atr_loss_known(loss);
    p->f_score = atr_loss_f_score(loss);
    atr_loss_destroy(loss);
    return value;
}

double loss_problem_run(loss_problem *p, atr_backend *backend)
{
    return loss_problem_run_split(p, backend, false);
}
