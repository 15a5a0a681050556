#include "apps/cli.h"
#include "apps/stop.h"
#include "apps/train_impl.h"
#include "core/log.h"
#include "core/recipe.h"
#include "core/timer.h"
#include "io/path.h"

/* `atrous train`: table of contents. Parsing here, set-up in train_setup.c, the loop in train.c. */

/* A run that goes on takes its own config.yaml for a recipe: "the same command with --resume" and a bare --resume are one. */
static atr_status read_recipes(atr_options *parsed, const atr_train_options *options)
{
    char *config = NULL;
    atr_status status = ATR_OK;

    if (options->out == NULL)
        return atr_fail(ATR_ERR_USAGE, "no folder for the run given: -o RUN");
    ATR_TRY(atr_path_join(options->out, "config.yaml", &config));
    if (options->resume && atr_path_exists(config)) {
        ATR_TRY(atr_options_read_yaml(parsed, config));
        if (options->recipe != NULL)
            atr_log(ATR_LOG_INFO, "--resume goes on with %s: the recipe %s is not read again", config,
                    options->recipe);
    } else if (options->recipe != NULL)
        ATR_TRY(atr_options_read_yaml(parsed, options->recipe));

done:
    atr_free(config);
    return status;
}

static atr_status train(atr_options *parsed, const atr_train_options *options, atr_comm *comm, double started)
{
    atr_trainer *trainer = NULL;
    const char **data = NULL;
    int64_t count = 0;
    atr_status status = ATR_OK;

    ATR_TRY(atr_comm_agree(comm, atr_cli_positional(parsed, 1, -1)));
    ATR_TRY(atr_comm_agree(comm, read_recipes(parsed, options)));
    ATR_TRY(atr_train_guard(comm, options));
    ATR_TRY(atr_cli_arguments(parsed, 0, &data, &count));
    ATR_TRY(atr_trainer_create(parsed, options, data, count, comm, started, &trainer));
    ATR_TRY(atr_trainer_run(trainer));

done:
    /* A rank that fails alone ends all of them, before it gives anything back that the others could wait for. */
    if (status != ATR_OK && status != ATR_ERR_STOPPED && atr_comm_size(comm) > 1 &&
        !atr_comm_agreed_to_stop(comm))
        (void)atr_cli_end_job("train", comm, status);
    atr_trainer_destroy(trainer);
    atr_free(data);
    return status;
}

int atr_cmd_train(int argc, char **argv)
{
    atr_train_options options = {0};
    atr_train_table *table = NULL;
    const double started = atr_seconds();
    atr_options *parsed = NULL;
    atr_comm *comm = NULL;
    int exit_code = ATR_EXIT_DONE;
    atr_status status = ATR_OK;

    atr_stop_watch(); /* before MPI is started, which takes a while: a request that comes then counts, too */
    ATR_TRY(atr_comm_open(&comm));
    if (atr_comm_rank(comm) == 0)
        atr_cli_log();
    ATR_TRY(atr_train_table_create(&table));
    ATR_TRY(atr_options_create(
        "atrous train", "DATA.h5... -o RUN [OPTION...]",
        "Trains a network on a packed data set; under mpirun on all ranks together.\n"
        "DATA.h5: a file, several, a folder of them, a list (*.txt), or a pattern.\n"
        "SIGTERM, SIGINT, SIGHUP or SIGUSR1: finishes the step, saves and ends with code 75.",
        &parsed));
    ATR_TRY(atr_train_table_add(table, parsed, &options));
    if (!atr_cli_parse(parsed, argc, argv, atr_comm_rank(comm) != 0, &exit_code))
        goto done;
    ATR_TRY(train(parsed, &options, comm, started));

done:
    if (status != ATR_OK)
        exit_code = atr_cli_end_job(argv[0], comm, status);
    atr_options_destroy(parsed);
    atr_train_table_destroy(table);
    atr_comm_close(comm);
    return exit_code;
}
