#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/log.h"
#include "core/rng.h"
#include "io/dataset.h"
#include "io/h5.h"
#include "io/h5_guard.h"
#include "io/pack.h"
#include "io/path.h"
#include "io/stage.h"
#include "io/stage_impl.h"
#include "tests/support/scratch.h"
#include "tests/support/voc.h"

enum { PIECE = ATR_STAGE_CHUNK, PIECES = 5 };

static char *folder, *target;
static char source[512];

static bool no_locks;

__attribute__((visibility("default"))) int flock(int descriptor, int operation)
{
    if (!no_locks)
        return (int)syscall(SYS_flock, descriptor, operation);
    errno = ENOLCK;
    return -1;
}

static void must(atr_status status)
{
    if (status != ATR_OK)
        fail_msg("%s", atr_status_message());
}

/* A sealed file of about `bytes`, nearly all of them outside of the seal's checksum, as in a data set. */
static void make_source(const char *path, int64_t bytes, bool sparse)
{
    const uint64_t key = atr_rng_key(1, ATR_RNG_TEST, 0, 0);
    atr_h5 *file = NULL;
    atr_h5_range range;
    int64_t at = 0, length = 0;

    must(atr_h5_create(path, &file));
    must(atr_h5_reserve(file, "bulk", bytes));
    for (int64_t i = 0; !sparse && i < bytes; i += 8192) {
        uint64_t words[1024];
        for (int64_t k = 0; k < 1024; k++)
            words[k] = atr_rng_u64(key, (uint64_t)(i + k));
        must(atr_h5_write_at(file, "bulk", i, words, bytes - i < 8192 ? bytes - i : 8192));
    }
    must(atr_h5_place(file, "bulk", &at, &length));
    range = (atr_h5_range){(uint64_t)at, (uint64_t)length};
    must(atr_h5_close(&file));
    must(atr_h5_seal(path, &range, 1));
}

