#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/dataset_impl.h"
#include "core/text.h"

/* Several indices become one: what must agree is compared, samples are put in the order of their names, counts are added. */

static atr_status differ(const char *first, const char *other, const char *what)
{
    return atr_fail(ATR_ERR_DATA, "P03: %s and %s cannot be one data set: %s", first, other, what);
}

static atr_status compare_classes(const atr_class_list *a, const char *a_path, const atr_class_list *b,
                                  const char *b_path)
{
    char left[64], right[64], what[256];

    if (a->count != b->count) {
        snprintf(what, sizeof what, "%lld classes, and %lld. Pack both with the same --classes.",
                 (long long)a->count, (long long)b->count);
        return differ(a_path, b_path, what);
    }
    for (int64_t i = 0; i < a->count; i++)
        if (strcmp(a->names[i], b->names[i]) != 0) {
            snprintf(what, sizeof what, "class %lld is '%s', and '%s'. Pack both with the same --classes.",
                     (long long)i, atr_printable(a->names[i], left, sizeof left),
                     atr_printable(b->names[i], right, sizeof right));
            return differ(a_path, b_path, what);
        }
    return ATR_OK;
}

/* What the format leaves open must be the same; channels (3) and the ignored id (255) are the format's. */
static atr_status compare(const atr_dataset_index *a, const char *a_path, const atr_dataset_index *b,
                          const char *b_path)
{
    char what[160];
    atr_status status = ATR_OK;

    ATR_TRY(compare_classes(&a->classes, a_path, &b->classes, b_path));
    if (a->apply_exif != b->apply_exif) {
        status = differ(a_path, b_path,
                        a->apply_exif
                            ? "the first turns photos by their EXIF orientation, the second does not. Pack "
                              "both with the same --exif."
                            : "the second turns photos by their EXIF orientation, the first does not. Pack "
                              "both with the same --exif.");
        goto done;
    }
    for (int64_t i = 0; i < a->classes.count; i++) {
        const uint8_t *const l = a->palette[i], *const r = b->palette[i];
        if (memcmp(l, r, 3) == 0)
            continue;
        snprintf(what, sizeof what,
                 "class %lld has the colour %d,%d,%d, and %d,%d,%d. Pack both with the same --colors.",
                 (long long)i, l[0], l[1], l[2], r[0], r[1], r[2]);
        status = differ(a_path, b_path, what);
        goto done;
    }

done:
    return status;
}

/* One sample of one part, on its way into the order of all. */
typedef struct entry {
    const char *name;
    int32_t part;
    int64_t local;
} entry;

static int by_name(const void *a, const void *b)
{
    const entry *const x = a, *const y = b;
    const int order = strcmp(x->name, y->name);

    return order != 0 ? order : (x->part > y->part) - (x->part < y->part);
}

static atr_status refuse_twice(const atr_dataset_index *indices, const atr_dataset *dataset, const entry *a,
                               const entry *b)
{
    const char *const first = atr_dataset_part_name(&dataset->parts[a->part]),
                      *const other = atr_dataset_part_name(&dataset->parts[b->part]);
    char name[128], what[512];
    const bool same = indices[a->part].image_sums[a->local] == indices[b->part].image_sums[b->local] &&
                      indices[a->part].mask_sums[a->local] == indices[b->part].mask_sums[b->local];

    snprintf(what, sizeof what, "both hold a sample '%s', %s", atr_printable(a->name, name, sizeof name),
             same ? "the same picture. Name each file once, and no two packings of the same pictures."
                  : "of different pictures. Names must differ over all files: pack from a folder above both "
                    "sources, or rename.");
    return differ(first, other, what);
}

static atr_status sort_entries(const atr_dataset_index *indices, const atr_dataset *dataset, int64_t total,
                               entry *entries)
{
    int64_t at = 0;

    for (int64_t k = 0; k < dataset->part_count; k++)
        for (int64_t i = 0; i < indices[k].count; i++)
            entries[at++] = (entry){indices[k].names[i], (int32_t)k, i};
    if (dataset->part_count == 1)
        return ATR_OK; /* as it was packed */
    qsort(entries, (size_t)total, sizeof *entries, by_name);
    for (int64_t i = 1; i < total; i++)
        if (strcmp(entries[i - 1].name, entries[i].name) == 0)
            return refuse_twice(indices, dataset, &entries[i - 1], &entries[i]);
    return ATR_OK;
}

static void move_sample(atr_dataset_index *from, const entry *e, int64_t to, atr_dataset *dataset)
{
    atr_dataset_index *const x = &dataset->index;
    const int64_t i = e->local;

    x->names[to] = from->names[i];
    from->names[i] = NULL;
    x->sizes[2 * to] = from->sizes[2 * i];
    x->sizes[2 * to + 1] = from->sizes[2 * i + 1];
    x->splits[to] = from->splits[i];
    x->image_sums[to] = from->image_sums[i];
    x->mask_sums[to] = from->mask_sums[i];
    x->contents[to] = from->contents[i];
    dataset->places[to] = (atr_dataset_place){
        .image = from->image_at[i],
        .mask = from->mask_at[i],
        .image_bytes = (int32_t)(from->image_at[i + 1] - from->image_at[i]),
        .mask_bytes = (int32_t)(from->mask_at[i + 1] - from->mask_at[i]),
        .part = e->part,
    };
}

