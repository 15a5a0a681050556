/* Checkpoints as files: any damage is found, the last two and the best are kept, and a writer that is killed or out of room leaves the
 * old file. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/h5_guard.h"
#include "io/path.h"
#include "tests/support/checkpoint_sample.h"
#include "tests/support/network.h"
#include "tests/support/scratch.h"
#include "tests/support/weights_json.h"

enum { ROUNDS = 1000 };

/* Opens and reads all there is; whatever the file holds, this ends with a status. */
static atr_status read_everything(const char *path, checkpoint_sample *s)
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
    checkpoint_sample s;
    size_t size = 0;

    (void)unused;
    checkpoint_sample_make(&s, 1);
    const char *path = scratch_text("%s/model.h5", s.folder);
    char damaged[512];
    strcpy(damaged, scratch_text("%s/damaged.h5", s.folder));
    must(atr_checkpoint_write(path, &s.ckpt));
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
    checkpoint_sample_free(&s);
}

/* Were the seal forged, HDF5 and our own checks stand alone: still a status each time. */
static void damage_behind_a_right_seal_is_survived(void **unused)
{
    checkpoint_sample s;
    size_t size = 0;

    (void)unused;
    checkpoint_sample_make(&s, 1);
    char path[512], damaged[512];
    strcpy(path, scratch_text("%s/model.h5", s.folder));
    strcpy(damaged, scratch_text("%s/damaged.h5", s.folder));
    must(atr_checkpoint_write(path, &s.ckpt));
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
    checkpoint_sample_free(&s);
}

static void foreign_files_are_refused(void **unused)
{
    checkpoint_sample s;
    atr_checkpoint_file *file = NULL;

    (void)unused;
    checkpoint_sample_make(&s, 1);
    const char *path = scratch_text("%s/x.h5", s.folder);
    assert_int_equal(atr_checkpoint_open(path, &file), ATR_ERR_NOT_FOUND);
    scratch_write_text(path, "");
    assert_int_equal(atr_checkpoint_open(path, &file), ATR_ERR_DATA);
    assert_int_not_equal(atr_checkpoint_open(s.folder, &file), ATR_OK);
    assert_null(file);
    checkpoint_sample_free(&s);
}

static void save(checkpoint_sample *s, int64_t step, bool best)
{
    s->state.global_step = step;
    checkpoint_sample_fill(s->params, (uint64_t)step);
    must(atr_run_save(s->folder, &s->ckpt, best));
}

static int64_t step_of(const char *path)
{
    atr_checkpoint_file *file = NULL;
    atr_train_state state = {0};

    must(atr_checkpoint_open(path, &file));
    must(atr_checkpoint_load_state(file, &state));
    const int64_t step = state.global_step;
    atr_train_state_free(&state);
    atr_checkpoint_close(file);
    return step;
}

static void last_two_and_best_are_kept(void **unused)
{
    checkpoint_sample s;

    (void)unused;
    checkpoint_sample_make(&s, 1);
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
    checkpoint_sample_free(&s);
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

static int64_t resumed_step(const checkpoint_sample *s, char **note)
{
    atr_checkpoint_file *file = NULL;
    atr_train_state state = {0};

    must(atr_run_resume(s->folder, &file, note));
    must(atr_checkpoint_load_state(file, &state));
    const int64_t step = state.global_step;
    atr_train_state_free(&state);
    atr_checkpoint_close(file);
    return step;
}

/* R03: last.h5 is damaged, so the one before is used; saving again does not push the sound one out with the damaged one. */
static void damaged_last_falls_back_to_the_previous(void **unused)
{
    checkpoint_sample s;
    char *note = NULL;

    (void)unused;
    checkpoint_sample_make(&s, 1);
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
    checkpoint_sample_free(&s);
}

static void nothing_to_resume_is_a_message(void **unused)
{
    checkpoint_sample s;
    atr_checkpoint_file *file = NULL;

    (void)unused;
    checkpoint_sample_make(&s, 1);
    assert_int_equal(atr_run_resume(s.folder, &file, NULL), ATR_ERR_NOT_FOUND);
    save(&s, 1, false);
    flip_a_byte(scratch_text("%s/last.h5", s.folder));
    assert_int_equal(atr_run_resume(s.folder, &file, NULL), ATR_ERR_DATA);
    assert_non_null(strstr(atr_status_message(), "no last.prev.h5"));
    scratch_write_text(scratch_text("%s/last.prev.h5", s.folder), "ruin");
    assert_int_equal(atr_run_resume(s.folder, &file, NULL), ATR_ERR_DATA);
    assert_non_null(strstr(atr_status_message(), "the one before cannot be used"));
    assert_null(file);
    checkpoint_sample_free(&s);
}

/* A writer killed at any moment leaves a sound checkpoint: the old one or the new one. */
static void killed_writer_leaves_a_sound_file(void **unused)
{
    checkpoint_sample s;
    char *note = NULL;

    (void)unused;
    checkpoint_sample_make(&s, 1);
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
    checkpoint_sample_free(&s);
}

/* Saves with files limited to `bytes`, in a process of its own that ends as programs do: HDF5's own end is part of the test.
 * Returns whether it failed with the right message and left nothing behind. */
static bool save_fails_at(checkpoint_sample *s, size_t bytes)
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
    checkpoint_sample s;
    int64_t size = 0;

    (void)unused;
    checkpoint_sample_make(&s, 1);
    save(&s, 50, false);
    must(atr_path_size(scratch_text("%s/last.h5", s.folder), &size));
    s.state.global_step = 51;
    for (int64_t limit = 1; limit < size; limit += size / 23)
        assert_true(save_fails_at(&s, (size_t)limit));
    assert_true(save_fails_at(&s, (size_t)size - 1));
    assert_int_equal(step_of(scratch_text("%s/last.h5", s.folder)), 50);
    assert_false(atr_path_exists(scratch_text("%s/last.h5.partial", s.folder)));
    checkpoint_sample_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
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
