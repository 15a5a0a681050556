#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "apps/cli.h"
#include "apps/evaluate.h"
#include "apps/train_options.h"
#include "core/progress.h"
#include "core/timer.h"
#include "io/path.h"

/* `atrous eval`: scores of a model on a split of a data set; also under mpirun. */

typedef struct eval_options {
    const char *out, *split, *size;
    int fit;
    bool json;
    atr_session_options session;
} eval_options;

static const atr_option rows[] = {
    {.name = "output",
     .letter = 'o',
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(eval_options, out),
     .argument = "DIR",
     .help = "folder for metrics.json and confusion.csv"},
    {.name = "split",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(eval_options, split),
     .value = "val",
     .argument = "NAME",
     .help = "train, val or test"},
    {.name = "fit",
     .kind = ATR_OPTION_CHOICE,
     .offset = offsetof(eval_options, fit),
     .choices = atr_fit_mode_names,
     .help = "how a picture meets the network (default: as the model was evaluated). letterbox: resized with "
             "its aspect "
             "kept and padded; stretch: resized; none: the network runs at the picture's own size"},
    {.name = "size",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(eval_options, size),
     .argument = "H[xW]",
     .help = "network's input for letterbox and stretch; the model's own unless given"},
    {.name = "json",
     .kind = ATR_OPTION_FLAG,
     .offset = offsetof(eval_options, json),
     .help = "print what metrics.json holds instead of the table"},
    {.name = NULL},
};

/* The clock of the progress line. */
typedef struct watch {
    double started;
    int columns;
} watch;

static void show_progress(void *user, int64_t done, int64_t total)
{
    const watch *const w = user;
    const atr_progress progress = {.label = "eval",
                                   .unit = "images",
                                   .done = done,
                                   .total = total,
                                   .seconds = atr_seconds() - w->started};
    char line[512];

    if (w->columns > 0)
        fprintf(stderr, "\r%s%s", atr_progress_line(&progress, w->columns - 1, line, sizeof line),
                done == total ? "\n" : "");
}

static atr_status read_options(const atr_options *parsed, const eval_options *options,
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

static void print_cell(double value)
{
    if (isnan(value))
        printf(" %9s", "n/a");
    else
        printf(" %9.2f", 100 * value);
}

static void print_scores(const atr_dataset *dataset, const atr_scores *scores)
{
    const atr_class_list *const classes = atr_dataset_classes(dataset);

    printf("%-20s %9s %9s %9s %9s\n", "class", "IoU %", "recall", "precision", "F1");
    for (int64_t k = 0; k < scores->classes; k++) {
        printf("%-20.20s", classes->names[k]);
        print_cell(scores->iou[k]);
        print_cell(scores->recall[k]);
        print_cell(scores->precision[k]);
        print_cell(scores->f1[k]);
        printf("\n");
    }
    printf("mIoU %.2f %% over %lld of %lld classes, pixel accuracy %.2f %%\n", 100 * scores->miou,
           (long long)scores->present, (long long)scores->classes, 100 * scores->pixel_accuracy);
}

static atr_status print_json(const atr_dataset *dataset, const atr_evaluate_options *options,
                             const atr_confusion *confusion)
{
    atr_text text = {0};

    atr_evaluate_json(dataset, options, confusion, &text);
    if (text.status == ATR_OK)
        fputs(text.bytes, stdout);
    atr_free(text.bytes);
    return text.status;
}

static atr_status report(const eval_options *options, const atr_dataset *dataset,
                         const atr_evaluate_options *wanted, const atr_confusion *confusion)
{
    atr_scores scores;
    atr_status status = ATR_OK;

    atr_scores_from(confusion, &scores);
    if (options->json)
        ATR_TRY(print_json(dataset, wanted, confusion));
    else
        print_scores(dataset, &scores);
    atr_warn_only_class(&scores, dataset, wanted->split);
    if (options->out == NULL)
        goto done;
    if (mkdir(options->out, 0777) != 0 && errno != EEXIST)
        status = atr_fail(ATR_ERR_IO, "%s: %s", options->out, strerror(errno));
    else
        status = atr_evaluate_write(options->out, dataset, wanted, confusion);

done:
    return status;
}

static atr_status evaluate(const atr_options *parsed, const eval_options *options, atr_comm *comm)
{
    watch clock = {atr_seconds(), atr_comm_rank(comm) == 0 ? atr_cli_columns(stderr) : 0};
    atr_evaluate_options wanted = {.progress = show_progress, .user = &clock};
    atr_session session = {0};
    atr_confusion confusion = {0};
    atr_dataset *dataset = NULL;
    atr_status status = ATR_OK;

    ATR_TRY(atr_session_open(&options->session, comm, &session));
    ATR_TRY(atr_session_load(&session, atr_options_positional(parsed, 0)));
    status = read_options(parsed, options, &session.info, &wanted);
    if (status == ATR_OK)
        status = atr_dataset_open(atr_options_positional(parsed, 1), &dataset);
    if (status == ATR_OK)
        status = atr_confusion_init(session.info.classes, &confusion);
    ATR_TRY(atr_comm_agree(comm, status));
    ATR_TRY(atr_evaluate(&session, dataset, &wanted, &confusion));
    if (atr_comm_rank(comm) == 0)
        status = report(options, dataset, &wanted, &confusion);
    status = atr_comm_agree(comm, status);

done:
    atr_confusion_free(&confusion);
    atr_dataset_close(dataset);
    atr_session_close(&session);
    return status;
}

int atr_cmd_eval(int argc, char **argv)
{
    eval_options options = {0};
    atr_options *parsed = NULL;
    atr_comm *comm = NULL;
    int exit_code = ATR_EXIT_DONE;
    atr_status status = ATR_OK;

    ATR_TRY(atr_comm_open(&comm));
    if (atr_comm_rank(comm) == 0)
        atr_cli_log();
    ATR_TRY(atr_options_create("atrous eval", "MODEL.h5 DATA.h5 [-o DIR] [OPTION...]",
                               "Scores a model on a split: IoU by class, confusion matrix.", &parsed));
    ATR_TRY(atr_options_add(parsed, rows, &options));
    ATR_TRY(atr_options_add(parsed, atr_session_rows, &options.session));
    if (!atr_cli_parse(parsed, argc, argv, atr_comm_rank(comm) != 0, &exit_code))
        goto done;
    ATR_TRY(atr_comm_agree(comm, atr_cli_positional(parsed, 2, 2)));
    ATR_TRY(evaluate(parsed, &options, comm));

done:
    if (status != ATR_OK)
        exit_code = atr_cli_end_job(argv[0], comm, status);
    atr_options_destroy(parsed);
    atr_comm_close(comm);
    return exit_code;
}
