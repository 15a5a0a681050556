/* The whole way of a user's PyTorch file: `atrous import`, the model file, the plan, against what PyTorch in float64 makes of
 * the same weights and pictures (parity README, sections 4 and 8). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/commands.h"
#include "apps/session.h"
#include "dnn/plan.h"
#include "tests/support/command.h"
#include "tests/support/network.h"
#include "tests/support/scratch.h"

static char *folder;
static atr_h5 *golden;

static int set_up(void **state)
{
    (void)state;
    folder = scratch_create();
    golden = parity_open();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    atr_h5_destroy(golden);
    scratch_remove(folder);
    return 0;
}

static parity_case find_case(const char *group)
{
    parity_case cases[32];
    const int count = parity_cases(golden, "mobilenet", cases, 32);

    for (int i = 0; i < count; i++)
        if (strcmp(cases[i].group, group) == 0)
            return cases[i];
    fail_msg("there is no golden case %s", group);
    return cases[0];
}

static const char *pth(void)
{
    static char path[4300];

    snprintf(path, sizeof path, "%s/parity/mobilenetv2_os16_k21.pth", parity_shared());
    return path;
}

/* Logits [N,K,H,W] of a model file on the case's pictures. */
static float *run_model(const char *model, const parity_case *c, const char *backend)
{
    const int64_t one = c->classes * c->height * c->width;
    const atr_plan_options options = {.mode = ATR_INFER,
                                      .batch = c->batch,
                                      .height = c->height,
                                      .width = c->width,
                                      .rewrites = ATR_REWRITE_ALL};
    atr_session session;
    atr_plan *plan = NULL;
    float *logits = NULL, *images = parity_images(c);

    must(atr_session_open(&(atr_session_options){.backend = backend, .threads = 2}, NULL, &session));
    must(atr_session_load(&session, model));
    assert_int_equal(session.info.classes, c->classes);
    assert_int_equal(session.info.output_stride, c->output_stride);
    must(atr_plan_create(session.graph, session.params, session.backend, &options, &plan));
    must(atr_plan_forward(plan, images));
    must(ATR_NEW(c->batch * one, &logits));
    for (int64_t n = 0; n < c->batch; n++)
        must(atr_plan_enlarge(plan, n, logits + n * one));
    atr_plan_destroy(plan);
    atr_session_close(&session);
    atr_free(images);
    return logits;
}

/* Three times what PyTorch in float32 is off, at least the floor of 1e-5, and what rounding the statistics of the file costs. */
static void the_imported_network_is_pytorchs(void **state)
{
    const char *backend = *state, *model = scratch_text("%s/model.h5", folder);

    if (golden == NULL)
        skip();
    const parity_case c = find_case("mobilenet_os16_k21_97x129");
    command_expect(0, "21 classes", atr_cmd_import, "import", pth(), "-o", model, "--force", NULL);
    float *logits = run_model(model, &c, backend);
    double *truth = parity_read(golden, &c, NULL, "eval_logits");
    double *stored = parity_read(golden, &c, NULL, "eval_logits_f32_err");
    const int64_t count = c.batch * c.classes * c.height * c.width;
    const double relative = parity_relative_l2(logits, truth, count),
                 largest = parity_max_abs(logits, truth, count);

    printf("%s: relative L2 %.2e, largest difference %.2e (PyTorch in float32: %.2e, %.2e)\n", backend,
           relative, largest, stored[1], stored[0]);
    assert_true(relative <= fmax(3 * stored[1], 1e-5) + 5e-6);
    assert_true(largest <= fmax(3 * stored[0], 1e-4));
    atr_free(logits);
    atr_free(truth);
    atr_free(stored);
}

