#include "core/threads.h"

#include <math.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/text.h"

enum { PATH_BYTES = 4096, WORD_BITS = 64, MASK_BITS = ATR_CPU_WORDS * WORD_BITS };

/* The OpenMP library's places, where the program has one (this folder does not need it): see add_openmp_places(). */
extern int omp_get_num_places(void) __attribute__((weak));
extern int omp_get_place_num_procs(int place) __attribute__((weak));
extern void omp_get_place_proc_ids(int place, int *ids) __attribute__((weak));

static void set_bit(atr_cpu_mask *mask, int cpu)
{
    if (cpu >= 0 && cpu < MASK_BITS)
        mask->words[cpu / WORD_BITS] |= (uint64_t)1 << (cpu % WORD_BITS);
}

/* With OMP_PROC_BIND the OpenMP library ties the first thread to one place before main() starts, so this thread's mask is no
 * longer the process's. The library still knows all places. */
static void add_openmp_places(atr_cpu_mask *mask)
{
    int ids[MASK_BITS];

    if (omp_get_num_places == NULL || omp_get_place_num_procs == NULL || omp_get_place_proc_ids == NULL)
        return;
    for (int place = 0; place < omp_get_num_places(); place++) {
        const int count = omp_get_place_num_procs(place);
        if (count < 1 || count > MASK_BITS)
            continue;
        omp_get_place_proc_ids(place, ids);
        for (int i = 0; i < count; i++)
            set_bit(mask, ids[i]);
    }
}

static int cpus_online(void)
{
    const long online = sysconf(_SC_NPROCESSORS_ONLN);

    return online < 1 ? 1 : online > MASK_BITS ? MASK_BITS : (int)online;
}

atr_cpu_mask atr_cpu_mask_get(void)
{
    atr_cpu_mask mask = {{0}};
    cpu_set_t *set = CPU_ALLOC(MASK_BITS);
    const size_t bytes = CPU_ALLOC_SIZE(MASK_BITS);
    const bool known = set != NULL && sched_getaffinity(0, bytes, set) == 0;

    for (int cpu = 0; cpu < MASK_BITS; cpu++)
        if (known ? CPU_ISSET_S((size_t)cpu, bytes, set) : cpu < cpus_online())
            set_bit(&mask, cpu);
    CPU_FREE(set);
    add_openmp_places(&mask);
    return mask;
}

int atr_cpu_mask_count(const atr_cpu_mask *mask)
{
    int count = 0;

    for (int i = 0; i < ATR_CPU_WORDS; i++)
        count += __builtin_popcountll(mask->words[i]);
    return count;
}

int atr_cpu_mask_sharing(const atr_cpu_mask *masks, int count, int own)
{
    int sharing = 0;

    for (int other = 0; other < count; other++) {
        uint64_t common = 0;
        for (int i = 0; i < ATR_CPU_WORDS; i++)
            common |= masks[own].words[i] & masks[other].words[i];
        sharing += other == own || common != 0;
    }
    return sharing;
}

/* The first line of a small file; false when there is none. */
static bool read_line(const char *path, char *line, size_t bytes)
{
    FILE *file = fopen(path, "re");
    bool found = false;

    if (file != NULL) {
        found = fgets(line, (int)bytes, file) != NULL;
        fclose(file);
    }
    return found;
}

/* CPUs allowed by one group of version 2, whose cpu.max holds "QUOTA PERIOD" or "max PERIOD"; 0: no limit. */
static double quota_v2(const char *folder)
{
    char path[2 * PATH_BYTES], line[128];
    double quota = 0, period = 0;

    snprintf(path, sizeof path, "%s/cpu.max", folder);
    if (!read_line(path, line, sizeof line) || sscanf(line, "%lf %lf", &quota, &period) != 2)
        return 0;
    return quota > 0 && period > 0 ? quota / period : 0;
}

/* The same for version 1, where a quota of -1 means none. */
static double quota_v1(const char *folder)
{
    char path[2 * PATH_BYTES], quota_line[128], period_line[128];
    double quota = 0, period = 0;

    snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", folder);
    if (!read_line(path, quota_line, sizeof quota_line) || sscanf(quota_line, "%lf", &quota) != 1)
        return 0;
    snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
    if (!read_line(path, period_line, sizeof period_line) || sscanf(period_line, "%lf", &period) != 1)
        return 0;
    return quota > 0 && period > 0 ? quota / period : 0;
}

/* The least quota of `group` ("/a/b") and all groups above it in the hierarchy mounted at `mount`: a group's limit binds
 * its children too. In a container the path may be the host's, and only its top exists here. */