static int make_folder(void **state)
{
    (void)state;
    folder = scratch_create();
    snprintf(source, sizeof source, "%s/the data.h5", folder);
    make_source(source, (PIECES - 1) * (int64_t)PIECE + 1000, false);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

/* Each test its own disk, with a space in its name. */
static int make_target(void **state)
{
    static int number;

    (void)state;
    no_locks = false;
    must(atr_format(&target, "%s/local disk %d", folder, number++));
    assert_int_equal(mkdir(target, 0777), 0);
    return 0;
}

static int drop_target(void **state)
{
    (void)state;
    atr_free(target);
    return 0;
}

static void expect_same(const char *a, const char *b)
{
    size_t left_size = 0, right_size = 0;
    uint8_t *const left = scratch_read(a, &left_size), *const right = scratch_read(b, &right_size);

    assert_int_equal(left_size, right_size);
    assert_true(memcmp(left, right, left_size) == 0);
    free(left);
    free(right);
}

static atr_stage *open_stage(const char *path)
{
    atr_stage *stage = NULL;

    must(atr_stage_open(path, target, &stage));
    return stage;
}

/* What the ranks of a node do, one after the other. */
static void stage_by(int parts, atr_stage_state wanted, int64_t *copied, int64_t *kept)
{
    atr_stage *leader = open_stage(source);
    int lock = -1;

    *copied = *kept = 0;
    must(atr_stage_lock(target, &lock));
    assert_int_equal(lock >= 0 ? 1 : lock, no_locks ? -2 : 1);
    assert_int_equal(atr_stage_find(leader), wanted);
    must(atr_stage_room(target, &leader, 1));
    must(atr_stage_prepare(leader));
    for (int part = parts - 1; part >= 0; part--) {
        atr_stage *stage = open_stage(source);
        assert_true(atr_stage_key(stage) == atr_stage_key(leader));
        must(atr_stage_copy(stage, wanted, part, parts, NULL, NULL, copied, kept));
        atr_stage_close(stage);
    }
    must(atr_stage_finish(leader));
    atr_stage_unlock(lock);
    assert_int_equal(atr_stage_find(leader), ATR_STAGE_GOOD);
    assert_false(atr_path_exists(scratch_text("%s.partial", atr_stage_copy_path(leader))));
    expect_same(source, atr_stage_copy_path(leader));
    atr_stage_close(leader);
}

static char *copy_path(void)
{
    atr_stage *stage = open_stage(source);
    char *path = NULL;

    must(atr_strdup(atr_stage_copy_path(stage), &path));
    atr_stage_close(stage);
    return path;
}

static int64_t source_bytes(void)
{
    int64_t bytes = 0;

    must(atr_path_size(source, &bytes));
    return bytes;
}

static void a_copy_by_any_number_of_ranks_is_the_source(void **state)
{
    (void)state;
    for (int parts = 1; parts <= 7; parts += 2) {
        int64_t copied = 0, kept = 0;
        stage_by(parts, ATR_STAGE_PARTIAL, &copied, &kept);
        assert_int_equal(copied, source_bytes());
        assert_int_equal(kept, 0);
        drop_target(NULL);
        make_target(NULL);
    }
}

static void a_good_copy_is_found_again(void **state)
{
    int64_t copied = 0, kept = 0;
    atr_stage *stage = NULL;

    (void)state;
    stage_by(2, ATR_STAGE_PARTIAL, &copied, &kept);
    stage = open_stage(source);
    assert_int_equal(atr_stage_find(stage), ATR_STAGE_GOOD);
    assert_string_equal(atr_path_base(atr_stage_copy_path(stage)), "the data.h5");
    atr_stage_close(stage);
}

static int calls, last_call;

static bool die_later(void *user)
{
    (void)user;
    if (++calls > last_call)
        raise(SIGKILL);
    return false;
}

/* A process that copies alone and is killed before its piece number `pieces`. */
static void copy_and_be_killed(int pieces)
{
    const pid_t child = fork();
    int result = 0;

    assert_true(child >= 0);
    if (child == 0) {
        atr_stage *stage = NULL;
        int64_t copied = 0, kept = 0;
        int lock = -1;
        last_call = pieces;
        if (atr_stage_open(source, target, &stage) == ATR_OK && atr_stage_lock(target, &lock) == ATR_OK &&
            lock >= 0 && atr_stage_find(stage) == ATR_STAGE_PARTIAL && atr_stage_prepare(stage) == ATR_OK)
            (void)atr_stage_copy(stage, ATR_STAGE_PARTIAL, 0, 1, die_later, NULL, &copied, &kept);
        _exit(1);
    }
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFSIGNALED(result) && WTERMSIG(result) == SIGKILL);
}

static void a_killed_copy_goes_on(void **state)
{
    int64_t copied = 0, kept = 0;
    char *copy = copy_path();

    (void)state;
    copy_and_be_killed(2);
    assert_false(atr_path_exists(copy)); /* half a copy has no name that a run would read */
    stage_by(3, ATR_STAGE_PARTIAL, &copied, &kept);
    assert_int_equal(kept, 2 * PIECE);
    assert_int_equal(copied, source_bytes() - 2 * PIECE);
    atr_free(copy);
}

