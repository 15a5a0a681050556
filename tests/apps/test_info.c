/* What `info`, `doctor` and `import` say about files of every kind, sound and damaged. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/commands.h"
#include "apps/session.h"
#include "core/rng.h"
#include "tests/support/command.h"
#include "tests/support/network.h"
#include "tests/support/scratch.h"

static char *folder;

static const char *in(const char *name)
{
    return scratch_text("%s/%s", folder, name);
}

/* A model; a checkpoint with the state of a run; a data set of drawn shapes. */
static int set_up(void **state)
{
    atr_session session;
    atr_model_info info;
    atr_extra note = {"machine", "test \x1b[31m"};
    const atr_train_state run = {.epoch = 3,
                                 .step_in_epoch = 1,
                                 .global_step = 34,
                                 .global_batch = 8,
                                 .ranks = 2,
                                 .seed = 11,
                                 .best_score = 0.4375,
                                 .best_epoch = 2,
                                 .data_fingerprint = 0xABCDEF,
                                 .schedule = "cos",
                                 .config = "lr: 0.1\n",
                                 .extra_count = 1,
                                 .extras = &note};

    (void)state;
    folder = scratch_create();
    atr_session_describe("mobilenetv2", 3, 8, &info);
    info.height = 64;
    info.width = 96;
    snprintf(info.class_names[1], sizeof info.class_names[1], "cat");
    must(atr_session_open(&(atr_session_options){.backend = "ref", .threads = 1}, NULL, &session));
    must(atr_session_build(&session, &info, NULL));
    must(atr_model_init(session.params, ATR_INIT_KAIMING, 1, 5));
    must(atr_checkpoint_write(in("model.h5"), &(atr_checkpoint){.info = &info, .params = session.params}));
    must(atr_checkpoint_write(in("run.h5"),
                              &(atr_checkpoint){.info = &info, .params = session.params, .state = &run}));
    atr_session_close(&session);
    command_expect(0, NULL, atr_cmd_sample, "sample", in("shapes"), "--count", "4", "--val", "0.25",
                   "--width", "40", "--height", "32", NULL);
    command_expect(0, NULL, atr_cmd_pack, "pack", in("shapes"), "-o", in("shapes.h5"), "--classes",
                   in("shapes/classes.txt"), NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

/* The object that `info --json` prints; json_decref(). */
static json_t *info_json(const char *path, const char *extra)
{
    return command_json(command_run(atr_cmd_info, "info", path, "--json", extra, NULL));
}

static int64_t number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    if (!json_is_integer(value))
        fail_msg("'%s' is no number", key);
    return json_integer_value(value);
}

static const char *text(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));

    return value != NULL ? value : "(none)";
}

static void a_model_tells_its_network_classes_and_sizes(void **state)
{
    json_t *o = info_json(in("model.h5"), "--tensors");

    (void)state;
    assert_string_equal(text(o, "kind"), "model");
    assert_string_equal(text(o, "backbone"), "mobilenetv2");
    assert_int_equal(number(o, "output_stride"), 8);
    assert_int_equal(number(o, "classes"), 3);
    assert_int_equal(number(o, "height"), 64);
    assert_int_equal(number(o, "width"), 96);
    assert_string_equal(json_string_value(json_array_get(json_object_get(o, "class_names"), 1)), "cat");
    assert_true(json_is_null(json_object_get(o, "training")));
    assert_int_equal(json_array_size(json_object_get(o, "tensors")), 371);
    /* The parts are all there is. The sizes are the reference's: 3 classes of 256 weights and a bias. */
    const json_t *parts = json_object_get(o, "parts"), *value;
    const char *key;
    int64_t sum = 0;
    json_object_foreach((json_t *)(uintptr_t)parts, key, value) sum += json_integer_value(value);
    assert_int_equal(sum, number(o, "parameters"));
    assert_int_equal(number(parts, "cls_conv"), 3 * 257);
    assert_int_equal(number(parts, "backbone"), 1811712);
    json_decref(o);
    command_expect(0, "1 cat", atr_cmd_info, "info", in("model.h5"), NULL);
    command_expect(0, "backbone.features.0.0.weight", atr_cmd_info, "info", in("model.h5"), "--tensors",
                   NULL);
}

