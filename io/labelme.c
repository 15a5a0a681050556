/* Reader of a folder of labelme files: one JSON file per picture, with the picture inside (imageData) or beside it (imagePath).
 * Folders below are part of a name: a/0012.json is sample "a/0012". */
#include "io/labelme_impl.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "io/base64.h"
#include "io/path.h"

enum { PEEKED = 16, NESTED = 1 }; /* files that are looked into, and folders down, to tell the format */

/* Annotations before pictures: see atr_source_file.rank. */
static const char *const suffixes[] = {"json", "jpg", "jpeg", "png", NULL};
static const char *const list_folders[] = {"", "ImageSets/Segmentation/", NULL};

typedef enum entry_kind {
    PICTURE,  /* a picture's file */
    BESIDE,   /* an annotation whose picture is a file */
    EMBEDDED, /* an annotation with the picture inside */
    FOREIGN,  /* JSON of something else */
    FAULTY    /* an annotation that cannot be used; a finding says why */
} entry_kind;

typedef struct entry {
    entry_kind kind;
    char *image; /* BESIDE: path of the picture */
} entry;

/* What a scan works on. */
typedef struct scan {
    atr_source *source;
    atr_findings *findings;
    atr_source_files files;
    entry *entries;       /* [files.count] */
    int64_t *annotations; /* [annotation_count] positions of JSON files */
    int64_t annotation_count;
} scan;

/* What reading one annotation brought up; made on any thread. */
typedef struct reading {
    entry entry;
    atr_findings *findings;
} reading;

static atr_status parse(const char *bytes, size_t size, json_t **root)
{
    const bool marked = size >= 3 && memcmp(bytes, "\xEF\xBB\xBF", 3) == 0;
    json_error_t error;

    *root = json_loadb(bytes + (marked ? 3 : 0), size - (marked ? 3 : 0), JSON_DECODE_INT_AS_REAL, &error);
    if (*root != NULL)
        return ATR_OK;
    return atr_fail(ATR_ERR_DATA, "no JSON: line %d, column %d: %s", error.line, error.column, error.text);
}

/* `*root`: json_decref. */
static atr_status load(const char *path, json_t **root)
{
    atr_status status = ATR_OK;
    void *bytes = NULL;
    size_t size = 0;

    *root = NULL;
    ATR_TRY(atr_file_read(path, ATR_SOURCE_FILE_LIMIT, &bytes, &size));
    ATR_TRY(atr_fail_prefix(parse(bytes, size, root), "%s", path));

done:
    atr_free(bytes);
    return status;
}

static bool is_labelme(const json_t *root)
{
    return json_is_array(json_object_get(root, "shapes")) &&
           (json_object_get(root, "imagePath") != NULL || json_object_get(root, "imageData") != NULL);
}

static bool file_is_labelme(const char *path)
{
    json_t *root = NULL;
    const bool is = load(path, &root) == ATR_OK && is_labelme(root);

    json_decref(root);
    return is;
}

static bool has_json_suffix(const char *name)
{
    const char *dot = strrchr(name, '.');

    return dot != NULL && strcasecmp(dot, ".json") == 0;
}

/* Whether one of the first `*budget` JSON files in the folder, or one level below, is labelme's. */
static bool holds_labelme(const char *folder, int deeper, int *budget)
{
    DIR *dir = opendir(folder);
    bool found = false;

    if (dir == NULL)
        return false;
    for (const struct dirent *e = readdir(dir); e != NULL && !found && *budget > 0; e = readdir(dir)) {
        char *path = NULL;
        if (e->d_name[0] == '.' || atr_path_join(folder, e->d_name, &path) != ATR_OK)
            continue;
        if (atr_path_is_folder(path)) {
            found = deeper > 0 && holds_labelme(path, deeper - 1, budget);
        } else if (has_json_suffix(e->d_name)) {
            --*budget;
            found = file_is_labelme(path);
        }
        atr_free(path);
    }
    closedir(dir);
    return found;
}

static bool detect(const char *folder)
{
    int budget = PEEKED;

    return holds_labelme(folder, NESTED, &budget);
}

