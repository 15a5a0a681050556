#include <math.h>
#include <stdio.h>
#include <string.h>

#include "apps/cli.h"
#include "apps/cmd_eval_impl.h"
#include "apps/stage.h"
#include "apps/train_options.h"
#include "core/progress.h"
#include "core/timer.h"
#include "io/path.h"

/* `atrous eval`: scores of a model on a split of a data set, also under mpirun; or of a folder of predicted masks. */

static const atr_option rows[] = {
    {.name = "output",
     .letter = 'o',
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(atr_eval_options, out),
     .argument = "DIR",
     .help = "folder for metrics.json, metrics.csv, confusion.csv and the charts"},
    {.name = "split",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(atr_eval_options, split),
     .value = "val",
     .argument = "NAME",
     .help = "train, val or test"},
    {.name = "fit",
     .kind = ATR_OPTION_CHOICE,
     .offset = offsetof(atr_eval_options, fit),
     .choices = atr_fit_mode_names,
     .help = "how a picture meets the network (default: as the model was evaluated). letterbox: resized with "
             "its aspect "
             "kept and padded; stretch: resized; none: the network runs at the picture's own size"},
    {.name = "size",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(atr_eval_options, size),
     .argument = "H[xW]",
     .help = "network's input for letterbox and stretch; the model's own unless given"},
    {.name = "stage",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(atr_eval_options, stage),
     .argument = "DIR",
     .help = "copy the data set to this folder of each node first (a local disk, /dev/shm) and read it "
             "there; a good copy, also one of train's, is found again"},
    {.name = "json",
     .kind = ATR_OPTION_FLAG,
     .offset = offsetof(atr_eval_options, json),
     .help = "print what metrics.json holds instead of the table"},
    {.name = "plots",
     .kind = ATR_OPTION_FLAG,
     .offset = offsetof(atr_eval_options, plots),
     .value = "true",
     .help = "with -o: bars by class and the confusion matrix as PNG, drawn by gnuplot"},
    {.name = "predictions",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(atr_eval_options, predictions),
     .argument = "DIR",
     .group = "Masks instead of a model",
     .help = "score these masks (indexed or grey PNG of class ids, named as the pictures); the argument is "
             "the truth: a data set, or a folder of masks"},
    {.name = "classes",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(atr_eval_options, classes),
     .argument = "N|FILE",
     .help = "where the truth is a folder: number of classes, or a file with one name per line"},
    {.name = "ignore",
     .kind = ATR_OPTION_LIST,
     .offset = offsetof(atr_eval_options, ignore),
     .argument = "VALUE,...",
     .help = "where the truth is a folder: its values that mean ignore; 255 where none is given"},
    {.name = "list",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(atr_eval_options, list),
     .argument = "FILE",
     .help = "where the truth is a folder: names to score, one per line (VOC's val.txt); all unless given"},
    {.name = NULL},
};

void atr_eval_progress(void *user, int64_t done, int64_t total)
{
    const atr_eval_clock *const clock = user;
    const atr_progress progress = {.label = "eval",
                                   .unit = "images",
                                   .done = done,
                                   .total = total,
                                   .seconds = atr_seconds() - clock->started};
    char line[512];

    if (clock->columns > 0)
        fprintf(stderr, "\r%s%s", atr_progress_line(&progress, clock->columns - 1, line, sizeof line),
                done == total ? "\n" : "");
}

static atr_status read_options(const atr_options *parsed, const atr_eval_options *options,
                               const atr_model_info *info, atr_evaluate_options *out)
{
    atr_status status = ATR_OK;

    ATR_TRY(atr_split_parse(options->split, &out->split));
    out->fit = (atr_fit_mode)options->fit;
    if (!atr_options_given(parsed, "fit") && info->fit[0] != '\0')
        ATR_TRY(atr_fit_mode_parse(info->fit, &out->fit));
    if (options->size != NULL)
        ATR_TRY(atr_size_parse(options->size, &out->height, &out->width));

done:
    return status;
}

