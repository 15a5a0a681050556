#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/rng.h"
#include "io/checkpoint.h"
#include "io/h5.h"
#include "io/h5_guard.h"
#include "io/path.h"
#include "tests/support/scratch.h"
#include "tests/support/weights_json.h"

/* A small network's worth of parameters, of every kind, with odd sizes. */
static const atr_param_spec specs[] = {
    {"backbone.0.weight", ATR_PARAM_CONV_WEIGHT, 4, {7, 3, 3, 3}},
    {"backbone.1.weight", ATR_PARAM_NORM_WEIGHT, 1, {7}},
    {"backbone.1.bias", ATR_PARAM_NORM_BIAS, 1, {7}},
    {"backbone.1.running_mean", ATR_PARAM_RUNNING_MEAN, 1, {7}},
    {"backbone.1.running_var", ATR_PARAM_RUNNING_VAR, 1, {7}},
    {"backbone.1.num_batches_tracked", ATR_PARAM_TRACKED, 0, {0}},
    {"cls_conv.weight", ATR_PARAM_CONV_WEIGHT, 4, {5, 7, 1, 1}},
    {"cls_conv.bias", ATR_PARAM_CONV_BIAS, 1, {5}},
};

enum { SPECS = sizeof specs / sizeof specs[0], ROUNDS = 1000 };

/* All that a checkpoint holds, filled from a seed. */
typedef struct sample {
    char *folder;
    atr_model_info info;
    atr_params *params;
    float *first, *second; /* moments */
    atr_optim_state optim;
    atr_extra extras[2];
    atr_train_state state;
    atr_checkpoint ckpt;
} sample;

static void must_be_ok(atr_status status)
{
    if (status != ATR_OK)
        fail_msg("%s", atr_status_message());
}

static void fill_floats(float *values, int64_t count, uint64_t key)
{
    for (int64_t i = 0; i < count; i++)
        values[i] = (float)atr_rng_normal(key, (uint64_t)i);
}

/* Values that differ with `seed`; gaps between parameters stay zero. */
static void fill_params(atr_params *params, uint64_t seed)
{
    for (int64_t i = 0; i < atr_params_count(params); i++) {
        const atr_tensor value = atr_params_value(params, i);
        if (value.type == ATR_I64)
            *(int64_t *)value.data = (int64_t)seed + ((int64_t)1 << 40);
        else
            fill_floats(value.data, atr_tensor_count(&value), seed * 100 + (uint64_t)i);
    }
}

static void sample_make(sample *s, uint64_t seed)
{
    memset(s, 0, sizeof *s);
    s->folder = scratch_create();
    strcpy(s->info.architecture, "deeplabv3plus");
    strcpy(s->info.backbone, "mobilenetv2");
    strcpy(s->info.fit, "letterbox");
    s->info.output_stride = 16;
    s->info.align_corners = true;
    s->info.classes = 5;
    strcpy(s->info.class_names[0], "background");
    strcpy(s->info.class_names[1], "Stra\xc3\x9f"
                                   "e");
    strcpy(s->info.class_names[4], "a name with spaces, commas and \"quotes\"");
    for (int i = 0; i < 256 * 3; i++)
        s->info.palette[i / 3][i % 3] = (uint8_t)(i * 7);
    s->info.channels = 3;
    for (int c = 0; c < 3; c++) {
        s->info.scale[c] = 1.0 / 255 / (c + 1);
        s->info.offset[c] = -0.1 * c;
    }
    s->info.height = 512;
    s->info.width = 1024;
    s->info.pad_value = 128;

    must_be_ok(atr_params_create(specs, SPECS, &atr_host_allocator, &s->params));
    fill_params(s->params, seed);
    must_be_ok(ATR_NEW(atr_params_flat_count(s->params), &s->first));
    must_be_ok(ATR_NEW(atr_params_flat_count(s->params), &s->second));
    fill_floats(s->first, atr_params_flat_count(s->params), seed + 1);
    fill_floats(s->second, atr_params_flat_count(s->params), seed + 2);
    strcpy(s->optim.kind, "adam");
    s->optim.step = 7120;
    s->optim.slot_count = 2;
    strcpy(s->optim.slots[0].name, "exp_avg");
    strcpy(s->optim.slots[1].name, "exp_avg_sq");
    s->optim.slots[0].flat = s->first;
    s->optim.slots[1].flat = s->second;

    s->state.epoch = 3;
    s->state.step_in_epoch = 17;
    s->state.global_step = 7000 + (int64_t)seed;
    s->state.global_batch = 256;
    s->state.ranks = 16;
    s->state.seed = UINT64_MAX - 5;
    s->state.rng_key = 0x8000000000000001u;
    s->state.best_score = NAN;
    s->state.best_epoch = -1;
    s->state.data_fingerprint = 0xDEADBEEFCAFEF00Du;
    strcpy(s->state.schedule, "cos");
    s->state.config = "train:\n  lr: 0.007\n  classes: [a, b]\n";
    strcpy(s->extras[0].key, "git");
    strcpy(s->extras[0].value, "abc123");
    strcpy(s->extras[1].key, "note");
    s->state.extra_count = 2;
    s->state.extras = s->extras;
    s->ckpt = (atr_checkpoint){&s->info, s->params, &s->optim, &s->state, NULL};
}

