/* What a checkpoint holds comes back. Damage, replaced files and resuming: test_checkpoint_files.c. */
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/rng.h"
#include "io/h5.h"
#include "io/h5_guard.h"
#include "io/path.h"
#include "tests/support/checkpoint_sample.h"
#include "tests/support/network.h"
#include "tests/support/scratch.h"

static void assert_same_params(const atr_params *a, const atr_params *b)
{
    for (int64_t i = 0; i < atr_params_count(a); i++) {
        const atr_tensor x = atr_params_value(a, i), y = atr_params_value(b, i);
        assert_memory_equal(x.data, y.data, (size_t)atr_tensor_count(&x) * atr_dtype_bytes(x.type));
    }
}

/* The moments of the parameters, not the gaps between them, must agree. */
static void assert_same_moments(const atr_params *params, const float *a, const float *b)
{
    for (int64_t i = 0; i < atr_params_count(params); i++) {
        const atr_tensor value = atr_params_value(params, i);
        if (atr_param_is_buffer(atr_params_spec(params, i)->kind))
            continue;
        const int64_t at = atr_params_flat_offset(params, i);
        assert_memory_equal(a + at, b + at, (size_t)atr_tensor_count(&value) * sizeof(float));
    }
}

/* An average of the weights is the model; what training goes on from, and the updates of each parameter, stand beside it. */
static void trained_weights_stand_beside_the_average(void **unused)
{
    checkpoint_sample s, trained, into;
    atr_checkpoint_file *file = NULL;
    int64_t steps[CHECKPOINT_SPECS], read_steps[CHECKPOINT_SPECS] = {0};

    (void)unused;
    checkpoint_sample_make(&s, 1);
    checkpoint_sample_make(&trained, 2);
    checkpoint_sample_make(&into, 3);
    const char *path = scratch_text("%s/model.h5", s.folder);
    for (int64_t i = 0; i < CHECKPOINT_SPECS; i++)
        steps[i] = atr_param_is_buffer(atr_params_spec(s.params, i)->kind) ? 0 : 7000 + i;
    s.optim.entry_steps = steps;
    s.ckpt.trained = trained.params;
    s.state.average_steps = 99;
    must(atr_checkpoint_write(path, &s.ckpt));
    must(atr_checkpoint_open(path, &file));
    assert_true(atr_checkpoint_has_trained(file));
    must(atr_checkpoint_load_params(file, ATR_LOAD_STRICT, into.params, NULL));
    assert_same_params(s.params, into.params);
    must(atr_checkpoint_load_trained(file, into.params));
    assert_same_params(trained.params, into.params);
    into.optim.entry_steps = read_steps;
    must(atr_checkpoint_load_optim(file, into.params, &into.optim));
    assert_memory_equal(steps, read_steps, sizeof steps);
    atr_train_state state;
    must(atr_checkpoint_load_state(file, &state));
    assert_int_equal(state.average_steps, 99);
    atr_train_state_free(&state);
    atr_checkpoint_close(file);

    s.ckpt.trained = NULL; /* without: as many updates of each as in all */
    s.optim.entry_steps = NULL;
    must(atr_checkpoint_write(path, &s.ckpt));
    must(atr_checkpoint_open(path, &file));
    assert_false(atr_checkpoint_has_trained(file));
    assert_int_equal(atr_checkpoint_load_trained(file, into.params), ATR_ERR_NOT_FOUND);
    must(atr_checkpoint_load_optim(file, into.params, &into.optim));
    for (int64_t i = 0; i < CHECKPOINT_SPECS; i++)
        assert_int_equal(read_steps[i],
                         atr_param_is_buffer(atr_params_spec(s.params, i)->kind) ? 0 : s.optim.step);
    atr_checkpoint_close(file);

    s.optim.entry_steps = steps; /* more updates than there were */
    steps[0] = s.optim.step + 1;
    must(atr_checkpoint_write(path, &s.ckpt));
    must(atr_checkpoint_open(path, &file));
    assert_int_equal(atr_checkpoint_load_optim(file, into.params, &into.optim), ATR_ERR_DATA);
    atr_checkpoint_close(file);
    checkpoint_sample_free(&s);
    checkpoint_sample_free(&trained);
    checkpoint_sample_free(&into);
}

