/* atrous report: one HTML page that shows how a run went. */
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "apps/cli.h"
#include "apps/evaluate.h"
#include "apps/plot.h"
#include "apps/report.h"
#include "apps/runread.h"
#include "apps/stop.h"
#include "core/timer.h"
#include "io/run_lock.h"
#include "io/path.h"

typedef struct report_options {
    atr_session_options session;
    const char *data, *out;
    int64_t samples, every;
    bool watch;
} report_options;

static const atr_option rows[] = {
    {.name = "data",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(report_options, data),
     .argument = "DATA.h5",
     .help = "data set for the pictures and the confusion matrix (file, folder, list or pattern; default: "
             "the one the run "
             "was trained on)"},
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
    {.name = "watch",
     .kind = ATR_OPTION_FLAG,
     .offset = offsetof(report_options, watch),
     .help = "write the page again and again, while the browser reloads it, until the run ends or Ctrl-C"},
    {.name = "every",
     .kind = ATR_OPTION_INT,
     .offset = offsetof(report_options, every),
     .value = "30",
     .least = 1,
     .most = 86400,
     .argument = "SECONDS",
     .help = "with --watch: time between two pages"},
    {.name = NULL}};

/* A page and how many of its parts could not be made. */
typedef struct page_parts {
    atr_text page;
    int64_t missing;
    bool quiet; /* the terminal was told with an earlier page */
} page_parts;

/* Points of a curve; more would only make the page heavy. */
enum { CURVE_POINTS = 600 };

/* Means of equally many neighbours, at most CURVE_POINTS of them: *out_x, *out_y [returned count], in fresh memory. What is not
 * finite is left out of the means. */
static atr_status thin_out(const double *x, const double *y, int64_t count, double **out_x, double **out_y,
                           int64_t *out_count)
{
    atr_status status = ATR_OK;
    const int64_t each = (count + CURVE_POINTS - 1) / CURVE_POINTS;
    const int64_t points = each > 0 ? (count + each - 1) / each : 0;

    ATR_TRY(ATR_NEW(points, out_x));
    ATR_TRY(ATR_NEW(points, out_y));
    for (int64_t p = 0; p < points; p++) {
        int64_t finite = 0;
        for (int64_t i = p * each; i < count && i < (p + 1) * each; i++)
            if (isfinite(x[i]) && isfinite(y[i])) {
                (*out_x)[p] += x[i];
                (*out_y)[p] += y[i];
                finite++;
            }
        (*out_x)[p] /= (double)finite;
        (*out_y)[p] /= (double)finite;
    }
    *out_count = points;
done:
    return status;
}

/* Nothing for curves without a point. */
static atr_status write_plot(const atr_plot *plot, atr_text *page)
{
    atr_status status = ATR_OK;

    if (!atr_plot_has_points(plot))
        return ATR_OK;
    atr_text_append(page, "<figure>");
    ATR_TRY(atr_plot_svg(plot, page));
done:
    atr_text_append(page, "</figure>\n");
    return status;
}

/* Losses over the steps, where there are some of val with theirs. */
static atr_status write_loss_plot(const atr_run_history *h, atr_text *page)
{
    atr_status status = ATR_OK;
    double *x = NULL, *y = NULL, *step = NULL, *loss = NULL;
    int64_t count = 0;

    ATR_TRY(thin_out(h->step, h->loss, h->step_count, &x, &y, &count));
    ATR_TRY(ATR_NEW(h->eval_count, &step));
    ATR_TRY(ATR_NEW(h->eval_count, &loss));
    for (int64_t i = 0; i < h->eval_count; i++) {
        step[i] = h->evals[i].step;
        loss[i] = h->evals[i].loss;
    }
    const atr_curve curves[] = {{"train", x, y, count, false, false},
                                {"val", step, loss, h->eval_count, true, false}};
    ATR_TRY(write_plot(&(atr_plot){"Loss", "step", NULL, curves, 2, .from_zero = true}, page));
done:
    atr_free(x);
    atr_free(y);
    atr_free(step);
    atr_free(loss);
    return status;
}