static void sample_free(sample *s)
{
    atr_params_destroy(s->params);
    atr_free(s->first);
    atr_free(s->second);
    scratch_remove(s->folder);
}

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
    sample s, trained, into;
    atr_checkpoint_file *file = NULL;
    int64_t steps[SPECS], read_steps[SPECS] = {0};

    (void)unused;
    sample_make(&s, 1);
    sample_make(&trained, 2);
    sample_make(&into, 3);
    const char *path = scratch_text("%s/model.h5", s.folder);
    for (int64_t i = 0; i < SPECS; i++)
        steps[i] = atr_param_is_buffer(atr_params_spec(s.params, i)->kind) ? 0 : 7000 + i;
    s.optim.entry_steps = steps;
    s.ckpt.trained = trained.params;
    s.state.average_steps = 99;
    must_be_ok(atr_checkpoint_write(path, &s.ckpt));
    must_be_ok(atr_checkpoint_open(path, &file));
    assert_true(atr_checkpoint_has_trained(file));
    must_be_ok(atr_checkpoint_load_params(file, ATR_LOAD_STRICT, into.params, NULL));
    assert_same_params(s.params, into.params);
    must_be_ok(atr_checkpoint_load_trained(file, into.params));
    assert_same_params(trained.params, into.params);
    into.optim.entry_steps = read_steps;
    must_be_ok(atr_checkpoint_load_optim(file, into.params, &into.optim));
    assert_memory_equal(steps, read_steps, sizeof steps);
    atr_train_state state;
    must_be_ok(atr_checkpoint_load_state(file, &state));
    assert_int_equal(state.average_steps, 99);
    atr_train_state_free(&state);
    atr_checkpoint_close(file);

    s.ckpt.trained = NULL; /* without: as many updates of each as in all */
    s.optim.entry_steps = NULL;
    must_be_ok(atr_checkpoint_write(path, &s.ckpt));
    must_be_ok(atr_checkpoint_open(path, &file));
    assert_false(atr_checkpoint_has_trained(file));
    assert_int_equal(atr_checkpoint_load_trained(file, into.params), ATR_ERR_NOT_FOUND);
    must_be_ok(atr_checkpoint_load_optim(file, into.params, &into.optim));
    for (int64_t i = 0; i < SPECS; i++)
        assert_int_equal(read_steps[i],
                         atr_param_is_buffer(atr_params_spec(s.params, i)->kind) ? 0 : s.optim.step);
    atr_checkpoint_close(file);

    s.optim.entry_steps = steps; /* more updates than there were */
    steps[0] = s.optim.step + 1;
    must_be_ok(atr_checkpoint_write(path, &s.ckpt));
    must_be_ok(atr_checkpoint_open(path, &file));
    assert_int_equal(atr_checkpoint_load_optim(file, into.params, &into.optim), ATR_ERR_DATA);
    atr_checkpoint_close(file);
    sample_free(&s);
    sample_free(&trained);
    sample_free(&into);
}

