#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "io/h5_guard.h"
#include "io/pack_impl.h"
#include "io/path.h"

/* Writes the file: index and room for the bulk first, then masks and pictures piece by piece, the mark of completeness, the seal,
 * and last the name. */

enum { PIECE = 4 << 20 };

static atr_status copy_masks(const atr_pack_job *job, const atr_dataset_index *index, int64_t first,
                             atr_h5 *file, uint8_t *piece)
{
    const int64_t from = job->index.mask_at[first], total = index->mask_at[index->count];
    atr_status status = ATR_OK;

    for (int64_t at = 0; at < total;) {
        const size_t want = total - at < PIECE ? (size_t)(total - at) : PIECE;
        const ssize_t got = pread(job->spool, piece, want, (off_t)(from + at));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            status = atr_fail(ATR_ERR_IO, "%s: kept masks cannot be read back: %s", job->config->output,
                              got < 0 ? strerror(errno) : "too short");
            goto done;
        }
        ATR_TRY(atr_h5_write_at(file, ATR_DATASET_MASK_BYTES, at, piece, got));
        at += got;
    }

done:
    return status;
}

atr_status atr_pack_read_image(const atr_pack_job *job, int64_t index, void **bytes, size_t *size)
{
    const atr_dataset_index *x = &job->index;
    atr_status status = ATR_OK;

    ATR_TRY(atr_source_image(&job->source, index, NULL, bytes, size));
    if ((int64_t)*size != x->image_at[index + 1] - x->image_at[index] ||
        atr_hash64(*bytes, *size, 0) != x->image_sums[index])
        status = atr_fail(ATR_ERR_DATA, "%s: changed while it was packed; run pack again",
                          atr_source_subject(&job->source, index));

done:
    return status;
}

/* Sample `number` of the job, to `offset` of the file's pictures. */
static atr_status copy_image(const atr_pack_job *job, int64_t number, atr_h5 *file, int64_t offset)
{
    atr_status status = ATR_OK;
    void *bytes = NULL;
    size_t size = 0;

    ATR_TRY(atr_pack_read_image(job, number, &bytes, &size));
    ATR_TRY(atr_h5_write_at(file, ATR_DATASET_IMAGE_BYTES, offset, bytes, (int64_t)size));

done:
    atr_free(bytes);
    return status;
}

/* `written` in the file follows now and then, so that what a killed writer leaves says how far it came. */
static atr_status copy_images(const atr_pack_job *job, const atr_dataset_index *index, int64_t first,
                              atr_h5 *file)
{
    const int64_t count = index->count, mark_every = count / 100 + 1;
    atr_status status = ATR_OK;

    for (int64_t i = 0; i < count; i++) {
        ATR_TRY(copy_image(job, first + i, file, index->image_at[i]));
        if ((i + 1) % mark_every == 0) {
            ATR_TRY(atr_h5_set_i64(file, "/", "written", i + 1));
            ATR_TRY(atr_h5_flush(file));
        }
        ATR_TRY(atr_watch_say(job->watch, "writing", first + i + 1, job->index.count));
    }

done:
    return status;
}

static atr_status write_content(const atr_pack_job *job, const atr_dataset_index *x, int64_t first,
                                atr_h5 *file)
{
    atr_status status = ATR_OK;
    uint8_t *piece = NULL;

    ATR_TRY(ATR_NEW(PIECE, &piece));
    ATR_TRY(atr_h5_set_i64(file, "/", "complete", 0));
    ATR_TRY(atr_h5_set_i64(file, "/", "written", 0));
    ATR_TRY(atr_dataset_index_write(file, x));
    ATR_TRY(atr_h5_reserve(file, ATR_DATASET_MASK_BYTES, x->mask_at[x->count]));
    ATR_TRY(atr_h5_reserve(file, ATR_DATASET_IMAGE_BYTES, x->image_at[x->count]));
    ATR_TRY(atr_h5_flush(file));
    ATR_TRY(copy_masks(job, x, first, file, piece));
    ATR_TRY(copy_images(job, x, first, file));
    ATR_TRY(atr_h5_set_i64(file, "/", "written", x->count));
    ATR_TRY(atr_h5_set_i64(file, "/", "complete", 1));

done:
    atr_free(piece);
    return status;
}

/* Where the bulk lies: it has its own checksums and is left out of the seal. */
static atr_status bulk_ranges(const atr_h5 *file, atr_h5_range *ranges)
{
    static const char *const paths[2] = {ATR_DATASET_MASK_BYTES, ATR_DATASET_IMAGE_BYTES};
    atr_status status = ATR_OK;

    for (int i = 0; i < 2; i++) {
        int64_t offset = 0, bytes = 0;
        ATR_TRY(atr_h5_place(file, paths[i], &offset, &bytes));
        ranges[i] = (atr_h5_range){(uint64_t)offset, (uint64_t)bytes};
    }
    if (ranges[0].offset > ranges[1].offset) {
        const atr_h5_range first = ranges[1];
        ranges[1] = ranges[0];
        ranges[0] = first;
    }

done:
    return status;
}

atr_status atr_pack_write_file(const atr_pack_job *job, const atr_dataset_index *index, int64_t first,
                               const char *partial)
{
    atr_status status = ATR_OK;
    atr_h5 *file = NULL;
    atr_h5_range ranges[2];

    ATR_TRY(atr_h5_create(partial, &file));
    ATR_TRY(write_content(job, index, first, file));
    ATR_TRY(bulk_ranges(file, ranges));
    ATR_TRY(atr_h5_close(&file));
    ATR_TRY(atr_h5_seal(partial, ranges, 2));

done:
    atr_h5_destroy(file);
    return status;
}

atr_status atr_pack_write(atr_pack_job *job, int64_t *bytes, int64_t *shards)
{
    atr_status status = ATR_OK;
    char *partial = NULL;

    *bytes = *shards = 0;
    if (atr_pack_is_sharded(job->config))
        return atr_pack_shards_write(job, bytes, shards);
    ATR_TRY(atr_path_partial(job->config->output, &partial));
    ATR_TRY(atr_pack_write_file(job, &job->index, 0, partial));
    ATR_TRY(atr_path_size(partial, bytes));
    ATR_TRY(atr_path_replace(partial, job->config->output));

done:
    if (status != ATR_OK && partial != NULL)
        remove(partial);
    atr_free(partial);
    return status;
}
