#include <stdio.h>
#include <string.h>

#include "io/h5.h"
#include "io/pack_impl.h"
#include "io/path.h"

/* One picture and its mask: everything that can be said without the others. */

void atr_pack_look_free(atr_pack_look *look)
{
    if (look == NULL)
        return;
    atr_findings_destroy(look->findings);
    atr_free(look->mask_png);
    atr_free(look);
}

static void add_moments(const atr_image *image, atr_pack_look *look)
{
    const int64_t count = image->width * image->height;
    uint64_t sum[3] = {0}, square[3] = {0};

    for (int64_t i = 0; i < count; i++)
        for (int c = 0; c < 3; c++) {
            const uint64_t value = image->pixels[3 * i + c];
            sum[c] += value;
            square[c] += value * value;
        }
    for (int c = 0; c < 3; c++) {
        look->sum[c] = (double)sum[c];
        look->square[c] = (double)square[c];
    }
}

/* Reads and decodes the picture; `info` keeps format and orientation, `kept` is for read_labels(). `*good` says whether that went
 * well. */
static atr_status look_at_image(const atr_pack_job *job, int64_t index, atr_pack_look *look, void **kept,
                                atr_image_info *info, bool *good)
{
    const atr_source_sample *sample = &job->source.samples[index];
    atr_status status = ATR_OK;
    atr_image image = {0};
    void *bytes = NULL;
    size_t size = 0;

    *good = false;
    status = atr_source_image(&job->source, index, kept, &bytes, &size);
    if (status == ATR_OK)
        status = atr_image_probe(bytes, size, info);
    if (status == ATR_OK)
        status = atr_image_decode_rgb(bytes, size, job->index.apply_exif, &image);
    if (status != ATR_OK) {
        status = atr_source_file_fault(&job->source, sample->image != NULL ? sample->image : sample->labels,
                                       status, look->findings);
        goto done;
    }
    look->width = image.width;
    look->height = image.height;
    look->image_bytes = (int64_t)size;
    look->image_sum = atr_hash64(bytes, size, 0);
    look->content = atr_image_content(&image);
    add_moments(&image, look);
    *good = true;

done:
    atr_image_free(&image);
    atr_free(bytes);
    return status;
}

/* What is done with the orientation of this picture: readers that know what labels were drawn on need not ask, except of a
 * picture inside an annotation, whose writer should have turned it. */
static atr_exif_rule exif_rule(const atr_pack_job *job, int64_t index)
{
    if (job->config->exif == ATR_EXIF_ASK && job->source.format->turned &&
        job->source.samples[index].image != NULL)
        return ATR_EXIF_APPLY;
    return job->config->exif;
}

/* L05 where a picture carries an orientation and nobody said what to do with it, or it was the wrong thing. */
static atr_status orientation_fault(const atr_pack_job *job, int64_t index, atr_pack_look *look,
                                    const atr_image_info *info, const atr_source_labels *labels)
{
    const atr_exif_rule rule = exif_rule(job, index);
    const bool turns = info->orientation >= 5; /* swaps the sides */
    const bool unsaid = labels->width == 0;
    const bool fits_stored = unsaid || (labels->width == info->width && labels->height == info->height);
    const bool fits_turned =
        unsaid || (turns ? labels->width == info->height && labels->height == info->width : fits_stored);
    const char *advice = "With neither --exif=apply nor --exif=ignore the pair fits: pair refused.";

    if (fits_stored && fits_turned)
        advice = "The size does not tell what the mask was drawn on: --exif=apply if on the picture as "
                 "viewers show it, "
                 "--exif=ignore if on the pixels as stored. A wrong guess would train on shifted labels.";
    else if (fits_turned)
        advice = "With --exif=apply the pair fits.";
    else if (fits_stored)
        advice = "With --exif=ignore the pair fits.";
    if ((rule == ATR_EXIF_APPLY && fits_turned) || (rule == ATR_EXIF_IGNORE && fits_stored))
        return ATR_OK;
    if (unsaid)
        return atr_findings_add(
            look->findings, "L05", ATR_ERROR, atr_source_subject(&job->source, index),
            "image %lldx%lld, %s without a size: the photo carries EXIF orientation %d.\n%s",
            (long long)info->width, (long long)info->height, labels->kind, info->orientation, advice);
    return atr_findings_add(look->findings, "L05", ATR_ERROR, atr_source_subject(&job->source, index),
                            "image %lldx%lld, %s %lldx%lld: the photo carries EXIF orientation %d.\n%s",
                            (long long)info->width, (long long)info->height, labels->kind,
                            (long long)labels->width, (long long)labels->height, info->orientation, advice);
}

/* L05: sizes that do not fit each other. */
static atr_status check_sizes(const atr_pack_job *job, int64_t index, atr_pack_look *look,
                              const atr_image_info *info, const atr_source_labels *labels)
{
    if (info->orientation != 1)
        return orientation_fault(job, index, look, info, labels);
    if (labels->width == 0 || (labels->width == info->width && labels->height == info->height))
        return ATR_OK;
    const bool swapped = labels->width == info->height && labels->height == info->width;
    return atr_findings_add(
        look->findings, "L05", ATR_ERROR, atr_source_subject(&job->source, index),
        "image %lldx%lld, %s %lldx%lld: sizes differ and no EXIF orientation explains it.\n%s "
        "Pair refused: labels would lie beside their objects.",
        (long long)info->width, (long long)info->height, labels->kind, (long long)labels->width,
        (long long)labels->height,
        swapped ? "One of the two seems to be turned by 90 degrees; turn it back."
                : "Export the labels for a picture of this size.");
}