/* Adds `change` to number `column` of the first entry in the table of places of a written file, and seals it again. */
static void change_places(const char *path, int column, int64_t change)
{
    atr_h5 *file = NULL;
    int64_t at = 0, bytes = 0, value = 0;
    const int fd = open(path, O_RDWR);

    must_be_ok(atr_h5_open(path, &file));
    must_be_ok(atr_h5_place(file, "model/param_places", &at, &bytes));
    atr_h5_destroy(file);
    assert_int_equal(bytes, SPECS * 7 * sizeof value);
    at += column * (int64_t)sizeof value;
    assert_int_equal(pread(fd, &value, sizeof value, at), sizeof value);
    value += change;
    assert_int_equal(pwrite(fd, &value, sizeof value, at), sizeof value);
    close(fd);
    must_be_ok(atr_h5_seal(path, NULL, 0));
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

/* The table of places is a short cut to the values that HDF5 finds, too: a table that does not fit the network (or none, in files of
 * older versions) is passed by. One that leads elsewhere is followed, so the test knows that the table is used, and out of the file
 * it is a message. */
static void places_lead_to_the_same_values(void **unused)
{
    sample s, into;

    (void)unused;
    sample_make(&s, 1);
    sample_make(&into, 2);
    const char *path = scratch_text("%s/model.h5", s.folder);
    must_be_ok(atr_checkpoint_write(path, &s.ckpt));
    must_be_ok(load(path, into.params));
    assert_same_params(s.params, into.params);
    change_places(path, 0, sizeof(float));
    must_be_ok(load(path, into.params));
    assert_memory_equal((const float *)atr_params_value(s.params, 0).data + 1,
                        atr_params_value(into.params, 0).data, 100 * sizeof(float));
    change_places(path, 2, 1); /* of another rank */
    must_be_ok(load(path, into.params));
    assert_same_params(s.params, into.params);
    change_places(path, 2, -1);
    change_places(path, 0, (int64_t)1 << 40);
    assert_int_equal(load(path, into.params), ATR_ERR_DATA);
    assert_non_null(strstr(atr_status_message(), "backbone.0.weight"));
    change_places(path, 0, -((int64_t)1 << 50));
    assert_int_equal(load(path, into.params), ATR_ERR_IO);
    sample_free(&s);
    sample_free(&into);
}

/* Writing and reading gives back every bit: description, parameters, buffers, moments, state. */
static void round_trip_is_bit_exact(void **unused)
{
    sample s, empty;
    atr_checkpoint_file *file = NULL;
    atr_load_report report;
    atr_train_state state;

    (void)unused;
    sample_make(&s, 1);
    sample_make(&empty, 2);
    const char *path = scratch_text("%s/model.h5", s.folder);
    must_be_ok(atr_checkpoint_write(path, &s.ckpt));
    must_be_ok(atr_checkpoint_open(path, &file));
    assert_memory_equal(atr_checkpoint_info(file), &s.info, sizeof s.info);
    assert_true(atr_checkpoint_has_optim(file) && atr_checkpoint_has_state(file));

    const uint64_t version = atr_params_version(empty.params);
    must_be_ok(atr_checkpoint_load_params(file, ATR_LOAD_STRICT, empty.params, &report));
    assert_int_equal(report.loaded, SPECS);
    assert_int_equal(report.issue_count, 0);
    assert_true(atr_params_version(empty.params) != version);
    assert_same_params(s.params, empty.params);
    atr_load_report_free(&report);

    empty.optim.step = 0;
    must_be_ok(atr_checkpoint_load_optim(file, empty.params, &empty.optim));
    assert_int_equal(empty.optim.step, 7120);
    assert_same_moments(s.params, s.first, empty.first);
    assert_same_moments(s.params, s.second, empty.second);

    must_be_ok(atr_checkpoint_load_state(file, &state));
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
    sample_free(&s);
    sample_free(&empty);
}

/* A plain model has no state to resume from, and says so; the same content gives the same bytes. */
static void model_without_training_state(void **unused)
{
    sample s;
    atr_checkpoint_file *file = NULL;
    atr_train_state state;
    size_t size = 0, again_size = 0;

    (void)unused;
    sample_make(&s, 1);
    s.ckpt.optim = NULL;
    s.ckpt.state = NULL;
    const char *path = scratch_text("%s/model.h5", s.folder);
    must_be_ok(atr_checkpoint_write(path, &s.ckpt));
    uint8_t *bytes = scratch_read(path, &size);
    must_be_ok(atr_checkpoint_write(path, &s.ckpt));
    uint8_t *again = scratch_read(path, &again_size);
    assert_int_equal(size, again_size);
    assert_memory_equal(bytes, again, size);
    free(bytes);
    free(again);

    must_be_ok(atr_checkpoint_open(path, &file));
    assert_false(atr_checkpoint_has_optim(file) || atr_checkpoint_has_state(file));
    assert_int_equal(atr_checkpoint_load_state(file, &state), ATR_ERR_NOT_FOUND);
    assert_int_equal(atr_checkpoint_load_optim(file, s.params, &s.optim), ATR_ERR_NOT_FOUND);
    atr_checkpoint_close(file);
    sample_free(&s);
}

/* A checkpoint is a weight file too, with its names in the order of the state_dict. */
static void checkpoint_reads_as_weights(void **unused)
{
    sample s;
    atr_weights *weights = NULL;

    (void)unused;
    sample_make(&s, 1);
    const char *path = scratch_text("%s/model.h5", s.folder);
    must_be_ok(atr_checkpoint_write(path, &s.ckpt));
    must_be_ok(atr_weights_read(path, &weights));
    assert_string_equal(atr_weights_format(weights), "checkpoint");
    assert_int_equal(atr_weights_count(weights), SPECS);
    for (int64_t i = 0; i < SPECS; i++)
        assert_string_equal(atr_weights_name(weights, i), specs[i].name);
    atr_weights_destroy(weights);
    sample_free(&s);
}

/* Another head: strict loading refuses and changes nothing, partial loading takes the rest and reports. */
static void other_shapes_are_reported(void **unused)
{
    sample s;
    atr_params *other = NULL;
    atr_param_spec wanted[SPECS + 1];
    atr_checkpoint_file *file = NULL;
    atr_load_report report;

    (void)unused;
    sample_make(&s, 1);
    memcpy(wanted, specs, sizeof specs);
    wanted[6].dims[0] = wanted[7].dims[0] = 3;
    wanted[SPECS] = (atr_param_spec){"new.bias", ATR_PARAM_CONV_BIAS, 1, {2}};
    strcpy(wanted[2].name, "backbone.1.beta");
    must_be_ok(atr_params_create(wanted, SPECS + 1, &atr_host_allocator, &other));
    const char *path = scratch_text("%s/model.h5", s.folder);
    must_be_ok(atr_checkpoint_write(path, &s.ckpt));
    must_be_ok(atr_checkpoint_open(path, &file));

    assert_int_equal(atr_checkpoint_load_params(file, ATR_LOAD_STRICT, other, &report), ATR_ERR_SHAPE);
    assert_non_null(strstr(atr_status_message(), "cls_conv.weight is [5,7,1,1] in the file, [3,7,1,1]"));
    assert_int_equal(report.loaded, 0);
    assert_int_equal(report.missing, 2);
    atr_load_report_free(&report);
    for (int64_t i = 0; i < atr_params_flat_count(other); i++)
        assert_true(atr_params_flat_values(other)[i] == 0);

    must_be_ok(atr_checkpoint_load_params(file, ATR_LOAD_PARTIAL, other, &report));
    assert_int_equal(report.loaded, 5);
    assert_int_equal(report.missing, 2);
    assert_int_equal(report.unexpected, 1);
    assert_int_equal(report.mismatched, 2);
    assert_int_equal(report.issue_count, 5);
    atr_load_report_free(&report);
    atr_checkpoint_close(file);
    atr_params_destroy(other);
    sample_free(&s);
}

static void not_finite_values_are_reported(void **unused)
{
    sample s;
    atr_checkpoint_file *file = NULL;
    atr_load_report report;

    (void)unused;
    sample_make(&s, 1);
    ((float *)atr_params_value(s.params, 6).data)[3] = -INFINITY;
    ((float *)atr_params_value(s.params, 1).data)[6] = NAN;
    const char *path = scratch_text("%s/model.h5", s.folder);
    must_be_ok(atr_checkpoint_write(path, &s.ckpt));
    must_be_ok(atr_checkpoint_open(path, &file));
    must_be_ok(atr_checkpoint_load_params(file, ATR_LOAD_STRICT, s.params, &report));
    assert_int_equal(report.non_finite, 2);
    assert_string_equal(report.non_finite_name, "backbone.1.weight");
    atr_load_report_free(&report);
    atr_checkpoint_close(file);
    sample_free(&s);
}

static void incomplete_descriptions_are_refused(void **unused)
{
    sample s;

    (void)unused;
    sample_make(&s, 1);
    const char *path = scratch_text("%s/model.h5", s.folder);
    s.info.classes = 0;
    assert_int_equal(atr_checkpoint_write(path, &s.ckpt), ATR_ERR_USAGE);
    s.info.classes = 5;
    s.info.scale[2] = 0;
    assert_int_equal(atr_checkpoint_write(path, &s.ckpt), ATR_ERR_USAGE);
    assert_false(atr_path_exists(path));
    sample_free(&s);
}

/* Opens and reads all there is; whatever the file holds, this ends with a status. */
static atr_status read_everything(const char *path, sample *s)
{
    atr_status status = ATR_OK;
    atr_checkpoint_file *file = NULL;
    atr_train_state state = {0};

    ATR_TRY(atr_checkpoint_open(path, &file));
    ATR_TRY(atr_checkpoint_load_params(file, ATR_LOAD_STRICT, s->params, NULL));
    ATR_TRY(atr_checkpoint_load_optim(file, s->params, &s->optim));
    ATR_TRY(atr_checkpoint_load_state(file, &state));

done:
    atr_train_state_free(&state);
    atr_checkpoint_close(file);
    return status;
}

/* Every truncation and every flipped bit is found, wherever it lies. */
static void every_damage_is_found(void **unused)
{
    sample s;
    size_t size = 0;

    (void)unused;
    sample_make(&s, 1);
    const char *path = scratch_text("%s/model.h5", s.folder);
    char damaged[512];
    strcpy(damaged, scratch_text("%s/damaged.h5", s.folder));
    must_be_ok(atr_checkpoint_write(path, &s.ckpt));
    uint8_t *bytes = scratch_read(path, &size), *copy = malloc(size);
    assert_non_null(copy);
    for (int64_t round = 0; round < ROUNDS; round++) {
        memcpy(copy, bytes, size);
        const size_t left = weights_damage(copy, size, round);
        if (left == size && memcmp(copy, bytes, size) == 0)
            continue; /* a bit flipped twice */
        scratch_write(damaged, copy, left);
        assert_int_equal(read_everything(damaged, &s), ATR_ERR_DATA);
        assert_non_null(strstr(atr_status_message(), "damaged.h5"));
    }
    free(bytes);
    free(copy);
    sample_free(&s);
}

/* Were the seal forged, HDF5 and our own checks stand alone: still a status each time. */
static void damage_behind_a_right_seal_is_survived(void **unused)
{
    sample s;
    size_t size = 0;

    (void)unused;
    sample_make(&s, 1);
    char path[512], damaged[512];
    strcpy(path, scratch_text("%s/model.h5", s.folder));
    strcpy(damaged, scratch_text("%s/damaged.h5", s.folder));
    must_be_ok(atr_checkpoint_write(path, &s.ckpt));
    uint8_t *bytes = scratch_read(path, &size), *copy = malloc(size);
    assert_non_null(copy);
    for (int64_t round = 0; round < ROUNDS; round++) {
        memcpy(copy, bytes, size);
        const size_t left = weights_damage(copy, size, round);
        if (left < 1024)
            continue;
        scratch_write(damaged, copy, left);
        if (atr_h5_seal(damaged, NULL, 0) == ATR_OK && read_everything(damaged, &s) != ATR_OK)
            assert_true(strlen(atr_status_message()) > 10);
    }
    free(bytes);
    free(copy);
    sample_free(&s);
}

static void foreign_files_are_refused(void **unused)
{
    sample s;
    atr_checkpoint_file *file = NULL;

    (void)unused;
    sample_make(&s, 1);
    const char *path = scratch_text("%s/x.h5", s.folder);
    assert_int_equal(atr_checkpoint_open(path, &file), ATR_ERR_NOT_FOUND);
    scratch_write_text(path, "");
    assert_int_equal(atr_checkpoint_open(path, &file), ATR_ERR_DATA);
    assert_int_not_equal(atr_checkpoint_open(s.folder, &file), ATR_OK);
    assert_null(file);
    sample_free(&s);
}

static void save(sample *s, int64_t step, bool best)
{
    s->state.global_step = step;
    fill_params(s->params, (uint64_t)step);
    must_be_ok(atr_run_save(s->folder, &s->ckpt, best));
}

static int64_t step_of(const char *path)
{
    atr_checkpoint_file *file = NULL;
    atr_train_state state = {0};

    must_be_ok(atr_checkpoint_open(path, &file));
    must_be_ok(atr_checkpoint_load_state(file, &state));
    const int64_t step = state.global_step;
    atr_train_state_free(&state);
    atr_checkpoint_close(file);
    return step;
}

static void last_two_and_best_are_kept(void **unused)
{
    sample s;

    (void)unused;
    sample_make(&s, 1);
    save(&s, 100, false);
    assert_false(atr_path_exists(scratch_text("%s/last.prev.h5", s.folder)));
    save(&s, 200, true);
    save(&s, 300, false);
    save(&s, 400, false);
    assert_int_equal(step_of(scratch_text("%s/last.h5", s.folder)), 400);
    assert_int_equal(step_of(scratch_text("%s/last.prev.h5", s.folder)), 300);
    assert_int_equal(step_of(scratch_text("%s/best.h5", s.folder)), 200);
    save(&s, 500, true);
    save(&s, 500, true);
    assert_int_equal(step_of(scratch_text("%s/best.h5", s.folder)), 500);
    assert_false(atr_path_exists(scratch_text("%s/last.h5.partial", s.folder)));
    assert_false(atr_path_exists(scratch_text("%s/best.h5.partial", s.folder)));
    sample_free(&s);
}

static void flip_a_byte(const char *path)
{
    size_t size = 0;
    uint8_t *bytes = scratch_read(path, &size);

    bytes[size / 2] ^= 0x10;
    unlink(path); /* not through a hard link */
    scratch_write(path, bytes, size);
    free(bytes);
}

static int64_t resumed_step(const sample *s, char **note)
{
    atr_checkpoint_file *file = NULL;
    atr_train_state state = {0};

    must_be_ok(atr_run_resume(s->folder, &file, note));
    must_be_ok(atr_checkpoint_load_state(file, &state));
    const int64_t step = state.global_step;
    atr_train_state_free(&state);
    atr_checkpoint_close(file);
    return step;
}

/* R03: last.h5 is damaged, so the one before is used; saving again does not push the sound one out with the damaged one. */
static void damaged_last_falls_back_to_the_previous(void **unused)
{
    sample s;
    char *note = NULL;

    (void)unused;
    sample_make(&s, 1);
    save(&s, 7000, false);
    save(&s, 7100, false);
    assert_int_equal(resumed_step(&s, &note), 7100);
    assert_null(note);

    flip_a_byte(scratch_text("%s/last.h5", s.folder));
    assert_int_equal(resumed_step(&s, &note), 7000);
    assert_string_equal(note, "last.h5 is damaged (checksum), using step 7000.");
    atr_free(note);
    save(&s, 7050, false);
    assert_int_equal(step_of(scratch_text("%s/last.h5", s.folder)), 7050);
    assert_int_equal(step_of(scratch_text("%s/last.prev.h5", s.folder)), 7000);

    unlink(scratch_text("%s/last.h5", s.folder));
    assert_int_equal(resumed_step(&s, &note), 7000);
    assert_string_equal(note, "last.h5 is missing, using step 7000.");
    atr_free(note);
    sample_free(&s);
}

static void nothing_to_resume_is_a_message(void **unused)
{
    sample s;
    atr_checkpoint_file *file = NULL;

    (void)unused;
    sample_make(&s, 1);
    assert_int_equal(atr_run_resume(s.folder, &file, NULL), ATR_ERR_NOT_FOUND);
    save(&s, 1, false);
    flip_a_byte(scratch_text("%s/last.h5", s.folder));
    assert_int_equal(atr_run_resume(s.folder, &file, NULL), ATR_ERR_DATA);
    assert_non_null(strstr(atr_status_message(), "no last.prev.h5"));
    scratch_write_text(scratch_text("%s/last.prev.h5", s.folder), "ruin");
    assert_int_equal(atr_run_resume(s.folder, &file, NULL), ATR_ERR_DATA);
    assert_non_null(strstr(atr_status_message(), "the one before cannot be used"));
    assert_null(file);
    sample_free(&s);
}

/* A writer killed at any moment leaves a sound checkpoint: the old one or the new one. */
static void killed_writer_leaves_a_sound_file(void **unused)
{
    sample s;
    char *note = NULL;

    (void)unused;
    sample_make(&s, 1);
    save(&s, 100, false);
    for (int round = 0; round < 30; round++) {
        const pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            for (int64_t step = 101;; step++) {
                s.state.global_step = step;
                if (atr_run_save(s.folder, &s.ckpt, step % 3 == 0) != ATR_OK)
                    _exit(1);
            }
        }
        usleep((useconds_t)(500 + 700 * round));
        assert_int_equal(kill(child, SIGKILL), 0);
        int result = 0;
        assert_int_equal(waitpid(child, &result, 0), child);
        assert_true(WIFSIGNALED(result));
        assert_true(resumed_step(&s, &note) >= 100);
        atr_free(note);
        if (atr_path_exists(scratch_text("%s/best.h5", s.folder)))
            assert_true(step_of(scratch_text("%s/best.h5", s.folder)) % 3 == 0);
    }
    save(&s, 5000, true); /* what a killed writer left does not disturb the next one */
    assert_int_equal(step_of(scratch_text("%s/best.h5", s.folder)), 5000);
    sample_free(&s);
}

