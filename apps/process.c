#include "apps/process.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/text.h"
#include "core/threads.h"

extern char **environ;

static void redirect(posix_spawn_file_actions_t *actions, int from, int to, int flags)
{
    if (from >= 0)
        posix_spawn_file_actions_adddup2(actions, from, to);
    else
        posix_spawn_file_actions_addopen(actions, to, "/dev/null", flags, 0);
}

/* Signals that we ignore or block are the child's as usual. */
static int spawn(char *const argv[], int in, int out, int err, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, usual;

    sigemptyset(&none);
    sigemptyset(&usual);
    sigaddset(&usual, SIGPIPE);
    sigaddset(&usual, SIGINT);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    redirect(&actions, in, STDIN_FILENO, O_RDONLY);
    redirect(&actions, out, STDOUT_FILENO, O_WRONLY);
    redirect(&actions, err, STDERR_FILENO, O_WRONLY);
    posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &usual);
    const int error = posix_spawnp(pid, argv[0], &actions, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

atr_status atr_process_start(char *const argv[], int in, int out, atr_process *process)
{
    const atr_cpu_mask mask = atr_cpu_mask_get();

    *process = (atr_process){.words = tmpfile()};
    if (process->words == NULL)
        return atr_fail(ATR_ERR_IO, "cannot make a temporary file: %s", strerror(errno));
    const int error = spawn(argv, in, out, fileno(process->words), &process->pid);
    if (error != 0) {
        process->pid = 0;
        atr_process_close(process);
        return error == ENOENT ? atr_fail(ATR_ERR_NOT_FOUND, "there is no program %s", argv[0])
                               : atr_fail(ATR_ERR_IO, "cannot start %s: %s", argv[0], strerror(error));
    }
    /* It inherits the place that OpenMP may have tied this thread to: all CPUs are its own. */
    if (sched_setaffinity(process->pid, sizeof mask.words, (const cpu_set_t *)mask.words) != 0)
        errno = 0;
    return ATR_OK;
}

int atr_process_wait(atr_process *process)
{
    int how = 0;

    if (process->pid == 0)
        return 0;
    while (waitpid(process->pid, &how, 0) < 0 && errno == EINTR)
        ;
    process->pid = 0;
    return WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how);
}

void atr_process_stop(const atr_process *process)
{
    if (process->pid > 0)
        kill(process->pid, SIGTERM);
}

char *atr_process_last_words(const atr_process *process, char *text, size_t bytes)
{
    char line[512], last[512] = "";

    if (process->words != NULL) {
        rewind(process->words);
        while (fgets(line, sizeof line, process->words) != NULL)
            if (line[strspn(line, " \r\n")] != '\0')
                memcpy(last, line, sizeof last);
    }
    last[strcspn(last, "\r\n")] = '\0';
    return atr_printable(last, text, bytes);
}

void atr_process_close(atr_process *process)
{
    atr_process_stop(process);
    (void)atr_process_wait(process);
    if (process->words != NULL)
        fclose(process->words);
    process->words = NULL;
}

atr_status atr_process_pipe(int *read_end, int *write_end)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) != 0)
        return atr_fail(ATR_ERR_IO, "cannot make a pipe: %s", strerror(errno));
    *read_end = ends[0];
    *write_end = ends[1];
    return ATR_OK;
}
