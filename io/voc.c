/* Reader of PASCAL VOC's layout:
 *     ROOT/JPEGImages/NAME.jpg             .jpg, .jpeg, .png in any case; folders below are part of the name
 *     ROOT/SegmentationClass/NAME.png      indexed or grey: the stored value is the label
 *     ROOT/ImageSets/Segmentation/{train,val,test,trainval}.txt      a name per line
 * SOURCE is ROOT, or a folder with exactly one ROOT in it. */
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "io/path.h"
#include "io/source_impl.h"

/* Suffixes we do not read as masks are listed too: such a file gets a message about itself instead of "no mask". */
static const char *const mask_suffixes[] = {"png", "jpg", "jpeg", "bmp", "gif", "tif", "tiff", NULL};
static const char *const list_folders[] = {"ImageSets/Segmentation/", NULL};

/* What a scan works on. */
typedef struct scan {
    const atr_source_config *config;
    atr_findings *findings;
    atr_source *source;
    atr_source_files images, masks;
    uint8_t *splits;      /* [images.count] */
    int64_t missing;      /* pictures without mask */
    int64_t near_missing; /* of these: a mask differs in case only */
} scan;

static bool is_root(const char *folder)
{
    char *images = NULL;
    bool found = false;

    if (atr_path_join(folder, "JPEGImages", &images) == ATR_OK)
        found = atr_path_is_folder(images);
    atr_free(images);
    return found;
}

/* `source` itself, or the one folder in it that holds JPEGImages. */
static atr_status find_root(const char *source, char **root)
{
    atr_status status = ATR_OK;
    char *path = NULL;
    DIR *dir = NULL;

    *root = NULL;
    if (is_root(source))
        return atr_strdup(source, root);
    dir = opendir(source);
    if (dir == NULL)
        return atr_fail(errno == ENOENT ? ATR_ERR_NOT_FOUND : ATR_ERR_IO, "%s: %s", source, strerror(errno));
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (entry->d_name[0] == '.')
            continue;
        atr_free(path);
        ATR_TRY(atr_path_join(source, entry->d_name, &path));
        if (!is_root(path))
            continue;
        if (*root != NULL) {
            status = atr_fail(ATR_ERR_USAGE, "%s: several data sets (%s and %s); name one of them", source,
                              atr_path_base(*root), entry->d_name);
            goto done;
        }
        *root = path;
        path = NULL;
    }
    if (*root == NULL)
        status = atr_fail(
            ATR_ERR_NOT_FOUND,
            "%s: no folder JPEGImages here or one level below; give the folder of a VOC-style data set "
            "(JPEGImages, SegmentationClass, ImageSets/Segmentation)",
            source);

done:
    if (status != ATR_OK) {
        atr_free(*root);
        *root = NULL;
    }
    closedir(dir);
    atr_free(path);
    return status;
}

/* Several data sets side by side are this format too: the scan says to name one of them. */
static bool detect(const char *folder)
{
    char *root = NULL, *masks = NULL;
    const atr_status status = find_root(folder, &root);
    bool found = status == ATR_ERR_USAGE;

    if (status == ATR_OK && atr_path_join(root, "SegmentationClass", &masks) == ATR_OK)
        found = atr_path_is_folder(masks);
    atr_free(masks);
    atr_free(root);
    return found;
}

static atr_status collect(const char *root, const char *name, const char *const *suffixes,
                          atr_source_files *out)
{
    atr_status status = ATR_OK;
    char *folder = NULL;

    ATR_TRY(atr_path_join(root, name, &folder));
    ATR_TRY(atr_source_collect(folder, suffixes, out));

done:
    atr_free(folder);
    return status;
}

static bool is_known_mask(const atr_source_file *file)
{
    const char *dot = strrchr(file->path, '.');

    return strcasecmp(dot, ".png") == 0 || strcasecmp(dot, ".jpg") == 0 || strcasecmp(dot, ".jpeg") == 0;
}