static double least_quota(const char *mount, const char *group, double (*quota_of)(const char *folder))
{
    char folder[PATH_BYTES];
    double least = 0;
    const size_t top = strlen(mount);

    if ((size_t)snprintf(folder, sizeof folder, "%s%s", mount, group) >= sizeof folder)
        return 0;
    for (;;) {
        const double quota = quota_of(folder);
        if (quota > 0 && (least <= 0 || quota < least))
            least = quota;
        char *slash = strrchr(folder, '/');
        if (strlen(folder) <= top || slash == NULL)
            return least;
        *(slash < folder + top ? folder + top : slash) = '\0';
    }
}

/* Whether "cpu" is one of "cpu,cpuacct". */
static bool has_cpu(const char *controllers)
{
    for (const char *name = controllers; *name != '\0';) {
        const size_t length = strcspn(name, ",");
        if (length == 3 && strncmp(name, "cpu", 3) == 0)
            return true;
        name += length + (name[length] == ',');
    }
    return false;
}

/* The least quota that one line of /proc/self/cgroup, "NUMBER:CONTROLLERS:/GROUP", leads to; the number 0 with no controllers
 * is version 2. */
static double line_quota(const char *root, char *line)
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
        return least_quota(mount, group, quota_v2);
    }
    if (!has_cpu(controllers))
        return 0;
    snprintf(mount, sizeof mount, "%s/sys/fs/cgroup/%s", root, controllers);
    const double joint = least_quota(mount, group, quota_v1);
    snprintf(mount, sizeof mount, "%s/sys/fs/cgroup/cpu", root);
    return joint > 0 ? joint : least_quota(mount, group, quota_v1);
}

double atr_cgroup_cpus(const char *root)
{
    char path[PATH_BYTES], line[PATH_BYTES];
    double least = 0;

    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return 0;
    while (fgets(line, sizeof line, file) != NULL) {
        const double quota = line_quota(root, line);
        if (quota > 0 && (least <= 0 || quota < least))
            least = quota;
    }
    fclose(file);
    return least;
}

/* OMP_NUM_THREADS may be a list, one number per nesting level; the first one counts. */
static int requested_threads(void)
{
    char text[16];
    int64_t count = 0;
    const char *wish = getenv("OMP_NUM_THREADS");

    if (wish == NULL)
        return 0;
    wish += strspn(wish, " ");
    snprintf(text, sizeof text, "%.*s", (int)strcspn(wish, ", "), wish);
    return atr_parse_int(text, &count) && count > 0 && count < 1 << 20 ? (int)count : 0;
}

void atr_threads_decide(atr_threads *threads)
{
    const int ranks = threads->ranks > 0 ? threads->ranks : 1;
    const int sharing = threads->sharing > 0 ? threads->sharing : ranks;
    int count = threads->affinity / sharing;

    if (threads->quota > 0) {
        const double share = ceil(threads->quota / ranks);
        if (share < count)
            count = (int)share;
    }
    if (threads->requested > 0 && threads->requested < count)
        count = threads->requested;
    threads->count = count > 0 ? count : 1;
}

atr_threads atr_threads_given(int ranks, int sharing)
{
    const atr_cpu_mask mask = atr_cpu_mask_get();
    atr_threads threads = {.online = cpus_online(),
                           .affinity = atr_cpu_mask_count(&mask),
                           .quota = atr_cgroup_cpus(""),
                           .requested = requested_threads(),
                           .ranks = ranks > 0 ? ranks : 1};

    threads.sharing = sharing > 0 ? sharing : threads.ranks;
    atr_threads_decide(&threads);
    return threads;
}

char *atr_threads_text(const atr_threads *threads, char *text)
{
    char quota[48] = "no quota", wish[48] = "", ranks[48] = "";

    if (threads->quota > 0)
        snprintf(quota, sizeof quota, "quota %.1f", threads->quota);
    if (threads->requested > 0)
        snprintf(wish, sizeof wish, ", OMP_NUM_THREADS %d", threads->requested);
    if (threads->ranks > 1)
        snprintf(ranks, sizeof ranks, ", %d ranks here, %d on the same CPUs", threads->ranks,
                 threads->sharing);
    snprintf(text, ATR_THREADS_TEXT_BYTES, "%d thread%s (%d of %d CPUs by affinity, %s%s%s)", threads->count,
             threads->count == 1 ? "" : "s", threads->affinity, threads->online, quota, wish, ranks);
    return text;
}