static atr_status print_json(const atr_evaluated *what)
{
    atr_text text = {0};

    atr_evaluated_json(what, &text);
    if (text.status == ATR_OK)
        fputs(text.bytes, stdout);
    atr_free(text.bytes);
    return text.status;
}

/* The numbers are there without a picture of them: a chart that cannot be drawn is said, and the exit code tells. */
static void draw(const char *folder, const atr_evaluated *what, bool *partly)
{
    if (atr_evaluated_draw(folder, what) == ATR_OK)
        return;
    fprintf(stderr, "atrous eval: no charts: %s (--no-plots leaves them out)\n", atr_status_message());
    *partly = true;
}

atr_status atr_eval_report(const atr_eval_options *options, const atr_evaluated *what, bool *partly)
{
    atr_status status = ATR_OK;

    if (options->json)
        ATR_TRY(print_json(what));
    else
        atr_evaluated_print(what);
    fflush(stdout);
    if (options->out == NULL)
        goto done;
    ATR_TRY(atr_path_make_folder(options->out));
    ATR_TRY(atr_evaluated_write(options->out, what));
    if (options->plots)
        draw(options->out, what, partly);

done:
    return status;
}

static atr_status report_model(const atr_eval_options *options, const atr_dataset *dataset,
                               const atr_evaluate_options *wanted, const atr_confusion *confusion,
                               bool *partly)
{
    const int64_t *samples = NULL;
    const int64_t images = atr_dataset_split(dataset, wanted->split, &samples);
    const atr_evaluated what = {
        .data = atr_dataset_path(dataset),
        .split = atr_split_name(wanted->split),
        .fit = atr_fit_mode_names[wanted->fit],
        .images = images,
        .wanted = images,
        .classes = atr_dataset_classes(dataset),
        .confusion = confusion,
        .loss = *wanted->loss,
    };
    atr_scores scores;
    atr_status status = ATR_OK;

    ATR_TRY(atr_eval_report(options, &what, partly));
    atr_scores_from(confusion, &scores);
    atr_warn_only_class(&scores, dataset, what.classes, what.split);

done:
    return status;
}

/* Collective; agreed where it is staged. The line on the copy goes to stderr, for stdout may be JSON. */
static atr_status open_data(const atr_options *parsed, const char *stage, atr_comm *comm, atr_dataset **out)
{
    const char **names = NULL;
    int64_t count = 0;
    atr_text said = {0};
    atr_status status = atr_cli_arguments(parsed, 1, &names, &count);

    if (stage == NULL) {
        ATR_TRY(status);
        ATR_TRY(atr_dataset_open_all(names, count, out));
        goto done;
    }
    ATR_TRY(atr_comm_agree(comm, status));
    ATR_TRY(atr_stage_open_dataset(comm, stage, names, count, out, &said));
    if (said.bytes != NULL)
        fprintf(stderr, "%s\n", said.bytes);

done:
    atr_free(said.bytes);
    atr_free(names);
    return status;
}

static atr_status evaluate_model(const atr_options *parsed, const atr_eval_options *options, atr_comm *comm,
                                 bool *partly)
{
    atr_eval_clock clock = {atr_seconds(), atr_comm_rank(comm) == 0 ? atr_cli_columns(stderr) : 0};
    double loss = NAN;
    atr_evaluate_options wanted = {.progress = atr_eval_progress, .user = &clock, .loss = &loss};
    atr_session session = {0};
    atr_confusion confusion = {0};
    atr_dataset *dataset = NULL;
    atr_status status = ATR_OK;

    ATR_TRY(atr_session_open(&options->session, comm, &session));
    ATR_TRY(atr_session_load(&session, atr_options_positional(parsed, 0)));
    wanted.memory = &session.memory;
    ATR_TRY(atr_comm_agree(comm, read_options(parsed, options, &session.info, &wanted)));
    status = open_data(parsed, options->stage, comm, &dataset);
    if (status == ATR_OK)
        status = atr_confusion_init(session.info.classes, &confusion);
    ATR_TRY(atr_comm_agree(comm, status));
    if (atr_comm_rank(comm) == 0)
        atr_cli_warn_gap(dataset);
    ATR_TRY(atr_evaluate(&session, dataset, &wanted, &confusion));
    if (atr_comm_rank(comm) == 0)
        status = report_model(options, dataset, &wanted, &confusion, partly);
    status = atr_comm_agree(comm, status);

done:
    atr_confusion_free(&confusion);
    atr_dataset_close(dataset);
    atr_session_close(&session);
    return status;
}

