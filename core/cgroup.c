#include "core/cgroup.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/text.h"

enum { PATH_BYTES = 4096 };

/* CPUs allowed by one group of version 2, whose cpu.max holds "QUOTA PERIOD" or "max PERIOD"; 0: no limit. */
static double quota_v2(const char *folder)
{
    char path[2 * PATH_BYTES], line[128];
    double quota = 0, period = 0;

    snprintf(path, sizeof path, "%s/cpu.max", folder);
    if (!atr_first_line(path, line, sizeof line) || sscanf(line, "%lf %lf", &quota, &period) != 2)
        return 0;
    return quota > 0 && period > 0 ? quota / period : 0;
}

/* The same for version 1, where a quota of -1 means none. */
static double quota_v1(const char *folder)
{
    char path[2 * PATH_BYTES], quota_line[128], period_line[128];
    double quota = 0, period = 0;

    snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", folder);
    if (!atr_first_line(path, quota_line, sizeof quota_line) || sscanf(quota_line, "%lf", &quota) != 1)
        return 0;
    snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
    if (!atr_first_line(path, period_line, sizeof period_line) || sscanf(period_line, "%lf", &period) != 1)
        return 0;
    return quota > 0 && period > 0 ? quota / period : 0;
}

static double memory_file(const char *folder, const char *name)
{
    char path[2 * PATH_BYTES], line[128];
    double bytes = 0;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (!atr_first_line(path, line, sizeof line) || sscanf(line, "%lf", &bytes) != 1)
        return 0;
    return bytes > 0 ? bytes : 0;
}

/* Bytes, or "max". */
static double memory_v2(const char *folder)
{
    return memory_file(folder, "memory.max");
}

static double memory_v1(const char *folder)
{
    return memory_file(folder, "memory.limit_in_bytes");
}

/* The smaller of two limits, where 0 means none. */
static double lesser(double a, double b)
{
    return b > 0 && (a <= 0 || b < a) ? b : a;
}

/* The least limit of `group` ("/a/b") and all groups above it in the hierarchy mounted at `mount`: a group's limit binds
 * its children too. In a container the path may be the host's, and only its top exists here. */
static double least_limit(const char *mount, const char *group, double (*limit_of)(const char *folder))
{
    char folder[PATH_BYTES];
    double least = 0;
    const size_t top = strlen(mount);

    if ((size_t)snprintf(folder, sizeof folder, "%s%s", mount, group) >= sizeof folder)
        return 0;
    for (;;) {
        least = lesser(least, limit_of(folder));
        char *slash = strrchr(folder, '/');
        if (strlen(folder) <= top || slash == NULL)
            return least;
        *(slash < folder + top ? folder + top : slash) = '\0';
    }
}

/* The limit of one kind that a group's folder holds, 0: none; for both versions, and the controller's name in version 1. */
typedef struct limit {
    const char *controller;
    double (*v1)(const char *folder), (*v2)(const char *folder);
} limit;

/* Whether `wanted` is one of "cpu,cpuacct". */
static bool has_controller(const char *controllers, const char *wanted)
{
    for (const char *name = controllers; *name != '\0';) {
        const size_t length = strcspn(name, ",");
        if (length == strlen(wanted) && strncmp(name, wanted, length) == 0)
            return true;
        name += length + (name[length] == ',');
    }
    return false;
}

/* The least limit that one line of /proc/self/cgroup, "NUMBER:CONTROLLERS:/GROUP", leads to; the number 0 with no controllers
 * is version 2. */
static double line_limit(const char *root, char *line, const limit *kind)
{
    char mount[PATH_BYTES];
    char *controllers = strchr(line, ':');
    char *group = controllers == NULL ? NULL : strchr(controllers + 1, ':');

    if (group == NULL)
        return 0;
    *group++ = '\0';
    *controllers++ = '\0';
    group[strcspn(group, "\n")] = '\0';
    if (*controllers == '\0') {
        snprintf(mount, sizeof mount, "%s/sys/fs/cgroup", root);
        return least_limit(mount, group, kind->v2);
    }
    if (!has_controller(controllers, kind->controller))
        return 0;
    snprintf(mount, sizeof mount, "%s/sys/fs/cgroup/%s", root, controllers);
    const double joint = least_limit(mount, group, kind->v1);
    snprintf(mount, sizeof mount, "%s/sys/fs/cgroup/%s", root, kind->controller);
    return joint > 0 ? joint : least_limit(mount, group, kind->v1);
}

static double find_limit(const char *root, const limit *kind)
{
    char path[PATH_BYTES], line[PATH_BYTES];
    double least = 0;

    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return 0;
    while (fgets(line, sizeof line, file) != NULL)
        least = lesser(least, line_limit(root, line, kind));
    fclose(file);
    return least;
}

double atr_cgroup_cpus(const char *root)
{
    static const limit cpus = {"cpu", quota_v1, quota_v2};

    return find_limit(root, &cpus);
}

int64_t atr_cgroup_memory(const char *root)
{
    static const limit memory = {"memory", memory_v1, memory_v2};
    const double bytes = find_limit(root, &memory);

    /* Version 1 writes "no limit" as the largest whole number of pages. */
    return bytes >= 0x1p62 ? 0 : (int64_t)bytes;
}
