#include <math.h>
#include <string.h>

#include "io/dataset_impl.h"

enum { MOST_CLASS_NAME = 4096 };

atr_status atr_dataset_index_create(int64_t count, atr_dataset_index *out)
{
    atr_status status = ATR_OK;

    *out = (atr_dataset_index){.count = count};
    ATR_TRY(ATR_NEW(count, &out->names));
    ATR_TRY(ATR_NEW(2 * count, &out->sizes));
    ATR_TRY(ATR_NEW(count, &out->splits));
    ATR_TRY(ATR_NEW(count, &out->image_sums));
    ATR_TRY(ATR_NEW(count, &out->mask_sums));
    ATR_TRY(ATR_NEW(count, &out->contents));
    ATR_TRY(ATR_NEW(count + 1, &out->image_at));
    ATR_TRY(ATR_NEW(count + 1, &out->mask_at));

done:
    if (status != ATR_OK)
        atr_dataset_index_free(out);
    return status;
}

void atr_dataset_index_free(atr_dataset_index *index)
{
    atr_h5_names_free(index->names, index->count);
    atr_free(index->sizes);
    atr_free(index->splits);
    atr_free(index->image_sums);
    atr_free(index->mask_sums);
    atr_free(index->contents);
    atr_free(index->image_at);
    atr_free(index->mask_at);
    atr_class_list_free(&index->classes);
    *index = (atr_dataset_index){0};
}

uint64_t atr_dataset_index_fingerprint(const atr_dataset_index *index)
{
    const size_t count = (size_t)index->count;
    const uint8_t exif = index->apply_exif;
    uint64_t hash = atr_hash64(&index->count, sizeof index->count, ATR_DATASET_VERSION);

    for (size_t i = 0; i < count; i++)
        hash = atr_hash64(index->names[i], strlen(index->names[i]) + 1, hash);
    for (int64_t i = 0; i < index->classes.count; i++)
        hash = atr_hash64(index->classes.names[i], strlen(index->classes.names[i]) + 1, hash);
    hash = atr_hash64(index->sizes, 2 * count * sizeof *index->sizes, hash);
    hash = atr_hash64(index->splits, count, hash);
    hash = atr_hash64(index->image_sums, count * sizeof *index->image_sums, hash);
    hash = atr_hash64(index->mask_sums, count * sizeof *index->mask_sums, hash);
    return atr_hash64(&exif, 1, hash);
}

uint64_t atr_image_content(const atr_image *image)
{
    const int64_t shape[3] = {image->height, image->width, image->channels};

    return atr_hash64(image->pixels, (size_t)(image->height * image->width * image->channels),
                      atr_hash64(shape, sizeof shape, 0));
}

void atr_dataset_stats_add(atr_dataset_stats *stats, uint8_t splits, const int64_t *pixels)
{
    int64_t area = 0;

    for (int id = 0; id < ATR_IGNORE; id++)
        area += pixels[id];
    for (int split = 0; split < ATR_SPLITS; split++) {
        if ((splits >> split & 1) == 0)
            continue;
        for (int id = 0; id < 256; id++) {
            stats->pixels[split][id] += pixels[id];
            stats->images[split][id] += pixels[id] > 0;
            stats->area[split][id] += pixels[id] > 0 ? area : 0;
        }
    }
}

/* The datasets that are plain arrays: one row each for writing and reading. */
typedef struct field {
    const char *path;
    atr_dtype type;
    int rank;
    int64_t dims[2];
    void *data;
} field;

enum { FIELDS = 10 };

static void list_fields(const atr_dataset_index *index, field *fields)
{
    const int64_t n = index->count;
    atr_dataset_stats *stats = (atr_dataset_stats *)&index->stats;
    const field all[FIELDS] = {
        {ATR_DATASET_IMAGE_OFFSET, ATR_I64, 1, {n + 1}, index->image_at},
        {ATR_DATASET_MASK_OFFSET, ATR_I64, 1, {n + 1}, index->mask_at},
        {"samples/size", ATR_I64, 2, {n, 2}, index->sizes},
        {"samples/split", ATR_U8, 1, {n}, index->splits},
        {"classes/palette", ATR_U8, 2, {256, 3}, (void *)index->palette},
        {"statistics/pixels", ATR_I64, 2, {ATR_SPLITS, 256}, stats->pixels},
        {"statistics/images", ATR_I64, 2, {ATR_SPLITS, 256}, stats->images},
        {"statistics/area", ATR_I64, 2, {ATR_SPLITS, 256}, stats->area},
        {"statistics/mean", ATR_F64, 1, {3}, stats->mean},
        {"statistics/std", ATR_F64, 1, {3}, stats->std},
    };

    memcpy(fields, all, sizeof all);
}

