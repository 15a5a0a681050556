#include "io/voc.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "io/h5.h"
#include "io/path.h"
#include "io/voc_impl.h"

static const char *const image_suffixes[] = {"jpg", "jpeg", "png", NULL};
/* Suffixes we do not read as masks are listed too: such a file gets a message about itself instead of "no mask". */
static const char *const mask_suffixes[] = {"png", "jpg", "jpeg", "bmp", "gif", "tif", "tiff", NULL};

/* What a scan works on. */
typedef struct scan {
    const atr_voc_config *config;
    atr_findings *findings;
    atr_voc *voc;
    atr_voc_files images, masks;
    uint8_t *splits;      /* [images.count] */
    int64_t missing;      /* pictures without mask */
    int64_t near_missing; /* of these: a mask differs in case only */
} scan;

void atr_voc_free(atr_voc *voc)
{
    for (int64_t i = 0; voc->samples != NULL && i < voc->count; i++) {
        atr_free(voc->samples[i].name);
        atr_free(voc->samples[i].image);
        atr_free(voc->samples[i].mask);
    }
    atr_free(voc->samples);
    atr_free(voc->root);
    *voc = (atr_voc){0};
}

const char *atr_voc_relative(const atr_voc *voc, const char *path)
{
    const size_t length = strlen(voc->root);

    if (strncmp(path, voc->root, length) != 0)
        return path;
    return path + length + strspn(path + length, "/");
}

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

static atr_status collect(const char *root, const char *name, const char *const *suffixes, atr_voc_files *out)
{
    atr_status status = ATR_OK;
    char *folder = NULL;

    ATR_TRY(atr_path_join(root, name, &folder));
    ATR_TRY(atr_voc_collect(folder, suffixes, out));

done:
    atr_free(folder);
    return status;
}

/* F02: a.jpg beside a.png. Which one the mask belongs to nobody can know. */
static atr_status report_twins(scan *s)
{
    atr_status status = ATR_OK;

    for (int64_t i = 1; i < s->images.count; i++) {
        const atr_voc_file *a = &s->images.list[i - 1], *b = &s->images.list[i];
        if (strcmp(a->stem, b->stem) == 0)
            ATR_TRY(atr_findings_add(
                s->findings, "F02", ATR_ERROR, atr_voc_relative(s->voc, a->path),
                "%s has the same name, so one mask would serve two pictures.\nRemove or rename "
                "one of them.",
                atr_path_base(b->path)));
    }

done:
    return status;
}

/* A listed name among the pictures; a suffix in the list is forgiven. */
static int64_t find_listed(const atr_voc_files *images, char *name)
{
    int64_t index = atr_voc_find(images, name);
    char *dot = strrchr(name, '.');

    for (int i = 0; index < 0 && dot != NULL && image_suffixes[i] != NULL; i++)
        if (strcasecmp(dot + 1, image_suffixes[i]) == 0) {
            *dot = '\0';
            index = atr_voc_find(images, name);
            *dot = '.';
        }
    return index;
}

/* F03: names of one list that no picture has. */
static atr_status report_unknown(scan *s, const char *list, char **names, const int64_t *found, int64_t count,
                                 int64_t unknown)
{
    atr_status status = ATR_OK;
    int64_t first = 0, near = 0;

    while (found[first] >= 0)
        first++;
    for (int64_t i = 0; i < count; i++)
        near += found[i] < 0 && atr_voc_has_any_case(&s->images, names[i]);
    ATR_TRY(atr_findings_add(
        s->findings, "F03", ATR_ERROR, list,
        "%lld of %lld names have no picture (first: '%s'; looked for JPEGImages/%s.{jpg,jpeg,png} "
        "in any case of the suffix).\n%lld differ only in case. The split would silently be smaller "
        "than its list says: correct the list or add the pictures.",
        (long long)unknown, (long long)count, names[first], names[first], (long long)near));
    for (int64_t i = 0; i < count; i++)
        if (found[i] < 0)
            ATR_TRY(atr_findings_item(s->findings, "%s", names[i]));

done:
    return status;
}