/* Blocks of what is still to be sent come back bit by bit, also with none and with as many as there may be. */
static void unsent_gradients_stand_beside_the_state(void **unused)
{
    static const int64_t counts[] = {0, 1, 3, ATR_UNSENT_MAX};
    checkpoint_sample s;
    atr_checkpoint_file *file = NULL;

    (void)unused;
    checkpoint_sample_make(&s, 1);
    const int64_t flat = atr_params_flat_count(s.params);
    const char *path = scratch_text("%s/model.h5", s.folder);
    float *const blocks = test_malloc((size_t)(ATR_UNSENT_MAX * flat) * sizeof *blocks);
    for (int64_t i = 0; i < ATR_UNSENT_MAX * flat; i++)
        blocks[i] = (float)atr_rng_normal(77, (uint64_t)i);
    s.ckpt.unsent = blocks;
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        float *const got = test_calloc((size_t)(ATR_UNSENT_MAX * flat), sizeof *got);
        int64_t count = -1;
        s.ckpt.unsent_count = counts[i];
        must(atr_checkpoint_write(path, &s.ckpt));
        must(atr_checkpoint_open(path, &file));
        must(atr_checkpoint_unsent_count(file, &count));
        assert_int_equal(count, counts[i]);
        must(atr_checkpoint_load_unsent(file, s.params, got));
        for (int64_t k = 0; k < count; k++)
            assert_same_moments(s.params, blocks + k * flat, got + k * flat);
        atr_checkpoint_close(file);
        test_free(got);
    }
    s.ckpt.unsent_count = ATR_UNSENT_MAX + 1;
    assert_int_equal(atr_checkpoint_write(path, &s.ckpt), ATR_ERR_USAGE);
    test_free(blocks);
    checkpoint_sample_free(&s);
}

/* Adds `change` to number `column` of the first entry in the table of places of a written file, and seals it again. */
static void change_places(const char *path, int column, int64_t change)
{
    atr_h5 *file = NULL;
    int64_t at = 0, bytes = 0, value = 0;
    const int fd = open(path, O_RDWR);

    must(atr_h5_open(path, &file));
    must(atr_h5_place(file, "model/param_places", &at, &bytes));
    atr_h5_destroy(file);
    assert_int_equal(bytes, CHECKPOINT_SPECS * 7 * sizeof value);
    at += column * (int64_t)sizeof value;
    assert_int_equal(pread(fd, &value, sizeof value, at), sizeof value);
    value += change;
    assert_int_equal(pwrite(fd, &value, sizeof value, at), sizeof value);
    close(fd);
    must(atr_h5_seal(path, NULL, 0));
}

/* Loads all parameters of a file into `params`. */
static atr_status load(const char *path, atr_params *params)
{
    atr_checkpoint_file *file = NULL;
    atr_status status = ATR_OK;

    ATR_TRY(atr_checkpoint_open(path, &file));
    ATR_TRY(atr_checkpoint_load_params(file, ATR_LOAD_STRICT, params, NULL));
done:
    atr_checkpoint_close(file);
    return status;
}

static atr_status map(const char *path, atr_params *params)
{
    atr_checkpoint_file *file = NULL;
    atr_status status = ATR_OK;

    ATR_TRY(atr_checkpoint_open(path, &file));
    ATR_TRY(atr_checkpoint_map_params(file, params));
done:
    atr_checkpoint_close(file);
    return status;
}

/* The table of places is a short cut to the values that HDF5 finds, too: a table that does not fit the network (or none, in files of
 * older versions) is passed by. One that leads elsewhere is followed, so the test knows that the table is used, and out of the file
 * it is a message. */