static void flip(const char *path, int64_t at)
{
    const int fd = open(path, O_RDWR);
    uint8_t byte = 0;

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

/* A machine that lost power may have lost pages that were noted. */
static void a_piece_that_did_not_survive_is_copied_again(void **state)
{
    int64_t copied = 0, kept = 0;
    char *copy = copy_path();

    (void)state;
    copy_and_be_killed(3);
    flip(scratch_text("%s.partial", copy), PIECE + 77);
    stage_by(2, ATR_STAGE_PARTIAL, &copied, &kept);
    assert_int_equal(kept, 2 * PIECE);
    atr_free(copy);
}

static bool stop_second(void *user)
{
    (void)user;
    return ++calls > last_call;
}

static void a_stop_keeps_what_is_there(void **state)
{
    atr_stage *stage = open_stage(source);
    int64_t copied = 0, kept = 0;
    int lock = -1;

    (void)state;
    must(atr_stage_lock(target, &lock));
    (void)atr_stage_find(stage);
    must(atr_stage_prepare(stage));
    calls = 0;
    last_call = 1;
    copied = 0;
    assert_int_equal(atr_stage_copy(stage, ATR_STAGE_PARTIAL, 0, 1, stop_second, NULL, &copied, &kept),
                     ATR_ERR_STOPPED);
    assert_int_equal(copied, PIECE);
    atr_stage_unlock(lock);
    atr_stage_close(stage);
    stage_by(1, ATR_STAGE_PARTIAL, &copied, &kept);
    assert_int_equal(kept, PIECE);
}

static void a_copy_that_was_written_to_is_doubted_and_repaired(void **state)
{
    int64_t copied = 0, kept = 0;
    char *copy = copy_path();

    (void)state;
    stage_by(1, ATR_STAGE_PARTIAL, &copied, &kept);
    usleep(20000); /* clocks of file systems tick in milliseconds */
    flip(copy, 3 * (int64_t)PIECE + 5);
    stage_by(2, ATR_STAGE_DOUBTED, &copied, &kept);
    assert_int_equal(copied, PIECE);
    assert_int_equal(kept, source_bytes() - PIECE);

    /* Cut short: of no use. */
    assert_int_equal(truncate(copy, 1000000), 0);
    stage_by(1, ATR_STAGE_PARTIAL, &copied, &kept);

    /* Its first bytes are gone, its time is as it was. */
    struct stat facts;
    assert_int_equal(stat(copy, &facts), 0);
    const struct timespec times[2] = {facts.st_atim, facts.st_mtim};
    flip(copy, 20);
    assert_int_equal(utimensat(AT_FDCWD, copy, times, 0), 0);
    stage_by(2, ATR_STAGE_DOUBTED, &copied, &kept);
    assert_int_equal(copied, PIECE);

    /* Without its record nobody knows what it is. */
    assert_int_equal(remove(scratch_text("%s.record", copy)), 0);
    stage_by(1, ATR_STAGE_DOUBTED, &copied, &kept);
    assert_int_equal(copied, source_bytes());

    /* A damaged record. */
    flip(scratch_text("%s.record", copy), 9);
    stage_by(1, ATR_STAGE_DOUBTED, &copied, &kept);
    atr_free(copy);
}

static void another_source_has_another_copy(void **state)
{
    const char *const other = scratch_text("%s/other.h5", folder);
    atr_stage *stage = NULL;
    uint64_t first = 0;

    (void)state;
    make_source(other, PIECE, false);
    stage = open_stage(other);
    first = atr_stage_key(stage);
    atr_stage_close(stage);
    usleep(20000);
    assert_int_equal(utimensat(AT_FDCWD, other, NULL, 0), 0);
    stage = open_stage(other);
    assert_true(atr_stage_key(stage) != first);
    atr_stage_close(stage);
}

static void a_source_that_changes_meanwhile_is_refused(void **state)
{
    const char *const other = scratch_text("%s/changing.h5", folder);
    int64_t copied = 0, kept = 0;
    atr_stage *stage = NULL;
    int lock = -1;

    (void)state;
    make_source(other, PIECE, false);
    stage = open_stage(other);
    must(atr_stage_lock(target, &lock));
    (void)atr_stage_find(stage);
    must(atr_stage_prepare(stage));
    must(atr_stage_copy(stage, ATR_STAGE_PARTIAL, 0, 1, NULL, NULL, &copied, &kept));
    usleep(20000);
    assert_int_equal(utimensat(AT_FDCWD, other, NULL, 0), 0);
    assert_int_equal(atr_stage_finish(stage), ATR_ERR_DATA);
    assert_non_null(strstr(atr_status_message(), "changed while it was staged"));
    assert_false(atr_path_exists(atr_stage_copy_path(stage)));
    atr_stage_unlock(lock);
    atr_stage_close(stage);
}

static void what_does_not_fit_is_refused_with_numbers(void **state)
{
    const char *const huge = scratch_text("%s/huge.h5", folder);
    atr_stage *stage = NULL;
    int64_t copied = 0, kept = 0;

    (void)state;
    stage_by(1, ATR_STAGE_PARTIAL, &copied, &kept); /* a copy that takes room */
    make_source(huge, (int64_t)8 << 40, true);
    stage = open_stage(huge);
    (void)atr_stage_find(stage);
    assert_int_equal(atr_stage_room(target, &stage, 1), ATR_ERR_IO);
    assert_non_null(strstr(atr_status_message(), "P04: no room to stage in "));
    assert_non_null(strstr(atr_status_message(), "8796093.0 MB are needed, "));
    assert_non_null(strstr(atr_status_message(), "Other copies of yours take 16.8 MB there: rm -r '"));
    atr_stage_close(stage);
    assert_int_equal(remove(huge), 0);
}

static void one_job_at_a_time_copies(void **state)
{
    int first = -1, second = -1;

    (void)state;
    must(atr_stage_lock(target, &first));
    assert_true(first >= 0);
    must(atr_stage_lock(target, &second));
    assert_int_equal(second, -1);
    atr_stage_unlock(first);
    must(atr_stage_lock(target, &second));
    assert_true(second >= 0);
    atr_stage_unlock(second);
}

/* Where the file system refuses locks, two jobs write at once: the same bytes. */
static void jobs_without_locks_do_no_harm(void **state)
{
    pid_t children[3];
    atr_stage *stage = NULL;

    (void)state;
    no_locks = true;
    for (int i = 0; i < 3; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0) {
            int64_t copied = 0, kept = 0;
            atr_status status = atr_stage_open(source, target, &stage);
            int lock = -1;
            if (status == ATR_OK)
                status = atr_stage_lock(target, &lock);
            const atr_stage_state found = status == ATR_OK ? atr_stage_find(stage) : ATR_STAGE_GOOD;
            if (status == ATR_OK && found != ATR_STAGE_GOOD) {
                status = atr_stage_prepare(stage);
                if (status == ATR_OK)
                    status = atr_stage_copy(stage, found, 0, 1, NULL, NULL, &copied, &kept);
                if (status == ATR_OK)
                    status = atr_stage_finish(stage);
            }
            if (status != ATR_OK)
                fprintf(stderr, "%s\n", atr_status_message());
            _exit(status == ATR_OK && lock == -2 ? 0 : 1);
        }
    }
    for (int i = 0; i < 3; i++) {
        int result = 0;
        assert_int_equal(waitpid(children[i], &result, 0), children[i]);
        assert_true(WIFEXITED(result) && WEXITSTATUS(result) == 0);
    }
    stage = open_stage(source);
    expect_same(source, atr_stage_copy_path(stage));
    atr_stage_close(stage);
}