/* One curve over the steps. */
static atr_status write_step_plot(const atr_run_history *h, const double *values, const char *title,
                                  atr_text *page)
{
    atr_status status = ATR_OK;
    atr_curve curve = {.title = title};
    double *x = NULL, *y = NULL;

    ATR_TRY(thin_out(h->step, values, h->step_count, &x, &y, &curve.count));
    curve.x = x;
    curve.y = y;
    ATR_TRY(write_plot(&(atr_plot){title, "step", NULL, &curve, 1, .from_zero = true}, page));
done:
    atr_free(x);
    atr_free(y);
    return status;
}

/* One point per evaluation. */
static atr_status write_eval_plot(const atr_run_history *h, atr_text *page)
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
    const atr_curve scores[] = {{"mIoU", epoch, miou, h->eval_count, true, false},
                                {"pixel accuracy", epoch, accuracy, h->eval_count, true, false}};
    ATR_TRY(
        write_plot(&(atr_plot){"Validation, percent", "epoch", NULL, scores, 2, .from_zero = true}, page));
done:
    atr_free(epoch);
    atr_free(miou);
    atr_free(accuracy);
    return status;
}

static atr_status write_curves(const atr_run_history *h, atr_text *page)
{
    atr_status status = ATR_OK;

    atr_text_append(page, "<h2>Training</h2>\n<div class=\"curves\">\n");
    ATR_TRY(write_loss_plot(h, page));
    ATR_TRY(write_eval_plot(h, page));
    ATR_TRY(write_step_plot(h, h->lr, "Learning rate", page));
done:
    atr_text_append(page, "</div>\n");
    return status;
}

/* best.h5, or last.h5 of a run that was never evaluated. `*model`: atr_free. */
static atr_status choose_model(const char *run, char **model, bool *best)
{
    atr_status status = ATR_OK;

    ATR_TRY(atr_path_join(run, "best.h5", model));
    *best = atr_path_exists(*model);
    if (!*best) {
        atr_free(*model);
        ATR_TRY(atr_path_join(run, "last.h5", model));
    }
done:
    return status;
}

static atr_status write_scores(atr_session *session, const atr_dataset *dataset, atr_fit_mode fit,
                               atr_text *page)
{
    atr_status status = ATR_OK;
    const atr_evaluate_options evaluate = {.split = ATR_SPLIT_VAL, .fit = fit, .memory = &session->memory};
    atr_confusion confusion = {0};
    atr_scores *scores = NULL;

    ATR_TRY(atr_confusion_init(session->info.classes, &confusion));
    ATR_TRY(atr_evaluate(session, dataset, &evaluate, &confusion));
    ATR_TRY(ATR_NEW(1, &scores));
    atr_scores_from(&confusion, scores);
    atr_report_scores(scores, &session->info, page);
    atr_report_confusion(&confusion, &session->info, page);
done:
    atr_free(scores);
    atr_confusion_free(&confusion);
    return status;
}

/* Scores, confusion matrix and pictures of a network of the run on the validation split. */
static atr_status write_network(const char *model, bool best, const atr_list *data, const report_options *o,
                                atr_text *page)
{
    atr_status status = ATR_OK;
    atr_session session = {0};
    atr_dataset *dataset = NULL;
    atr_segmenter *segmenter = NULL;
    char text[ATR_SESSION_TEXT_BYTES];
    atr_fit_mode fit;

    ATR_TRY(atr_session_open(&o->session, NULL, &session));
    ATR_TRY(atr_session_load(&session, model));
    ATR_TRY(atr_dataset_open_all(data->items, data->count, &dataset));
    ATR_TRY(atr_fit_mode_parse(session.info.fit, &fit));
    atr_text_append(page, "<h2>The %s network on val</h2>\n<p class=\"note\">", best ? "best" : "last");
    atr_report_escape(atr_session_text(&session, text), page);
    atr_text_append(page, "</p>\n");
    ATR_TRY(write_scores(&session, dataset, fit, page));
    ATR_TRY(atr_segmenter_create(&session.info, session.graph, session.params, session.backend, fit, 0, 0,
                                 &segmenter));
    atr_segmenter_set_memory(segmenter, &session.memory);
    ATR_TRY(atr_report_samples(segmenter, dataset, &session.info, o->samples, page));
done:
    atr_segmenter_destroy(segmenter);
    atr_dataset_close(dataset);
    atr_session_close(&session);
    return status;
}

