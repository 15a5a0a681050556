#include "apps/launcher.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/text.h"

/* By its program's name, which Linux cuts after 15 letters. */
static bool is_mpirun(pid_t process)
{
    static const char *const names[] = {"mpirun",        "mpiexec",        "orterun",
                                        "prterun",       "mpirun.openmpi", "mpiexec.openmpi",
                                        "mpiexec.hydra", "mpirun.mpich",   "mpiexec.mpich"};
    char path[64], line[32];

    snprintf(path, sizeof path, "/proc/%ld/comm", (long)process);
    if (!atr_first_line(path, line, sizeof line))
        return false;
    line[strcspn(line, "\n")] = '\0';
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(line, names[i]) == 0)
            return true;
    return false;
}

/* What a person does by Ctrl-C: the first signal asks for an orderly end, the second within five seconds for one without waiting. Behind it
 * nothing more is done: this process is to be gone when its launcher is. */
void atr_launcher_hurry(void)
{
    const pid_t launcher = getppid();

    if (!is_mpirun(launcher))
        return;
    kill(launcher, SIGTERM);
    nanosleep(&(struct timespec){.tv_nsec = 300 * 1000 * 1000}, NULL);
    if (getppid() == launcher) /* who lost its parent has another one */
        kill(launcher, SIGTERM);
}