/* What belongs to the other way would be ignored without a word. */
static atr_status check_usage(const atr_options *parsed, const atr_eval_options *options)
{
    static const char *const of_folder[] = {"classes", "ignore", "list"}, *const of_model[] = {"fit", "size",
                                                                                               "stage"};
    const bool folder = options->predictions != NULL;
    atr_status status = ATR_OK;

    ATR_TRY(atr_cli_positional(parsed, folder ? 1 : 2, folder ? 1 : -1));
    for (int i = 0; !folder && i < 3; i++)
        if (atr_options_given(parsed, of_folder[i])) {
            status = atr_fail(ATR_ERR_USAGE, "--%s goes with --predictions", of_folder[i]);
            goto done;
        }
    for (int i = 0; folder && i < 3; i++)
        if (atr_options_given(parsed, of_model[i])) {
            status =
                atr_fail(ATR_ERR_USAGE, "--%s is for a model: with --predictions none runs", of_model[i]);
            goto done;
        }

done:
    return status;
}

/* Reading masks takes no more than the threads of one rank. */
static atr_status evaluate_folder(const atr_options *parsed, const atr_eval_options *options, atr_comm *comm,
                                  bool *partly)
{
    atr_status status = ATR_OK;

    if (atr_comm_rank(comm) == 0)
        status = atr_eval_folder(options, atr_options_positional(parsed, 0), partly);
    return atr_comm_agree(comm, status);
}

int atr_cmd_eval(int argc, char **argv)
{
    atr_eval_options options = {0};
    atr_options *parsed = NULL;
    atr_comm *comm = NULL;
    int exit_code = ATR_EXIT_DONE;
    bool partly = false;
    atr_status status = ATR_OK;

    ATR_TRY(atr_comm_open(&comm));
    if (atr_comm_rank(comm) == 0)
        atr_cli_log();
    ATR_TRY(
        atr_options_create("atrous eval",
                           "MODEL.h5 DATA.h5... [-o DIR] [OPTION...]\n   or: atrous eval --predictions DIR "
                           "TRUTH [-o DIR] [OPTION...]",
                           "Scores a model on a split, or a folder of predicted masks against the truth: "
                           "IoU, recall, precision and F1 by class, confusion matrix.",
                           &parsed));
    ATR_TRY(atr_options_add(parsed, rows, &options));
    ATR_TRY(atr_options_add(parsed, atr_session_rows, &options.session));
    if (!atr_cli_parse(parsed, argc, argv, atr_comm_rank(comm) != 0, &exit_code))
        goto done;
    ATR_TRY(atr_comm_agree(comm, check_usage(parsed, &options)));
    if (options.predictions != NULL)
        ATR_TRY(evaluate_folder(parsed, &options, comm, &partly));
    else
        ATR_TRY(evaluate_model(parsed, &options, comm, &partly));
    if (partly)
        exit_code = ATR_EXIT_PARTLY;

done:
    if (status != ATR_OK)
        exit_code = atr_cli_end_job(argv[0], comm, status);
    atr_options_destroy(parsed);
    atr_comm_close(comm);
    return exit_code;
}