static void a_checkpoint_tells_where_its_run_stands(void **state)
{
    json_t *o = info_json(in("run.h5"), NULL);
    const json_t *run = json_object_get(o, "training");

    (void)state;
    assert_string_equal(text(o, "kind"), "checkpoint");
    assert_int_equal(number(run, "epoch"), 3);
    assert_int_equal(number(run, "step"), 34);
    assert_int_equal(number(run, "ranks"), 2);
    assert_int_equal(number(run, "best_epoch"), 2);
    assert_true(json_real_value(json_object_get(run, "best_miou")) == 0.4375);
    assert_string_equal(text(run, "data_fingerprint"), "0000000000abcdef");
    assert_string_equal(text(run, "config"), "lr: 0.1\n");
    assert_null(json_object_get(o, "tensors"));
    json_decref(o);
    command_expect(0, "mIoU 43.75 % on val at epoch 2", atr_cmd_info, "info", in("run.h5"), NULL);
    command_result r = command_run(atr_cmd_info, "info", in("run.h5"), NULL);
    assert_null(strchr(r.out, 0x1B)); /* text of a file does not drive the terminal */
    command_free(&r);
}

static void a_data_set_tells_its_samples_and_classes(void **state)
{
    json_t *o = info_json(in("shapes.h5"), NULL);

    (void)state;
    assert_string_equal(text(o, "kind"), "data set");
    assert_int_equal(number(o, "samples"), 4);
    assert_int_equal(json_array_size(json_object_get(o, "classes")), 5);
    assert_int_equal(number(json_object_get(json_object_get(o, "splits"), "val"), "samples"), 1);
    json_decref(o);
    command_expect(0, "4 samples (train 3, val 1", atr_cmd_info, "info", in("shapes.h5"), NULL);
}

static void pictures_tell_their_size_and_kind(void **state)
{
    json_t *o = info_json(in("shapes/SegmentationClass/shape_00000.png"), NULL);

    (void)state;
    assert_string_equal(text(o, "kind"), "picture");
    assert_string_equal(text(o, "format"), "PNG");
    assert_int_equal(number(o, "width"), 40);
    assert_int_equal(number(o, "height"), 32);
    assert_true(json_is_true(json_object_get(o, "palette")));
    json_decref(o);
    command_expect(0, "JPEG", atr_cmd_info, "info", in("shapes/JPEGImages/shape_00000.jpg"), NULL);
}

static void weights_tell_their_tensors_and_the_network_they_fit(void **state)
{
    (void)state;
    if (parity_shared() == NULL) {
        printf("skipped: no folder of shared test data\n");
        skip();
    }
    json_t *o = info_json(scratch_text("%s/parity/mobilenetv2_os16_k21.pth", parity_shared()), NULL);
    assert_string_equal(text(o, "kind"), "weights");
    assert_string_equal(text(o, "format"), "pth");
    assert_int_equal(number(o, "tensor_count"), 371);
    assert_int_equal(number(json_object_get(o, "network"), "classes"), 21);
    json_decref(o);
    static const char *const files[] = {"legacy.pth", "wrapped_ddp.pth", "wrapped_ddp_legacy.pth",
                                        "wrapped_ddp.safetensors"};
    for (int i = 0; i < 4; i++) {
        o = info_json(scratch_text("%s/parity/%s", parity_shared(), files[i]), "--tensors");
        assert_true(json_is_null(json_object_get(o, "network")));
        assert_int_equal(json_array_size(json_object_get(o, "tensors")), number(o, "tensor_count"));
        if (i > 0)
            assert_string_equal(text(json_object_get(o, "metadata"), "epoch"), "3");
        json_decref(o);
    }
}

/* Every kind of file, cut and with a flipped bit at many places: a message and exit code 1, or (a bit that matters to nobody,
 * as in the pixels of a JPEG) a normal answer. Cut files are always found, but for what stands behind a file's end. */