/* Marks the pictures of one list with `bit`; `*exists` says whether there is such a list. Names already marked with one of
 * `except` stay as they are. */
static atr_status read_split_list(scan *s, const char *name, uint8_t bit, uint8_t except, bool *exists)
{
    atr_status status = ATR_OK;
    char *path = NULL, **names = NULL;
    int64_t *found = NULL; /* [count] picture of each name */
    int64_t count = 0, unknown = 0;

    *exists = false;
    ATR_TRY(atr_format(&path, "%s/ImageSets/Segmentation/%s.txt", s->voc->root, name));
    if (!atr_path_exists(path))
        goto done;
    *exists = true;
    ATR_TRY(atr_voc_read_list(path, &names, &count));
    ATR_TRY(ATR_NEW(count, &found));
    for (int64_t i = 0; i < count; i++) {
        found[i] = find_listed(&s->images, names[i]);
        unknown += found[i] < 0;
        if (found[i] >= 0 && (s->splits[found[i]] & except) == 0)
            s->splits[found[i]] |= bit;
    }
    if (unknown > 0)
        ATR_TRY(report_unknown(s, atr_voc_relative(s->voc, path), names, found, count, unknown));

done:
    atr_free(found);
    atr_h5_names_free(names, count);
    atr_free(path);
    return status;
}

/* L09 for names: the same picture listed twice. */
static atr_status report_shared_names(scan *s)
{
    atr_status status = ATR_OK;
    int64_t shared = 0;

    for (int64_t i = 0; i < s->images.count; i++)
        shared += (s->splits[i] & (s->splits[i] - 1)) != 0;
    if (shared == 0)
        return ATR_OK;
    ATR_TRY(atr_findings_add(
        s->findings, "L09", ATR_WARNING, "",
        "%lld images are listed in more than one of train, val and test.\nThe score would be too "
        "high: the network is asked what it was shown. Take them out of one list.",
        (long long)shared));
    for (int64_t i = 0; i < s->images.count; i++)
        if ((s->splits[i] & (s->splits[i] - 1)) != 0)
            ATR_TRY(atr_findings_item(s->findings, "%s", s->images.list[i].stem));

done:
    return status;
}

static atr_status split_by_lists(scan *s)
{
    atr_status status = ATR_OK;
    bool train = false, val = false, test = false, both = false;

    ATR_TRY(read_split_list(s, "train", 1 << ATR_SPLIT_TRAIN, 0, &train));
    ATR_TRY(read_split_list(s, "val", 1 << ATR_SPLIT_VAL, 0, &val));
    ATR_TRY(read_split_list(s, "test", 1 << ATR_SPLIT_TEST, 0, &test));
    if (!train) /* what trainval names beyond val is for training */
        ATR_TRY(read_split_list(s, "trainval", 1 << ATR_SPLIT_TRAIN, 1 << ATR_SPLIT_VAL, &both));
    if (!train && !val && !test && !both)
        status = atr_fail(
            ATR_ERR_USAGE,
            "%s: no lists ImageSets/Segmentation/{train,val,test,trainval}.txt; give --split 0.9:0.1 to "
            "draw train and val by name",
            s->voc->root);
    else
        status = report_shared_names(s);

done:
    return status;
}

static bool is_known_mask(const atr_voc_file *file)
{
    const char *dot = strrchr(file->path, '.');

    return strcasecmp(dot, ".png") == 0 || strcasecmp(dot, ".jpg") == 0 || strcasecmp(dot, ".jpeg") == 0;
}

/* The mask of picture `stem` into `*path`, NULL if there is none. */
static atr_status find_mask(scan *s, const char *stem, char **path)
{
    const int64_t index = atr_voc_find(&s->masks, stem);

    *path = NULL;
    if (index < 0) {
        s->missing++;
        s->near_missing += atr_voc_has_any_case(&s->masks, stem);
        return ATR_OK;
    }
    const atr_voc_file *file = &s->masks.list[index];
    if (!is_known_mask(file))
        return atr_findings_add(s->findings, "F01", ATR_ERROR, atr_voc_relative(s->voc, file->path),
                                "masks of this kind are not read.\nExport masks as PNG, indexed or grey.");
    return atr_strdup(file->path, path);
}

