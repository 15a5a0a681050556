#include "dist/comm.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef ATR_WITH_MPI
#include <mpi.h>

static const char *level_name(int level)
{
    switch (level) {
    case MPI_THREAD_SINGLE:
        return "MPI_THREAD_SINGLE";
    case MPI_THREAD_FUNNELED:
        return "MPI_THREAD_FUNNELED";
    case MPI_THREAD_SERIALIZED:
        return "MPI_THREAD_SERIALIZED";
    default:
        return "MPI_THREAD_MULTIPLE";
    }
}

/* Adds `name` to a list once. */
static void add_name(char *list, size_t bytes, const char *name)
{
    const size_t used = strlen(list), length = strlen(name);

    for (const char *at = strstr(list, name); at != NULL; at = strstr(at + 1, name))
        if ((at == list || at[-1] == ' ') && (at[length] == ',' || at[length] == '\0'))
            return;
    snprintf(list + used, bytes - used, "%s%s", used > 0 ? ", " : "", name);
}

/* Open MPI names its variables FRAMEWORK_COMPONENT_VARIABLE. What moves bytes: btl (tcp, shared memory, ...), and pml and mtl for the
 * networks that have their own library (ucx, ofi, psm2). */
static void list_transports(char *list, size_t bytes)
{
    static const char *const components[] = {"btl_self_",   "btl_tcp_", "btl_vader_", "btl_sm_",
                                             "btl_openib_", "btl_ofi_", "btl_usnic_", "btl_uct_",
                                             "pml_ucx_",    "mtl_ofi_", "mtl_psm2_",  "mtl_portals4_"};
    int count = 0, level = 0;

    if (MPI_T_init_thread(MPI_THREAD_SINGLE, &level) != MPI_SUCCESS)
        return;
    MPI_T_cvar_get_num(&count);
    for (int i = 0; i < count; i++) {
        char name[256] = "", part[32];
        int name_bytes = sizeof name, verbosity = 0, binding = 0, scope = 0;
        MPI_Datatype type;
        MPI_T_enum values;
        if (MPI_T_cvar_get_info(i, name, &name_bytes, &verbosity, &type, &values, NULL, NULL, &binding,
                                &scope) != MPI_SUCCESS)
            continue;
        for (size_t k = 0; k < sizeof components / sizeof *components; k++)
            if (strncmp(name, components[k], strlen(components[k])) == 0) {
                snprintf(part, sizeof part, "%.*s", (int)strlen(components[k]) - 5, components[k] + 4);
                add_name(list, bytes, part);
            }
    }
    MPI_T_finalize();
}

/* In the child: what it finds out goes through the pipe in one write, before MPI_Finalize, which may hang where MPI_Init did not. */
static void examine_here(int to, atr_comm_facts *facts)
{
    int level = 0, version = 0, sub = 0;

    /* A process without a launcher: Open MPI would start a daemon for it. */
    setenv("OMPI_MCA_ess_singleton_isolated", "1", 1);
    list_transports(facts->transports,
                    sizeof facts->transports); /* MPI_Init closes those it does not choose */
    facts->started = MPI_Init_thread(NULL, NULL, MPI_THREAD_MULTIPLE, &level) == MPI_SUCCESS;
    MPI_Get_version(&version, &sub);
    snprintf(facts->standard, sizeof facts->standard, "%d.%d", version, sub);
    snprintf(facts->threads, sizeof facts->threads, "%s", level_name(level));
    if (write(to, facts, sizeof *facts) != (ssize_t)sizeof *facts)
        _exit(1);
    MPI_Finalize();
}

/* The child's words, or why there are none. A struct of this size is one piece in a pipe. */
static void hear(int from, atr_comm_facts *out)
{
    enum { PATIENCE_MS = 20000 };
    struct pollfd ready = {.fd = from, .events = POLLIN};
    atr_comm_facts told;

    if (poll(&ready, 1, PATIENCE_MS) == 0)
        snprintf(out->problem, sizeof out->problem, "it does not start within %d s", PATIENCE_MS / 1000);
    else if (read(from, &told, sizeof told) == (ssize_t)sizeof told)
        *out = told;
    else
        snprintf(out->problem, sizeof out->problem, "it ends a process that starts it alone");
}

void atr_comm_examine(atr_comm_facts *out)
{
    int ends[2] = {-1, -1};

    memset(out, 0, sizeof *out);
    out->built = true;
    if (pipe(ends) != 0) {
        snprintf(out->problem, sizeof out->problem, "no pipe to ask it through");
        return;
    }
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        examine_here(ends[1], out);
        _exit(0);
    }
    close(ends[1]);
    if (child > 0) {
        hear(ends[0], out);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    } else {
        snprintf(out->problem, sizeof out->problem, "no process to ask it in");
    }
    close(ends[0]);
}

#else

void atr_comm_examine(atr_comm_facts *out)
{
    memset(out, 0, sizeof *out);
}

#endif
