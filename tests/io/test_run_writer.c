#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/rng.h"
#include "io/path.h"
#include "io/run_lock.h"
#include "io/run_writer.h"
#include "tests/support/full_disk.h"
#include "tests/support/scratch.h"

static const atr_param_spec specs[] = {
    {"backbone.0.weight", ATR_PARAM_CONV_WEIGHT, 4, {7, 3, 3, 3}},
    {"backbone.1.running_mean", ATR_PARAM_RUNNING_MEAN, 1, {7}},
    {"backbone.1.num_batches_tracked", ATR_PARAM_TRACKED, 0, {0}},
    {"cls_conv.weight", ATR_PARAM_CONV_WEIGHT, 4, {5, 7, 1, 1}},
};

enum { SPECS = sizeof specs / sizeof specs[0] };

/* All that a checkpoint holds. */
typedef struct run {
    char *folder;
    atr_params *params, *trained;
    float *moments;
    int64_t entry_steps[SPECS];
    char config[32];
    atr_extra extra;
    atr_model_info info;
    atr_optim_state optim;
    atr_train_state state;
    atr_checkpoint ckpt;
} run;

static void must_be_ok(atr_status status)
{
    if (status != ATR_OK)
        fail_msg("%s", atr_status_message());
}

static void fill(run *r, int64_t step)
{
    r->state.global_step = r->optim.step = r->state.average_steps = step;
    snprintf(r->config, sizeof r->config, "seed: %lld\n", (long long)step);
    snprintf(r->extra.value, sizeof r->extra.value, "%lld", (long long)step);
    for (int64_t i = 0; i < atr_params_flat_count(r->params); i++) {
        atr_params_flat_values(r->params)[i] = (float)atr_rng_normal(1, (uint64_t)(step + i));
        atr_params_flat_values(r->trained)[i] = (float)atr_rng_normal(2, (uint64_t)(step + i));
        r->moments[i] = (float)atr_rng_normal(3, (uint64_t)(step + i));
    }
    for (int64_t i = 0; i < atr_params_buffer_count(r->params); i++)
        atr_params_flat_buffers(r->params)[i] = (float)(step + i);
    for (int i = 0; i < SPECS; i++)
        r->entry_steps[i] = step + i;
}

static void make(run *r)
{
    *r = (run){.folder = scratch_create()};
    must_be_ok(atr_params_create(specs, SPECS, &atr_host_allocator, &r->params));
    must_be_ok(atr_params_create(specs, SPECS, &atr_host_allocator, &r->trained));
    must_be_ok(ATR_NEW(atr_params_flat_count(r->params), &r->moments));
    strcpy(r->info.architecture, "deeplabv3plus");
    strcpy(r->info.backbone, "mobilenetv2");
    strcpy(r->info.fit, "letterbox");
    r->info.output_stride = 16;
    r->info.classes = 5;
    r->info.channels = 1;
    r->info.scale[0] = 1;
    strcpy(r->optim.kind, "sgd");
    r->optim.entry_steps = r->entry_steps;
    r->optim.slot_count = 1;
    strcpy(r->optim.slots[0].name, "momentum");
    r->optim.slots[0].flat = r->moments;
    strcpy(r->extra.key, "step");
    strcpy(r->state.schedule, "cos");
    r->state.config = r->config;
    r->state.extra_count = 1;
    r->state.extras = &r->extra;
    r->ckpt = (atr_checkpoint){
        .info = &r->info, .params = r->params, .optim = &r->optim, .state = &r->state, .trained = r->trained};
    fill(r, 1);
}

static void drop(run *r)
{
    atr_params_destroy(r->params);
    atr_params_destroy(r->trained);
    atr_free(r->moments);
    scratch_remove(r->folder);
}

static void same_files(const char *a, const char *b)
{
    size_t a_size = 0, b_size = 0;
    uint8_t *const a_bytes = scratch_read(a, &a_size), *const b_bytes = scratch_read(b, &b_size);

    assert_int_equal(a_size, b_size);
    assert_memory_equal(a_bytes, b_bytes, a_size);
    free(a_bytes);
    free(b_bytes);
}

/* The moment of the start counts, whatever the training does to its numbers afterwards. */
static void files_are_those_of_a_save_at_that_moment(void **unused)
{
    run r, plain;
    atr_run_writer *writer = NULL;

    (void)unused;
    make(&r);
    make(&plain);
    must_be_ok(atr_run_writer_create(r.folder, &writer));
    for (int64_t step = 10; step < 40; step += 10) {
        fill(&r, step);
        fill(&plain, step);
        if (step == 30)
            r.ckpt.trained = plain.ckpt.trained = NULL;
        must_be_ok(atr_run_save(plain.folder, &plain.ckpt, step == 20));
        must_be_ok(atr_run_writer_start(writer, &r.ckpt, step == 20, true));
        fill(&r, 1000 + step);
        must_be_ok(atr_run_writer_wait(writer));
        assert_int_equal(atr_run_writer_step(writer), step);
        same_files(scratch_text("%s/last.h5", r.folder), scratch_text("%s/last.h5", plain.folder));
    }
    same_files(scratch_text("%s/best.h5", r.folder), scratch_text("%s/best.h5", plain.folder));
    same_files(scratch_text("%s/last.prev.h5", r.folder), scratch_text("%s/last.prev.h5", plain.folder));
    atr_run_writer_destroy(writer);
    drop(&r);
    drop(&plain);
}

