#include "io/dataset.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "io/dataset_impl.h"
#include "io/h5_guard.h"
#include "io/stage.h"

/* Whether the seal's place is still empty: the writer of this file did not come to its end. */
static bool never_sealed(const char *path)
{
    uint8_t block[ATR_H5_USER_BLOCK];
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool empty = fd >= 0 && pread(fd, block, sizeof block, 0) == (ssize_t)sizeof block;

    for (size_t i = 0; empty && i < sizeof block; i++)
        empty = block[i] == 0;
    if (fd >= 0)
        close(fd);
    return empty;
}

/* P01 with the numbers, if the file is a data set whose writer was stopped. */
static atr_status tell_incomplete(const char *path)
{
    atr_status status = ATR_OK;
    atr_h5 *file = NULL;
    int64_t complete = 0, samples = 0, written = 0;

    ATR_TRY(atr_h5_open(path, &file));
    if (!atr_h5_has_attr(file, "/", "complete")) {
        status = atr_fail(ATR_ERR_DATA, "%s: an HDF5 file, but no data set made by `atrous pack`", path);
        goto done;
    }
    ATR_TRY(atr_h5_get_i64(file, "/", "complete", &complete));
    ATR_TRY(atr_h5_get_i64(file, "/", "samples", &samples));
    ATR_TRY(atr_h5_get_i64(file, "/", "written", &written));
    if (complete == 0)
        status = atr_fail(
            ATR_ERR_DATA,
            "P01: %s is not complete: the writer stopped after %lld of %lld samples. Run pack again; a "
            "half pack is never read.",
            path, (long long)written, (long long)samples);
    else
        status = atr_fail(
            ATR_ERR_DATA,
            "P01: %s is not complete: the writer stopped before the last step. Run pack again; a half "
            "pack is never read.",
            path);

done:
    atr_h5_destroy(file);
    return status;
}

static atr_status read_index(atr_dataset_part *part, atr_dataset_index *out)
{
    atr_status status = ATR_OK;
    atr_h5 *file = NULL;
    int64_t bytes = 0;

    ATR_TRY(atr_h5_open(part->path, &file));
    ATR_TRY(atr_dataset_index_read(file, out));
    ATR_TRY(atr_h5_place(file, ATR_DATASET_IMAGE_BYTES, &part->images_at, &bytes));
    ATR_TRY(atr_h5_place(file, ATR_DATASET_MASK_BYTES, &part->masks_at, &bytes));

done:
    atr_h5_destroy(file);
    return status;
}

/* Checks and opens one file; its index in `*index`. */
static atr_status open_part(const atr_dataset_file *file, atr_dataset_part *part, atr_dataset_index *index)
{
    atr_status status = ATR_OK;

    part->fd = -1;
    ATR_TRY(atr_strdup(file->path, &part->path));
    if (file->origin != NULL)
        ATR_TRY(atr_strdup(file->origin, &part->origin));
    status = atr_h5_check_seal(part->path);
    if (status == ATR_ERR_DATA && never_sealed(part->path))
        status = tell_incomplete(part->path);
    ATR_TRY(status);
    ATR_TRY(read_index(part, index));
    part->fd = open(part->path, O_RDONLY | O_CLOEXEC);
    if (part->fd < 0)
        status = atr_fail(ATR_ERR_IO, "%s: %s", part->path, strerror(errno));

done:
    return status;
}

static atr_status list_members(atr_dataset *dataset)
{
    atr_status status = ATR_OK;

    for (int split = 0; split < ATR_SPLITS; split++) {
        int64_t count = 0;
        for (int64_t i = 0; i < dataset->index.count; i++)
            count += dataset->index.splits[i] >> split & 1;
        ATR_TRY(ATR_NEW(count, &dataset->members[split]));
        for (int64_t i = 0; i < dataset->index.count; i++)
            if (dataset->index.splits[i] >> split & 1)
                dataset->members[split][dataset->member_count[split]++] = i;
    }

done:
    return status;
}

const char *atr_dataset_part_name(const atr_dataset_part *part)
{
    return part->origin != NULL ? part->origin : part->path;
}

static atr_status make_label(atr_dataset *dataset)
{
    const char *const first = atr_dataset_part_name(&dataset->parts[0]);

    if (dataset->part_count == 1)
        return atr_strdup(first, &dataset->label);
    return atr_format(&dataset->label, "%s and %lld more", first, (long long)dataset->part_count - 1);
}

static atr_status open_parts(const atr_dataset_file *files, atr_dataset *dataset)
{
    atr_dataset_index *indices = NULL;
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW(dataset->part_count, &dataset->parts));
    for (int64_t k = 0; k < dataset->part_count; k++)
        dataset->parts[k].fd = -1;
    ATR_TRY(ATR_NEW(dataset->part_count, &indices));
    for (int64_t k = 0; k < dataset->part_count; k++)
        ATR_TRY(open_part(&files[k], &dataset->parts[k], &indices[k]));
    ATR_TRY(atr_dataset_merge(indices, dataset));
    ATR_TRY(make_label(dataset));