/* A page without curves or without pictures is better than none: what is missing is said on the page and on the terminal. */
static void say_missing(const char *what, const char *why, page_parts *parts)
{
    atr_report_missing(what, why, &parts->page);
    if (!parts->quiet)
        fprintf(stderr, "atrous report: %s: %s\n", what, why);
    parts->missing++;
}

/* config.yaml is of no account to the other parts; a run without one (a copied log) has no such part. */
static void write_config(const char *run, atr_text *page)
{
    char *path = NULL;
    void *bytes = NULL;
    size_t size = 0;

    if (atr_path_join(run, "config.yaml", &path) == ATR_OK && atr_path_exists(path) &&
        atr_file_read(path, 1 << 20, &bytes, &size) == ATR_OK)
        atr_report_config(bytes, page);
    atr_free(bytes);
    atr_free(path);
}

/* What the network's part of the last page was made of: while a job is followed, it is made anew only with a new network. */
typedef struct network_part {
    int64_t pages; /* written so far */
    atr_text html;
    struct stat file;
    bool made;
} network_part;

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Appends the network's part; a job that has just begun has none yet. */
static atr_status append_network(const char *run, const atr_list *data, const report_options *o, bool live,
                                 network_part *part, atr_text *page)
{
    char *model = NULL;
    bool best = false;
    struct stat file = {0};
    atr_status status = ATR_OK;

    ATR_TRY(choose_model(run, &model, &best));
    const bool there = stat(model, &file) == 0;
    if (live && !there)
        goto done;
    if (!part->made || !same_file(&file, &part->file)) {
        part->made = false;
        part->html.used = 0;
        ATR_TRY(write_network(model, best, data, o, &part->html));
        ATR_TRY(part->html.status);
        part->file = file;
        part->made = there;
    }
    atr_text_append_bytes(page, part->html.bytes, part->html.used);
done:
    atr_free(model);
    return status;
}

/* A log without a last word is that of a run under way, or of one that was killed: whether a job holds the folder tells which. */
static void note_state(bool running, bool killed, atr_text *page)
{
    if (running)
        atr_text_append(page, "<p class=\"note\">This run is still being trained.</p>\n");
    if (killed)
        atr_text_append(page, "<p class=\"note\">The last start of this run did not come to its end: it was "
                              "killed, or its node "
                              "went down. <code>--resume</code> goes on behind its last checkpoint.</p>\n");
}