/* The mask of picture `stem` into `*path`, NULL if there is none. */
static atr_status find_mask(scan *s, const char *stem, char **path)
{
    const int64_t index = atr_source_find(&s->masks, stem);

    *path = NULL;
    if (index < 0) {
        s->missing++;
        s->near_missing += atr_source_has_any_case(&s->masks, stem);
        return ATR_OK;
    }
    const atr_source_file *file = &s->masks.list[index];
    if (!is_known_mask(file))
        return atr_findings_add(s->findings, "F01", ATR_ERROR, atr_source_relative(s->source, file->path),
                                "masks of this kind are not read.\nExport masks as PNG, indexed or grey.");
    return atr_strdup(file->path, path);
}

/* L06, with all names, from the samples that have no mask. */
static atr_status report_missing(scan *s, const char *const *names, int64_t count, int64_t samples)
{
    atr_status status = ATR_OK;
    char *expected = NULL;

    ATR_TRY(atr_format(&expected, "SegmentationClass/%s.png", names[0]));
    ATR_TRY(
        atr_source_report_missing(s->source, names, count, samples, s->near_missing, expected, s->findings));

done:
    atr_free(expected);
    return status;
}

/* Turns the marked pictures into samples, twins once. */
static atr_status build_samples(scan *s)
{
    atr_status status = ATR_OK;
    atr_source *source = s->source;
    const char **without = NULL; /* names without mask */
    int64_t seen = 0;

    ATR_TRY(ATR_NEW(s->images.count, &source->samples));
    ATR_TRY(ATR_NEW(s->images.count, &without));
    for (int64_t i = 0; i < s->images.count; i++) {
        const atr_source_file *file = &s->images.list[i];
        atr_source_sample *sample = &source->samples[source->count];
        const int64_t missing = s->missing;
        if (i > 0 && strcmp(file->stem, s->images.list[i - 1].stem) == 0)
            continue;
        if (s->splits[i] == 0) {
            source->unlisted++;
            continue;
        }
        seen++;
        ATR_TRY(find_mask(s, file->stem, &sample->labels));
        if (s->missing > missing)
            without[missing] = file->stem;
        if (sample->labels == NULL && (s->missing == missing || s->config->missing != ATR_MISSING_BACKGROUND))
            continue; /* reported, skipped, or of a kind we do not read */
        source->count++;
        ATR_TRY(atr_strdup(file->stem, &sample->name));
        ATR_TRY(atr_strdup(file->path, &sample->image));
        sample->splits = s->splits[i];
    }
    if (s->missing > 0)
        ATR_TRY(report_missing(s, without, s->missing, seen));

done:
    atr_free(without);
    return status;
}

static atr_status scan_voc(const atr_source_config *config, atr_findings *findings, atr_source *out)
{
    atr_status status = ATR_OK;
    scan s = {.config = config, .findings = findings, .source = out};

    ATR_TRY(find_root(config->folder, &out->root));
    ATR_TRY(collect(out->root, "JPEGImages", atr_source_image_suffixes, &s.images));
    if (s.images.count == 0) {
        status = atr_fail(ATR_ERR_NOT_FOUND, "%s/JPEGImages: no .jpg, .jpeg or .png in it", out->root);
        goto done;
    }
    ATR_TRY(collect(out->root, "SegmentationClass", mask_suffixes, &s.masks));
    ATR_TRY(atr_source_report_twins(out, &s.images, findings));
    ATR_TRY(atr_source_mark(out, &s.images, list_folders, "JPEGImages/", findings, &s.splits));
    ATR_TRY(build_samples(&s));

done:
    atr_free(s.splits);
    atr_source_files_free(&s.images);
    atr_source_files_free(&s.masks);
    return status;
}

/* L03: colours instead of numbers. */
static atr_status colour_fault(const char *path, const atr_image_info *info, atr_findings *findings)
{
    const char *kind = info->channels == 2   ? "a grey mask with an alpha channel"
                       : info->channels == 3 ? "an RGB mask"
                                             : "an RGBA mask";

    return atr_findings_add(
        findings, "L03", ATR_ERROR, path,
        "is %s; colours are no class numbers.\nConverted by guess, one wrong colour would be a wrong "
        "class. Say which colour is which class: pack --colors FILE (lines such as '0,255,0 leaf'), or "
        "export an "
        "indexed or grey PNG whose pixel values are the class ids.",
        kind);
}