static void a_folder_of_somebody_else_is_not_trusted(void **state)
{
    char *home = NULL;
    int lock = -1;

    (void)state;
    must(atr_format(&home, "%s/atrous-%lld", target, (long long)geteuid()));
    assert_int_equal(symlink(folder, home), 0);
    assert_int_equal(atr_stage_lock(target, &lock), ATR_ERR_IO);
    assert_non_null(strstr(atr_status_message(), "somebody else"));
    atr_free(home);
}

static void what_cannot_be_staged_is_refused(void **state)
{
    const char *const plain = scratch_text("%s/plain.h5", folder);
    atr_stage *stage = NULL;

    (void)state;
    assert_int_equal(atr_stage_open(source, scratch_text("%s/none", folder), &stage), ATR_ERR_USAGE);
    assert_non_null(strstr(atr_status_message(), "no such folder"));
    assert_int_equal(atr_stage_open(scratch_text("%s/none.h5", folder), target, &stage), ATR_ERR_NOT_FOUND);
    scratch_write_text(plain, "nothing that anybody sealed, and long enough to have had a seal ............");
    assert_int_equal(atr_stage_open(plain, target, &stage), ATR_ERR_DATA);
    assert_null(stage);
}

/* A data set whose copy goes bad while it is read: nothing is lost, and the next start repairs it. */
/* Counts the lines that begin with P05. */
static void count_p05(void *user, atr_log_level level, const char *line)
{
    *(int *)user += level == ATR_LOG_WARN && strncmp(line, "P05: ", 5) == 0;
}