static void places_lead_to_the_same_values(void **unused)
{
    checkpoint_sample s, into;

    (void)unused;
    checkpoint_sample_make(&s, 1);
    checkpoint_sample_make(&into, 2);
    const char *path = scratch_text("%s/model.h5", s.folder);
    must(atr_checkpoint_write(path, &s.ckpt));
    must(load(path, into.params));
    assert_same_params(s.params, into.params);
    change_places(path, 0, sizeof(float));
    must(load(path, into.params));
    assert_memory_equal((const float *)atr_params_value(s.params, 0).data + 1,
                        atr_params_value(into.params, 0).data, 100 * sizeof(float));
    change_places(path, 2, 1); /* of another rank */
    must(load(path, into.params));
    assert_same_params(s.params, into.params);
    change_places(path, 2, -1);
    change_places(path, 0, (int64_t)1 << 40);
    assert_int_equal(load(path, into.params), ATR_ERR_DATA);
    assert_non_null(strstr(atr_status_message(), "backbone.0.weight"));
    change_places(path, 0, -((int64_t)1 << 50));
    assert_int_equal(load(path, into.params), ATR_ERR_IO);
    checkpoint_sample_free(&s);
    checkpoint_sample_free(&into);
}

/* The first parameter is said to lie at `place`, and is what stands there, in the file or as a copy in `own`. */
static void map_first(const char *path, int64_t *at, int64_t place, atr_params *params, const void *own)
{
    size_t size = 0;

    change_places(path, 0, place - *at);
    *at = place;
    must(map(path, params));
    uint8_t *bytes = scratch_read(path, &size);
    assert_memory_equal(atr_params_value(params, 0).data, bytes + place, 7 * 3 * 3 * 3 * sizeof(float));
    assert_int_equal(atr_params_value(params, 0).data == own, place % (int64_t)sizeof(float) != 0);
    free(bytes);
}

/* Networks that are only run have their values in the file: the same ones, which cannot be copied by blocks; a place where no float can
 * lie is copied from, one outside of the file is a message. */
static void mapped_values_are_those_of_the_file(void **unused)
{
    checkpoint_sample s, into;
    atr_h5 *file = NULL;
    int64_t at = 0, bytes = 0;

    (void)unused;
    checkpoint_sample_make(&s, 1);
    checkpoint_sample_make(&into, 2);
    const char *path = scratch_text("%s/model.h5", s.folder);
    const void *own = atr_params_value(into.params, 0).data;
    must(atr_checkpoint_write(path, &s.ckpt));
    for (int turn = 0; turn < 2; turn++) {
        const uint64_t version = atr_params_version(into.params);
        must(map(path, into.params));
        assert_same_params(s.params, into.params);
        assert_true(atr_params_version(into.params) > version);
        atr_params_drop(into.params, atr_params_value(into.params, 0).data, 7 * 3 * 3 * 3);
        assert_same_params(s.params, into.params);
        must(atr_params_check_mapping(into.params));
    }
    assert_int_equal(atr_params_copy(into.params, s.params), ATR_ERR_INTERNAL);
    must(atr_h5_open(path, &file));
    must(atr_h5_place(file, "params/backbone.0.weight", &at, &bytes));
    atr_h5_destroy(file);
    map_first(path, &at, 1024, into.params, own);
    map_first(path, &at, 1026, into.params, own);
    map_first(path, &at, 1028, into.params, own);
    change_places(path, 0, (int64_t)1 << 40);
    assert_int_equal(atr_params_check_mapping(into.params), ATR_ERR_IO);
    assert_int_equal(map(path, into.params), ATR_ERR_DATA);
    assert_non_null(strstr(atr_status_message(), "backbone.0.weight"));
    checkpoint_sample_free(&s);
    checkpoint_sample_free(&into);
}