atr_status atr_dataset_index_write(atr_h5 *file, const atr_dataset_index *index)
{
    atr_status status = ATR_OK;
    field fields[FIELDS];

    list_fields(index, fields);
    ATR_TRY(atr_h5_set_text(file, "/", "format", ATR_DATASET_FORMAT));
    ATR_TRY(atr_h5_set_i64(file, "/", "version", ATR_DATASET_VERSION));
    ATR_TRY(atr_h5_set_i64(file, "/", "samples", index->count));
    ATR_TRY(atr_h5_set_i64(file, "/", "classes", index->classes.count));
    ATR_TRY(atr_h5_set_i64(file, "/", "classes_named", index->classes.named));
    ATR_TRY(atr_h5_set_i64(file, "/", "ignore", ATR_IGNORE));
    ATR_TRY(atr_h5_set_i64(file, "/", "apply_exif", index->apply_exif));
    ATR_TRY(atr_h5_set_u64(file, "/", "fingerprint", index->fingerprint));
    if (index->parts > 0) {
        ATR_TRY(atr_h5_set_i64(file, "/", "part", index->part));
        ATR_TRY(atr_h5_set_i64(file, "/", "parts", index->parts));
        ATR_TRY(atr_h5_set_u64(file, "/", "whole", index->whole));
    }
    for (int i = 0; i < FIELDS; i++) {
        const atr_tensor tensor =
            atr_tensor_make(fields[i].type, fields[i].rank, fields[i].dims, fields[i].data);
        ATR_TRY(atr_h5_write(file, fields[i].path, &tensor));
    }
    ATR_TRY(atr_h5_write_texts(file, "samples/name", (const char *const *)index->names, index->count));
    ATR_TRY(atr_h5_write_u64(file, "samples/image_checksum", index->image_sums, index->count));
    ATR_TRY(atr_h5_write_u64(file, "samples/mask_checksum", index->mask_sums, index->count));
    ATR_TRY(atr_h5_write_u64(file, "samples/content", index->contents, index->count));
    ATR_TRY(atr_h5_write_texts(file, "classes/name", (const char *const *)index->classes.names,
                               index->classes.count));

done:
    return status;
}

static atr_status bad(const atr_h5 *file, const char *what)
{
    return atr_fail(ATR_ERR_DATA, "%s: the data set contradicts itself (%s); pack it again",
                    atr_h5_path(file), what);
}

/* Format and version come first: a stranger's file gets a plain answer. */
static atr_status read_head(const atr_h5 *file, int64_t *count)
{
    atr_status status = ATR_OK;
    char *format = NULL;
    int64_t version = 0, ignore = 0;

    if (!atr_h5_has_attr(file, "/", "format")) {
        status = atr_fail(ATR_ERR_DATA, "%s: an HDF5 file, but no data set made by `atrous pack`",
                          atr_h5_path(file));
        goto done;
    }
    ATR_TRY(atr_h5_get_text(file, "/", "format", &format));
    if (strcmp(format, ATR_DATASET_FORMAT) != 0) {
        status = atr_fail(ATR_ERR_DATA, "%s: this is '%.40s', not a data set", atr_h5_path(file), format);
        goto done;
    }
    ATR_TRY(atr_h5_get_i64(file, "/", "version", &version));
    if (version != ATR_DATASET_VERSION) {
        status =
            atr_fail(ATR_ERR_UNSUPPORTED, "%s: data set format %lld, this program reads %d; pack it again",
                     atr_h5_path(file), (long long)version, ATR_DATASET_VERSION);
        goto done;
    }
    ATR_TRY(atr_h5_get_i64(file, "/", "samples", count));
    ATR_TRY(atr_h5_get_i64(file, "/", "ignore", &ignore));
    if (*count < 0 || *count > INT64_MAX / 16 || ignore != ATR_IGNORE)
        status = bad(file, "attributes");

done:
    atr_free(format);
    return status;
}

/* The count must be what the arrays hold before anything of that size is allocated. */
static atr_status read_names(const atr_h5 *file, int64_t count, atr_dataset_index *out)
{
    atr_status status = ATR_OK;
    char **names = NULL;
    int64_t found = 0;

    ATR_TRY(atr_h5_read_texts(file, "samples/name", &names, &found));
    if (found != count) {
        status = bad(file, "number of names");
        goto done;
    }
    ATR_TRY(atr_dataset_index_create(count, out));
    for (int64_t i = 0; i < count; i++) {
        out->names[i] = names[i];
        names[i] = NULL;
    }

done:
    atr_h5_names_free(names, found);
    return status;
}

static atr_status read_classes(const atr_h5 *file, atr_dataset_index *out)
{
    atr_status status = ATR_OK;
    int64_t count = 0, named = 0;

    ATR_TRY(atr_h5_get_i64(file, "/", "classes", &count));
    ATR_TRY(atr_h5_get_i64(file, "/", "classes_named", &named));
    ATR_TRY(atr_h5_read_texts(file, "classes/name", &out->classes.names, &out->classes.count));
    out->classes.named = named != 0;
    if (count < 1 || count > ATR_CLASSES_MOST || out->classes.count != count)
        status = bad(file, "number of classes");
    for (int64_t i = 0; status == ATR_OK && i < count; i++)
        if (out->classes.names[i][0] == '\0' || strlen(out->classes.names[i]) > MOST_CLASS_NAME)
            status = bad(file, "class names");

done:
    return status;
}

