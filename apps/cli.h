#ifndef ATR_APPS_CLI_H
#define ATR_APPS_CLI_H

#include <jansson.h>
#include <stdio.h>

#include "apps/commands.h"
#include "core/options.h"
#include "dist/comm.h"
#include "io/dataset.h"

/* What all commands do at the terminal. Only apps/ prints; everything here does. */

/* Reads the command line into `options`. True: go on. False: the command is over, `*exit_code` says how (help was printed,
 * or a wrong option was reported). A quiet one prints nothing: for ranks other than 0. */
bool atr_cli_parse(atr_options *options, int argc, char **argv, bool quiet, int *exit_code);

/* ATR_ERR_USAGE unless the number of positional arguments is within bounds; `most` < 0: no bound. */
atr_status atr_cli_positional(const atr_options *options, int64_t least, int64_t most);

/* Positional arguments from number `first` on, borrowed, in a fresh array `*names` [*count] (atr_free). */
atr_status atr_cli_arguments(const atr_options *options, int64_t first, const char ***names, int64_t *count);

/* Warns where the files of a data set are not all of those that were packed together. */
void atr_cli_warn_gap(const atr_dataset *dataset);

/* "atrous train: MESSAGE" on the error output. */
void atr_cli_error(const char *command, const char *message);

/* The end of a command that runs on many ranks and failed: says why once (rank 0 where all ranks know; the rank itself where
 * only it does, and then the whole job is ended). Gives the exit code. `comm` may be NULL. */
int atr_cli_end_job(const char *command, atr_comm *comm, atr_status status);

/* ATR_EXIT_* for how a command ended. */
int atr_cli_exit_code(atr_status status);

/* Prints `object`, which it takes over, with numbers of `digits` digits: what `--json` of a command gives. NULL, which jansson makes of
 * a number that JSON does not have, is a failure. */
atr_status atr_cli_json(json_t *object, int digits);

/* Columns of the terminal behind `file`, 0 where it is none. */
int atr_cli_columns(FILE *file);

/* Sends the library's log lines of `ATR_LOG_INFO` and above to the error output. */
void atr_cli_log(void);

/* Version of this program; static. */
const char *atr_cli_version(void);

#endif