/* L06, with all names, from the samples that have no mask. */
static atr_status report_missing(scan *s, const char *const *names, int64_t count, int64_t samples)
{
    static const char *const going_on[] = {
        [ATR_MISSING_ERROR] =
            "Without masks they cannot be trained on or scored. --missing-mask=skip leaves them out, "
            "--missing-mask=background takes them as all background.",
        [ATR_MISSING_SKIP] = "They are left out (--missing-mask=skip).",
        [ATR_MISSING_BACKGROUND] = "They are taken as all background (--missing-mask=background)."};
    const atr_missing_mask missing = s->config->missing;
    atr_status status = ATR_OK;

    ATR_TRY(atr_findings_add(
        s->findings, "L06", missing == ATR_MISSING_ERROR ? ATR_ERROR : ATR_WARNING, "",
        "%lld of %lld images have no mask (first: %s; looked for SegmentationClass/%s.png in any "
        "case of the suffix).\n%lld differ only in case. %s",
        (long long)count, (long long)samples, names[0], names[0], (long long)s->near_missing,
        going_on[missing]));
    for (int64_t i = 0; i < count; i++)
        ATR_TRY(atr_findings_item(s->findings, "%s", names[i]));

done:
    return status;
}

/* Turns the marked pictures into samples, twins once. */
static atr_status build_samples(scan *s)
{
    atr_status status = ATR_OK;
    atr_voc *voc = s->voc;
    const char **without = NULL; /* names without mask */
    int64_t seen = 0;

    ATR_TRY(ATR_NEW(s->images.count, &voc->samples));
    ATR_TRY(ATR_NEW(s->images.count, &without));
    for (int64_t i = 0; i < s->images.count; i++) {
        const atr_voc_file *file = &s->images.list[i];
        atr_voc_sample *sample = &voc->samples[voc->count];
        const int64_t missing = s->missing;
        if (i > 0 && strcmp(file->stem, s->images.list[i - 1].stem) == 0)
            continue;
        if (s->splits[i] == 0) {
            voc->unlisted++;
            continue;
        }
        seen++;
        ATR_TRY(find_mask(s, file->stem, &sample->mask));
        if (s->missing > missing)
            without[missing] = file->stem;
        if (sample->mask == NULL && (s->missing == missing || s->config->missing != ATR_MISSING_BACKGROUND))
            continue; /* reported, skipped, or of a kind we do not read */
        voc->count++;
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

atr_status atr_voc_scan(const atr_voc_config *config, atr_findings *findings, atr_voc *out)
{
    atr_status status = ATR_OK;
    scan s = {.config = config, .findings = findings, .voc = out};

    *out = (atr_voc){0};
    ATR_TRY(find_root(config->source, &out->root));
    ATR_TRY(collect(out->root, "JPEGImages", image_suffixes, &s.images));
    if (s.images.count == 0) {
        status = atr_fail(ATR_ERR_NOT_FOUND, "%s/JPEGImages: no .jpg, .jpeg or .png in it", out->root);
        goto done;
    }
    ATR_TRY(collect(out->root, "SegmentationClass", mask_suffixes, &s.masks));
    ATR_TRY(report_twins(&s));
    ATR_TRY(ATR_NEW(s.images.count, &s.splits));
    if (config->rule == NULL)
        ATR_TRY(split_by_lists(&s));
    for (int64_t i = 0; config->rule != NULL && i < s.images.count; i++)
        s.splits[i] = (uint8_t)(1 << atr_split_of(config->rule, s.images.list[i].stem));
    ATR_TRY(build_samples(&s));

done:
    atr_free(s.splits);
    atr_voc_files_free(&s.images);
    atr_voc_files_free(&s.masks);
    if (status != ATR_OK)
        atr_voc_free(out);
    return status;
}