/* `*ended`: the log says that the run is over. `live`: the page is one of many. */
static atr_status write_page(const char *run, const char *path, const report_options *o, bool live,
                             network_part *part, bool *ended, int64_t *missing)
{
    atr_status status = ATR_OK;
    atr_run_history history = {0};
    page_parts parts = {.quiet = part->pages++ > 0};
    char when[ATR_TIME_TEXT_BYTES];

    const atr_run_use use =
        atr_run_lock_look(run); /* first: a job writes its last word before it gives the folder free */
    ATR_TRY(atr_run_history_read(run, &history));
    const bool open = history.started && !history.ended, killed = open && use == ATR_RUN_FREE;
    *ended = history.ended || killed;
    live = live && !*ended;
    const atr_list data = o->data != NULL ? (atr_list){1, &o->data}
                                          : (atr_list){history.data_count, (const char *const *)history.data};
    atr_report_begin(run, atr_time_text(when), live ? o->every : 0, &parts.page);
    atr_report_summary(&history, &parts.page);
    note_state(open && use == ATR_RUN_HELD, killed, &parts.page);
    if (write_curves(&history, &parts.page) != ATR_OK)
        say_missing("no curves", atr_status_message(), &parts);
    if (data.count == 0)
        say_missing("no scores and pictures", "the log names no data set; give --data DATA.h5", &parts);
    else if (append_network(run, &data, o, live, part, &parts.page) != ATR_OK)
        say_missing("no scores and pictures", atr_status_message(), &parts);
    write_config(run, &parts.page);
    atr_report_end(&parts.page);
    ATR_TRY(parts.page.status);
    ATR_TRY(atr_file_write(path, parts.page.bytes, (size_t)parts.page.used));
    *missing = parts.missing;
done:
    atr_free(parts.page.bytes);
    atr_run_history_free(&history);
    return status;
}

/* Sleeps, but not through a request to stop. */
static void wait_for(double seconds)
{
    const struct timespec moment = {0, 100000000};

    for (const double end = atr_seconds() + seconds; atr_seconds() < end && !atr_stop_wanted();)
        nanosleep(&moment, NULL);
}

/* Follows a job: a page every so often, and a last one when the run has ended or Ctrl-C came. */
static atr_status follow(const char *run, const char *path, const report_options *o, network_part *part,
                         int64_t *missing)
{
    bool ended = false;
    atr_status status = ATR_OK;

    atr_stop_watch();
    ATR_TRY(write_page(run, path, o, true, part, &ended, missing));
    printf("%s: written every %lld s until the run ends (Ctrl-C: now)\n", path, (long long)o->every);
    fflush(stdout);
    while (!ended && !atr_stop_wanted()) {
        wait_for((double)o->every);
        ATR_TRY(write_page(run, path, o, !atr_stop_wanted(), part, &ended, missing));
    }
done:
    return status;
}

static atr_status report(const char *run, const report_options *o, int64_t *missing)
{
    network_part part = {0};
    char *path = NULL;
    bool ended = false;
    atr_status status = ATR_OK;

    if (o->out != NULL)
        ATR_TRY(atr_strdup(o->out, &path));
    else
        ATR_TRY(atr_path_join(run, "report.html", &path));
    if (o->watch)
        ATR_TRY(follow(run, path, o, &part, missing));
    else
        ATR_TRY(write_page(run, path, o, false, &part, &ended, missing));
    printf("%s\n", path);
done:
    atr_free(part.html.bytes);
    atr_free(path);
    return status;
}

int atr_cmd_report(int argc, char **argv)
{
    atr_status status = ATR_OK;
    atr_options *options = NULL;
    report_options chosen;
    int64_t missing = 0;
    int exit_code = ATR_EXIT_DONE;

    ATR_TRY(atr_options_create(
        "atrous report", "RUN [OPTION...]",
        "Writes one HTML page about a training run: curves, scores by class, confusion matrix, and pictures "
        "beside truth and prediction. The page needs no other file and no network. Where a part cannot be "
        "made "
        "the page says why, and the exit code is 3.",
        &options));
    ATR_TRY(atr_options_add(options, rows, &chosen));
    ATR_TRY(atr_options_add(options, atr_session_rows, &chosen.session));
    if (!atr_cli_parse(options, argc, argv, false, &exit_code))
        goto done;
    atr_cli_log();
    ATR_TRY(atr_cli_positional(options, 1, 1));
    ATR_TRY(report(atr_options_positional(options, 0), &chosen, &missing));
    if (missing > 0)
        exit_code = ATR_EXIT_PARTLY;
done:
    if (status != ATR_OK) {
        atr_cli_error("report", atr_status_message());
        exit_code = atr_cli_exit_code(status);
    }
    atr_options_destroy(options);
    return exit_code;
}
