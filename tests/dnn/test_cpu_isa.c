#include <libgen.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/cpu.h"

/* The tests of operations, losses, label maps and optimisers hold at every instruction level below this machine's own. The
 * level is found once per process, so each run is a child with ATR_ISA (our kernels) and ONEDNN_MAX_CPU_ISA (oneDNN's). */

static const struct level {
    atr_isa isa;
    const char *onednn;
} levels[] = {
    {ATR_ISA_PORTABLE, "SSE41"},
    {ATR_ISA_AVX2, "AVX2"},
    {ATR_ISA_AVX512, "AVX512_CORE"},
};

enum { LEVELS = sizeof levels / sizeof levels[0] };

/* The program `name` beside this one, or "" where it was not built. */
static void sibling(const char *name, char path[PATH_MAX])
{
    char own[PATH_MAX] = "";
    const ssize_t length = readlink("/proc/self/exe", own, sizeof own - 1);

    path[0] = '\0';
    if (length <= 0 || snprintf(path, PATH_MAX, "%s/%s", dirname(own), name) >= PATH_MAX ||
        access(path, X_OK) != 0)
        path[0] = '\0';
}

static void run_at(const struct level *level, const char *path)
{
    const pid_t child = fork();
    int result = -1;

    assert_true(child >= 0);
    if (child == 0) {
        setenv("ATR_ISA", atr_isa_name(level->isa), 1);
        setenv("ONEDNN_MAX_CPU_ISA", level->onednn, 1);
        dup2(STDERR_FILENO, STDOUT_FILENO);
        execl(path, path, (char *)NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(child, &result, 0), child);
    if (result != 0)
        fail_msg("%s fails at level %s", path, atr_isa_name(level->isa));
}

static void check_program(const char *name)
{
    char path[PATH_MAX];

    sibling(name, path);
    if (path[0] == '\0') {
        printf("%s is not built\n", name);
        skip();
    }
    for (int i = 0; i < LEVELS; i++)
        if (levels[i].isa < atr_isa_detected())
            run_at(&levels[i], path);
}

static void operations_hold_at_every_level(void **state)
{
    (void)state;
    check_program("test_ops");
}

static void operations_on_bf16_hold_at_every_level(void **state)
{
    (void)state;
    check_program("test_ops_bf16");
}

static void losses_hold_at_every_level(void **state)
{
    (void)state;
    check_program("test_loss");
}

static void label_maps_hold_at_every_level(void **state)
{
    (void)state;
    check_program("test_segment");
}

static void optimisers_hold_at_every_level(void **state)
{
    (void)state;
    check_program("test_optim");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operations_hold_at_every_level),
        cmocka_unit_test(operations_on_bf16_hold_at_every_level),
        cmocka_unit_test(losses_hold_at_every_level),
        cmocka_unit_test(label_maps_hold_at_every_level),
        cmocka_unit_test(optimisers_hold_at_every_level),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