/* L03: a colour that the table does not have. */
static atr_status odd_colour_fault(const atr_source *source, const char *path, const atr_colour_odd *odd,
                                   atr_findings *findings)
{
    const atr_colour_row *row = &source->config->colours->rows[odd->nearest];
    char others[64] = "", name[192] = "ignore";

    if (odd->colours > 1)
        snprintf(others, sizeof others, " (and %lld more such colours, %lld px)", (long long)odd->colours - 1,
                 (long long)(odd->pixels - odd->worst_pixels));
    if (row->id != ATR_IGNORE)
        atr_class_text(source->config->classes, row->id, name);
    return atr_findings_add(
        findings, "L03", ATR_ERROR, path,
        "colour %d,%d,%d at (x=%lld, y=%lld), %lld px%s, is in no class; nearest is %d,%d,%d %s (distance "
        "%.1f).\n"
        "Add the colour to the table, or give --color-tolerance %.0f if a tool smoothed the edges: then the "
        "nearest colour counts. Blended edges are better exported again, without smoothing.",
        odd->worst[0], odd->worst[1], odd->worst[2], (long long)odd->worst_x, (long long)odd->worst_y,
        (long long)odd->worst_pixels, others, row->rgb[0], row->rgb[1], row->rgb[2], name, odd->distance,
        ceil(odd->distance));
}

/* A mask of colours, by the table. */
static atr_status read_colours(const atr_source *source, const char *path, const void *bytes, size_t size,
                               atr_findings *findings, atr_source_labels *out)
{
    atr_status status = ATR_OK;
    atr_image image = {0};
    atr_colour_odd odd;

    status = atr_image_decode_rgb(bytes, size, false, &image);
    if (status != ATR_OK) {
        status = atr_source_file_fault(source, path, status, findings);
        goto done;
    }
    ATR_TRY(atr_colour_table_apply(source->config->colours, &image, &out->mask, &odd));
    if (odd.pixels > 0)
        ATR_TRY(odd_colour_fault(source, atr_source_relative(source, path), &odd, findings));
    out->ids = true;
    out->width = out->mask.width;
    out->height = out->mask.height;
    out->good = true;

done:
    atr_image_free(&image);
    return status;
}

static atr_status read_mask(const atr_source *source, int64_t index, void *kept,
                            const atr_source_picture *picture, atr_findings *findings, atr_source_labels *out)
{
    const char *path = source->samples[index].labels;
    atr_status status = ATR_OK;
    atr_image_info info = {0};
    void *bytes = NULL;
    size_t size = 0;

    (void)kept;
    (void)picture;
    out->kind = "mask";
    status = atr_file_read(path, ATR_SOURCE_FILE_LIMIT, &bytes, &size);
    if (status == ATR_OK)
        status = atr_image_probe(bytes, size, &info);
    if (status == ATR_OK && info.format == ATR_IMAGE_PNG && info.channels > 1 && !info.palette) {
        status = source->config->colours != NULL
                     ? read_colours(source, path, bytes, size, findings, out)
                     : colour_fault(atr_source_relative(source, path), &info, findings);
        goto done;
    }
    out->lossy = info.format == ATR_IMAGE_JPEG;
    if (status == ATR_OK)
        status = atr_mask_decode(bytes, size, &out->mask);
    if (status != ATR_OK) {
        status = atr_source_file_fault(source, path, status, findings);
        goto done;
    }
    out->width = out->mask.width;
    out->height = out->mask.height;
    out->good = true;

done:
    atr_free(bytes);
    return status;
}

const atr_source_format atr_source_voc = {
    .name = "voc",
    .layout = "folders JPEGImages, SegmentationClass and ImageSets/Segmentation, here or one level below",
    .detect = detect,
    .scan = scan_voc,
    .read = read_mask,
};
