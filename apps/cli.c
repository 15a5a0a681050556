#include "apps/cli.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include "core/log.h"

int atr_cli_columns(FILE *file)
{
    struct winsize size = {0};
    const int descriptor = fileno(file);

    if (!isatty(descriptor))
        return 0;
    if (ioctl(descriptor, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
        return 80;
    return size.ws_col;
}

atr_status atr_cli_json(json_t *object, int digits)
{
    atr_status status = ATR_OK;

    if (object == NULL || json_dumpf(object, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(digits)) != 0)
        status = atr_fail(ATR_ERR_INTERNAL, "the result cannot be printed as JSON");
    else
        putchar('\n');
    json_decref(object);
    return status;
}

static atr_status print_help(const atr_options *options)
{
    char *page = NULL;
    atr_status status = ATR_OK;

    ATR_TRY(atr_options_help(options, atr_cli_columns(stdout), &page));
    fputs(page, stdout);

done:
    atr_free(page);
    return status;
}

bool atr_cli_parse(atr_options *options, int argc, char **argv, bool quiet, int *exit_code)
{
    atr_status status = ATR_OK;

    *exit_code = ATR_EXIT_DONE;
    ATR_TRY(atr_options_parse(options, argc, argv));
    if (!atr_options_help_wanted(options))
        return true;
    if (!quiet)
        ATR_TRY(print_help(options));

done:
    *exit_code = atr_cli_exit_code(status);
    if (status != ATR_OK && !quiet) {
        atr_cli_error(argv[0], atr_status_message());
        fprintf(stderr, "`atrous %s --help` lists the options\n", argv[0]);
    }
    return false;
}

atr_status atr_cli_positional(const atr_options *options, int64_t least, int64_t most)
{
    const int64_t count = atr_options_positional_count(options);

    if (count < least)
        return atr_fail(ATR_ERR_USAGE, "%lld argument%s given, %lld needed (see --help)", (long long)count,
                        count == 1 ? "" : "s", (long long)least);
    if (most >= 0 && count > most)
        return atr_fail(ATR_ERR_USAGE, "one argument too many: '%s' (see --help)",
                        atr_options_positional(options, most));
    return ATR_OK;
}

atr_status atr_cli_arguments(const atr_options *options, int64_t first, const char ***names, int64_t *count)
{
    const int64_t all = atr_options_positional_count(options);
    const atr_status status = ATR_NEW(all, names);

    *count = all > first ? all - first : 0;
    for (int64_t i = 0; status == ATR_OK && i < *count; i++)
        (*names)[i] = atr_options_positional(options, first + i);
    return status;
}

void atr_cli_warn_gap(const atr_dataset *dataset)
{
    if (atr_dataset_gap(dataset) != NULL)
        atr_log(ATR_LOG_WARN, "%s", atr_dataset_gap(dataset));
}

void atr_cli_error(const char *command, const char *message)
{
    fflush(stdout);
    fprintf(stderr, "atrous %s: %s\n", command, message);
}

int atr_cli_exit_code(atr_status status)
{
    switch (status) {
    case ATR_OK:
        return ATR_EXIT_DONE;
    case ATR_ERR_USAGE:
        return ATR_EXIT_USAGE;
    case ATR_ERR_STOPPED:
        return ATR_EXIT_STOPPED;
    default:
        return ATR_EXIT_FAILED;
    }
}

int atr_cli_end_job(const char *command, atr_comm *comm, atr_status status)
{
    const int code = atr_cli_exit_code(status);
    const bool alone = comm == NULL || atr_comm_size(comm) == 1;

    if (status == ATR_OK || status == ATR_ERR_STOPPED)
        return code;
    /* A call of MPI that fails tells of another rank's end: who watches the ranks knows whose, and ends this process. */
    if (status == ATR_ERR_REMOTE && !alone && !atr_comm_agreed_to_stop(comm))
        sleep(3);
    if (alone || (atr_comm_agreed_to_stop(comm) && atr_comm_rank(comm) == 0)) {
        atr_cli_error(command, atr_status_message());
    } else if (!atr_comm_agreed_to_stop(comm)) {
        fprintf(stderr, "atrous %s: R01: rank %d on node %s: %s Stopping all %d ranks.\n", command,
                atr_comm_rank(comm), atr_comm_host(comm), atr_status_message(), atr_comm_size(comm));
        atr_comm_abort(comm, code);
    }
    return code;
}

static void log_line(void *user, atr_log_level level, const char *line)
{
    (void)user;
    fflush(stdout);
    fprintf(stderr, "%s%s\n", level >= ATR_LOG_WARN ? "warning: " : "", line);
}

void atr_cli_log(void)
{
    atr_log_to(log_line, NULL, ATR_LOG_INFO);
}

const char *atr_cli_version(void)
{
    return ATR_VERSION;
}
