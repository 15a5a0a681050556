#include "apps/evaluate_folder.h"

#include <stdio.h>
#include <string.h>

#include "io/path.h"

/* Pairs that are in memory at once. */
enum { ROUND = 32 };

/* A picture's truth and what was predicted for it. */
typedef struct pair {
    int64_t source;             /* sample of the data set, or file of the truth's folder */
    int64_t file;               /* of the predictions; -1: there is none */
    uint8_t *truth, *predicted; /* [height,width]; NULL where a finding says why */
    int64_t height, width, predicted_height, predicted_width;
    atr_findings *findings;
    atr_status status;
    char message[512]; /* messages are per thread; this one crosses threads */
} pair;

typedef struct work {
    const atr_folder_task *task;
    atr_confusion *confusion;
    atr_findings *findings;
    atr_label_map *map; /* of predictions */
    int64_t count;
    int64_t *sources; /* [count] */
    int64_t *files;   /* [count] */
    bool *used;       /* [files of the predictions] */
    int64_t scored;
    pair pairs[ROUND];
} work;

static const char *name_of(const work *w, int64_t source)
{
    return w->task->dataset != NULL ? atr_dataset_sample(w->task->dataset, source).name
                                    : atr_mask_folder_name(w->task->truth, source);
}

/* A split's samples, the folder's files, or those of the files that are named. */
static atr_status list_sources(work *w)
{
    const atr_folder_task *const t = w->task;
    const int64_t *samples = NULL;
    const int64_t all = t->dataset != NULL ? atr_dataset_split(t->dataset, t->split, &samples)
                        : t->names != NULL ? t->name_count
                                           : atr_mask_folder_count(t->truth);
    bool listed = false;
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW(all, &w->sources));
    for (int64_t i = 0; i < all; i++) {
        const int64_t source = t->dataset != NULL ? samples[i]
                               : t->names != NULL ? atr_mask_folder_find(t->truth, t->names[i])
                                                  : i;
        if (source >= 0) {
            w->sources[w->count++] = source;
            continue;
        }
        if (!listed)
            ATR_TRY(atr_findings_add(w->findings, "F03", ATR_ERROR, "",
                                     "the list has names without a mask of the truth.\nCorrect the list."));
        listed = true;
        ATR_TRY(atr_findings_item(w->findings, "%s", t->names[i]));
    }
    if (w->count == 0)
        status = t->dataset != NULL ? atr_fail(ATR_ERR_DATA, "%s has no samples in split %s",
                                               atr_dataset_path(t->dataset), atr_split_name(t->split))
                                    : atr_fail(ATR_ERR_DATA, "no name of the list has a mask of the truth");

done:
    return status;
}

/* The file of a name; where folders are part of the name, also a file without them that nobody else has taken. */
static int64_t find_file(const work *w, const char *name)
{
    const char *const base = atr_path_base(name);
    int64_t file = atr_mask_folder_find(w->task->predictions, name);

    if (file < 0 && base != name) {
        file = atr_mask_folder_find(w->task->predictions, base);
        if (file >= 0 && w->used[file])
            file = -1;
    }
    return file;
}

static atr_status match(work *w)
{
    bool said = false;
    int64_t missing = 0;
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW(w->count, &w->files));
    ATR_TRY(ATR_NEW(atr_mask_folder_count(w->task->predictions), &w->used));
    for (int64_t i = 0; i < w->count; i++) {
        w->files[i] = find_file(w, name_of(w, w->sources[i]));
        if (w->files[i] >= 0)
            w->used[w->files[i]] = true;
        else
            missing++;
    }
    for (int64_t i = 0; i < w->count && missing > 0; i++) {
        const char *const name = name_of(w, w->sources[i]);
        if (w->files[i] >= 0)
            continue;
        if (!said)
            ATR_TRY(atr_findings_add(w->findings, "L06", ATR_ERROR, "",
                                     "%lld of %lld pictures have no prediction.\nThey are left out of the "
                                     "scores below, which are not those of the whole set.",
                                     (long long)missing, (long long)w->count));
        said = true;
        ATR_TRY(atr_findings_item(w->findings, "%s%s", name,
                                  atr_mask_folder_has_any_case(w->task->predictions, name)
                                      ? " (a file differs in upper and lower case)"
                                      : ""));
    }

done:
    return status;
}

/* "a.overlay" stands beside "a" where predict made it. */
static bool is_companion(const work *w, const char *name)
{
    char whole[512];
    const char *const base = atr_path_base(name), *const dot = strchr(base, '.');

    if (dot == NULL || (size_t)(dot - name) >= sizeof whole)
        return false;
    snprintf(whole, sizeof whole, "%.*s", (int)(dot - name), name);
    const int64_t file = atr_mask_folder_find(w->task->predictions, whole);
    return file >= 0 && w->used[file];
}