/* Offsets ascend from 0 to the length of the bulk dataset, no piece is absurdly long. */
static bool offsets_fit(const int64_t *at, int64_t count, int64_t bytes)
{
    if (at[0] != 0 || at[count] != bytes)
        return false;
    for (int64_t i = 0; i < count; i++)
        if (at[i + 1] <= at[i] || at[i + 1] - at[i] > (int64_t)1 << 30)
            return false;
    return true;
}

static bool samples_fit(const atr_dataset_index *index)
{
    for (int64_t i = 0; i < index->count; i++) {
        const int64_t width = index->sizes[2 * i], height = index->sizes[2 * i + 1];
        if (width < 1 || height < 1 || width > ATR_IMAGE_MAX_PIXELS ||
            height > ATR_IMAGE_MAX_PIXELS / width || index->splits[i] == 0 ||
            index->splits[i] >> ATR_SPLITS != 0 || index->names[i][0] == '\0')
            return false;
    }
    return true;
}

static bool statistics_fit(const atr_dataset_stats *stats)
{
    bool fit = true;

    for (int split = 0; split < ATR_SPLITS; split++)
        for (int id = 0; id < 256; id++)
            fit &=
                stats->pixels[split][id] >= 0 && stats->images[split][id] >= 0 && stats->area[split][id] >= 0;
    for (int c = 0; c < 3; c++)
        fit &= isfinite(stats->mean[c]) && isfinite(stats->std[c]) && stats->std[c] >= 0;
    return fit;
}

static atr_status check_index(const atr_h5 *file, const atr_dataset_index *index)
{
    atr_status status = ATR_OK;
    int64_t offset = 0, images = 0, masks = 0;

    ATR_TRY(atr_h5_place(file, ATR_DATASET_IMAGE_BYTES, &offset, &images));
    ATR_TRY(atr_h5_place(file, ATR_DATASET_MASK_BYTES, &offset, &masks));
    if (!offsets_fit(index->image_at, index->count, images) ||
        !offsets_fit(index->mask_at, index->count, masks))
        status = bad(file, "offsets");
    else if (!samples_fit(index))
        status = bad(file, "sizes or splits of samples");
    else if (!statistics_fit(&index->stats))
        status = bad(file, "statistics");
    else if (index->fingerprint != atr_dataset_index_fingerprint(index))
        status = bad(file, "fingerprint");

done:
    return status;
}

static atr_status read_part(const atr_h5 *file, atr_dataset_index *out)
{
    atr_status status = ATR_OK;

    if (!atr_h5_has_attr(file, "/", "parts"))
        return ATR_OK;
    ATR_TRY(atr_h5_get_i64(file, "/", "part", &out->part));
    ATR_TRY(atr_h5_get_i64(file, "/", "parts", &out->parts));
    ATR_TRY(atr_h5_get_u64(file, "/", "whole", &out->whole));
    if (out->parts < 1 || out->parts > ATR_DATASET_MOST_PARTS || out->part < 1 || out->part > out->parts)
        status = bad(file, "number of its part");

done:
    return status;
}

atr_status atr_dataset_index_read(const atr_h5 *file, atr_dataset_index *out)
{
    atr_status status = ATR_OK;
    field fields[FIELDS];
    int64_t count = 0, exif = 0;

    *out = (atr_dataset_index){0};
    ATR_TRY(read_head(file, &count));
    ATR_TRY(read_names(file, count, out));
    ATR_TRY(read_classes(file, out));
    ATR_TRY(atr_h5_get_i64(file, "/", "apply_exif", &exif));
    out->apply_exif = exif != 0;
    ATR_TRY(atr_h5_get_u64(file, "/", "fingerprint", &out->fingerprint));
    ATR_TRY(read_part(file, out));
    list_fields(out, fields);
    for (int i = 0; i < FIELDS; i++) {
        atr_tensor tensor = atr_tensor_make(fields[i].type, fields[i].rank, fields[i].dims, fields[i].data);
        ATR_TRY(atr_h5_read(file, fields[i].path, &tensor));
    }
    ATR_TRY(atr_h5_read_u64(file, "samples/image_checksum", out->image_sums, count));
    ATR_TRY(atr_h5_read_u64(file, "samples/mask_checksum", out->mask_sums, count));
    ATR_TRY(atr_h5_read_u64(file, "samples/content", out->contents, count));
    ATR_TRY(check_index(file, out));

done:
    if (status != ATR_OK)
        atr_dataset_index_free(out);
    return status;
}