static int64_t split_pixels(const atr_dataset_stats *stats, int split)
{
    int64_t sum = 0;

    for (int id = 0; id < 256; id++)
        sum += stats->pixels[split][id];
    return sum;
}

/* The split that mean and deviation are of: train, or the next that has a pixel. */
static int moment_split(const atr_dataset_stats *stats)
{
    int split = 0;

    while (split < ATR_SPLITS - 1 && split_pixels(stats, split) == 0)
        split++;
    return split;
}

/* Mean and deviation of the union, from those of the parts: E[x] and E[x^2] are means weighed by pixels. */
static void merge_moments(const atr_dataset_index *indices, int64_t count, atr_dataset_stats *out)
{
    const int split = moment_split(out);
    double sum[3] = {0}, square[3] = {0}, pixels = 0;

    for (int64_t k = 0; k < count; k++) {
        const atr_dataset_stats *const s = &indices[k].stats;
        const double weight = moment_split(s) == split ? (double)split_pixels(s, split) : 0;
        pixels += weight;
        for (int c = 0; c < 3; c++) {
            sum[c] += weight * s->mean[c];
            square[c] += weight * (s->std[c] * s->std[c] + s->mean[c] * s->mean[c]);
        }
    }
    for (int c = 0; c < 3 && pixels > 0; c++) {
        const double variance = square[c] / pixels - (sum[c] / pixels) * (sum[c] / pixels);
        out->mean[c] = sum[c] / pixels;
        out->std[c] = variance > 0 ? sqrt(variance) : 0;
    }
}

static void merge_stats(const atr_dataset_index *indices, int64_t count, atr_dataset_stats *out)
{
    *out = indices[0].stats;
    for (int64_t k = 1; k < count; k++)
        for (int split = 0; split < ATR_SPLITS; split++)
            for (int id = 0; id < 256; id++) {
                out->pixels[split][id] += indices[k].stats.pixels[split][id];
                out->images[split][id] += indices[k].stats.images[split][id];
                out->area[split][id] += indices[k].stats.area[split][id];
            }
    if (count > 1)
        merge_moments(indices, count, out);
}

/* Parts of the packing of `indices[k]` that are here, and the first that is not (0: none). */
static int64_t count_parts(const atr_dataset_index *indices, int64_t count, int64_t k, int64_t *missing)
{
    const int64_t parts = indices[k].parts;
    int64_t here = 0, next = 0;

    *missing = 0;
    for (int64_t part = 1; part <= parts; part++) {
        for (next = 0; next < count; next++)
            if (indices[next].whole == indices[k].whole && indices[next].parts == parts &&
                indices[next].part == part)
                break;
        here += next < count;
        if (next == count && *missing == 0)
            *missing = part;
    }
    return here;
}

/* Whether an earlier index is of the same packing, so that it has been looked at. */
static bool seen_before(const atr_dataset_index *indices, int64_t k)
{
    for (int64_t i = 0; i < k; i++)
        if (indices[i].whole == indices[k].whole && indices[i].parts == indices[k].parts)
            return true;
    return false;
}

static atr_status note_gap(const atr_dataset_index *indices, atr_dataset *dataset)
{
    for (int64_t k = 0; k < dataset->part_count; k++) {
        int64_t missing = 0;
        if (indices[k].parts == 0 || seen_before(indices, k))
            continue;
        const int64_t here = count_parts(indices, dataset->part_count, k, &missing);
        if (missing > 0)
            return atr_format(
                &dataset->gap,
                "P03: %s was packed as %lld of %lld files; %lld of them %s here, number %lld is "
                "missing: its samples are not used",
                atr_dataset_part_name(&dataset->parts[k]), (long long)indices[k].part,
                (long long)indices[k].parts, (long long)here, here == 1 ? "is" : "are", (long long)missing);
    }
    return ATR_OK;
}

/* Everything that is not of a single sample. */
static void merge_head(atr_dataset_index *indices, atr_dataset *dataset)
{
    atr_dataset_index *const x = &dataset->index;

    x->classes = indices[0].classes;
    indices[0].classes = (atr_class_list){0};
    memcpy(x->palette, indices[0].palette, sizeof x->palette);
    x->apply_exif = indices[0].apply_exif;
    merge_stats(indices, dataset->part_count, &x->stats);
}

atr_status atr_dataset_merge(atr_dataset_index *indices, atr_dataset *dataset)
{
    const int64_t parts = dataset->part_count;
    int64_t total = 0;
    entry *entries = NULL;
    atr_status status = ATR_OK;

    for (int64_t k = 0; k < parts; k++) {
        if (k > 0)
            ATR_TRY(compare(&indices[0], atr_dataset_part_name(&dataset->parts[0]), &indices[k],
                            atr_dataset_part_name(&dataset->parts[k])));
        total += indices[k].count;
    }
    ATR_TRY(ATR_NEW(total, &entries));
    ATR_TRY(sort_entries(indices, dataset, total, entries));
    ATR_TRY(note_gap(indices, dataset));
    ATR_TRY(atr_dataset_index_create(total, &dataset->index));
    ATR_TRY(ATR_NEW(total, &dataset->places));
    for (int64_t i = 0; i < total; i++)
        move_sample(&indices[entries[i].part], &entries[i], i, dataset);
    merge_head(indices, dataset);
    dataset->index.fingerprint =
        parts == 1 ? indices[0].fingerprint : atr_dataset_index_fingerprint(&dataset->index);

done:
    atr_free(entries);
    return status;
}
