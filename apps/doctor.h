#ifndef ATR_APPS_DOCTOR_H
#define ATR_APPS_DOCTOR_H

#include "core/machine.h"
#include "core/text.h"
#include "dist/comm.h"

/* What `atrous doctor` says about the machine: facts are gathered first, so that the judgement on them is a function of plain
 * values. Warnings go to the error output and do not change the exit code: a machine may be as it must be. */

enum { ATR_DOCTOR_INTERFACES = 16 };

/* A network interface that is up; Mbit/s, 0 where the driver does not say. */
typedef struct atr_doctor_interface {
    char name[32];
    int64_t speed;
} atr_doctor_interface;

typedef struct atr_doctor {
    atr_machine machine;
    atr_threads threads;
    atr_cpu_mask mask;
    atr_comm_facts mpi;
    bool root;                                        /* the user is */
    int64_t locked_memory, open_files, address_space; /* limits of the process; -1: none */
    int64_t shared_bytes, shared_free;                /* of /dev/shm; 0: none */
    bool infiniband;
    int interface_count;
    atr_doctor_interface interfaces[ATR_DOCTOR_INTERFACES];
} atr_doctor;

/* Gathers. Before threads are started (see atr_comm_examine()). */
void atr_doctor_look(atr_doctor *out, const atr_threads *threads);

/* Ranks for a node and physical cores for each: one rank per NUMA domain that the process may use, as many cores each as mask and
 * quota leave. Both at least 1. */
void atr_doctor_layout(const atr_doctor *doctor, int *ranks, int *cores);

/* A warning a line, "" for none. */
void atr_doctor_warnings(const atr_doctor *doctor, atr_text *text);

/* The lines that start a training of `data` here: alone, by mpirun, by srun. */
void atr_doctor_start(const atr_doctor *doctor, const char *data, atr_text *text);

/* Prints one line: "what   text". */
void atr_doctor_say(const char *what, const char *text);
/* Print a part each. */
void atr_doctor_say_machine(const atr_doctor *doctor);
void atr_doctor_say_ranks(const atr_doctor *doctor);
void atr_doctor_say_volume(const char *path);
void atr_doctor_say_start(const atr_doctor *doctor, const char *data);

#endif
