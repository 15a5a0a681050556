#ifndef ATR_TESTS_SUPPORT_COMMAND_H
#define ATR_TESTS_SUPPORT_COMMAND_H

#include <jansson.h>

/* A command of the program run inside a test, and what it said. Failures of this helper end the test. */

typedef struct command_result {
    int exit_code;
    char *out, *err; /* what went to standard output and error output; malloc'ed */
} command_result;

/* Runs `command` (an atr_cmd_*) with the arguments behind it, the last one NULL. Free with command_free(). */
command_result command_run(int (*command)(int argc, char **argv), const char *name, ...)
    __attribute__((sentinel));
void command_free(command_result *result);

/* The JSON object that a command with exit code 0 printed (json_decref()); frees `result`. */
json_t *command_json(command_result result);

/* Runs it and fails the test, showing what it said, unless it ends with `exit_code` and its output (where `says` is not NULL)
 * contains `says` in either stream. */
void command_expect(int exit_code, const char *says, int (*command)(int argc, char **argv), const char *name,
                    ...) __attribute__((sentinel));

#endif
