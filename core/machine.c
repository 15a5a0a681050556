#include "core/machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "core/cgroup.h"
#include "core/text.h"

enum { PATH_BYTES = 4096, LINE_BYTES = 4096, CPUS = ATR_CPU_WORDS * 64 };

/* The first line of "ROOT/sys/devices/system/NAME"; "" where there is none. */
static const char *read_system(const char *root, const char *name, char *line)
{
    char path[PATH_BYTES];

    snprintf(path, sizeof path, "%s/sys/devices/system/%s", root, name);
    atr_first_line(path, line, LINE_BYTES);
    return line;
}

/* A file of one CPU. */
static const char *read_cpu(const char *root, int cpu, const char *name, char *line)
{
    char path[256];

    snprintf(path, sizeof path, "cpu/cpu%d/%s", cpu, name);
    return read_system(root, path, line);
}

/* The lowest number of a list, -1 for none. */
static int first_of(const char *list)
{
    atr_cpu_mask mask;

    if (!atr_cpu_mask_parse(list, &mask))
        return -1;
    for (int cpu = 0; cpu < CPUS; cpu++)
        if (atr_cpu_mask_has(&mask, cpu))
            return cpu;
    return -1;
}

static atr_cpu_mask cpus_online(const char *root)
{
    char line[LINE_BYTES];
    atr_cpu_mask online;

    if (!atr_cpu_mask_parse(read_system(root, "cpu/online", line), &online) ||
        atr_cpu_mask_count(&online) == 0) {
        memset(&online, 0, sizeof online);
        atr_cpu_mask_add(&online, 0);
    }
    return online;
}

/* One cache of one CPU, counted once by the lowest CPU that shares it. */
static void add_cache(const char *root, int cpu, int index, atr_machine *out)
{
    char name[64], line[LINE_BYTES];
    char *unit = NULL;

    snprintf(name, sizeof name, "cache/index%d/type", index);
    if (strncmp(read_cpu(root, cpu, name, line), "Instruction", 11) == 0)
        return;
    snprintf(name, sizeof name, "cache/index%d/shared_cpu_list", index);
    if (first_of(read_cpu(root, cpu, name, line)) != cpu)
        return;
    snprintf(name, sizeof name, "cache/index%d/level", index);
    const int level = atoi(read_cpu(root, cpu, name, line));
    if (level < 1 || level > ATR_MACHINE_CACHES)
        return;
    snprintf(name, sizeof name, "cache/index%d/size", index);
    int64_t bytes = strtol(read_cpu(root, cpu, name, line), &unit, 10);
    bytes *= *unit == 'K' ? 1 << 10 : *unit == 'M' ? 1 << 20 : 1;
    atr_cache *const cache = &out->caches[level - 1];
    cache->level = level;
    cache->instances++;
    cache->bytes = bytes;
}

/* Levels that a machine lacks leave no gap. */
static void close_gaps(atr_machine *out)
{
    for (int i = 0; i < ATR_MACHINE_CACHES; i++)
        if (out->caches[i].instances > 0)
            out->caches[out->cache_count++] = out->caches[i];
}

static void read_cpus(const char *root, atr_machine *out)
{
    const atr_cpu_mask online = cpus_online(root);
    atr_cpu_mask sockets = {{0}};
    char line[LINE_BYTES];

    out->cpus = atr_cpu_mask_count(&online);
    for (int cpu = 0; cpu < CPUS; cpu++) {
        if (!atr_cpu_mask_has(&online, cpu))
            continue;
        atr_cpu_mask_add(&sockets, atoi(read_cpu(root, cpu, "topology/physical_package_id", line)));
        const int first = first_of(read_cpu(root, cpu, "topology/thread_siblings_list", line));
        out->core_of[cpu] = (int16_t)(first < 0 ? cpu : first);
        for (int index = 0; index < 8; index++)
            add_cache(root, cpu, index, out);
    }
    out->sockets = atr_cpu_mask_count(&sockets);
    out->cores = atr_machine_cores_of(out, &online);
    close_gaps(out);
}

void atr_machine_read_domains(const char *root, atr_machine *out)
{
    char line[LINE_BYTES], name[64];
    atr_cpu_mask nodes;

    memset(out, 0, sizeof *out);
    if (!atr_cpu_mask_parse(read_system(root, "node/online", line), &nodes))
        return;
    for (int node = 0; node < CPUS && out->domain_count < ATR_MACHINE_DOMAINS; node++) {
        atr_cpu_mask mask;
        if (!atr_cpu_mask_has(&nodes, node))
            continue;
        snprintf(name, sizeof name, "node/node%d/cpulist", node);
        if (!atr_cpu_mask_parse(read_system(root, name, line), &mask) || atr_cpu_mask_count(&mask) == 0)
            continue;
        out->domains[out->domain_count].number = node;
        out->domains[out->domain_count++].mask = mask;
    }
}

static void read_memory(const char *root, atr_machine *out)
{
    char path[PATH_BYTES], line[LINE_BYTES];
    long long kib = 0;

    snprintf(path, sizeof path, "%s/proc/meminfo", root);
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "MemTotal: %lld kB", &kib) == 1)
            out->memory_bytes = kib << 10;
        if (sscanf(line, "MemAvailable: %lld kB", &kib) == 1)
            out->memory_available = kib << 10;
    }
    if (file != NULL)
        fclose(file);
    out->memory_limit = atr_cgroup_memory(root);
}

void atr_machine_read(const char *root, atr_machine *out)
{
    atr_machine_read_domains(root, out);
    read_cpus(root, out);
    read_memory(root, out);
}

int atr_machine_cores_of(const atr_machine *machine, const atr_cpu_mask *mask)
{
    atr_cpu_mask cores = {{0}};

    for (int cpu = 0; cpu < CPUS; cpu++)
        if (atr_cpu_mask_has(mask, cpu))
            atr_cpu_mask_add(&cores, machine->core_of[cpu]);
    return atr_cpu_mask_count(&cores);
}

atr_cpu_mask atr_machine_domains_of(const atr_machine *machine, const atr_cpu_mask *mask)
{
    atr_cpu_mask domains = {{0}};

    for (int i = 0; i < machine->domain_count; i++)
        if (atr_cpu_mask_overlap(&machine->domains[i].mask, mask))
            atr_cpu_mask_add(&domains, machine->domains[i].number);
    return domains;
}

char *atr_host_name(char *name)
{
    struct utsname names;
    const bool known = uname(&names) == 0 && names.nodename[0] != '\0';

    snprintf(name, ATR_HOST_BYTES, "%.*s", ATR_HOST_BYTES - 1, known ? names.nodename : "localhost");
    return name;
}

char *atr_processor_name(const char *root, char *text)
{
    char path[PATH_BYTES], line[LINE_BYTES];

    text[0] = '\0';
    snprintf(path, sizeof path, "%s/proc/cpuinfo", root);
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        const char *const colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || colon == NULL)
            continue;
        line[strcspn(line, "\n")] = '\0';
        snprintf(text, ATR_PROCESSOR_BYTES, "%s", colon + 1 + strspn(colon + 1, " \t"));
        break;
    }
    if (file != NULL)
        fclose(file);
    return text;
}