/* Fills `out` from a parsed annotation; what is wrong is this thread's message. */
static atr_status judge(const scan *s, const char *path, const json_t *root, entry *out)
{
    const json_t *data = json_object_get(root, "imageData");
    const char *image_path = json_string_value(json_object_get(root, "imagePath"));
    atr_status status = ATR_OK;

    if (!is_labelme(root)) {
        out->kind = FOREIGN;
        return ATR_OK;
    }
    if (json_string_length(data) > 0) {
        out->kind = EMBEDDED;
        return ATR_OK;
    }
    if (image_path == NULL)
        return atr_fail(ATR_ERR_DATA, "it has neither imageData nor imagePath, so there is no picture");
    ATR_TRY(atr_labelme_picture(s->source->root, path, image_path, &out->image));
    out->kind = BESIDE;
    if (out->image == NULL)
        status = atr_fail(ATR_ERR_NOT_FOUND,
                          "its picture (imagePath '%s') is neither there nor, by its name, beside it; paths "
                          "that are absolute or lead out of the folder above SOURCE are not followed",
                          image_path);

done:
    return status;
}

static atr_status read_one(void *user, int thread, int64_t index, void **result)
{
    const scan *s = user;
    const char *path = s->files.list[s->annotations[index]].path;
    atr_status status = ATR_OK;
    reading *r = NULL;
    json_t *root = NULL;

    (void)thread;
    ATR_TRY(ATR_NEW(1, &r));
    *result = r;
    ATR_TRY(atr_findings_create(&r->findings));
    status = load(path, &root);
    if (status == ATR_OK)
        status = judge(s, path, root, &r->entry);
    if (status != ATR_OK) {
        r->entry.kind = FAULTY;
        status = atr_source_file_fault(s->source, path, status, r->findings);
    }

done:
    json_decref(root);
    return status;
}

static void drop_one(void *user, void *result)
{
    reading *r = result;

    (void)user;
    if (r == NULL)
        return;
    atr_findings_destroy(r->findings);
    atr_free(r->entry.image);
    atr_free(r);
}

static atr_status take_one(void *user, int64_t index, void *result)
{
    scan *s = user;
    reading *r = result;
    atr_status status = ATR_OK;

    s->entries[s->annotations[index]] = r->entry;
    r->entry.image = NULL;
    ATR_TRY(atr_findings_move(s->findings, r->findings));
    ATR_TRY(atr_watch_say(s->source->config->watch, "reading annotations", index + 1, s->annotation_count));

done:
    drop_one(NULL, r);
    return status;
}

static atr_status read_annotations(scan *s)
{
    const atr_ordered ordered = {read_one, take_one, drop_one, s};
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW(s->files.count, &s->entries));
    ATR_TRY(ATR_NEW(s->files.count, &s->annotations));
    for (int64_t i = 0; i < s->files.count; i++)
        if (s->files.list[i].rank == 0)
            s->annotations[s->annotation_count++] = i;
    ATR_TRY(atr_ordered_run(&ordered, s->annotation_count, s->source->config->threads));

done:
    return status;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Reports this program make are JSON too, and may lie here. */
static bool is_own_report(const atr_source_file *file)
{
    const size_t length = strlen(file->stem), tail = strlen(".report");

    return length > tail && strcmp(file->stem + length - tail, ".report") == 0;
}

/* F01, a warning: JSON files that are something else. */
static atr_status report_foreign(const scan *s)
{
    const char *first = NULL;
    atr_status status = ATR_OK;
    int64_t count = 0;

    for (int64_t i = 0; i < s->files.count; i++)
        if (s->entries[i].kind == FOREIGN && !is_own_report(&s->files.list[i])) {
            first = first == NULL ? s->files.list[i].path : first;
            count++;
        }
    if (count == 0)
        return ATR_OK;
    ATR_TRY(atr_findings_add(s->findings, "F01", ATR_WARNING, "",
                             "%lld JSON files are no labelme annotations (no shapes, no imagePath) and were "
                             "left out (first: %s).\n"
                             "If they should be some, look into them; else move them out of the folder.",
                             (long long)count, atr_source_relative(s->source, first)));
    for (int64_t i = 0; i < s->files.count; i++)
        if (s->entries[i].kind == FOREIGN && !is_own_report(&s->files.list[i]))
            ATR_TRY(atr_findings_item(s->findings, "%s", s->files.list[i].stem));

done:
    return status;
}

/* A picture is annotated if the annotation of its name is there, or another one names it. */
static bool is_annotated(const scan *s, int64_t index, const char *const *named, int64_t named_count)
{
    const char *path = s->files.list[index].path;

    for (int64_t i = atr_source_find(&s->files, s->files.list[index].stem); i < index; i++)
        if (s->files.list[i].rank == 0 && s->entries[i].kind != FOREIGN)
            return true;
    return named_count > 0 && bsearch(&path, named, (size_t)named_count, sizeof *named, by_text) != NULL;
}

