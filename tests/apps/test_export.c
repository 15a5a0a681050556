#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/commands.h"
#include "apps/session.h"
#include "io/path.h"
#include "tests/support/command.h"
#include "tests/support/network.h"
#include "tests/support/scratch.h"

/* A model with seeded weights as two files: alone, and as a checkpoint of a training run. */
static char *folder;
static const char *model, *checkpoint;

static const char *in_folder(const char *name)
{
    return scratch_text("%s/%s", folder, name);
}

static void write_files(void)
{
    static atr_model_info info;
    const atr_session_options options = {.backend = "ref", .threads = 1};
    atr_session session = {0};
    float *moment = NULL;

    atr_session_describe("mobilenetv2", 3, 8, &info);
    strcpy(info.class_names[0], "background");
    strcpy(info.class_names[1], "a \"quoted\" name");
    strcpy(info.class_names[2], "B\xc3\xa4r");
    strcpy(info.fit, "none");
    info.scale[1] = 1.0 / 3;
    info.offset[2] = -0.1;
    info.height = 97;
    info.width = 129;
    info.palette[1][0] = 200;
    must(atr_session_open(&options, NULL, &session));
    must(atr_session_build(&session, &info, NULL));
    must(atr_model_init(session.params, ATR_INIT_NORMAL, 0.02, 7));
    must(ATR_NEW(atr_params_flat_count(session.params), &moment));
    atr_optim_state optim = {.step = 12, .slot_count = 1};
    strcpy(optim.kind, "sgd");
    strcpy(optim.slots[0].name, "momentum");
    optim.slots[0].flat = moment;
    const atr_train_state state = {.global_step = 12, .ranks = 1, .global_batch = 4};
    must(atr_checkpoint_write(model, &(atr_checkpoint){.info = &info, .params = session.params}));
    must(atr_checkpoint_write(
        checkpoint,
        &(atr_checkpoint){.info = &info, .params = session.params, .optim = &optim, .state = &state}));
    atr_free(moment);
    atr_session_close(&session);
}

static int set_up(void **state)
{
    (void)state;
    folder = scratch_create();
    model = strdup(in_folder("model.h5"));
    checkpoint = strdup(in_folder("last.h5"));
    write_files();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free((char *)model);
    free((char *)checkpoint);
    scratch_remove(folder);
    return 0;
}

static void assert_same_file(const char *a, const char *b)
{
    size_t sizes[2];
    uint8_t *const first = scratch_read(a, &sizes[0]), *const second = scratch_read(b, &sizes[1]);

    assert_int_equal(sizes[0], sizes[1]);
    assert_memory_equal(first, second, sizes[0]);
    free(first);
    free(second);
}

/* Weights, counters, names, colours, preprocessing: the model file is the same byte by byte. */
static void safetensors_and_back_is_the_same_model(void **state)
{
    const char *const out = in_folder("m.safetensors"), *const back = in_folder("back.h5");

    (void)state;
    command_expect(ATR_EXIT_DONE, "371 tensors", atr_cmd_export, "export", model, "-o", out, NULL);
    command_expect(ATR_EXIT_DONE, "output stride 8", atr_cmd_import, "import", out, "-o", back, NULL);
    assert_same_file(model, back);
}

static void what_the_command_line_says_wins_over_the_metadata(void **state)
{
    const char *const out = in_folder("win.safetensors"), *const back = in_folder("win.h5");

    (void)state;
    command_expect(ATR_EXIT_DONE, NULL, atr_cmd_export, "export", model, "-o", out, NULL);
    command_expect(ATR_EXIT_DONE, "output stride 16", atr_cmd_import, "import", out, "-o", back,
                   "--output-stride", "16", "--size", "64x48", NULL);
    command_expect(ATR_EXIT_DONE, "64x48", atr_cmd_info, "info", back, NULL);
    command_expect(ATR_EXIT_DONE, "quoted", atr_cmd_info, "info", back, NULL);
}

static void state_of_a_run_stays_behind(void **state)
{
    const char *const a = in_folder("a.safetensors"), *const b = in_folder("b.safetensors");
    const char *const c = in_folder("a.onnx"), *const d = in_folder("b.onnx");

    (void)state;
    command_expect(ATR_EXIT_DONE, NULL, atr_cmd_export, "export", model, "-o", a, NULL);
    command_expect(ATR_EXIT_DONE, NULL, atr_cmd_export, "export", checkpoint, "-o", b, NULL);
    assert_same_file(a, b);
    command_expect(ATR_EXIT_DONE, NULL, atr_cmd_export, "export", model, "-o", c, NULL);
    command_expect(ATR_EXIT_DONE, NULL, atr_cmd_export, "export", checkpoint, "-o", d, NULL);
    assert_same_file(c, d);
}

static void onnx_has_the_shape_that_was_asked_for(void **state)
{
    const char *const out = in_folder("m.onnx");

    (void)state;
    command_expect(ATR_EXIT_DONE, "images [batch,3,height,width] -> logits [batch,3,height,width]",
                   atr_cmd_export, "export", model, "-o", out, NULL);
    command_expect(ATR_EXIT_DONE, "images [2,3,65,97] -> logits [2,3,65,97]", atr_cmd_export, "export", model,
                   "-o", out, "--batch", "2", "--size", "65x97", "--force", NULL);
}

