/* atrous report: one HTML page that shows how a run went. */
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "apps/cli.h"
#include "apps/evaluate.h"
#include "apps/plot.h"
#include "apps/report.h"
#include "apps/runread.h"
#include "core/timer.h"
#include "io/path.h"

typedef struct report_options {
    atr_session_options session;
    const char *data, *out;
    int64_t samples;
} report_options;

static const atr_option rows[] = {
    {.name = "data",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(report_options, data),
     .argument = "DATA.h5",
     .help = "data set for the pictures and the confusion matrix (default: the one the run was trained on)"},
    {.name = "output",
     .letter = 'o',
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(report_options, out),
     .argument = "FILE",
     .help = "page to write (default: RUN/report.html)"},
    {.name = "samples",
     .kind = ATR_OPTION_INT,
     .offset = offsetof(report_options, samples),
     .value = "8",
     .least = 0,
     .most = 200,
     .argument = "N",
     .help = "validation pictures to show with truth and prediction"},
    {.name = NULL}};

/* One evaluation plot point per epoch. */
static atr_status write_curves(const atr_run_history *h, atr_text *page)
{
    atr_status status = ATR_OK;
    double *epoch = NULL, *miou = NULL, *accuracy = NULL;

    ATR_TRY(ATR_NEW(h->eval_count, &epoch));
    ATR_TRY(ATR_NEW(h->eval_count, &miou));
    ATR_TRY(ATR_NEW(h->eval_count, &accuracy));
    for (int64_t i = 0; i < h->eval_count; i++) {
        epoch[i] = h->evals[i].epoch;
        miou[i] = 100 * h->evals[i].miou;
        accuracy[i] = 100 * h->evals[i].pixel_accuracy;
    }
    const atr_curve loss = {"loss", h->step, h->loss, h->step_count, false};
    const atr_curve rate = {"learning rate", h->step, h->lr, h->step_count, false};
    const atr_curve scores[] = {{"mIoU", epoch, miou, h->eval_count, true},
                                {"pixel accuracy", epoch, accuracy, h->eval_count, true}};
    const atr_plot plots[] = {{"Training loss", "step", "loss", &loss, 1, true},
                              {"Validation", "epoch", "percent", scores, 2, true},
                              {"Learning rate", "step", "learning rate", &rate, 1, true}};
    for (size_t i = 0; i < sizeof plots / sizeof plots[0]; i++) {
        if (plots[i].curves[0].count == 0)
            continue;
        atr_text_append(page, "<figure>");
        ATR_TRY(atr_plot_svg(&plots[i], page));
        atr_text_append(page, "</figure>\n");
    }
done:
    atr_free(epoch);
    atr_free(miou);
    atr_free(accuracy);
    return status;
}

/* Scores, confusion matrix and pictures of best.h5 on the validation split. */
static atr_status write_network(const char *run, const char *data, const report_options *o, atr_text *page)
{
    atr_status status = ATR_OK;
    atr_session session = {0};
    atr_dataset *dataset = NULL;
    atr_segmenter *segmenter = NULL;
    atr_confusion confusion = {0};
    atr_scores *scores = NULL;
    char *model = NULL, text[ATR_SESSION_TEXT_BYTES];

    ATR_TRY(atr_path_join(run, "best.h5", &model));
    ATR_TRY(atr_session_open(&o->session, NULL, &session));
    ATR_TRY(atr_session_load(&session, model));
    ATR_TRY(atr_dataset_open(data, &dataset));
    atr_evaluate_options evaluate = {.split = ATR_SPLIT_VAL, .fit = ATR_RUN_LETTERBOX};
    ATR_TRY(atr_fit_mode_parse(session.info.fit, &evaluate.fit));
    ATR_TRY(atr_confusion_init(session.info.classes, &confusion));
    ATR_TRY(atr_evaluate(&session, dataset, &evaluate, &confusion));
    ATR_TRY(ATR_NEW(1, &scores));
    atr_scores_from(&confusion, scores);
    atr_text_append(page, "<h2>The best network</h2>\n<p>%s</p>\n", atr_session_text(&session, text));
    atr_report_scores(scores, &session.info, page);
    atr_report_confusion(&confusion, &session.info, page);
    ATR_TRY(atr_segmenter_create(&session.info, session.graph, session.params, session.backend, evaluate.fit,
                                 0, 0, &segmenter));
    ATR_TRY(atr_report_samples(segmenter, dataset, &session.info, o->samples, page));
done:
    atr_segmenter_destroy(segmenter);
    atr_free(scores);
    atr_confusion_free(&confusion);
    atr_dataset_close(dataset);
    atr_session_close(&session);
    atr_free(model);
    return status;
}

/* A page without curves or without pictures is better than none: what is missing is said on the page. */
static void say_missing(const char *what, atr_text *page)
{
    atr_text_append(page, "<p class=\"missing\">%s: ", what);
    atr_report_escape(atr_status_message(), page);
    atr_text_append(page, "</p>\n");
    atr_cli_error("report", atr_status_message());
}

static atr_status write_page(const char *run, const report_options *o, char **path)
{
    atr_status status = ATR_OK;
    atr_run_history history = {0};
    atr_text page = {0};
    char when[ATR_TIME_TEXT_BYTES];

    ATR_TRY(atr_run_history_read(run, &history));
    const char *data = o->data != NULL ? o->data : history.data;
    atr_report_begin(run, atr_time_text(when), &page);
    atr_report_summary(&history, &page);
    if (write_curves(&history, &page) != ATR_OK)
        say_missing("No curves", &page);
    if (data == NULL)
        atr_text_append(
            &page, "<p class=\"missing\">No pictures: the log names no data set; give --data DATA.h5</p>\n");
    else if (write_network(run, data, o, &page) != ATR_OK)
        say_missing("No scores and pictures", &page);
    atr_report_end(&page);
    ATR_TRY(page.status);
    if (o->out != NULL)
        ATR_TRY(atr_strdup(o->out, path));
    else
        ATR_TRY(atr_path_join(run, "report.html", path));
    ATR_TRY(atr_file_write(*path, page.bytes, (size_t)page.used));
done:
    atr_free(page.bytes);
    atr_run_history_free(&history);
    return status;
}

int atr_cmd_report(int argc, char **argv)
{
    atr_status status = ATR_OK;
    atr_options *options = NULL;
    report_options chosen;
    char *path = NULL;
    int exit_code = ATR_EXIT_DONE;

    ATR_TRY(atr_options_create(
        "atrous report", "RUN [OPTION...]",
        "Writes one HTML page about a training run: curves, scores by class, confusion matrix, and pictures "
        "beside truth and prediction. The page needs no other file and no network.",
        &options));
    ATR_TRY(atr_options_add(options, rows, &chosen));
    ATR_TRY(atr_options_add(options, atr_session_rows, &chosen.session));
    if (!atr_cli_parse(options, argc, argv, false, &exit_code))
        goto done;
    atr_cli_log();
    ATR_TRY(atr_cli_positional(options, 1, 1));
    ATR_TRY(write_page(atr_options_positional(options, 0), &chosen, &path));
    printf("%s\n", path);
done:
    if (status != ATR_OK) {
        atr_cli_error("report", atr_status_message());
        exit_code = atr_cli_exit_code(status);
    }
    atr_free(path);
    atr_options_destroy(options);
    return exit_code;
}