static void a_damaged_sample_comes_from_the_source(void **state)
{
    atr_findings *findings = NULL;
    atr_pack_result result;
    atr_dataset *data = NULL, *whole = NULL;
    char *root = NULL, *packed = NULL, *copy = NULL;
    int64_t copied = 0, kept = 0;
    int said = 0;

    (void)state;
    must(atr_format(&root, "%s/voc", folder));
    must(atr_format(&packed, "%s/packed.h5", folder));
    voc_make(root, 4, 2);
    const atr_pack_config config = {.source = root, .output = packed, .classes = "3", .threads = 1};
    must(atr_findings_create(&findings));
    must(atr_pack(&config, NULL, findings, &result));
    atr_findings_destroy(findings);
    snprintf(source, sizeof source, "%s", packed);
    stage_by(1, ATR_STAGE_PARTIAL, &copied, &kept);
    copy = copy_path();
    const atr_dataset_file file = {copy, packed};
    must(atr_dataset_open_files(&file, 1, &data));
    must(atr_dataset_open(packed, &whole));
    assert_string_equal(atr_dataset_path(data), packed);

    /* Every byte of the bulk is wrong now; time of change as it was. */
    struct stat facts;
    assert_int_equal(stat(copy, &facts), 0);
    for (int64_t at = facts.st_size - 1; at > facts.st_size / 2; at--)
        flip(copy, at);
    const struct timespec times[2] = {facts.st_atim, facts.st_mtim};
    assert_int_equal(utimensat(AT_FDCWD, copy, times, 0), 0);
    atr_log_to(count_p05, &said, ATR_LOG_WARN);
    for (int64_t i = 0; i < atr_dataset_count(data); i++) {
        void *left = NULL, *right = NULL;
        size_t left_size = 0, right_size = 0;
        must(atr_dataset_read_file(data, i, &left, &left_size));
        must(atr_dataset_read_file(whole, i, &right, &right_size));
        assert_int_equal(left_size, right_size);
        assert_memory_equal(left, right, left_size);
        atr_free(left);
        atr_free(right);
    }
    atr_log_to(NULL, NULL, ATR_LOG_ERROR);
    assert_int_equal(said, 1); /* once, not for each sample */
    stage_by(1, ATR_STAGE_DOUBTED, &copied, &kept);
    assert_true(copied > 0);
    atr_dataset_close(data);
    atr_dataset_close(whole);
    atr_free(copy);
    atr_free(packed);
    atr_free(root);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_target, drop_target)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_copy_by_any_number_of_ranks_is_the_source),
        TEST(a_good_copy_is_found_again),
        TEST(a_killed_copy_goes_on),
        TEST(a_piece_that_did_not_survive_is_copied_again),
        TEST(a_stop_keeps_what_is_there),
        TEST(a_copy_that_was_written_to_is_doubted_and_repaired),
        TEST(another_source_has_another_copy),
        TEST(a_source_that_changes_meanwhile_is_refused),
        TEST(what_does_not_fit_is_refused_with_numbers),
        TEST(one_job_at_a_time_copies),
        TEST(jobs_without_locks_do_no_harm),
        TEST(a_folder_of_somebody_else_is_not_trusted),
        TEST(what_cannot_be_staged_is_refused),
        TEST(a_damaged_sample_comes_from_the_source),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