done:
    for (int64_t k = 0; indices != NULL && k < dataset->part_count; k++)
        atr_dataset_index_free(&indices[k]);
    atr_free(indices);
    return status;
}

atr_status atr_dataset_open_files(const atr_dataset_file *files, int64_t count, atr_dataset **out)
{
    atr_status status = ATR_OK;
    atr_dataset *dataset = NULL;

    *out = NULL;
    ATR_TRY(ATR_NEW(1, &dataset));
    dataset->part_count = count;
    ATR_TRY(open_parts(files, dataset));
    ATR_TRY(list_members(dataset));
    *out = dataset;
    dataset = NULL;

done:
    atr_dataset_close(dataset);
    return status;
}

atr_status atr_dataset_open_all(const char *const *names, int64_t count, atr_dataset **out)
{
    atr_status status = ATR_OK;
    atr_dataset_file *files = NULL;
    char **paths = NULL;
    int64_t found = 0;

    *out = NULL;
    ATR_TRY(atr_dataset_files(names, count, &paths, &found));
    ATR_TRY(ATR_NEW(found, &files));
    for (int64_t k = 0; k < found; k++)
        files[k].path = paths[k];
    ATR_TRY(atr_dataset_open_files(files, found, out));

done:
    atr_free(files);
    atr_dataset_files_free(paths, found);
    return status;
}

atr_status atr_dataset_open(const char *name, atr_dataset **out)
{
    return atr_dataset_open_all(&name, 1, out);
}

static void close_part(atr_dataset_part *part)
{
    if (part->fd >= 0)
        close(part->fd);
    atr_free(part->path);
    atr_free(part->origin);
}

void atr_dataset_close(atr_dataset *dataset)
{
    if (dataset == NULL)
        return;
    for (int64_t k = 0; dataset->parts != NULL && k < dataset->part_count; k++)
        close_part(&dataset->parts[k]);
    for (int split = 0; split < ATR_SPLITS; split++)
        atr_free(dataset->members[split]);
    atr_dataset_index_free(&dataset->index);
    atr_free(dataset->places);
    atr_free(dataset->parts);
    atr_free(dataset->gap);
    atr_free(dataset->label);
    atr_free(dataset);
}

const char *atr_dataset_path(const atr_dataset *dataset)
{
    return dataset->label;
}

int64_t atr_dataset_file_count(const atr_dataset *dataset)
{
    return dataset->part_count;
}

const char *atr_dataset_gap(const atr_dataset *dataset)
{
    return dataset->gap;
}

int64_t atr_dataset_count(const atr_dataset *dataset)
{
    return dataset->index.count;
}

atr_sample atr_dataset_sample(const atr_dataset *dataset, int64_t index)
{
    const atr_dataset_index *x = &dataset->index;

    return (atr_sample){x->names[index], x->sizes[2 * index], x->sizes[2 * index + 1], x->splits[index],
                        x->contents[index]};
}

int64_t atr_dataset_split(const atr_dataset *dataset, atr_split split, const int64_t **indices)
{
    *indices = dataset->members[split];
    return dataset->member_count[split];
}

const atr_class_list *atr_dataset_classes(const atr_dataset *dataset)
{
    return &dataset->index.classes;
}

const uint8_t (*atr_dataset_palette(const atr_dataset *dataset))[3]
{
    return dataset->index.palette;
}

const atr_dataset_stats *atr_dataset_statistics(const atr_dataset *dataset)
{
    return &dataset->index.stats;
}

uint64_t atr_dataset_fingerprint(const atr_dataset *dataset)
{
    return dataset->index.fingerprint;
}

bool atr_dataset_applies_exif(const atr_dataset *dataset)
{
    return dataset->index.apply_exif;
}

static atr_status prefix_sample(const atr_dataset *dataset, int64_t index, atr_status status)
{
    return atr_fail_prefix(status, "%s sample %lld '%s'",
                           atr_dataset_part_name(&dataset->parts[dataset->places[index].part]),
                           (long long)index, dataset->index.names[index]);
}

/* One piece of a bulk dataset that starts at `base`, its checksum compared. */
static atr_status read_piece(int fd, int64_t at, int64_t count, uint64_t sum, void **bytes, size_t *size)
{
    atr_status status = ATR_OK;
    void *piece = NULL;

    *bytes = NULL;
    *size = (size_t)count;
    ATR_TRY(atr_alloc(count, 1, &piece));
    ATR_TRY(atr_file_read_at(fd, at, piece, *size));
    if (atr_hash64(piece, *size, 0) != sum) {
        status = atr_fail(ATR_ERR_DATA,
                          "its bytes have changed since it was packed (checksum): copy the file again, "
                          "or pack again");
        goto done;
    }
    *bytes = piece;
    piece = NULL;

done:
    atr_free(piece);
    return status;
}

