#include <stdio.h>
#include <string.h>

#include "apps/cli.h"
#include "apps/doctor.h"
#include "io/volume.h"

void atr_doctor_say(const char *what, const char *text)
{
    printf("%-14s %s\n", what, text);
}

/* "64 GiB" into `text` [32]; returns `text`. */
static char *size_text(int64_t bytes, char *text)
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    int unit = 0;

    for (; value >= 1024 && unit < 4; unit++)
        value /= 1024;
    snprintf(text, 32, "%.3g %s", value, units[unit]);
    return text;
}

static void say_caches(const atr_machine *machine)
{
    atr_text line = {0};
    char size[32];

    for (int i = 0; i < machine->cache_count; i++)
        atr_text_append(&line, "%sL%d %d x %s", i > 0 ? ", " : "", machine->caches[i].level,
                        machine->caches[i].instances, size_text(machine->caches[i].bytes, size));
    atr_doctor_say("caches", line.bytes != NULL ? line.bytes : "not told");
    atr_free(line.bytes);
}

static void say_domains(const atr_machine *machine)
{
    atr_text line = {0};
    char cpus[ATR_CPU_MASK_TEXT_BYTES];

    atr_text_append(&line, "%d domain%s", machine->domain_count, machine->domain_count == 1 ? "" : "s");
    for (int i = 0; i < machine->domain_count; i++)
        atr_text_append(&line, "%s %d: CPUs %s", i > 0 ? ";" : ":", machine->domains[i].number,
                        atr_cpu_mask_text(&machine->domains[i].mask, cpus));
    if (line.bytes != NULL)
        atr_doctor_say("NUMA", line.bytes);
    atr_free(line.bytes);
}

static void say_memory(const atr_machine *machine)
{
    char line[160], all[32], left[32], limit[32];

    snprintf(line, sizeof line, "%s, %s free%s%s", size_text(machine->memory_bytes, all),
             size_text(machine->memory_available, left),
             machine->memory_limit > 0 ? "; the control group allows " : "",
             machine->memory_limit > 0 ? size_text(machine->memory_limit, limit) : "");
    atr_doctor_say("memory", line);
}

/* A limit in units of `unit`. */
static char *limit_text(int64_t value, int64_t unit, const char *name, char *text)
{
    if (value < 0)
        snprintf(text, 48, "unlimited");
    else
        snprintf(text, 48, "%lld%s", (long long)(value / unit), name);
    return text;
}

static void say_limits(const atr_doctor *doctor)
{
    char line[256], locked[48], files[48], space[48];

    snprintf(line, sizeof line, "locked memory %s, open files %s, address space %s",
             limit_text(doctor->locked_memory, 1024, " KiB", locked),
             limit_text(doctor->open_files, 1, "", files),
             limit_text(doctor->address_space, 1 << 20, " MiB", space));
    atr_doctor_say("limits", line);
}

void atr_doctor_say_machine(const atr_doctor *doctor)
{
    const atr_machine *const machine = &doctor->machine;
    char name[ATR_PROCESSOR_BYTES], line[128], size[32], left[32];

    if (atr_processor_name("", name)[0] != '\0')
        atr_doctor_say("processor", name);
    snprintf(line, sizeof line, "%d on %d socket%s, %d hardware thread%s", machine->cores, machine->sockets,
             machine->sockets == 1 ? "" : "s", machine->cpus, machine->cpus == 1 ? "" : "s");
    atr_doctor_say("cores", line);
    say_caches(machine);
    say_domains(machine);
    say_memory(machine);
    say_limits(doctor);
    snprintf(line, sizeof line, "%s, %s free", size_text(doctor->shared_bytes, size),
             size_text(doctor->shared_free, left));
    atr_doctor_say("/dev/shm", line);
}

static void say_network(const atr_doctor *doctor)
{
    atr_text line = {0};

    for (int i = 0; i < doctor->interface_count; i++) {
        const atr_doctor_interface *const found = &doctor->interfaces[i];
        atr_text_append(&line, "%s%s", i > 0 ? ", " : "", found->name);
        if (found->speed > 0)
            atr_text_append(&line, " %.4g Gbit/s", (double)found->speed / 1000);
    }
    atr_text_append(&line, "%s", doctor->interface_count == 0 ? "no interface but the loopback" : "");
    atr_text_append(&line, "%s", doctor->infiniband ? "; InfiniBand" : "; no InfiniBand");
    if (line.bytes != NULL)
        atr_doctor_say("network", line.bytes);
    atr_free(line.bytes);
}

void atr_doctor_say_ranks(const atr_doctor *doctor)
{
    char line[ATR_COMM_LIBRARY_BYTES + 64], library[ATR_COMM_LIBRARY_BYTES];

    atr_comm_library(library);
    if (doctor->mpi.started)
        snprintf(line, sizeof line, "%s, standard %s, %s", library, doctor->mpi.standard,
                 doctor->mpi.threads);
    else
        snprintf(line, sizeof line, "%s", library);
    atr_doctor_say("MPI", line);
    if (doctor->mpi.transports[0] != '\0')
        atr_doctor_say("transports", doctor->mpi.transports);
    say_network(doctor);
}

void atr_doctor_say_volume(const char *path)
{
    atr_volume volume;
    char line[ATR_VOLUME_TYPE_BYTES + 160], all[32], left[32];

    if (atr_volume_of(path, &volume) != ATR_OK)
        return; /* reading the file tells why */
    snprintf(line, sizeof line, "%s%s, %s, %s free%s", volume.type, volume.network ? " (over a network)" : "",
             size_text(volume.bytes, all), size_text(volume.free_bytes, left),
             atr_volume_locks(path) ? "" : "; P02: files cannot be locked there, and are read unlocked");
    atr_doctor_say("file system", line);
}

/* Each line of `text` as `form` shows it. */
static void each_line(atr_text *text, void (*form)(const char *line))
{
    char *lines = NULL, *rest = NULL;

    if (text->used == 0 || atr_text_take(text, &lines) != ATR_OK)
        return;
    for (char *line = strtok_r(lines, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest))
        form(line);
    atr_free(lines);
}

static void say_start(const char *line)
{
    atr_doctor_say("start", line);
}

static void say_warning(const char *line)
{
    fflush(stdout);
    fprintf(stderr, "warning: %s\n", line);
}

void atr_doctor_say_start(const atr_doctor *doctor, const char *data)
{
    atr_text start = {0}, warnings = {0};

    atr_doctor_start(doctor, data, &start);
    each_line(&start, say_start);
    atr_doctor_warnings(doctor, &warnings);
    each_line(&warnings, say_warning);
}