/* Starts follow each other without a wait, and the end waits for the last. */
static void each_checkpoint_is_whole_before_the_next(void **unused)
{
    run r;
    atr_run_writer *writer = NULL;
    atr_checkpoint_file *file = NULL;
    atr_train_state state = {0};

    (void)unused;
    make(&r);
    must_be_ok(atr_run_writer_create(r.folder, &writer));
    assert_int_equal(atr_run_writer_step(writer), -1);
    for (int64_t step = 1; step <= 20; step++) {
        fill(&r, step);
        must_be_ok(atr_run_writer_start(writer, &r.ckpt, false, step % 4 != 0));
        assert_true(step == 1 || atr_run_writer_step(writer) >= step - 1);
    }
    atr_run_writer_destroy(writer);
    must_be_ok(atr_run_resume(r.folder, &file, NULL));
    must_be_ok(atr_checkpoint_load_state(file, &state));
    assert_int_equal(state.global_step, 20);
    assert_string_equal(state.config, "seed: 20\n");
    assert_string_equal(state.extras[0].value, "20");
    atr_train_state_free(&state);
    atr_checkpoint_close(file);
    drop(&r);
}

/* A failure behind the training shows at the next look, stays, and begins nothing further. */
static atr_status write_behind(void *user)
{
    run *const r = user;
    atr_run_writer *writer = NULL;
    atr_status status = ATR_OK;

    ATR_TRY(atr_run_writer_create(r->folder, &writer));
    ATR_TRY(atr_run_writer_start(writer, &r->ckpt, false, true));
    for (int i = 0; i < 1000 && status == ATR_OK; i++) {
        usleep(10000);
        status = atr_run_writer_check(writer);
    }
    if (atr_run_writer_start(writer, &r->ckpt, false, true) == ATR_OK || atr_run_writer_step(writer) >= 0)
        status = ATR_OK;

done:
    if (status != ATR_OK && strstr(atr_status_message(), "last.h5.partial") == NULL)
        status = ATR_ERR_INTERNAL;
    return status;
}

static void a_full_disk_shows_at_the_next_look(void **unused)
{
    run r;

    (void)unused;
    make(&r);
    must_be_ok(atr_run_save(r.folder, &r.ckpt, false));
    assert_true(full_disk_is_a_message(2000, write_behind, &r));
    assert_false(atr_path_exists(scratch_text("%s/last.h5.partial", r.folder)));
    atr_checkpoint_file *file = NULL;
    must_be_ok(atr_run_resume(r.folder, &file, NULL));
    atr_checkpoint_close(file);
    drop(&r);
}

static void one_job_at_a_time_has_the_folder(void **unused)
{
    char *const folder = scratch_create();
    char host[64] = "";
    atr_run_lock *first = NULL, *second = NULL;

    (void)unused;
    gethostname(host, sizeof host - 1);
    assert_int_equal(atr_run_lock_look(folder), ATR_RUN_UNKNOWN);
    must_be_ok(atr_run_lock_take(folder, &first));
    assert_int_equal(atr_run_lock_look(folder), ATR_RUN_HELD);
    assert_int_equal(atr_run_lock_take(folder, &second), ATR_ERR_USAGE);
    assert_null(second);
    assert_non_null(strstr(atr_status_message(), "R04: "));
    assert_non_null(strstr(atr_status_message(), host));
    assert_non_null(strstr(atr_status_message(), scratch_text("process %d", (int)getpid())));
    atr_run_lock_beat(first);
    atr_run_lock_release(first);
    assert_int_equal(atr_run_lock_look(folder), ATR_RUN_FREE);
    must_be_ok(atr_run_lock_take(folder, &second));
    atr_run_lock_release(second);
    scratch_remove(folder);
}

/* Whoever was killed left its name, which nobody waits for: the system has taken its lock away. */
static void the_name_of_a_dead_job_holds_nothing(void **unused)
{
    char *const folder = scratch_create();
    atr_run_lock *lock = NULL;

    (void)unused;
    scratch_write_text(scratch_text("%s/.lock", folder), "elsewhere 4711 2031-05-04T17:03:59Z\n");
    must_be_ok(atr_run_lock_take(folder, &lock));
    atr_run_lock_release(lock);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_those_of_a_save_at_that_moment),
        cmocka_unit_test(each_checkpoint_is_whole_before_the_next),
        cmocka_unit_test(a_full_disk_shows_at_the_next_look),
        cmocka_unit_test(one_job_at_a_time_has_the_folder),
        cmocka_unit_test(the_name_of_a_dead_job_holds_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