static void damaged_files_get_a_message(void **state)
{
    char paths[5][4300];
    const char *const names[] = {"model.h5", "shapes.h5", "shapes/JPEGImages/shape_00000.jpg",
                                 "shapes/SegmentationClass/shape_00000.png", "wrapped.pth"};
    const uint64_t key = atr_rng_key(4, ATR_RNG_TEST, 0, 0);
    const int files = parity_shared() != NULL ? 5 : 4;
    uint64_t next = 0;

    (void)state;
    for (int f = 0; f < files; f++) {
        size_t size = 0;
        snprintf(paths[f], sizeof paths[f], "%s/%s", folder, names[f]);
        if (f == 4)
            snprintf(paths[f], sizeof paths[f], "%s/parity/wrapped_ddp.pth", parity_shared());
        uint8_t *bytes = scratch_read(paths[f], &size);
        for (int i = 0; i < 30; i++) {
            const size_t at = (size_t)atr_rng_below(key, next++, size);
            scratch_write(in("damaged"), bytes, at);
            command_result r = command_run(atr_cmd_info, "info", in("damaged"), NULL);
            assert_int_equal(r.exit_code, 1);
            assert_true(strlen(r.err) > 0 && strlen(r.out) == 0);
            command_free(&r);
            bytes[at] ^= (uint8_t)(1 << i % 8);
            scratch_write(in("damaged"), bytes, size);
            bytes[at] ^= (uint8_t)(1 << i % 8);
            r = command_run(atr_cmd_info, "info", in("damaged"), NULL);
            assert_true(r.exit_code == 0 || (r.exit_code == 1 && strlen(r.err) > 0));
            assert_true(f > 0 || r.exit_code == 1); /* a model's checksum covers all of it */
            command_free(&r);
        }
        free(bytes);
    }
}

static void what_is_no_file_of_ours_is_refused(void **state)
{
    (void)state;
    scratch_write_text(in("notes.txt"), "hello\n");
    scratch_write(in("empty"), "", 0);
    command_expect(2, "folder", atr_cmd_info, "info", folder, NULL);
    command_expect(1, "nowhere", atr_cmd_info, "info", in("nowhere"), NULL);
    command_expect(1, "notes.txt", atr_cmd_info, "info", in("notes.txt"), NULL);
    command_expect(1, "empty", atr_cmd_info, "info", in("empty"), NULL);
    command_expect(1, "regular file", atr_cmd_info, "info", "/dev/zero", NULL);
    command_expect(2, "a FILE is missing", atr_cmd_info, "info", NULL);
    command_expect(2, "several files are shown together where they are one data set only", atr_cmd_info,
                   "info", in("model.h5"), in("model.h5"), NULL);
    if (parity_shared() != NULL) /* HDF5, but of another program */
        command_expect(1, "not a file of atrous", atr_cmd_info, "info",
                       scratch_text("%s/parity/parity.h5", parity_shared()), NULL);
}

static void the_doctor_reads_files_to_their_end(void **state)
{
    size_t size = 0;
    uint8_t *bytes = scratch_read(in("shapes.h5"), &size);

    (void)state;
    command_expect(0, "all 4 samples are sound", atr_cmd_doctor, "doctor", in("shapes.h5"), in("model.h5"),
                   in("shapes/JPEGImages/shape_00000.jpg"), NULL);
    command_expect(0, "back end", atr_cmd_doctor, "doctor", NULL);
    command_expect(0, "file system", atr_cmd_doctor, "doctor", in("shapes.h5"), NULL);
    command_result r = command_run(atr_cmd_doctor, "doctor", in("shapes.h5"), in("model.h5"), NULL);
    const char *const first = strstr(r.out, "file system");
    assert_non_null(first);
    assert_null(strstr(first + 1, "file system")); /* both files lie on one */
    command_free(&r);
    command_expect(0, "atrous train DATA.h5 -o RUN", atr_cmd_doctor, "doctor", NULL);
    /* A picture inside the data set: opening does not look at it, the doctor does. */
    for (size_t i = 0; i + 3 < size; i++)
        if (bytes[i] == 0xFF && bytes[i + 1] == 0xD8 && bytes[i + 2] == 0xFF) {
            bytes[i + 300] ^= 8;
            break;
        }
    scratch_write(in("worn.h5"), bytes, size);
    command_expect(0, "4 samples", atr_cmd_info, "info", in("worn.h5"), NULL);
    command_expect(1, "checksum", atr_cmd_doctor, "doctor", in("worn.h5"), NULL);
    command_expect(1, "nowhere", atr_cmd_doctor, "doctor", in("nowhere"), NULL);
    free(bytes);
}

