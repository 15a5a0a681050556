#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include <cmocka.h>

#include "core/cgroup.h"
#include "core/machine.h"
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

static void machine_file(const char *path, const char *text)
{
    scratch_write_text(scratch_text("%s/%s", root, path), text);
}

static void cpu_file(int cpu, const char *name, const char *text)
{
    char path[256];

    snprintf(path, sizeof path, "sys/devices/system/cpu/cpu%d/%s", cpu, name);
    machine_file(path, text);
}

/* Two sockets of two cores of two hardware threads: CPUs 0-3 are first threads, 4-7 their siblings. */
static void make_machine(void)
{
    machine_file("sys/devices/system/cpu/online", "0-7\n");
    for (int cpu = 0; cpu < 8; cpu++) {
        const int core = cpu % 4;
        char text[32];
        cpu_file(cpu, "topology/physical_package_id", core < 2 ? "0\n" : "1\n");
        snprintf(text, sizeof text, "%d,%d\n", core, core + 4);
        cpu_file(cpu, "topology/thread_siblings_list", text);
        cpu_file(cpu, "cache/index0/type", "Data\n");
        cpu_file(cpu, "cache/index0/level", "1\n");
        cpu_file(cpu, "cache/index0/size", "48K\n");
        cpu_file(cpu, "cache/index0/shared_cpu_list", text);
        cpu_file(cpu, "cache/index1/type", "Instruction\n");
        cpu_file(cpu, "cache/index1/level", "1\n");
        cpu_file(cpu, "cache/index1/size", "32K\n");
        cpu_file(cpu, "cache/index1/shared_cpu_list", text);
        cpu_file(cpu, "cache/index2/type", "Unified\n");
        cpu_file(cpu, "cache/index2/level", "3\n");
        cpu_file(cpu, "cache/index2/size", "32M\n");
        cpu_file(cpu, "cache/index2/shared_cpu_list", core < 2 ? "0-1,4-5\n" : "2-3,6-7\n");
    }
    machine_file("sys/devices/system/node/online", "0-2\n");
    machine_file("sys/devices/system/node/node0/cpulist", "0-1,4-5\n");
    machine_file("sys/devices/system/node/node1/cpulist", "2-3,6-7\n");
    machine_file("sys/devices/system/node/node2/cpulist", "\n");
    machine_file("proc/meminfo", "MemTotal:       1024 kB\nMemFree: 1 kB\nMemAvailable:    512 kB\n");
    machine_file("proc/cpuinfo", "processor : 0\nmodel name\t: A Processor\n");
}

static void cores_caches_and_domains_are_counted(void **state)
{
    atr_machine machine;
    atr_cpu_mask mask;
    char text[ATR_CPU_MASK_TEXT_BYTES], name[ATR_PROCESSOR_BYTES];

    (void)state;
    make_machine();
    atr_machine_read(root, &machine);
    assert_int_equal(machine.cpus, 8);
    assert_int_equal(machine.cores, 4);
    assert_int_equal(machine.sockets, 2);
    assert_int_equal(machine.cache_count, 2);
    assert_int_equal(machine.caches[0].level, 1);
    assert_int_equal(machine.caches[0].instances, 4);
    assert_int_equal(machine.caches[0].bytes, 48 << 10);
    assert_int_equal(machine.caches[1].level, 3);
    assert_int_equal(machine.caches[1].instances, 2);
    assert_int_equal(machine.caches[1].bytes, 32 << 20);
    assert_int_equal(machine.domain_count, 2);
    assert_int_equal(machine.memory_bytes, 1 << 20);
    assert_int_equal(machine.memory_available, 1 << 19);
    assert_int_equal(machine.memory_limit, 0);
    assert_string_equal(atr_processor_name(root, name), "A Processor");

    assert_true(atr_cpu_mask_parse("0,4,2", &mask));
    assert_int_equal(atr_machine_cores_of(&machine, &mask), 2);
    mask = atr_machine_domains_of(&machine, &mask);
    assert_string_equal(atr_cpu_mask_text(&mask, text), "0-1");
}

static void an_empty_system_is_one_core(void **state)
{
    atr_machine machine;
    char name[ATR_PROCESSOR_BYTES];

    (void)state;
    atr_machine_read(root, &machine);
    assert_int_equal(machine.cpus, 1);
    assert_int_equal(machine.cores, 1);
    assert_int_equal(machine.domain_count, 0);
    assert_string_equal(atr_processor_name(root, name), "");
}

static void this_machine_has_cores_and_memory(void **state)
{
    atr_machine machine;

    (void)state;
    atr_machine_read("", &machine);
    assert_in_range(machine.cores, 1, machine.cpus);
    assert_true(machine.memory_bytes > 0);
}

/* A word, for it stands between blanks in files; cut where it is longer than the buffers of all who say it. */
static void this_machine_has_a_name(void **state)
{
    char name[ATR_HOST_BYTES], word[ATR_HOST_BYTES] = "";
    struct utsname names;

    (void)state;
    assert_int_equal(uname(&names), 0);
    assert_ptr_equal(atr_host_name(name), name);
    assert_int_equal(sscanf(name, "%63s", word), 1);
    assert_string_equal(name, word);
    if (names.nodename[0] != '\0')
        assert_memory_equal(name, names.nodename, strlen(name));
}

static void lists_of_cpus_are_read_and_written(void **state)
{
    static const char *const good[] = {"", "0", "0-3", "0-3,8", "5,7,9-4095"};
    static const char *const bad[] = {"x", "-1", "3-1", "1-", "1,,2", "1 2", "0-3;", "1-x"};
    char text[ATR_CPU_MASK_TEXT_BYTES];
    atr_cpu_mask mask;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(atr_cpu_mask_parse(good[i], &mask));
        assert_string_equal(atr_cpu_mask_text(&mask, text), good[i]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(atr_cpu_mask_parse(bad[i], &mask));
    assert_true(atr_cpu_mask_parse("4090-99999999999999999999", &mask)); /* what does not fit is left out */
    assert_int_equal(atr_cpu_mask_count(&mask), 6);
    memset(mask.words, 0x55, sizeof mask.words);
    assert_non_null(strstr(atr_cpu_mask_text(&mask, text), ",..."));
    assert_true(strlen(text) < ATR_CPU_MASK_TEXT_BYTES);
}

static void a_memory_limit_is_found_in_both_versions(void **state)
{
    (void)state;
    machine_file("proc/self/cgroup", "0::/job\n");
    machine_file("sys/fs/cgroup/job/memory.max", "max\n");
    assert_true(atr_cgroup_memory(root) == 0);
    machine_file("sys/fs/cgroup/memory.max", "1048576\n");
    assert_true(atr_cgroup_memory(root) == 1048576);
    machine_file("proc/self/cgroup", "7:memory:/job\n");
    machine_file("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "9223372036854771712\n");
    assert_true(atr_cgroup_memory(root) == 0);
    machine_file("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "2097152\n");
    assert_true(atr_cgroup_memory(root) == 2097152);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, make_root, remove_root)
    const struct CMUnitTest tests[] = {
        CASE(cores_caches_and_domains_are_counted),     CASE(an_empty_system_is_one_core),
        CASE(a_memory_limit_is_found_in_both_versions), cmocka_unit_test(this_machine_has_cores_and_memory),
        cmocka_unit_test(this_machine_has_a_name),      cmocka_unit_test(lists_of_cpus_are_read_and_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