/* Saves with files limited to `bytes`, in a process of its own that ends as programs do: HDF5's own end is part of the test.
 * Returns whether it failed with the right message and left nothing behind. */
static bool save_fails_at(sample *s, size_t bytes)
{
    const pid_t child = fork();
    int result = 0;

    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit limit = {bytes, bytes};
        signal(SIGXFSZ, SIG_IGN); /* write() then fails with EFBIG */
        if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
            exit(2);
        const atr_status status = atr_run_save(s->folder, &s->ckpt, true);
        exit(status == ATR_ERR_IO && strstr(atr_status_message(), "last.h5.partial") != NULL &&
                     strstr(atr_status_message(), "File too large") != NULL
                 ? 0
                 : 1);
    }
    assert_int_equal(waitpid(child, &result, 0), child);
    return WIFEXITED(result) && WEXITSTATUS(result) == 0;
}

/* A full disk, played by a limit on the size of files: a message, and the old file is untouched. */
static void full_disk_leaves_the_old_file(void **unused)
{
    sample s;
    int64_t size = 0;

    (void)unused;
    sample_make(&s, 1);
    save(&s, 50, false);
    must_be_ok(atr_path_size(scratch_text("%s/last.h5", s.folder), &size));
    s.state.global_step = 51;
    for (int64_t limit = 1; limit < size; limit += size / 23)
        assert_true(save_fails_at(&s, (size_t)limit));
    assert_true(save_fails_at(&s, (size_t)size - 1));
    assert_int_equal(step_of(scratch_text("%s/last.h5", s.folder)), 50);
    assert_false(atr_path_exists(scratch_text("%s/last.h5.partial", s.folder)));
    sample_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip_is_bit_exact),
        cmocka_unit_test(places_lead_to_the_same_values),
        cmocka_unit_test(trained_weights_stand_beside_the_average),
        cmocka_unit_test(model_without_training_state),
        cmocka_unit_test(checkpoint_reads_as_weights),
        cmocka_unit_test(other_shapes_are_reported),
        cmocka_unit_test(not_finite_values_are_reported),
        cmocka_unit_test(incomplete_descriptions_are_refused),
        cmocka_unit_test(every_damage_is_found),
        cmocka_unit_test(damage_behind_a_right_seal_is_survived),
        cmocka_unit_test(foreign_files_are_refused),
        cmocka_unit_test(last_two_and_best_are_kept),
        cmocka_unit_test(damaged_last_falls_back_to_the_previous),
        cmocka_unit_test(nothing_to_resume_is_a_message),
        cmocka_unit_test(killed_writer_leaves_a_sound_file),
        cmocka_unit_test(full_disk_leaves_the_old_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