/* The same from the file that a damaged copy was made of: the run goes on, and the next one repairs the copy. */
static atr_status read_origin(atr_dataset_part *part, int64_t at, int64_t count, uint64_t sum, void **bytes,
                              size_t *size)
{
    const int fd = open(part->origin, O_RDONLY | O_CLOEXEC);
    atr_status status = ATR_OK;

    if (fd < 0)
        return atr_fail(ATR_ERR_IO, "%s: %s", part->origin, strerror(errno));
    status = read_piece(fd, at, count, sum, bytes, size);
    close(fd);
    if (status == ATR_OK && !atomic_exchange(&part->damaged, true)) {
        atr_stage_doubt(part->path);
        atr_log(ATR_LOG_WARN,
                "P05: %s is damaged: what is wrong in it is read from %s. The next start with --stage "
                "repairs it.",
                part->path, part->origin);
    }
    return status;
}

static atr_status read_part(atr_dataset_part *part, int64_t at, int64_t count, uint64_t sum, void **bytes,
                            size_t *size)
{
    const atr_status status = read_piece(part->fd, at, count, sum, bytes, size);

    if (status == ATR_OK || status == ATR_ERR_MEMORY || part->origin == NULL)
        return status;
    return read_origin(part, at, count, sum, bytes, size);
}

atr_status atr_dataset_read_file(const atr_dataset *dataset, int64_t index, void **bytes, size_t *size)
{
    const atr_dataset_place *const place = &dataset->places[index];
    atr_dataset_part *const part = &dataset->parts[place->part];

    return prefix_sample(dataset, index,
                         read_part(part, part->images_at + place->image, place->image_bytes,
                                   dataset->index.image_sums[index], bytes, size));
}

/* Whether a side decoded at 1/`shrink` is the one of the index; other files than JPEG come in full. */
static bool is_side(int64_t decoded, int64_t wanted, int shrink)
{
    return decoded == (wanted + shrink - 1) / shrink || decoded == wanted;
}

static atr_status decode_image(const atr_dataset *dataset, int64_t index, const void *bytes, size_t size,
                               int shrink, atr_image *out)
{
    const int64_t *wanted = &dataset->index.sizes[2 * index];
    const atr_status status =
        atr_image_decode_rgb_shrunk(bytes, size, dataset->index.apply_exif, shrink, out);

    if (status != ATR_OK)
        return status;
    if (is_side(out->width, wanted[0], shrink) && is_side(out->height, wanted[1], shrink))
        return ATR_OK;
    const int64_t width = out->width, height = out->height;
    atr_image_free(out);
    return atr_fail(ATR_ERR_DATA, "the picture is %lldx%lld, the index says %lldx%lld", (long long)width,
                    (long long)height, (long long)wanted[0], (long long)wanted[1]);
}

atr_status atr_dataset_read_image(const atr_dataset *dataset, int64_t index, atr_image *out)
{
    return atr_dataset_read_image_shrunk(dataset, index, 1, out);
}

atr_status atr_dataset_read_image_shrunk(const atr_dataset *dataset, int64_t index, int shrink,
                                         atr_image *out)
{
    atr_status status = ATR_OK;
    void *bytes = NULL;
    size_t size = 0;

    *out = (atr_image){0};
    ATR_TRY(atr_dataset_read_file(dataset, index, &bytes, &size));
    ATR_TRY(prefix_sample(dataset, index, decode_image(dataset, index, bytes, size, shrink, out)));

done:
    atr_free(bytes);
    return status;
}

static atr_status decode_mask(const atr_dataset *dataset, int64_t index, const void *bytes, size_t size,
                              uint8_t *ids)
{
    const int64_t width = dataset->index.sizes[2 * index], height = dataset->index.sizes[2 * index + 1];
    const int64_t classes = dataset->index.classes.count;
    atr_mask mask = {0};
    atr_status status = atr_mask_decode(bytes, size, &mask);

    if (status == ATR_OK && (mask.width != width || mask.height != height))
        status = atr_fail(ATR_ERR_DATA, "the mask is %lldx%lld, the index says %lldx%lld",
                          (long long)mask.width, (long long)mask.height, (long long)width, (long long)height);
    for (int64_t i = 0; status == ATR_OK && i < width * height; i++) {
        if (mask.values[i] >= classes && mask.values[i] != ATR_IGNORE)
            status = atr_fail(ATR_ERR_DATA, "the mask holds %d, there are %lld classes", mask.values[i],
                              (long long)classes);
        ids[i] = (uint8_t)mask.values[i];
    }
    atr_mask_free(&mask);
    return status;
}

atr_status atr_dataset_read_mask(const atr_dataset *dataset, int64_t index, uint8_t **ids)
{
    const atr_dataset_index *x = &dataset->index;
    const atr_dataset_place *const place = &dataset->places[index];
    atr_dataset_part *const part = &dataset->parts[place->part];
    atr_status status = ATR_OK;
    void *bytes = NULL;
    size_t size = 0;

    *ids = NULL;
    ATR_TRY(
        read_part(part, part->masks_at + place->mask, place->mask_bytes, x->mask_sums[index], &bytes, &size));
    ATR_TRY(ATR_NEW(x->sizes[2 * index] * x->sizes[2 * index + 1], ids));
    ATR_TRY(decode_mask(dataset, index, bytes, size, *ids));

done:
    atr_free(bytes);
    if (status != ATR_OK) {
        atr_free(*ids);
        *ids = NULL;
    }
    return prefix_sample(dataset, index, status);
}
