#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/pack_impl.h"

/* What only the whole set shows. */

/* L01: masks of 0 and 255 where 255 is no class. Says whether that is so. */
static atr_status judge_binary(atr_pack_job *job, bool *binary)
{
    char name[192];
    const char *repair = "pack --binary-255";
    const int64_t classes = job->classes.count;

    *binary = job->masks_seen > 0 && job->binary_masks == job->masks_seen && job->masks_255 > 0 &&
              classes > 1 && job->map->id[ATR_IGNORE] >= classes;
    if (!*binary)
        return ATR_OK;
    if (classes == 2)
        snprintf(name, sizeof name, "class '%.150s'", job->classes.names[1]);
    else
        snprintf(name, sizeof name, "each of the classes 1..%lld", (long long)classes - 1);
    if (classes != 2)
        repair = "pack --map 255=CLASS";
    atr_findings_drop(job->findings, "L02"); /* each 255 that is not ignored: the same fault, file by file */
    return atr_findings_add(
        job->findings, "L01", ATR_ERROR, "",
        "Masks hold only the values 0 and 255 (%lld of %lld files).\n255 means \"ignore\", so %s would "
        "have no pixel. If 255 is your object: %s. If it really is \"ignore\", add masks that "
        "contain the object.",
        (long long)job->binary_masks, (long long)job->masks_seen, name, repair);
}

static int64_t class_total(const atr_dataset_stats *stats, int64_t id)
{
    return stats->pixels[ATR_SPLIT_TRAIN][id] + stats->pixels[ATR_SPLIT_VAL][id] +
           stats->pixels[ATR_SPLIT_TEST][id];
}

/* L08 for one class. */
static atr_status judge_class(atr_pack_job *job, int64_t id)
{
    const atr_dataset_stats *stats = &job->index.stats;
    const long long val = stats->pixels[ATR_SPLIT_VAL][id], test = stats->pixels[ATR_SPLIT_TEST][id];
    char name[192];

    atr_class_text(&job->classes, id, name);
    if (val + test > 0)
        return atr_findings_add(
            job->findings, "L08", ATR_WARNING, "",
            "Class %s has 0 pixels in train and %lld in %s.\nIt cannot be learnt and would score IoU 0, "
            "which pulls the mean down. Move pictures that show it into train (--split, --seed), or "
            "check --classes and --map.",
            name, val > 0 ? val : test, val > 0 ? "val" : "test");
    return atr_findings_add(
        job->findings, "L08", ATR_WARNING, "",
        "Class %s has 0 pixels in the whole data set.\nIts IoU will be n/a and left out of the mean. "
        "Check --classes and --map, or add pictures that show it.",
        name);
}

/* L08: classes that train does not show; nothing but background. */
static atr_status judge_classes(atr_pack_job *job)
{
    atr_status status = ATR_OK;
    int64_t shown = 0;

    for (int64_t id = 1; id < job->classes.count; id++)
        shown += class_total(&job->index.stats, id) > 0;
    if (shown == 0 && job->classes.count > 1)
        return atr_findings_add(
            job->findings, "L08", ATR_ERROR, "",
            "All masks are background.\n%lld pixels are class 0, %lld are ignored, and no other class "
            "occurs: a network would learn to say background, with accuracy 100. Check the masks, "
            "--classes and --map.",
            (long long)class_total(&job->index.stats, 0),
            (long long)class_total(&job->index.stats, ATR_IGNORE));
    for (int64_t id = 0; id < job->classes.count; id++)
        if (job->index.stats.pixels[ATR_SPLIT_TRAIN][id] == 0 && job->sums.pixels[ATR_SPLIT_TRAIN] > 0)
            ATR_TRY(judge_class(job, id));

done:
    return status;
}

typedef struct content {
    uint64_t hash;
    int64_t index;
} content;

