#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "core/cgroup.h"
#include "core/threads.h"
#include "tests/support/scratch.h"

static char *root;

static int make_root(void **state)
{
    (void)state;
    root = scratch_create();
    return 0;
}

static int remove_root(void **state)
{
    (void)state;
    scratch_remove(root);
    return 0;
}

/* Writes a file below the root that stands for the machine's. */
static void machine_file(const char *path, const char *text)
{
    scratch_write_text(scratch_text("%s/%s", root, path), text);
}

static void no_control_group_means_no_quota(void **state)
{
    (void)state;
    assert_true(atr_cgroup_cpus(root) == 0);
    machine_file("proc/self/cgroup", "0::/\n");
    assert_true(atr_cgroup_cpus(root) == 0);
    machine_file("sys/fs/cgroup/cpu.max", "max 100000\n");
    assert_true(atr_cgroup_cpus(root) == 0);
}

static void a_container_of_version_2_has_its_quota_at_the_root(void **state)
{
    (void)state;
    machine_file("proc/self/cgroup", "0::/\n");
    machine_file("sys/fs/cgroup/cpu.max", "250000 100000\n");
    assert_true(atr_cgroup_cpus(root) == 2.5);
}

static void the_least_quota_on_the_way_up_binds(void **state)
{
    (void)state;
    machine_file("proc/self/cgroup", "0::/slurm/job_7/step_0\n");
    machine_file("sys/fs/cgroup/slurm/job_7/step_0/cpu.max", "max 100000\n");
    machine_file("sys/fs/cgroup/slurm/job_7/cpu.max", "400000 100000\n");
    machine_file("sys/fs/cgroup/slurm/cpu.max", "800000 100000\n");
    assert_true(atr_cgroup_cpus(root) == 4);
    machine_file("sys/fs/cgroup/slurm/job_7/step_0/cpu.max", "50000 100000\n");
    assert_true(atr_cgroup_cpus(root) == 0.5);
}

static void a_path_of_the_host_leads_to_the_container_s_root(void **state)
{
    (void)state;
    machine_file("proc/self/cgroup", "0::/docker/0123456789abcdef\n");
    machine_file("sys/fs/cgroup/cpu.max", "300000 100000\n");
    assert_true(atr_cgroup_cpus(root) == 3);
}

