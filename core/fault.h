#ifndef ATR_CORE_FAULT_H
#define ATR_CORE_FAULT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

/* Faults on request, for tests of what a program does then. The environment variable ATR_TEST_FAULT names one:
 *
 *     ACTION:PLACE[:rank=R][:step=S]
 *
 * ACTION  kill    the process gets SIGKILL
 *         stop    the process gets SIGSTOP
 *         hang    the thread waits for ever
 *         memory  the call fails with ATR_ERR_MEMORY
 *         nan     a number of the batch is not one (PLACE data)
 * PLACE   what the process is doing: the names of dist/monitor.h ("forward", "all-reduce"), and "write", in the middle of a
 *         checkpoint's file.
 *
 * Before it happens (but for nan) stderr says when: "ATR_TEST_FAULT: kill at 1700000000.123", in seconds of the epoch.
 * Without the variable a call costs a look at the environment. */

/* Does what the variable asks for at `place`, or returns ATR_OK. A `rank` or `step` below 0 is not known here and fits any. */
atr_status atr_fault(const char *place, int rank, int64_t step);

/* Whether the variable asks for a NaN here and now. */
bool atr_fault_nan(const char *place, int rank, int64_t step);

#endif