/* L04: values that come from compression or interpolation. */
static atr_status lossy_fault(const char *path, bool jpeg, const atr_label_scan *scan, atr_findings *findings)
{
    const double between =
        scan->odd_pixels == 0 ? 0 : 100.0 * (double)scan->odd_between / (double)scan->odd_pixels;
    char edges[128] = "";

    if (scan->odd_pixels > 0)
        snprintf(edges, sizeof edges, ", %.0f %% of the %lld odd ones blended between neighbours within 2 px",
                 between, (long long)scan->odd_pixels);
    return atr_findings_add(
        findings, "L04", ATR_ERROR, path,
        "masks must be lossless. %lld different values%s: %s.\nThe blended values would train as "
        "other classes along every edge. Export as PNG, nearest neighbour.",
        (long long)scan->values, edges,
        jpeg ? "saved as JPEG" : "saved as JPEG once or resized with interpolation");
}

/* L02: a value that is neither class nor ignore. */
static atr_status odd_fault(const atr_class_list *classes, const char *path, const atr_label_scan *scan,
                            atr_findings *findings)
{
    char others[64] = "", repair[256];
    const long long value = scan->worst, count = classes->count;

    if (scan->odd_values > 1)
        snprintf(others, sizeof others, " (and %lld more such values)", (long long)scan->odd_values - 1);
    if (value == ATR_IGNORE)
        snprintf(repair, sizeof repair,
                 "If it means \"ignore\": pack --ignore 255 (more values with commas).");
    else
        snprintf(repair, sizeof repair,
                 "Either the list is short (background counts as class 0) or the mask uses another "
                 "numbering: pack "
                 "--map %lld=CLASS. If it means \"not labelled\": pack --ignore %lld,255.",
                 value, value);
    return atr_findings_add(
        findings, "L02", ATR_ERROR, path,
        "value %lld at (x=%lld, y=%lld), %lld pixels%s; the class list has %lld names (0..%lld).\n%s", value,
        (long long)scan->worst_x, (long long)scan->worst_y, (long long)scan->worst_pixels, others, count,
        count - 1, repair);
}

/* All pixels of a decoded mask: scans, judges, encodes. */
static atr_status look_at_labels(const atr_pack_job *job, const char *path, const atr_source_labels *labels,
                                 atr_pack_look *look)
{
    const atr_mask *mask = &labels->mask;
    const bool jpeg = labels->lossy;
    const char *name = atr_source_relative(&job->source, path);
    atr_status status = ATR_OK;
    uint8_t *ids = NULL;

    ATR_TRY(ATR_NEW(mask->width * mask->height, &ids));
    ATR_TRY(atr_label_scan_mask(labels->ids ? job->id_map : job->map, mask, ids, &look->scan));
    look->numbers_read = !labels->ids;
    if (jpeg || atr_label_scan_blended(&look->scan))
        ATR_TRY(lossy_fault(name, jpeg, &look->scan, look->findings));
    else if (look->scan.odd_pixels > 0)
        ATR_TRY(odd_fault(&job->classes, name, &look->scan, look->findings));
    if (atr_findings_count(look->findings) == 0)
        ATR_TRY(atr_png_encode_indexed(ids, mask->width, mask->height, job->index.palette, &look->mask_png,
                                       &look->mask_bytes));

done:
    atr_free(ids);
    return status;
}

/* Nothing but background, for a picture without labels. */
static atr_status background(const atr_pack_look *look, atr_source_labels *labels)
{
    *labels = (atr_source_labels){.good = true, .kind = "mask", .width = look->width, .height = look->height};
    labels->mask.width = look->width;
    labels->mask.height = look->height;
    return ATR_NEW(look->width * look->height, &labels->mask.values);
}

/* Labels of sample `index`, those of a picture without any, and whether they fit the picture (`info`; NULL: it is damaged). */
static atr_status read_labels(const atr_pack_job *job, int64_t index, void *kept, const atr_image_info *info,
                              atr_pack_look *look, atr_source_labels *labels)
{
    const atr_source_picture picture = {look->width, look->height};
    atr_status status = ATR_OK;

    if (job->source.samples[index].labels != NULL)
        ATR_TRY(atr_source_read(&job->source, index, kept, &picture, look->findings, labels));
    else if (info != NULL)
        ATR_TRY(background(look, labels));
    if (labels->good && info != NULL)
        ATR_TRY(check_sizes(job, index, look, info, labels));

done:
    return status;
}

atr_status atr_pack_look_at(const atr_pack_job *job, int64_t index, atr_pack_look **out)
{
    const atr_source_sample *sample = &job->source.samples[index];
    atr_status status = ATR_OK;
    atr_pack_look *look = NULL;
    atr_image_info info = {0};
    atr_source_labels labels = {0};
    bool image_good = false;
    void *kept = NULL;

    *out = NULL;
    ATR_TRY(ATR_NEW(1, &look));
    ATR_TRY(atr_findings_create(&look->findings));
    ATR_TRY(look_at_image(job, index, look, &kept, &info, &image_good));
    ATR_TRY(read_labels(job, index, kept, image_good ? &info : NULL, look, &labels));
    if (labels.mask.values != NULL)
        ATR_TRY(look_at_labels(job, sample->labels == NULL ? sample->image : sample->labels, &labels, look));
    *out = look;
    look = NULL;

done:
    atr_source_forget(&job->source, kept);
    atr_mask_free(&labels.mask);
    atr_pack_look_free(look);
    return status;
}
