#include <string.h>

#include "io/dataset_impl.h"

/* What was found in one sample. */
typedef struct seen {
    char *fault; /* NULL: none */
    int64_t pixels[256];
} seen;

typedef struct verify {
    const atr_dataset *dataset;
    const atr_watch *watch;
    atr_findings *findings;
    atr_dataset_stats *stats; /* counted again */
    int64_t faults;
} verify;

static void drop(void *user, void *result)
{
    seen *s = result;

    (void)user;
    atr_free(s->fault);
    atr_free(s);
}

static atr_status look_image(const atr_dataset *dataset, int64_t index)
{
    atr_image image = {0};
    atr_status status = atr_dataset_read_image(dataset, index, &image);

    if (status == ATR_OK && atr_image_content(&image) != atr_dataset_sample(dataset, index).content)
        status = atr_fail(ATR_ERR_DATA, "decodes to other pixels than when it was packed");
    atr_image_free(&image);
    return status;
}

static atr_status look_mask(const atr_dataset *dataset, int64_t index, seen *s)
{
    const atr_sample sample = atr_dataset_sample(dataset, index);
    uint8_t *ids = NULL;
    const atr_status status = atr_dataset_read_mask(dataset, index, &ids);

    for (int64_t i = 0; status == ATR_OK && i < sample.width * sample.height; i++)
        s->pixels[ids[i]]++;
    atr_free(ids);
    return status;
}

/* A damaged sample is a finding, not the end of the look; lack of memory is. */
static atr_status look(void *user, int thread, int64_t index, void **result)
{
    const verify *v = user;
    atr_status status = ATR_OK;
    seen *s = NULL;

    (void)thread;
    ATR_TRY(ATR_NEW(1, &s));
    status = look_image(v->dataset, index);
    if (status == ATR_OK)
        status = look_mask(v->dataset, index, s);
    if (status == ATR_OK || status == ATR_ERR_MEMORY)
        goto done;
    status = atr_strdup(atr_status_message(), &s->fault);

done:
    if (status == ATR_OK)
        *result = s;
    else if (s != NULL)
        drop(NULL, s);
    return status;
}

static atr_status take(void *user, int64_t index, void *result)
{
    verify *v = user;
    seen *s = result;
    atr_status status = ATR_OK;

    if (s->fault != NULL) {
        v->faults++;
        ATR_TRY(atr_findings_add(v->findings, "F01", ATR_ERROR, atr_dataset_sample(v->dataset, index).name,
                                 "%s", s->fault));
    } else {
        atr_dataset_stats_add(v->stats, atr_dataset_sample(v->dataset, index).splits, s->pixels);
    }
    ATR_TRY(atr_watch_say(v->watch, "verifying", index + 1, atr_dataset_count(v->dataset)));

done:
    drop(NULL, s);
    return status;
}

atr_status atr_dataset_verify(const atr_dataset *dataset, int threads, const atr_watch *watch,
                              atr_findings *findings)
{
    verify v = {.dataset = dataset, .watch = watch, .findings = findings};
    const atr_ordered job = {look, take, drop, &v};
    const atr_dataset_stats *recorded = atr_dataset_statistics(dataset);
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW(1, &v.stats));
    ATR_TRY(atr_ordered_run(&job, atr_dataset_count(dataset), threads));
    if (v.faults == 0 && (memcmp(v.stats->pixels, recorded->pixels, sizeof recorded->pixels) != 0 ||
                          memcmp(v.stats->images, recorded->images, sizeof recorded->images) != 0 ||
                          memcmp(v.stats->area, recorded->area, sizeof recorded->area) != 0))
        ATR_TRY(atr_findings_add(
            findings, "F05", ATR_ERROR, "",
            "the recorded class counts are not those of the masks.\nClass weights made from them "
            "would be wrong: pack again."));

done:
    atr_free(v.stats);
    return status;
}
