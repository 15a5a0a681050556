#include "core/threads.h"

#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/cgroup.h"
#include "core/text.h"

enum { WORD_BITS = 64, MASK_BITS = ATR_CPU_WORDS * WORD_BITS };

/* The OpenMP library's places, where the program has one (this folder does not need it): see add_openmp_places(). */
extern int omp_get_num_places(void) __attribute__((weak));
extern int omp_get_place_num_procs(int place) __attribute__((weak));
extern void omp_get_place_proc_ids(int place, int *ids) __attribute__((weak));

void atr_cpu_mask_add(atr_cpu_mask *mask, int cpu)
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
            atr_cpu_mask_add(mask, ids[i]);
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
            atr_cpu_mask_add(&mask, cpu);
    CPU_FREE(set);
    add_openmp_places(&mask);
    return mask;
}

int atr_threads_start(pthread_t *id, void *(*run)(void *), void *argument)
{
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int reason = pthread_create(id, NULL, run, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return reason;
}

bool atr_threads_bind(const atr_cpu_mask *mask)
{
    return sched_setaffinity(0, sizeof mask->words, (const cpu_set_t *)mask->words) == 0;
}

bool atr_threads_unbind(void)
{
    const atr_cpu_mask mask = atr_cpu_mask_get();

    return atr_threads_bind(&mask);
}

atr_cpu_mask atr_cpu_mask_part(const atr_cpu_mask *mask, int parts, int index)
{
    const int count = atr_cpu_mask_count(mask);
    const int first = (int)((int64_t)index * count / parts),
              next = (int)((int64_t)(index + 1) * count / parts);
    const int end = next > first ? next : first + 1;
    atr_cpu_mask part = {{0}};
    int number = 0;

    for (int cpu = 0; cpu < MASK_BITS; cpu++)
        if (atr_cpu_mask_has(mask, cpu)) {
            if (number >= first && number < end)
                atr_cpu_mask_add(&part, cpu);
            number++;
        }
    return part;
}

int atr_cpu_mask_count(const atr_cpu_mask *mask)
{
    int count = 0;

    for (int i = 0; i < ATR_CPU_WORDS; i++)
        count += __builtin_popcountll(mask->words[i]);
    return count;
}

bool atr_cpu_mask_has(const atr_cpu_mask *mask, int cpu)
{
    return cpu >= 0 && cpu < MASK_BITS && (mask->words[cpu / WORD_BITS] >> (cpu % WORD_BITS) & 1) != 0;
}

bool atr_cpu_mask_overlap(const atr_cpu_mask *a, const atr_cpu_mask *b)
{
    uint64_t common = 0;

    for (int i = 0; i < ATR_CPU_WORDS; i++)
        common |= a->words[i] & b->words[i];
    return common != 0;
}

/* "FIRST-LAST" or "FIRST" at the start of `text`; the text behind it, or NULL where there is no such thing. */
static const char *parse_range(const char *text, int64_t *first, int64_t *last)
{
    char *end = NULL;

    if (*text < '0' || *text > '9')
        return NULL;
    *first = *last = strtol(text, &end, 10);
    if (*end == '-' && end[1] >= '0' && end[1] <= '9')
        *last = strtol(end + 1, &end, 10);
    return *last >= *first && (*end == ',' || *end == '\0' || *end == '\n') ? end : NULL;
}

bool atr_cpu_mask_parse(const char *text, atr_cpu_mask *out)
{
    int64_t first = 0, last = 0;

    memset(out, 0, sizeof *out);
    while (*text != '\0' && *text != '\n') {
        text = parse_range(text, &first, &last);
        if (text == NULL)
            return false;
        for (int64_t cpu = first; cpu <= last && cpu < MASK_BITS; cpu++)
            atr_cpu_mask_add(out, (int)cpu);
        text += *text == ',';
    }
    return true;
}

char *atr_cpu_mask_text(const atr_cpu_mask *mask, char *text)
{
    size_t used = 0;

    text[0] = '\0';
    for (int first = 0; first < MASK_BITS; first++) {
        int last = first;
        if (!atr_cpu_mask_has(mask, first))
            continue;
        while (atr_cpu_mask_has(mask, last + 1))
            last++;
        char range[32];
        snprintf(range, sizeof range, last > first ? "%s%d-%d" : "%s%d", used > 0 ? "," : "", first, last);
        if (used + strlen(range) + sizeof ",..." > ATR_CPU_MASK_TEXT_BYTES) {
            snprintf(text + used, ATR_CPU_MASK_TEXT_BYTES - used, ",...");
            return text;
        }
        used += (size_t)snprintf(text + used, ATR_CPU_MASK_TEXT_BYTES - used, "%s", range);
        first = last;
    }
    return text;
}

int atr_cpu_mask_sharing(const atr_cpu_mask *masks, int count, int own)
{
    int sharing = 0;

    for (int other = 0; other < count; other++)
        sharing += other == own || atr_cpu_mask_overlap(&masks[own], &masks[other]);
    return sharing;
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
