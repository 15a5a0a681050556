/* What the doctor concludes from a machine's facts. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#include <cmocka.h>

#include "apps/doctor.h"
#include "tests/support/command.h"

/* Two sockets of 16 cores of two hardware threads, a NUMA domain each; nothing to complain of. */
static atr_doctor sound_machine(void)
{
    atr_doctor d = {
        .machine = {.sockets = 2, .cores = 32, .cpus = 64, .domain_count = 2},
        .mpi = {.built = true, .started = true, .threads = "MPI_THREAD_MULTIPLE"},
        .threads = {.online = 64, .affinity = 64, .ranks = 1, .sharing = 1, .count = 32},
        .locked_memory = -1,
        .open_files = 65536,
        .address_space = -1,
        .shared_bytes = (int64_t)64 << 30,
        .infiniband = true,
    };

    for (int cpu = 0; cpu < 64; cpu++)
        d.machine.core_of[cpu] = (int16_t)(cpu % 32);
    d.machine.domains[1].number = 1;
    assert_true(atr_cpu_mask_parse("0-15,32-47", &d.machine.domains[0].mask));
    assert_true(atr_cpu_mask_parse("16-31,48-63", &d.machine.domains[1].mask));
    assert_true(atr_cpu_mask_parse("0-63", &d.mask));
    return d;
}

static void expect_layout(const atr_doctor *d, int ranks, int cores)
{
    int got_ranks = 0, got_cores = 0;

    atr_doctor_layout(d, &got_ranks, &got_cores);
    assert_int_equal(got_ranks, ranks);
    assert_int_equal(got_cores, cores);
}

static void a_rank_for_each_domain_with_its_cores(void **state)
{
    atr_doctor d = sound_machine();

    (void)state;
    expect_layout(&d, 2, 16);
    assert_true(atr_cpu_mask_parse("0-3,32-35", &d.mask));
    expect_layout(&d, 1, 4);
    d.threads.quota = 2.5;
    expect_layout(&d, 1, 2);
    d.threads.quota = 0.5;
    expect_layout(&d, 1, 1);
    memset(&d, 0, sizeof d);
    expect_layout(&d, 1, 1);
}

static void expect_lines(const atr_doctor *d, void (*judge)(const atr_doctor *, atr_text *),
                         const char *wanted)
{
    atr_text text = {0};

    judge(d, &text);
    assert_int_equal(text.status, ATR_OK);
    if (wanted == NULL)
        assert_null(text.bytes);
    else if (text.bytes == NULL || strstr(text.bytes, wanted) == NULL)
        fail_msg("'%s' does not say '%s'", text.bytes == NULL ? "" : text.bytes, wanted);
    atr_free(text.bytes);
}

static void start_lines(const atr_doctor *d, atr_text *text)
{
    atr_doctor_start(d, "d.h5", text);
}

static void the_lines_to_start_fit_the_machine(void **state)
{
    atr_doctor d = sound_machine();

    (void)state;
    expect_lines(&d, start_lines, "mpirun -n 2 --map-by ppr:2:node:PE=16 --bind-to core -x OMP_PLACES=cores");
    expect_lines(&d, start_lines, "srun --nodes=1 --ntasks-per-node=2 --cpus-per-task=16");
    d.root = true;
    expect_lines(&d, start_lines, "mpirun --allow-run-as-root -n 2");
    d.mpi.built = false;
    d.machine.domain_count = 1;
    expect_lines(&d, start_lines, "here: atrous train d.h5 -o RUN\n");
}

static void each_limit_that_hurts_is_named(void **state)
{
    atr_doctor d = sound_machine();

    (void)state;
    expect_lines(&d, atr_doctor_warnings, NULL);
    d.locked_memory = 64 << 10;
    expect_lines(&d, atr_doctor_warnings, "locked memory is limited to 64 KiB");
    d.infiniband = false;
    expect_lines(&d, atr_doctor_warnings, NULL);
    d.open_files = 256;
    expect_lines(&d, atr_doctor_warnings, "only 256 files");
    d.address_space = (int64_t)4 << 30;
    expect_lines(&d, atr_doctor_warnings, "address space is limited to 4096 MiB");
    d.shared_bytes = 64 << 20;
    expect_lines(&d, atr_doctor_warnings, "/dev/shm holds 64 MiB");
    d.threads.count = 64;
    expect_lines(&d, atr_doctor_warnings, "OMP_NUM_THREADS=32");
    d.threads.quota = 3.5;
    expect_lines(&d, atr_doctor_warnings, "allows 3.5 CPUs");
    d.mpi = (atr_comm_facts){.built = true, .problem = "no daemon"};
    expect_lines(&d, atr_doctor_warnings, "MPI cannot be started here: no daemon");
}

/* A file system without locks: this program's flock() stands before the C library's. */
static int refused;

__attribute__((visibility("default"))) int flock(int descriptor, int operation)
{
    (void)descriptor, (void)operation;
    errno = refused;
    return -1;
}

static int say_volume(int argc, char **argv)
{
    (void)argc;
    atr_doctor_say_volume(argv[1]);
    return 0;
}

static void p02_tells_where_files_cannot_be_locked(void **state)
{
    (void)state;
    refused = ENOLCK;
    command_expect(0, "P02: files cannot be locked there, and are read unlocked", say_volume, "say",
                   "/proc/self/exe", NULL);
    refused = EWOULDBLOCK; /* somebody else's lock */
    command_result r = command_run(say_volume, "say", "/proc/self/exe", NULL);
    assert_non_null(strstr(r.out, "free"));
    assert_null(strstr(r.out, "P02"));
    command_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rank_for_each_domain_with_its_cores),
        cmocka_unit_test(the_lines_to_start_fit_the_machine),
        cmocka_unit_test(each_limit_that_hurts_is_named),
        cmocka_unit_test(p02_tells_where_files_cannot_be_locked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