/* Leaves annotations, and pictures that have none. */
static atr_status drop_others(scan *s)
{
    atr_status status = ATR_OK;
    const char **named = NULL; /* [named_count] pictures that annotations name, sorted */
    bool *keep = NULL;         /* [files.count] */
    int64_t named_count = 0, kept = 0;

    ATR_TRY(ATR_NEW(s->files.count, &named));
    ATR_TRY(ATR_NEW(s->files.count, &keep));
    for (int64_t i = 0; i < s->files.count; i++)
        if (s->entries[i].kind == BESIDE)
            named[named_count++] = s->entries[i].image;
    if (named_count > 1)
        qsort(named, (size_t)named_count, sizeof *named, by_text);
    for (int64_t i = 0; i < s->files.count; i++) {
        const entry_kind kind = s->entries[i].kind;
        keep[i] = kind == BESIDE || kind == EMBEDDED ||
                  (kind == PICTURE && !is_annotated(s, i, named, named_count));
    }
    atr_source_files_filter(&s->files, keep);
    for (int64_t i = 0; kept < s->files.count; i++) /* the entries move with their files */
        if (keep[i])
            s->entries[kept++] = s->entries[i];
        else
            atr_free(s->entries[i].image);

done:
    atr_free(keep);
    atr_free(named);
    return status;
}

/* L06 from the pictures without annotation. */
static atr_status report_missing(scan *s, const char *const *names, int64_t count, int64_t samples)
{
    static const char *const json_suffix[] = {"json", NULL};
    atr_status status = ATR_OK;
    atr_source_files annotations = {0};
    char *expected = NULL;
    int64_t near = 0;

    ATR_TRY(atr_source_collect(s->source->root, json_suffix, &annotations));
    for (int64_t i = 0; i < count; i++)
        near += atr_source_find(&annotations, names[i]) < 0 && /* else it is there, but no annotation (F01) */
                atr_source_has_any_case(&annotations, names[i]);
    ATR_TRY(atr_format(&expected, "%s.json", names[0]));
    ATR_TRY(atr_source_report_missing(s->source, names, count, samples, near, expected, s->findings));

done:
    atr_source_files_free(&annotations);
    atr_free(expected);
    return status;
}

/* Hands one file over to a new sample. */
static atr_status add_sample(scan *s, int64_t index, uint8_t splits)
{
    const atr_source_file *file = &s->files.list[index];
    atr_source_sample *sample = &s->source->samples[s->source->count++];
    entry *e = &s->entries[index];
    atr_status status = ATR_OK;

    sample->splits = splits;
    ATR_TRY(atr_strdup(file->stem, &sample->name));
    if (e->kind == PICTURE)
        return atr_strdup(file->path, &sample->image);
    ATR_TRY(atr_strdup(file->path, &sample->labels));
    sample->image = e->image;
    e->image = NULL;

done:
    return status;
}

static atr_status build_samples(scan *s, const uint8_t *splits)
{
    atr_source *source = s->source;
    atr_status status = ATR_OK;
    const char **without = NULL; /* names of pictures without annotation */
    int64_t missing = 0, seen = 0;

    ATR_TRY(ATR_NEW(s->files.count, &source->samples));
    ATR_TRY(ATR_NEW(s->files.count, &without));
    for (int64_t i = 0; i < s->files.count; i++) {
        if (i > 0 && strcmp(s->files.list[i].stem, s->files.list[i - 1].stem) == 0)
            continue; /* a twin, reported */
        if (splits[i] == 0) {
            source->unlisted++;
            continue;
        }
        seen++;
        if (s->entries[i].kind == PICTURE)
            without[missing++] = s->files.list[i].stem;
        if (s->entries[i].kind != PICTURE || source->config->missing == ATR_MISSING_BACKGROUND)
            ATR_TRY(add_sample(s, i, splits[i]));
    }
    if (missing > 0)
        ATR_TRY(report_missing(s, without, missing, seen));

done:
    atr_free(without);
    return status;
}

/* The root without '/' at its end, so that paths below it are ROOT/NAME. */
static atr_status copy_root(const char *folder, char **root)
{
    size_t length = strlen(folder);

    while (length > 1 && folder[length - 1] == '/')
        length--;
    return atr_format(root, "%.*s", (int)length, folder);
}

