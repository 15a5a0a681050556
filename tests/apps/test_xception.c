/* The Xception network on the whole way of a user: a weight file under the reference's names becomes a model that gives what
 * PyTorch in float64 gives, in the program and in the library. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <atrous/atrous.h>

#include "apps/commands.h"
#include "apps/session.h"
#include "tests/support/command.h"
#include "tests/support/network.h"
#include "tests/support/picture.h"
#include "tests/support/scratch.h"

enum { MOST_CASES = 16, WIDTH = 41, HEIGHT = 29 };

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

/* All parameters and buffers as .safetensors, under their names. */
static void write_safetensors(const atr_params *params, const char *path)
{
    const int64_t count = atr_params_count(params);
    FILE *file = fopen(path, "wb");
    char *header = calloc((size_t)count, 256);
    size_t at = 0, length = (size_t)sprintf(header, "{");

    assert_non_null(file);
    for (int64_t p = 0; p < count; p++) {
        const atr_tensor t = atr_params_value(params, p);
        const size_t bytes = (size_t)atr_tensor_count(&t) * atr_dtype_bytes(t.type);
        length += (size_t)sprintf(header + length, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", p > 0 ? "," : "",
                                  atr_params_spec(params, p)->name, t.type == ATR_F32 ? "F32" : "I64");
        for (int d = 0; d < t.rank; d++)
            length += (size_t)sprintf(header + length, "%s%lld", d > 0 ? "," : "", (long long)t.dims[d]);
        length += (size_t)sprintf(header + length, "],\"data_offsets\":[%zu,%zu]}", at, at + bytes);
        at += bytes;
    }
    length += (size_t)sprintf(header + length, "}");
    const uint64_t length64 = length;
    assert_int_equal(fwrite(&length64, 8, 1, file), 1);
    assert_int_equal(fwrite(header, 1, length, file), length);
    for (int64_t p = 0; p < count; p++) {
        const atr_tensor t = atr_params_value(params, p);
        const size_t elements = (size_t)atr_tensor_count(&t);
        assert_int_equal(fwrite(t.data, atr_dtype_bytes(t.type), elements, file), elements);
    }
    assert_int_equal(fclose(file), 0);
    free(header);
}

/* The case's weights with the batch's own statistics, as a weight file. */
static void write_weights(const parity_case *c, const char *path)
{
    network net;

    network_open(&net, c, "cpu", 1);
    atr_plan *plan = network_plan(&net, ATR_TRAIN, ATR_REWRITE_ALL, false);
    must(atr_plan_forward(plan, net.images));
    write_safetensors(net.params, path);
    atr_plan_destroy(plan);
    network_close(&net);
}

/* Logits of a model file on the case's pictures against `eval_logits_m1`. */
static void check_model(const atr_h5 *golden, const parity_case *c, const char *model)
{
    const atr_plan_options options = {.mode = ATR_INFER,
                                      .batch = c->batch,
                                      .height = c->height,
                                      .width = c->width,
                                      .rewrites = ATR_REWRITE_ALL};
    const int64_t one = c->classes * c->height * c->width;
    double *wanted = parity_read(golden, c, NULL, "eval_logits_m1"),
           *stored = parity_read(golden, c, NULL, "eval_logits_m1_f32_err");
    float *logits = NULL, *images = parity_images(c);
    atr_session session;
    atr_plan *plan = NULL;

    must(atr_session_open(&(atr_session_options){.backend = "cpu", .threads = 2}, NULL, &session));
    must(atr_session_load(&session, model));
    assert_string_equal(session.info.backbone, "xception");
    assert_int_equal(session.info.output_stride, c->output_stride);
    must(atr_plan_create(session.graph, session.params, session.backend, &options, &plan));
    must(atr_plan_forward(plan, images));
    must(ATR_NEW(c->batch * one, &logits));
    for (int64_t n = 0; n < c->batch; n++)
        must(atr_plan_enlarge(plan, n, logits + n * one));
    assert_true(parity_relative_l2(logits, wanted, c->batch * one) <= fmax(3 * stored[1], 1e-5));
    atr_plan_destroy(plan);
    atr_session_close(&session);
    atr_free(images);
    atr_free(logits);
    atr_free(wanted);
    atr_free(stored);
}

static void check_library(const char *model, int classes)
{
    static uint8_t ids[WIDTH * HEIGHT];
    uint8_t *pixels = picture_make(WIDTH, HEIGHT, 3);
    const atrous_picture picture = {WIDTH, HEIGHT, pixels};
    atrous_model *opened = NULL;

    if (atrous_open(model, &(atrous_settings){.threads = 2, .fit = ATROUS_FIT_NONE}, &opened) != 0)
        fail_msg("%s", atrous_message());
    assert_int_equal(atrous_class_count(opened), classes);
    memset(ids, 0xEE, sizeof ids);
    if (atrous_segment(opened, &picture, ids, NULL) != 0)
        fail_msg("%s", atrous_message());
    for (int i = 0; i < WIDTH * HEIGHT; i++)
        assert_true(ids[i] < classes);
    atrous_close(opened);
    free(pixels);
}

static void imported_weights_give_pytorchs_logits(void **state)
{
    atr_h5 *golden = parity_open();
    parity_case cases[MOST_CASES];
    char weights[4200], model[4200], stride[8];
    int checked = 0;

    (void)state;
    if (golden == NULL)
        skip();
    snprintf(weights, sizeof weights, "%s/xception.safetensors", folder);
    snprintf(model, sizeof model, "%s/xception.h5", folder);
    const int found = parity_cases(golden, "xception", cases, MOST_CASES);
    for (int i = 0; i < found; i++) {
        if (strstr(cases[i].group, "_tight") == NULL)
            continue;
        snprintf(stride, sizeof stride, "%d", (int)cases[i].output_stride);
        write_weights(&cases[i], weights);
        command_expect(0, "xception, 5 classes", atr_cmd_info, "info", weights, NULL);
        command_expect(0, "deeplabv3plus xception, output stride", atr_cmd_import, "import", weights, "-o",
                       model, "--output-stride", stride, "--force", NULL);
        check_model(golden, &cases[i], model);
        checked++;
    }
    assert_true(checked >= 2);
    check_library(model, 5);
    atr_h5_destroy(golden);
}

static void bench_takes_it_and_names_it_where_a_name_is_wrong(void **state)
{
    (void)state;
    command_expect(0, "\"backbone\": \"xception\"", atr_cmd_bench, "bench", "--backbone", "xception",
                   "--output-stride", "8", "--size", "33x49", "-n", "1", "--warmup", "0", "--json", NULL);
    command_expect(2, "have: mobilenetv2, xception", atr_cmd_bench, "bench", "--backbone", "resnet", "--size",
                   "33", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(imported_weights_give_pytorchs_logits),
        cmocka_unit_test(bench_takes_it_and_names_it_where_a_name_is_wrong),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