/* Writing and reading gives back every bit: description, parameters, buffers, moments, state. */
static void round_trip_is_bit_exact(void **unused)
{
    checkpoint_sample s, empty;
    atr_checkpoint_file *file = NULL;
    atr_load_report report;
    atr_train_state state;

    (void)unused;
    checkpoint_sample_make(&s, 1);
    checkpoint_sample_make(&empty, 2);
    const char *path = scratch_text("%s/model.h5", s.folder);
    must(atr_checkpoint_write(path, &s.ckpt));
    must(atr_checkpoint_open(path, &file));
    assert_memory_equal(atr_checkpoint_info(file), &s.info, sizeof s.info);
    assert_true(atr_checkpoint_has_optim(file) && atr_checkpoint_has_state(file));

    const uint64_t version = atr_params_version(empty.params);
    must(atr_checkpoint_load_params(file, ATR_LOAD_STRICT, empty.params, &report));
    assert_int_equal(report.loaded, CHECKPOINT_SPECS);
    assert_int_equal(report.issue_count, 0);
    assert_true(atr_params_version(empty.params) != version);
    assert_same_params(s.params, empty.params);
    atr_load_report_free(&report);

    empty.optim.step = 0;
    must(atr_checkpoint_load_optim(file, empty.params, &empty.optim));
    assert_int_equal(empty.optim.step, 7120);
    assert_same_moments(s.params, s.first, empty.first);
    assert_same_moments(s.params, s.second, empty.second);

    must(atr_checkpoint_load_state(file, &state));
    assert_int_equal(state.epoch, 3);
    assert_int_equal(state.step_in_epoch, 17);
    assert_int_equal(state.global_step, 7001);
    assert_int_equal(state.global_batch, 256);
    assert_int_equal(state.ranks, 16);
    assert_true(state.seed == s.state.seed && state.rng_key == s.state.rng_key);
    assert_true(isnan(state.best_score) && state.best_epoch == -1);
    assert_true(state.data_fingerprint == s.state.data_fingerprint);
    assert_string_equal(state.schedule, "cos");
    assert_string_equal(state.config, s.state.config);
    assert_int_equal(state.extra_count, 2);
    assert_string_equal(state.extras[0].value, "abc123");
    assert_string_equal(state.extras[1].value, "");
    atr_train_state_free(&state);
    atr_checkpoint_close(file);
    checkpoint_sample_free(&s);
    checkpoint_sample_free(&empty);
}

/* A plain model has no state to resume from, and says so; the same content gives the same bytes. */
static void model_without_training_state(void **unused)
{
    checkpoint_sample s;
    atr_checkpoint_file *file = NULL;
    atr_train_state state;
    size_t size = 0, again_size = 0;

    (void)unused;
    checkpoint_sample_make(&s, 1);
    s.ckpt.optim = NULL;
    s.ckpt.state = NULL;
    const char *path = scratch_text("%s/model.h5", s.folder);
    must(atr_checkpoint_write(path, &s.ckpt));
    uint8_t *bytes = scratch_read(path, &size);
    must(atr_checkpoint_write(path, &s.ckpt));
    uint8_t *again = scratch_read(path, &again_size);
    assert_int_equal(size, again_size);
    assert_memory_equal(bytes, again, size);
    free(bytes);
    free(again);

    must(atr_checkpoint_open(path, &file));
    assert_false(atr_checkpoint_has_optim(file) || atr_checkpoint_has_state(file));
    assert_int_equal(atr_checkpoint_load_state(file, &state), ATR_ERR_NOT_FOUND);
    assert_int_equal(atr_checkpoint_load_optim(file, s.params, &s.optim), ATR_ERR_NOT_FOUND);
    atr_checkpoint_close(file);
    checkpoint_sample_free(&s);
}

/* A checkpoint is a weight file too, with its names in the order of the state_dict. */
static void checkpoint_reads_as_weights(void **unused)
{
    checkpoint_sample s;
    atr_weights *weights = NULL;

    (void)unused;
    checkpoint_sample_make(&s, 1);
    const char *path = scratch_text("%s/model.h5", s.folder);
    must(atr_checkpoint_write(path, &s.ckpt));
    must(atr_weights_read(path, &weights));
    assert_string_equal(atr_weights_format(weights), "checkpoint");
    assert_int_equal(atr_weights_count(weights), CHECKPOINT_SPECS);
    for (int64_t i = 0; i < CHECKPOINT_SPECS; i++)
        assert_string_equal(atr_weights_name(weights, i), checkpoint_specs[i].name);
    atr_weights_destroy(weights);
    checkpoint_sample_free(&s);
}