static void senseless_requests_are_refused(void **state)
{
    const char *const st = in_folder("no.safetensors"), *const onnx = in_folder("no.onnx"),
                      *const odd = in_folder("no.pt"), *const bare = in_folder("bare.onnx");
    const int usage = ATR_EXIT_USAGE;

    (void)state;
    command_expect(usage, "-o FILE", atr_cmd_export, "export", model, NULL);
    command_expect(usage, "have: .safetensors, .onnx", atr_cmd_export, "export", model, "-o", odd, NULL);
    command_expect(usage, "have: .safetensors, .onnx", atr_cmd_export, "export", model, "-o", model, NULL);
    command_expect(usage, "no meaning for .safetensors", atr_cmd_export, "export", model, "-o", st, "--batch",
                   "1", NULL);
    command_expect(usage, "--batch '0'", atr_cmd_export, "export", model, "-o", onnx, "--batch", "0", NULL);
    command_expect(usage, "or dynamic", atr_cmd_export, "export", model, "-o", onnx, "--batch", "all", NULL);
    command_expect(usage, "size '9y9'", atr_cmd_export, "export", model, "-o", onnx, "--size", "9y9", NULL);
    command_expect(usage, "one argument too many", atr_cmd_export, "export", model, model, "-o", onnx, NULL);
    command_expect(ATR_EXIT_FAILED, "none.h5", atr_cmd_export, "export", in_folder("none.h5"), "-o", onnx,
                   NULL);
    assert_false(atr_path_exists(st));
    assert_false(atr_path_exists(onnx));
    assert_false(atr_path_exists(odd));
    command_expect(ATR_EXIT_DONE, NULL, atr_cmd_export, "export", model, "-o", bare, NULL);
    command_expect(usage, "--force", atr_cmd_export, "export", model, "-o", bare, NULL);
}

static void what_cannot_be_written_is_a_message(void **state)
{
    const char *const nowhere = in_folder("missing/m.onnx");

    (void)state;
    command_expect(ATR_EXIT_FAILED, "missing/m.onnx", atr_cmd_export, "export", model, "-o", nowhere, NULL);
    command_expect(ATR_EXIT_FAILED, "missing/m.safetensors", atr_cmd_export, "export", model, "-o",
                   in_folder("missing/m.safetensors"), NULL);
    assert_false(atr_path_exists(in_folder("missing")));
}

/* `import` with a classifier, or all but the backbone, that starts fresh: said, and the same for the same seed. */
static void parts_of_a_network_can_be_imported(void **state)
{
    const char *const st = in_folder("p.safetensors"), *const head = in_folder("head.h5"),
                      *const again = in_folder("again.h5"), *const other = in_folder("other.h5");

    (void)state;
    command_expect(ATR_EXIT_DONE, NULL, atr_cmd_export, "export", model, "-o", st, NULL);
    command_expect(ATR_EXIT_USAGE, "--new-head starts a new classifier", atr_cmd_import, "import", st, "-o",
                   head, "--classes", "5", NULL);
    command_expect(ATR_EXIT_USAGE, "--classes", atr_cmd_import, "import", st, "-o", head, "--new-head", NULL);
    command_expect(ATR_EXIT_DONE, "369 tensors loaded, 2 start fresh", atr_cmd_import, "import", st, "-o",
                   head, "--new-head", "--classes", "5", NULL);
    command_expect(ATR_EXIT_DONE, "5 classes", atr_cmd_import, "import", model, "-o", again, "--new-head",
                   "--classes", "5", NULL);
    assert_same_file(head, again);
    command_expect(ATR_EXIT_DONE, "306 tensors loaded, 65 start fresh", atr_cmd_import, "import", st, "-o",
                   other, "--backbone-only", "--classes", "5", NULL);
    command_expect(ATR_EXIT_DONE, "371 tensors loaded", atr_cmd_import, "import", st, "-o", other, "--force",
                   NULL);
    assert_same_file(model, other);
}

/* The weights of a safetensors file are no model of ours. */
static void other_files_are_refused(void **state)
{
    const char *const st = in_folder("w.safetensors"), *const onnx = in_folder("w.onnx");

    (void)state;
    command_expect(ATR_EXIT_DONE, NULL, atr_cmd_export, "export", model, "-o", st, NULL);
    command_expect(ATR_EXIT_FAILED, "w.safetensors", atr_cmd_export, "export", st, "-o", onnx, NULL);
    assert_false(atr_path_exists(onnx));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(safetensors_and_back_is_the_same_model),
        cmocka_unit_test(what_the_command_line_says_wins_over_the_metadata),
        cmocka_unit_test(state_of_a_run_stays_behind),
        cmocka_unit_test(onnx_has_the_shape_that_was_asked_for),
        cmocka_unit_test(senseless_requests_are_refused),
        cmocka_unit_test(what_cannot_be_written_is_a_message),
        cmocka_unit_test(parts_of_a_network_can_be_imported),
        cmocka_unit_test(other_files_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
