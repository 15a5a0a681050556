#ifndef ATR_TESTS_SUPPORT_FULL_DISK_H
#define ATR_TESTS_SUPPORT_FULL_DISK_H

#include <stdbool.h>
#include <stddef.h>

#include "core/status.h"

/* Calls `write(user)` in a process of its own whose files can have `bytes` at most, as if the disk were full then. True where it
 * failed with ATR_ERR_IO and the system's reason. Failures of this helper end the test. */
bool full_disk_is_a_message(size_t bytes, atr_status (*write)(void *user), void *user);

#endif
