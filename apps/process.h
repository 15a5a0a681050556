#ifndef ATR_APPS_PROCESS_H
#define ATR_APPS_PROCESS_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

#include "core/mem.h"

/* Another program as a child: started with an argument vector, never by a shell. Starts as {0}. */
typedef struct atr_process {
    pid_t pid;   /* 0: none */
    FILE *words; /* what it says on its error output */
} atr_process;

/* Starts argv[0], found by PATH, in a process group of its own (a ^C on the terminal is for us to pass on). `in` and `out` become
 * its standard input and output; -1 is /dev/null. They stay open here. ATR_ERR_NOT_FOUND where there is no such program. */
atr_status atr_process_start(char *const argv[], int in, int out, atr_process *process);

/* Waits for its end; gives its exit code, or 128 + the signal that ended it. */
int atr_process_wait(atr_process *process);

/* Asks it to end (SIGTERM). */
void atr_process_stop(const atr_process *process);

/* The last line that it said, "" if none; into `text` of `bytes`; returns `text`. After the end. */
char *atr_process_last_words(const atr_process *process, char *text, size_t bytes);

/* Stops and waits where it still runs; forgets its words. */
void atr_process_close(atr_process *process);

/* A pipe whose ends no child inherits. */
atr_status atr_process_pipe(int *read_end, int *write_end);

#endif