/* Another head: strict loading refuses and changes nothing, partial loading takes the rest and reports. */
static void other_shapes_are_reported(void **unused)
{
    checkpoint_sample s;
    atr_params *other = NULL;
    atr_param_spec wanted[CHECKPOINT_SPECS + 1];
    atr_checkpoint_file *file = NULL;
    atr_load_report report;

    (void)unused;
    checkpoint_sample_make(&s, 1);
    memcpy(wanted, checkpoint_specs, sizeof checkpoint_specs);
    wanted[6].dims[0] = wanted[7].dims[0] = 3;
    wanted[CHECKPOINT_SPECS] = (atr_param_spec){"new.bias", ATR_PARAM_CONV_BIAS, 1, {2}};
    strcpy(wanted[2].name, "backbone.1.beta");
    must(atr_params_create(wanted, CHECKPOINT_SPECS + 1, &atr_host_allocator, &other));
    const char *path = scratch_text("%s/model.h5", s.folder);
    must(atr_checkpoint_write(path, &s.ckpt));
    must(atr_checkpoint_open(path, &file));

    assert_int_equal(atr_checkpoint_load_params(file, ATR_LOAD_STRICT, other, &report), ATR_ERR_SHAPE);
    assert_non_null(strstr(atr_status_message(), "cls_conv.weight is [5,7,1,1] in the file, [3,7,1,1]"));
    assert_int_equal(report.loaded, 0);
    assert_int_equal(report.missing, 2);
    atr_load_report_free(&report);
    for (int64_t i = 0; i < atr_params_flat_count(other); i++)
        assert_true(atr_params_flat_values(other)[i] == 0);

    must(atr_checkpoint_load_params(file, ATR_LOAD_PARTIAL, other, &report));
    assert_int_equal(report.loaded, 5);
    assert_int_equal(report.missing, 2);
    assert_int_equal(report.unexpected, 1);
    assert_int_equal(report.mismatched, 2);
    assert_int_equal(report.issue_count, 5);
    atr_load_report_free(&report);
    atr_checkpoint_close(file);
    atr_params_destroy(other);
    checkpoint_sample_free(&s);
}

static void not_finite_values_are_reported(void **unused)
{
    checkpoint_sample s;
    atr_checkpoint_file *file = NULL;
    atr_load_report report;

    (void)unused;
    checkpoint_sample_make(&s, 1);
    ((float *)atr_params_value(s.params, 6).data)[3] = -INFINITY;
    ((float *)atr_params_value(s.params, 1).data)[6] = NAN;
    const char *path = scratch_text("%s/model.h5", s.folder);
    must(atr_checkpoint_write(path, &s.ckpt));
    must(atr_checkpoint_open(path, &file));
    must(atr_checkpoint_load_params(file, ATR_LOAD_STRICT, s.params, &report));
    assert_int_equal(report.non_finite, 2);
    assert_string_equal(report.non_finite_name, "backbone.1.weight");
    atr_load_report_free(&report);
    atr_checkpoint_close(file);
    checkpoint_sample_free(&s);
}

static void incomplete_descriptions_are_refused(void **unused)
{
    checkpoint_sample s;

    (void)unused;
    checkpoint_sample_make(&s, 1);
    const char *path = scratch_text("%s/model.h5", s.folder);
    s.info.classes = 0;
    assert_int_equal(atr_checkpoint_write(path, &s.ckpt), ATR_ERR_USAGE);
    s.info.classes = 5;
    s.info.scale[2] = 0;
    assert_int_equal(atr_checkpoint_write(path, &s.ckpt), ATR_ERR_USAGE);
    assert_false(atr_path_exists(path));
    checkpoint_sample_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trained_weights_stand_beside_the_average),
        cmocka_unit_test(unsent_gradients_stand_beside_the_state),
        cmocka_unit_test(places_lead_to_the_same_values),
        cmocka_unit_test(mapped_values_are_those_of_the_file),
        cmocka_unit_test(round_trip_is_bit_exact),
        cmocka_unit_test(model_without_training_state),
        cmocka_unit_test(checkpoint_reads_as_weights),
        cmocka_unit_test(other_shapes_are_reported),
        cmocka_unit_test(not_finite_values_are_reported),
        cmocka_unit_test(incomplete_descriptions_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
