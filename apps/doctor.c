#include "apps/doctor.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "apps/cli.h"
#include "io/volume.h"

static int64_t limit_of(int resource)
{
    struct rlimit limit;

    if (getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur > INT64_MAX)
        return -1;
    return (int64_t)limit.rlim_cur;
}

/* The first number of a file, -1 where there is none. */
static long long read_number(const char *path)
{
    long long value = -1;
    char line[64];

    return atr_first_line(path, line, sizeof line) && sscanf(line, "%lld", &value) == 1 ? value : -1;
}

/* Interfaces of a real or virtual card that carry a signal; the loopback is none. */
static void find_interfaces(atr_doctor *out)
{
    char path[512];
    DIR *folder = opendir("/sys/class/net");
    const struct dirent *entry = NULL;

    while (folder != NULL && out->interface_count < ATR_DOCTOR_INTERFACES &&
           (entry = readdir(folder)) != NULL) {
        atr_doctor_interface *const found = &out->interfaces[out->interface_count];
        if (entry->d_name[0] == '.' || strcmp(entry->d_name, "lo") == 0)
            continue;
        snprintf(path, sizeof path, "/sys/class/net/%s/carrier", entry->d_name);
        if (read_number(path) != 1)
            continue;
        snprintf(path, sizeof path, "/sys/class/net/%s/speed", entry->d_name);
        const long long speed = read_number(path);
        snprintf(found->name, sizeof found->name, "%.31s", entry->d_name);
        found->speed = speed > 0 ? speed : 0;
        out->interface_count++;
    }
    if (folder != NULL)
        closedir(folder);
}

void atr_doctor_look(atr_doctor *out, const atr_threads *threads)
{
    atr_volume shared;

    memset(out, 0, sizeof *out);
    atr_comm_examine(&out->mpi);
    atr_machine_read("", &out->machine);
    out->threads = *threads;
    out->mask = atr_cpu_mask_get();
    out->root = geteuid() == 0;
    out->locked_memory = limit_of(RLIMIT_MEMLOCK);
    out->open_files = limit_of(RLIMIT_NOFILE);
    out->address_space = limit_of(RLIMIT_AS);
    if (atr_volume_of("/dev/shm", &shared) == ATR_OK) {
        out->shared_bytes = shared.bytes;
        out->shared_free = shared.free_bytes;
    }
    out->infiniband = access("/sys/class/infiniband", F_OK) == 0;
    find_interfaces(out);
}

void atr_doctor_layout(const atr_doctor *doctor, int *ranks, int *cores)
{
    const atr_cpu_mask domains = atr_machine_domains_of(&doctor->machine, &doctor->mask);
    int all = atr_machine_cores_of(&doctor->machine, &doctor->mask);

    if (doctor->threads.quota > 0 && floor(doctor->threads.quota) < all)
        all = (int)floor(doctor->threads.quota);
    all = all > 0 ? all : 1;
    *ranks = atr_cpu_mask_count(&domains);
    if (*ranks < 1 || *ranks > all)
        *ranks = 1;
    *cores = all / *ranks;
}

void atr_doctor_warnings(const atr_doctor *doctor, atr_text *text)
{
    const int64_t mib = 1 << 20;
    const atr_machine *const machine = &doctor->machine;

    if (doctor->infiniband && doctor->locked_memory >= 0)
        atr_text_append(text,
                        "locked memory is limited to %lld KiB: InfiniBand needs it unlimited (ulimit -l; "
                        "/etc/security/limits.conf; in Slurm PropagateResourceLimitsExcept=MEMLOCK)\n",
                        (long long)doctor->locked_memory / 1024);
    if (doctor->open_files >= 0 && doctor->open_files < 1024)
        atr_text_append(text,
                        "only %lld files may be open at once: ranks over TCP need one for each other rank "
                        "(ulimit -n 65536)\n",
                        (long long)doctor->open_files);
    if (doctor->address_space >= 0)
        atr_text_append(
            text,
            "the address space is limited to %lld MiB: MPI and threads reserve far more than they use "
            "(ulimit -v unlimited)\n",
            (long long)(doctor->address_space / mib));
    if (doctor->shared_bytes < 256 * mib)
        atr_text_append(text,
                        "/dev/shm holds %lld MiB: ranks of one node talk through it. Containers get more by "
                        "--shm-size 1g, or the host's by --ipc=host\n",
                        (long long)(doctor->shared_bytes / mib));
    if (machine->cores > 0 && machine->cpus > machine->cores &&
        doctor->threads.count > atr_machine_cores_of(machine, &doctor->mask))
        atr_text_append(
            text,
            "%d hardware threads on %d cores: arithmetic gains nothing from the second one. One thread a "
            "core: --bind-to core, srun --hint=nomultithread, or OMP_NUM_THREADS=%d\n",
            machine->cpus, machine->cores, atr_machine_cores_of(machine, &doctor->mask));
    if (doctor->threads.quota > 0 && doctor->threads.quota < doctor->threads.affinity)
        atr_text_append(
            text,
            "the control group allows %.1f CPUs' worth of time on %d CPUs: threads are held back in turns. "
            "Whole cores (a cpuset) are faster\n",
            doctor->threads.quota, doctor->threads.affinity);
    if (doctor->mpi.built && !doctor->mpi.started)
        atr_text_append(text, "MPI cannot be started here: %s\n", doctor->mpi.problem);
    if (doctor->mpi.started && strcmp(doctor->mpi.threads, "MPI_THREAD_SINGLE") == 0)
        atr_text_append(text, "this MPI allows no threads beside it (MPI_THREAD_FUNNELED is needed)\n");
}

void atr_doctor_start(const atr_doctor *doctor, const char *data, atr_text *text)
{
    int ranks = 1, cores = 1;

    atr_doctor_layout(doctor, &ranks, &cores);
    if (ranks == 1)
        atr_text_append(text, "here: atrous train %s -o RUN\n", data);
    if (!doctor->mpi.built)
        return;
    atr_text_append(text,
                    "mpirun: mpirun %s-n %d --map-by ppr:%d:node:PE=%d --bind-to core -x OMP_PLACES=cores "
                    "-x OMP_PROC_BIND=close atrous train %s -o RUN\n",
                    doctor->root ? "--allow-run-as-root " : "", ranks, ranks, cores, data);
    atr_text_append(text,
                    "srun: OMP_PLACES=cores OMP_PROC_BIND=close srun --nodes=1 --ntasks-per-node=%d "
                    "--cpus-per-task=%d --hint=nomultithread --cpu-bind=cores atrous train %s -o RUN\n",
                    ranks, cores, data);
}