static int by_hash(const void *a, const void *b)
{
    const content *x = a, *y = b;

    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* First sample of split `split` in list[from..to), -1 if none; never sample `other`. */
static int64_t member(const atr_pack_job *job, const content *list, int64_t from, int64_t to, int split,
                      int64_t other)
{
    for (int64_t i = from; i < to; i++)
        if (list[i].index != other && job->index.splits[list[i].index] >> split & 1)
            return list[i].index;
    return -1;
}

/* L09 for two splits: pictures of equal content on both sides. First counts, then, with a finding to fill, lists. */
static atr_status shared_between(atr_pack_job *job, const content *list, int a, int b, bool fill,
                                 int64_t *count)
{
    atr_status status = ATR_OK;
    int64_t to = 0;

    *count = 0;
    for (int64_t from = 0; from < job->index.count; from = to) {
        to = from + 1;
        while (to < job->index.count && list[to].hash == list[from].hash)
            to++;
        if (to - from < 2)
            continue;
        const int64_t x = member(job, list, from, to, a, -1), y = member(job, list, from, to, b, x);
        if (x < 0 || y < 0)
            continue;
        ++*count;
        if (fill)
            ATR_TRY(atr_findings_item(job->findings, "%s: %s = %s: %s", atr_split_name((atr_split)a),
                                      job->index.names[x], atr_split_name((atr_split)b),
                                      job->index.names[y]));
    }

done:
    return status;
}

static atr_status judge_pair(atr_pack_job *job, const content *list, int a, int b)
{
    atr_status status = ATR_OK;
    int64_t count = 0;

    ATR_TRY(shared_between(job, list, a, b, false, &count));
    if (count == 0)
        goto done;
    ATR_TRY(atr_findings_add(
        job->findings, "L09", ATR_WARNING, "",
        "%lld images are in both %s and %s (same content).\n%s mIoU would be too high. "
        "--group-regex '(.*)_tile' with --split keeps the tiles of one scene together; or take "
        "the copies out of one list.",
        (long long)count, atr_split_name((atr_split)a), atr_split_name((atr_split)b),
        atr_split_name((atr_split)b)));
    ATR_TRY(shared_between(job, list, a, b, true, &count));

done:
    return status;
}

static atr_status judge_copies(atr_pack_job *job)
{
    atr_status status = ATR_OK;
    content *list = NULL; /* [count] by content */
    const int64_t count = job->index.count;

    ATR_TRY(ATR_NEW(count, &list));
    for (int64_t i = 0; i < count; i++)
        list[i] = (content){job->index.contents[i], i};
    qsort(list, (size_t)count, sizeof *list, by_hash);
    for (int a = 0; a < ATR_SPLITS; a++)
        for (int b = a + 1; b < ATR_SPLITS; b++)
            ATR_TRY(judge_pair(job, list, a, b));

done:
    atr_free(list);
    return status;
}

/* F04: a part that --split asked for came out empty. */
static atr_status judge_parts(atr_pack_job *job)
{
    atr_status status = ATR_OK;

    for (int split = ATR_SPLIT_TRAIN; split <= ATR_SPLIT_VAL; split++) {
        int64_t members = 0;
        for (int64_t i = 0; i < job->index.count; i++)
            members += job->index.splits[i] >> split & 1;
        if (members == 0)
            ATR_TRY(atr_findings_add(
                job->findings, "F04", ATR_WARNING, "", "No picture of %lld is in %s.\n%s",
                (long long)job->index.count, atr_split_name((atr_split)split),
                job->config->split != NULL
                    ? "The draw by name gave it none: try another --seed or other shares."
                    : "Its list in ImageSets/Segmentation is missing or empty; --split draws one."));
    }

done:
    return status;
}

atr_status atr_pack_judge(atr_pack_job *job)
{
    atr_status status = ATR_OK;
    bool binary = false;

    ATR_TRY(judge_binary(job, &binary));
    /* Counts mean something only where every mask could be read. */
    if (!binary && atr_findings_of_severity(job->findings, ATR_ERROR) == 0)
        ATR_TRY(judge_classes(job));
    ATR_TRY(judge_copies(job));
    ATR_TRY(judge_parts(job));

done:
    return status;
}
