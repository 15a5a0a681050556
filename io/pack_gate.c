#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/h5.h"
#include "io/pack_impl.h"

/* Runs the look over all samples and gathers what it finds, in order. */

static atr_status look_one(void *user, int thread, int64_t index, void **result)
{
    const atr_pack_job *job = user;

    (void)thread;
    return atr_pack_look_at(job, index, (atr_pack_look **)result);
}

static void drop_one(void *user, void *result)
{
    (void)user;
    atr_pack_look_free(result);
}

static atr_status spool_mask(atr_pack_job *job, const atr_pack_look *look)
{
    const uint8_t *bytes = look->mask_png;
    size_t left = look->mask_bytes;

    while (left > 0) {
        const ssize_t put = write(job->spool, bytes, left);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return atr_fail(ATR_ERR_IO, "beside %s: cannot keep masks: %s", atr_pack_target(job->config),
                            strerror(errno));
        bytes += put;
        left -= (size_t)put;
    }
    return ATR_OK;
}

static void count_values(atr_pack_job *job, int64_t index, const atr_pack_look *look)
{
    const uint8_t splits = job->source.samples[index].splits;

    if (look->numbers_read && job->source.samples[index].labels != NULL) {
        job->masks_seen++;
        job->binary_masks += look->scan.only_0_255;
        job->masks_255 += look->scan.has_255;
    }
    atr_dataset_stats_add(&job->index.stats, splits, look->scan.pixels);
    atr_pack_sums_add(&job->sums, splits, (double)look->width * (double)look->height, look->sum,
                      look->square);
}

static atr_status take_one(void *user, int64_t index, void *result)
{
    atr_pack_job *job = user;
    atr_pack_look *look = result;
    atr_dataset_index *x = &job->index;
    atr_status status = ATR_OK;

    ATR_TRY(atr_strdup(job->source.samples[index].name, &x->names[index]));
    x->sizes[2 * index] = look->width;
    x->sizes[2 * index + 1] = look->height;
    x->splits[index] = job->source.samples[index].splits;
    x->image_sums[index] = look->image_sum;
    x->contents[index] = look->content;
    x->image_at[index + 1] = x->image_at[index] + look->image_bytes;
    x->mask_at[index + 1] = x->mask_at[index] + (int64_t)look->mask_bytes;
    count_values(job, index, look);
    if (job->counted != NULL)
        ATR_TRY(atr_pack_shards_count(job, index, look));
    job->failed |= atr_findings_of_severity(look->findings, ATR_ERROR) > 0;
    if (look->mask_png != NULL) {
        x->mask_sums[index] = atr_hash64(look->mask_png, look->mask_bytes, 0);
        if (!job->failed)
            ATR_TRY(spool_mask(job, look));
    }
    ATR_TRY(atr_findings_move(job->findings, look->findings));
    ATR_TRY(atr_watch_say(job->watch, "checking", index + 1, x->count));

done:
    atr_pack_look_free(look);
    return status;
}

/* A file beside the output that vanishes with this process. */
static atr_status open_spool(atr_pack_job *job)
{
    const char *target = atr_pack_target(job->config);
    atr_status status = ATR_OK;
    char *path = NULL;
    size_t length = strlen(target);

    while (length > 1 && target[length - 1] == '/')
        length--;
    ATR_TRY(atr_format(&path, "%.*s.masks.XXXXXX", (int)length, target));
    job->spool = mkostemp(path, O_CLOEXEC);
    if (job->spool < 0)
        status =
            atr_fail(ATR_ERR_IO, "%s: nothing can be written in its folder: %s", target, strerror(errno));
    else
        unlink(path);

done:
    atr_free(path);
    return status;
}

atr_status atr_pack_gate(atr_pack_job *job)
{
    const atr_ordered ordered = {look_one, take_one, drop_one, job};
    atr_status status = ATR_OK;

    ATR_TRY(open_spool(job));
    ATR_TRY(atr_ordered_run(&ordered, job->source.count, job->config->threads));

done:
    return status;
}

void atr_pack_sums_add(atr_pack_sums *sums, uint8_t splits, double pixels, const double *sum,
                       const double *square)
{
    for (int split = 0; split < ATR_SPLITS; split++) {
        if ((splits >> split & 1) == 0)
            continue;
        sums->pixels[split] += pixels;
        for (int c = 0; c < 3; c++) {
            sums->sum[split][c] += sum[c];
            sums->square[split][c] += square[c];
        }
    }
}

void atr_pack_moments(const atr_pack_sums *sums, atr_dataset_stats *out)
{
    int split = 0;

    while (split < ATR_SPLITS - 1 && sums->pixels[split] <= 0)
        split++;
    for (int c = 0; c < 3 && sums->pixels[split] > 0; c++) {
        const double mean = sums->sum[split][c] / sums->pixels[split];
        const double variance = sums->square[split][c] / sums->pixels[split] - mean * mean;
        out->mean[c] = mean;
        out->std[c] = variance > 0 ? sqrt(variance) : 0;
    }
}