static void version_1_is_read_under_both_of_its_names(void **state)
{
    (void)state;
    machine_file("proc/self/cgroup", "5:memory:/x\n4:cpu,cpuacct:/docker/abc\n3:cpuset:/y\n0::/\n");
    machine_file("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "150000\n");
    machine_file("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us", "100000\n");
    assert_true(atr_cgroup_cpus(root) == 1.5);
    machine_file("proc/self/cgroup", "4:cpuacct,cpu:/docker/abc\n");
    machine_file("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "700000\n");
    machine_file("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    assert_true(atr_cgroup_cpus(root) == 7);
    machine_file("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
    assert_true(atr_cgroup_cpus(root) == 0);
}

static void nonsense_in_control_groups_is_no_quota(void **state)
{
    static const char *const groups[] = {
        "", "\n", "0:", "0::", "::::", "no colons", "1:cpu:", "1:cpu", ":cpu:/", "1:cpuset,cpuacct:/\n"};
    static const char *const quotas[] = {"", "max", "-5 100000", "1 0", "x y", "100000", "0 0"};
    char line[9000];

    (void)state;
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        machine_file("proc/self/cgroup", groups[i]);
        assert_true(atr_cgroup_cpus(root) == 0);
    }
    machine_file("proc/self/cgroup", "0::/\n");
    for (size_t i = 0; i < sizeof quotas / sizeof quotas[0]; i++) {
        machine_file("sys/fs/cgroup/cpu.max", quotas[i]);
        assert_true(atr_cgroup_cpus(root) == 0);
    }
    memset(line, '/', sizeof line - 1);
    line[sizeof line - 1] = '\0';
    memcpy(line, "0::", 3);
    machine_file("proc/self/cgroup", line);
    assert_true(atr_cgroup_cpus(root) == 0);
}

static int decide(int affinity, double quota, int requested, int ranks, int sharing)
{
    atr_threads threads = {.online = 64,
                           .affinity = affinity,
                           .quota = quota,
                           .requested = requested,
                           .ranks = ranks,
                           .sharing = sharing};

    atr_threads_decide(&threads);
    return threads.count;
}

static void never_more_threads_than_cores_given(void **state)
{
    (void)state;
    assert_int_equal(decide(8, 0, 0, 1, 1), 8);
    assert_int_equal(decide(8, 2.5, 0, 1, 1), 3); /* a quota is rounded up */
    assert_int_equal(decide(8, 16, 0, 1, 1), 8);  /* a quota gives no cores */
    assert_int_equal(decide(8, 0, 3, 1, 1), 3);   /* the user may ask for less */
    assert_int_equal(decide(8, 0, 64, 1, 1), 8);  /* but not for more */
    assert_int_equal(decide(8, 0, 0, 2, 2), 4);   /* ranks share one mask */
    assert_int_equal(decide(8, 0, 0, 8, 1), 8);   /* ranks bound apart do not */
    assert_int_equal(decide(64, 0, 64, 8, 8), 8); /* R02: 8 ranks x 64 threads on 64 cores */
    assert_int_equal(decide(8, 4, 0, 2, 1), 2);   /* a quota is shared, masks or not */
    assert_int_equal(decide(2, 0, 0, 3, 3), 1);   /* at least 1 */
    assert_int_equal(decide(0, 0, 0, 0, 0), 1);
    assert_int_equal(decide(8, 0.1, 0, 4, 4), 1);
    assert_int_equal(decide(8, 0, 0, 4, 0), 2); /* not said: all share */
    assert_int_equal(decide(8, 1e300, 0, 1, 1), 8);
}

static void the_mask_of_the_process_counts(void **state)
{
    const atr_cpu_mask before = atr_cpu_mask_get();
    cpu_set_t set, old;
    int first = 0;

    (void)state;
    assert_true(atr_cpu_mask_count(&before) >= 1);
    assert_true(atr_cpu_mask_count(&before) <= (int)sysconf(_SC_NPROCESSORS_CONF));
    assert_int_equal(sched_getaffinity(0, sizeof old, &old), 0);
    while (!CPU_ISSET((size_t)first, &old))
        first++;
    CPU_ZERO(&set);
    CPU_SET((size_t)first, &set);
    assert_int_equal(sched_setaffinity(0, sizeof set, &set), 0);
    const atr_threads threads = atr_threads_given(1, 0);
    sched_setaffinity(0, sizeof old, &old);
    assert_int_equal(threads.affinity, 1);
    assert_int_equal(threads.count, 1);
}

static void openmp_s_wish_is_read_from_the_environment(void **state)
{
    static const struct {
        const char *text;
        int wish;
    } cases[] = {{"1", 1}, {"3", 3},  {" 4,2", 4}, {"", 0},
                 {"0", 0}, {"-1", 0}, {"many", 0}, {"99999999999", 0}};
    const char *old = getenv("OMP_NUM_THREADS");
    char *kept = old == NULL ? NULL : strdup(old);

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        setenv("OMP_NUM_THREADS", cases[i].text, 1);
        assert_int_equal(atr_threads_given(1, 1).requested, cases[i].wish);
    }
    unsetenv("OMP_NUM_THREADS");
    assert_int_equal(atr_threads_given(1, 1).requested, 0);
    if (kept != NULL)
        setenv("OMP_NUM_THREADS", kept, 1);
    free(kept);
}

static void masks_that_overlap_are_shared(void **state)
{
    atr_cpu_mask masks[4];

    (void)state;
    memset(masks, 0, sizeof masks);
    masks[0].words[0] = 0x0F;
    masks[1].words[0] = 0xF0;
    masks[2].words[0] = 0x18;
    masks[3].words[63] = 1;
    assert_int_equal(atr_cpu_mask_sharing(masks, 2, 0), 1);
    assert_int_equal(atr_cpu_mask_sharing(masks, 4, 0), 2);
    assert_int_equal(atr_cpu_mask_sharing(masks, 4, 2), 3);
    assert_int_equal(atr_cpu_mask_sharing(masks, 4, 3), 1);
    assert_int_equal(atr_cpu_mask_count(&masks[2]), 2);
    memset(masks, 0, sizeof masks);
    assert_int_equal(atr_cpu_mask_sharing(masks, 4, 1), 1); /* itself, even when nothing is known */
}

static void the_finding_is_told_in_one_line(void **state)
{
    char text[ATR_THREADS_TEXT_BYTES];
    const atr_threads alone = {.online = 64, .affinity = 2, .quota = 2, .ranks = 1, .sharing = 1, .count = 2};
    const atr_threads many = {
        .online = 64, .affinity = 64, .requested = 64, .ranks = 8, .sharing = 8, .count = 8};

    (void)state;
    assert_string_equal(atr_threads_text(&alone, text), "2 threads (2 of 64 CPUs by affinity, quota 2.0)");
    assert_string_equal(atr_threads_text(&many, text),
                        "8 threads (64 of 64 CPUs by affinity, no quota, OMP_NUM_THREADS 64, 8 "
                        "ranks here, 8 on the same CPUs)");
}

/* Parts of a mask are disjoint, in order and together all of it; with fewer CPUs than parts none is empty. */
static void parts_of_a_mask_share_it_out(void **state)
{
    atr_cpu_mask mask = {{0}};
    int next = 0;

    (void)state;
    for (int cpu = 3; cpu < 80; cpu += 7)
        atr_cpu_mask_add(&mask, cpu); /* 11 of them */
    for (int i = 0; i < 4; i++) {
        const atr_cpu_mask part = atr_cpu_mask_part(&mask, 4, i);
        const int count = atr_cpu_mask_count(&part);
        assert_in_range(count, 2, 3);
        for (int k = 0; k < count; k++, next++)
            assert_true(atr_cpu_mask_has(&part, 3 + 7 * next));
    }
    assert_int_equal(next, 11);
    for (int i = 0; i < 30; i++) {
        const atr_cpu_mask part = atr_cpu_mask_part(&mask, 30, i);
        assert_int_equal(atr_cpu_mask_count(&part), 1);
        assert_true(atr_cpu_mask_overlap(&part, &mask));
    }
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, make_root, remove_root)
    const struct CMUnitTest tests[] = {
        CASE(no_control_group_means_no_quota),
        CASE(a_container_of_version_2_has_its_quota_at_the_root),
        CASE(the_least_quota_on_the_way_up_binds),
        CASE(a_path_of_the_host_leads_to_the_container_s_root),
        CASE(version_1_is_read_under_both_of_its_names),
        CASE(nonsense_in_control_groups_is_no_quota),
        cmocka_unit_test(parts_of_a_mask_share_it_out),
        cmocka_unit_test(never_more_threads_than_cores_given),
        cmocka_unit_test(the_mask_of_the_process_counts),
        cmocka_unit_test(openmp_s_wish_is_read_from_the_environment),
        cmocka_unit_test(masks_that_overlap_are_shared),
        cmocka_unit_test(the_finding_is_told_in_one_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
