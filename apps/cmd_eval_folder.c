#include <math.h>
#include <stdio.h>
#include <string.h>

#include "apps/cli.h"
#include "apps/cmd_eval_impl.h"
#include "apps/evaluate_folder.h"
#include "core/timer.h"
#include "io/path.h"

/* `atrous eval --predictions`: masks of any program against the truth. */

enum { SHOWN = 20 /* findings of a kind on the terminal */ };

/* What the truth needs, and is freed with it. */
typedef struct truth_source {
    atr_dataset *dataset;
    atr_mask_folder *folder;
    atr_class_list own; /* of a folder */
    atr_label_map *map;
    char **names;
    int64_t name_count;
} truth_source;

static void close_truth(truth_source *t)
{
    atr_dataset_close(t->dataset);
    atr_mask_folder_close(t->folder);
    atr_class_list_free(&t->own);
    atr_free(t->map);
    atr_name_list_free(t->names, t->name_count);
}

static atr_status build_map(const atr_eval_options *o, truth_source *t)
{
    int64_t *values = NULL;
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW(o->ignore.count, &values));
    for (int64_t i = 0; i < o->ignore.count; i++)
        if (!atr_parse_int(o->ignore.items[i], &values[i])) {
            status = atr_fail(ATR_ERR_USAGE, "--ignore '%s': not a whole number", o->ignore.items[i]);
            goto done;
        }
    ATR_TRY(ATR_NEW(1, &t->map));
    ATR_TRY(atr_label_map_build(
        &t->own, &(atr_label_rules){.ignore = values, .ignore_count = o->ignore.count}, t->map));

done:
    atr_free(values);
    return status;
}

static atr_status open_folder(const atr_eval_options *o, const char *path, truth_source *t)
{
    atr_status status = ATR_OK;

    if (o->classes == NULL)
        return atr_fail(ATR_ERR_USAGE, "a folder of masks does not say its classes: --classes N|FILE");
    ATR_TRY(atr_class_list_read(o->classes, &t->own));
    ATR_TRY(build_map(o, t));
    if (o->list != NULL)
        ATR_TRY(atr_name_list_read(o->list, &t->names, &t->name_count));
    ATR_TRY(atr_mask_folder_open(path, &t->folder));

done:
    return status;
}

static atr_status open_dataset(const atr_eval_options *o, const char *path, truth_source *t)
{
    if (o->classes != NULL || o->list != NULL || o->ignore.count > 0)
        return atr_fail(
            ATR_ERR_USAGE,
            "--classes, --ignore and --list are for a folder of masks: %s says all of that itself", path);
    return atr_dataset_open(path, &t->dataset);
}

/* Tells all that was found, and writes it down where there is a folder for it. */
static atr_status tell(const atr_eval_options *o, const atr_findings *findings)
{
    char *text = NULL, *path = NULL;
    atr_status status = ATR_OK;

    if (o->out != NULL) {
        ATR_TRY(atr_path_make_folder(o->out));
        ATR_TRY(atr_path_join(o->out, "findings.json", &path));
        ATR_TRY(atr_findings_write(findings, path));
    }
    ATR_TRY(atr_findings_text(findings, o->out != NULL ? SHOWN : INT64_MAX, path != NULL ? path : "", &text));
    fputs(text, stderr);

done:
    atr_free(path);
    atr_free(text);
    return status;
}

static atr_status report(const atr_eval_options *o, const char *truth, const atr_folder_task *task,
                         const atr_confusion *confusion, int64_t wanted, int64_t scored, bool *partly)
{
    const char *const split = task->dataset != NULL ? atr_split_name(task->split) : NULL;
    const atr_evaluated what = {
        truth, split, NULL, o->predictions, scored, wanted, task->classes, confusion, NAN,
    };
    atr_scores scores;
    atr_status status = ATR_OK;

    if (scored == 0)
        return atr_fail(ATR_ERR_DATA, "%s: none of the %lld predictions could be scored", o->predictions,
                        (long long)wanted);
    atr_scores_from(confusion, &scores);
    ATR_TRY(atr_eval_report(o, &what, partly));
    atr_warn_only_class(&scores, task->dataset, task->classes, split != NULL ? split : "the scored");
    if (scored < wanted)
        fprintf(stderr, "%lld of %lld pictures were scored\n", (long long)scored, (long long)wanted);

done:
    return status;
}

atr_status atr_eval_folder(const atr_eval_options *o, const char *truth, bool *partly)
{
    atr_eval_clock clock = {atr_seconds(), atr_cli_columns(stderr)};
    truth_source t = {0};
    atr_mask_folder *predictions = NULL;
    atr_findings *findings = NULL;
    atr_confusion confusion = {0};
    int64_t wanted = 0, scored = 0;
    atr_folder_task task = {.progress = atr_eval_progress, .user = &clock};
    atr_status status = ATR_OK;

    ATR_TRY(atr_split_parse(o->split, &task.split));
    ATR_TRY(atr_path_is_folder(truth) ? open_folder(o, truth, &t) : open_dataset(o, truth, &t));
    ATR_TRY(atr_mask_folder_open(o->predictions, &predictions));
    task.predictions = predictions;
    task.dataset = t.dataset;
    task.truth = t.folder;
    task.truth_map = t.map;
    task.names = (const char *const *)t.names;
    task.name_count = t.name_count;
    task.classes = t.dataset != NULL ? atr_dataset_classes(t.dataset) : &t.own;
    task.threads = o->session.threads > 0 ? (int)o->session.threads : atr_threads_given(1, 1).count;
    ATR_TRY(atr_findings_create(&findings));
    ATR_TRY(atr_confusion_init(task.classes->count, &confusion));
    ATR_TRY(atr_evaluate_folder(&task, &confusion, findings, &wanted, &scored));
    ATR_TRY(tell(o, findings));
    *partly = atr_findings_of_severity(findings, ATR_ERROR) > 0;
    ATR_TRY(report(o, truth, &task, &confusion, wanted, scored, partly));

done:
    atr_confusion_free(&confusion);
    atr_findings_destroy(findings);
    atr_mask_folder_close(predictions);
    close_truth(&t);
    return status;
}