static atr_status report_extra(work *w)
{
    const atr_mask_folder *const predictions = w->task->predictions;
    bool said = false;
    atr_status status = ATR_OK;

    for (int64_t f = 0; f < atr_mask_folder_count(predictions); f++) {
        if (w->used[f] || is_companion(w, atr_mask_folder_name(predictions, f)))
            continue;
        if (!said)
            ATR_TRY(
                atr_findings_add(w->findings, "F06", ATR_WARNING, "",
                                 "files of the predictions that no picture asks for.\nThey count nowhere."));
        said = true;
        ATR_TRY(atr_findings_item(w->findings, "%s", atr_mask_folder_path(predictions, f)));
    }

done:
    return status;
}

static atr_status read_truth(const work *w, pair *p)
{
    const atr_folder_task *const t = w->task;

    if (t->dataset == NULL)
        return atr_mask_folder_read(t->truth, p->source, t->truth_map, p->findings, &p->truth, &p->width,
                                    &p->height);
    const atr_sample sample = atr_dataset_sample(t->dataset, p->source);
    p->width = sample.width;
    p->height = sample.height;
    return atr_dataset_read_mask(t->dataset, p->source, &p->truth);
}

static atr_status load_pair(const work *w, pair *p)
{
    atr_status status = ATR_OK;

    ATR_TRY(atr_findings_create(&p->findings));
    ATR_TRY(read_truth(w, p));
    ATR_TRY(atr_mask_folder_read(w->task->predictions, p->file, w->map, p->findings, &p->predicted,
                                 &p->predicted_width, &p->predicted_height));
    if (p->truth != NULL && p->predicted != NULL &&
        (p->width != p->predicted_width || p->height != p->predicted_height))
        status = atr_findings_add(
            p->findings, "L05", ATR_ERROR, atr_mask_folder_path(w->task->predictions, p->file),
            "the prediction is %lldx%lld, the truth %lldx%lld.\nResize the network's output to the "
            "picture's size before it becomes class ids.",
            (long long)p->predicted_width, (long long)p->predicted_height, (long long)p->width,
            (long long)p->height);

done:
    return status;
}

static void load_round(work *w, int64_t first, int count)
{
#pragma omp parallel for schedule(dynamic, 1) num_threads(w->task->threads)
    for (int i = 0; i < count; i++) {
        pair *const p = &w->pairs[i];
        *p = (pair){.source = w->sources[first + i], .file = w->files[first + i]};
        if (p->file >= 0)
            p->status = load_pair(w, p);
        if (p->status != ATR_OK)
            snprintf(p->message, sizeof p->message, "%s", atr_status_message());
    }
}

static atr_status take_pair(work *w, const pair *p)
{
    if (p->status != ATR_OK)
        return atr_fail(p->status, "%s", p->message);
    if (p->file < 0)
        return ATR_OK;
    if (atr_findings_count(p->findings) > 0)
        return atr_findings_move(w->findings, p->findings);
    atr_confusion_add(w->confusion, p->truth, p->predicted, p->width * p->height);
    w->scored++;
    return ATR_OK;
}

/* Decoded on all threads, counted by one: the counts are integers, and decoding is what takes time. */
static atr_status run_round(work *w, int64_t first)
{
    const int count = w->count - first < ROUND ? (int)(w->count - first) : ROUND;
    atr_status status = ATR_OK;

    load_round(w, first, count);
    for (int i = 0; i < count; i++) {
        pair *const p = &w->pairs[i];
        if (status == ATR_OK)
            status = take_pair(w, p);
        atr_findings_destroy(p->findings);
        atr_free(p->truth);
        atr_free(p->predicted);
    }
    if (status == ATR_OK && w->task->progress != NULL)
        w->task->progress(w->task->user, first + count, w->count);
    return status;
}

atr_status atr_evaluate_folder(const atr_folder_task *task, atr_confusion *out, atr_findings *findings,
                               int64_t *wanted, int64_t *scored)
{
    work *w = NULL;
    atr_status status = ATR_OK;

    atr_confusion_clear(out);
    ATR_TRY(ATR_NEW(1, &w));
    w->task = task;
    w->confusion = out;
    w->findings = findings;
    ATR_TRY(ATR_NEW(1, &w->map));
    ATR_TRY(atr_label_map_build(task->classes, &(atr_label_rules){0}, w->map));
    w->map->id[ATR_IGNORE] = ATR_LABEL_ODD; /* a prediction names a class everywhere */
    ATR_TRY(list_sources(w));
    ATR_TRY(match(w));
    ATR_TRY(report_extra(w));
    for (int64_t first = 0; first < w->count; first += ROUND)
        ATR_TRY(run_round(w, first));
    *wanted = w->count;
    *scored = w->scored;

done:
    if (w != NULL) {
        atr_free(w->map);
        atr_free(w->sources);
        atr_free(w->files);
        atr_free(w->used);
    }
    atr_free(w);
    return status;
}