/* Writes the tensors of `weights` as .safetensors under names with `prefix`. */
static void write_safetensors(const atr_weights *weights, const char *prefix, const char *path)
{
    FILE *file = fopen(path, "wb");
    char *header = calloc((size_t)atr_weights_count(weights), 256);
    size_t length = 0, at = 0;

    assert_non_null(file);
    length += (size_t)sprintf(header, "{");
    for (int64_t i = 0; i < atr_weights_count(weights); i++) {
        const atr_tensor *t = atr_weights_tensor(weights, i);
        const size_t bytes = (size_t)atr_tensor_count(t) * atr_dtype_bytes(t->type);
        length +=
            (size_t)sprintf(header + length, "%s\"%s%s\":{\"dtype\":\"%s\",\"shape\":[", i > 0 ? "," : "",
                            prefix, atr_weights_name(weights, i), t->type == ATR_F32 ? "F32" : "I64");
        for (int d = 0; d < t->rank; d++)
            length += (size_t)sprintf(header + length, "%s%lld", d > 0 ? "," : "", (long long)t->dims[d]);
        length += (size_t)sprintf(header + length, "],\"data_offsets\":[%zu,%zu]}", at, at + bytes);
        at += bytes;
    }
    length += (size_t)sprintf(header + length, "}");
    while (length % 8 != 0)
        header[length++] = ' ';
    const uint64_t length64 = length;
    assert_int_equal(fwrite(&length64, 8, 1, file), 1);
    assert_int_equal(fwrite(header, 1, length, file), length);
    for (int64_t i = 0; i < atr_weights_count(weights); i++) {
        const atr_tensor *t = atr_weights_tensor(weights, i);
        const size_t count = (size_t)atr_tensor_count(t);
        assert_int_equal(fwrite(t->data, atr_dtype_bytes(t->type), count, file), count);
    }
    assert_int_equal(fclose(file), 0);
    free(header);
}

static void names_of_ddp_and_safetensors_give_the_same_model_file(void **state)
{
    atr_weights *weights = NULL;
    size_t size[2];
    uint8_t *bytes[2];
    char plain[4200], ddp[4200], other[4200];

    (void)state;
    if (golden == NULL)
        skip();
    snprintf(plain, sizeof plain, "%s/plain.h5", folder);
    snprintf(ddp, sizeof ddp, "%s/ddp.safetensors", folder);
    snprintf(other, sizeof other, "%s/ddp.h5", folder);
    must(atr_weights_read(pth(), &weights));
    write_safetensors(weights, "module.", ddp);
    atr_weights_destroy(weights);
    command_expect(0, NULL, atr_cmd_import, "import", pth(), "-o", plain, NULL);
    command_expect(0, "without 'module.'", atr_cmd_import, "import", ddp, "-o", other, NULL);
    bytes[0] = scratch_read(plain, &size[0]);
    bytes[1] = scratch_read(other, &size[1]);
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(bytes[0], bytes[1], size[0]);
    free(bytes[0]);
    free(bytes[1]);
}

static void a_model_of_ours_is_imported_unchanged(void **state)
{
    char model[4200], again[4200];
    size_t size[2];
    uint8_t *bytes[2];

    (void)state;
    if (golden == NULL)
        skip();
    snprintf(model, sizeof model, "%s/first.h5", folder);
    snprintf(again, sizeof again, "%s/again.h5", folder);
    command_expect(0, NULL, atr_cmd_import, "import", pth(), "-o", model, NULL);
    command_expect(0, "checkpoint", atr_cmd_import, "import", model, "-o", again, NULL);
    bytes[0] = scratch_read(model, &size[0]);
    bytes[1] = scratch_read(again, &size[1]);
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(bytes[0], bytes[1], size[0]);
    free(bytes[0]);
    free(bytes[1]);
}

int main(void)
{
    char ref[] = "ref", automatic[] = "auto";
    const struct CMUnitTest tests[] = {
        {"the_imported_network_is_pytorchs_on_ref", the_imported_network_is_pytorchs, NULL, NULL, ref},
        {"the_imported_network_is_pytorchs_on_auto", the_imported_network_is_pytorchs, NULL, NULL, automatic},
        cmocka_unit_test(names_of_ddp_and_safetensors_give_the_same_model_file),
        cmocka_unit_test(a_model_of_ours_is_imported_unchanged),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