static atr_status scan_labelme(const atr_source_config *config, atr_findings *findings, atr_source *out)
{
    scan s = {.source = out, .findings = findings};
    atr_status status = ATR_OK;
    uint8_t *splits = NULL;

    ATR_TRY(copy_root(config->folder, &out->root));
    ATR_TRY(atr_source_collect(out->root, suffixes, &s.files));
    ATR_TRY(read_annotations(&s));
    if (s.annotation_count == 0) {
        status = atr_fail(ATR_ERR_NOT_FOUND, "%s: no JSON file of labelme in it", out->root);
        goto done;
    }
    ATR_TRY(report_foreign(&s));
    ATR_TRY(drop_others(&s));
    ATR_TRY(atr_source_report_twins(out, &s.files, findings));
    ATR_TRY(atr_source_mark(out, &s.files, list_folders, "", findings, &splits));
    ATR_TRY(build_samples(&s, splits));

done:
    for (int64_t i = 0; s.entries != NULL && i < s.files.count; i++)
        atr_free(s.entries[i].image);
    atr_free(s.entries);
    atr_free(s.annotations);
    atr_free(splits);
    atr_source_files_free(&s.files);
    return status;
}

/* Keeps the JSON without the picture, which is most of it. */
static atr_status embedded_picture(const atr_source *source, int64_t index, void **kept, void **bytes,
                                   size_t *size)
{
    const char *path = source->samples[index].labels;
    atr_status status = ATR_OK;
    json_t *root = NULL;

    *bytes = NULL;
    ATR_TRY(load(path, &root));
    const json_t *data = json_object_get(root, "imageData");
    if (!json_is_string(data)) {
        status = atr_fail(ATR_ERR_DATA, "%s: changed while it was packed; run pack again", path);
        goto done;
    }
    ATR_TRY(atr_fail_prefix(atr_base64_decode(json_string_value(data), json_string_length(data), bytes, size),
                            "%s: imageData", path));
    if (kept != NULL && json_object_set_new(root, "imageData", json_null()) == 0) {
        *kept = root;
        root = NULL;
    }

done:
    json_decref(root);
    return status;
}

static void forget(void *kept)
{
    json_decref(kept);
}

/* imageWidth or imageHeight; 0 where it is not said. */
static atr_status stated_size(const json_t *root, const char *key, int64_t *out)
{
    const json_t *value = json_object_get(root, key);
    const double number = json_number_value(value);

    *out = 0;
    if (value == NULL || json_is_null(value))
        return ATR_OK;
    if (!json_is_number(value) || !(number >= 1 && number <= (double)ATR_IMAGE_MAX_PIXELS) ||
        number != (double)(int64_t)number)
        return atr_fail(ATR_ERR_DATA, "%s is not a number of pixels", key);
    *out = (int64_t)number;
    return ATR_OK;
}

static atr_status stated_sizes(const json_t *root, atr_source_labels *out)
{
    atr_status status = ATR_OK;

    ATR_TRY(stated_size(root, "imageWidth", &out->width));
    ATR_TRY(stated_size(root, "imageHeight", &out->height));
    if (out->width == 0 || out->height == 0)
        out->width = out->height = 0;

done:
    return status;
}

static atr_status read_shapes(const atr_source *source, int64_t index, void *kept,
                              const atr_source_picture *picture, atr_findings *findings,
                              atr_source_labels *out)
{
    const char *path = source->samples[index].labels;
    atr_status status = ATR_OK;
    json_t *root = json_incref(kept);

    out->kind = "annotation";
    out->ids = true;
    if (root == NULL)
        status = load(path, &root);
    if (status == ATR_OK && !is_labelme(root))
        status = atr_fail(ATR_ERR_DATA, "changed while it was packed; run pack again");
    if (status == ATR_OK)
        status = stated_sizes(root, out);
    if (status != ATR_OK) {
        status = atr_source_file_fault(source, path, status, findings);
        goto done;
    }
    const bool fits = out->width == 0 || (out->width == picture->width && out->height == picture->height);
    if (fits && picture->width > 0) {
        out->mask.width = picture->width;
        out->mask.height = picture->height;
        ATR_TRY(ATR_NEW(picture->width * picture->height, &out->mask.values));
    }
    ATR_TRY(
        atr_labelme_draw(source, atr_source_relative(source, path), root, findings, &out->mask, &out->good));
    if (!out->good)
        atr_mask_free(&out->mask);

done:
    json_decref(root);
    return status;
}

const atr_source_format atr_source_labelme = {
    .name = "labelme",
    .layout = "a JSON file of labelme for each picture, with or beside it",
    .named = true,
    .turned = true,
    .detect = detect,
    .scan = scan_labelme,
    .embedded = embedded_picture,
    .read = read_shapes,
    .forget = forget,
};