static void import_refuses_what_it_cannot_use_and_leaves_nothing_behind(void **state)
{
    (void)state;
    command_expect(2, "-o MODEL.h5", atr_cmd_import, "import", in("model.h5"), NULL);
    command_expect(2, "--force", atr_cmd_import, "import", in("model.h5"), "-o", in("run.h5"), NULL);
    command_expect(2, "is a folder", atr_cmd_import, "import", in("model.h5"), "-o", folder, NULL);
    command_expect(1, "nowhere.pth", atr_cmd_import, "import", in("nowhere.pth"), "-o", in("x.h5"), NULL);
    command_expect(2, "names 5 classes, the weights have 3", atr_cmd_import, "import", in("model.h5"), "-o",
                   in("x.h5"), "--classes", in("shapes/classes.txt"), NULL);
    command_expect(2, "size", atr_cmd_import, "import", in("model.h5"), "-o", in("x.h5"), "--size", "big",
                   NULL);
    if (parity_shared() != NULL) {
        size_t size = 0;
        uint8_t *bytes =
            scratch_read(scratch_text("%s/parity/mobilenetv2_os16_k21.pth", parity_shared()), &size);
        scratch_write(in("cut.pth"), bytes, size / 3);
        bytes[size / 2] ^= 1;
        scratch_write(in("flipped.pth"), bytes, size);
        free(bytes);
        command_expect(1, "cut.pth: ", atr_cmd_import, "import", in("cut.pth"), "-o", in("x.h5"), NULL);
        command_expect(1, "flipped.pth: ", atr_cmd_import, "import", in("flipped.pth"), "-o", in("x.h5"),
                       NULL);
        command_expect(1, "no backbone", atr_cmd_import, "import",
                       scratch_text("%s/parity/wrapped_ddp.pth", parity_shared()), "-o", in("x.h5"), NULL);
    }
    assert_null(fopen(in("x.h5"), "rb"));
    assert_null(fopen(in("x.h5.partial"), "rb"));
}

static void import_of_a_model_keeps_what_it_says_of_itself(void **state)
{
    (void)state;
    command_expect(0, NULL, atr_cmd_import, "import", in("run.h5"), "-o", in("kept.h5"), NULL);
    json_t *o = info_json(in("kept.h5"), NULL);
    assert_string_equal(text(o, "kind"), "model"); /* without the state of the run */
    assert_int_equal(number(o, "output_stride"), 8);
    assert_int_equal(number(o, "width"), 96);
    assert_string_equal(json_string_value(json_array_get(json_object_get(o, "class_names"), 1)), "cat");
    json_decref(o);
    command_expect(0, NULL, atr_cmd_import, "import", in("run.h5"), "-o", in("kept.h5"), "--force", "--size",
                   "100x50", "--output-stride", "16", NULL);
    o = info_json(in("kept.h5"), NULL);
    assert_int_equal(number(o, "output_stride"), 16);
    assert_int_equal(number(o, "height"), 100);
    json_decref(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_model_tells_its_network_classes_and_sizes),
        cmocka_unit_test(a_checkpoint_tells_where_its_run_stands),
        cmocka_unit_test(a_data_set_tells_its_samples_and_classes),
        cmocka_unit_test(pictures_tell_their_size_and_kind),
        cmocka_unit_test(weights_tell_their_tensors_and_the_network_they_fit),
        cmocka_unit_test(damaged_files_get_a_message),
        cmocka_unit_test(what_is_no_file_of_ours_is_refused),
        cmocka_unit_test(the_doctor_reads_files_to_their_end),
        cmocka_unit_test(import_refuses_what_it_cannot_use_and_leaves_nothing_behind),
        cmocka_unit_test(import_of_a_model_keeps_what_it_says_of_itself),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
