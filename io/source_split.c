#include <string.h>
#include <strings.h>

#include "io/h5.h"
#include "io/path.h"
#include "io/source_impl.h"

/* Which part each file belongs to, and what is said of files as a group. */

/* What the marking works on. */
typedef struct marking {
    const atr_source *source;
    const atr_source_files *files;
    const char *folder;   /* of the lists, relative to the root */
    const char *pictures; /* where names are looked for */
    atr_findings *findings;
    uint8_t *splits; /* [files->count] */
} marking;

atr_status atr_source_report_twins(const atr_source *source, const atr_source_files *files,
                                   atr_findings *findings)
{
    atr_status status = ATR_OK;

    for (int64_t i = 1; i < files->count; i++) {
        const atr_source_file *a = &files->list[i - 1], *b = &files->list[i];
        if (strcmp(a->stem, b->stem) == 0)
            ATR_TRY(atr_findings_add(
                findings, "F02", ATR_ERROR, atr_source_relative(source, a->path),
                "%s has the same name, so one mask would serve two pictures.\nRemove or rename "
                "one of them.",
                atr_path_base(b->path)));
    }

done:
    return status;
}

/* A listed name among the files; a suffix in the list is forgiven. */
static int64_t find_listed(const atr_source_files *files, char *name)
{
    int64_t index = atr_source_find(files, name);
    char *dot = strrchr(name, '.');

    for (int i = 0; index < 0 && dot != NULL && atr_source_image_suffixes[i] != NULL; i++)
        if (strcasecmp(dot + 1, atr_source_image_suffixes[i]) == 0) {
            *dot = '\0';
            index = atr_source_find(files, name);
            *dot = '.';
        }
    return index;
}

/* F03: names of one list that no picture has. */
static atr_status report_unknown(marking *m, const char *list, char **names, const int64_t *found,
                                 int64_t count, int64_t unknown)
{
    atr_status status = ATR_OK;
    int64_t first = 0, near = 0;

    while (found[first] >= 0)
        first++;
    for (int64_t i = 0; i < count; i++)
        near += found[i] < 0 && atr_source_has_any_case(m->files, names[i]);
    ATR_TRY(atr_findings_add(
        m->findings, "F03", ATR_ERROR, list,
        "%lld of %lld names have no picture (first: '%s'; looked for %s%s.{jpg,jpeg,png} "
        "in any case of the suffix).\n%lld differ only in case. The split would silently be smaller "
        "than its list says: correct the list or add the pictures.",
        (long long)unknown, (long long)count, names[first], m->pictures, names[first], (long long)near));
    for (int64_t i = 0; i < count; i++)
        if (found[i] < 0)
            ATR_TRY(atr_findings_item(m->findings, "%s", names[i]));

done:
    return status;
}

static atr_status list_path(const marking *m, const char *name, char **path)
{
    return atr_format(path, "%s/%s%s.txt", m->source->root, m->folder, name);
}

/* Marks the files of one list with `bit`; `*exists` says whether there is such a list. Names already marked with one of
 * `except` stay as they are. */
static atr_status read_split_list(marking *m, const char *name, uint8_t bit, uint8_t except, bool *exists)
{
    atr_status status = ATR_OK;
    char *path = NULL, **names = NULL;
    int64_t *found = NULL; /* [count] file of each name */
    int64_t count = 0, unknown = 0;

    *exists = false;
    ATR_TRY(list_path(m, name, &path));
    if (!atr_path_exists(path))
        goto done;
    *exists = true;
    ATR_TRY(atr_source_read_list(path, &names, &count));
    ATR_TRY(ATR_NEW(count, &found));
    for (int64_t i = 0; i < count; i++) {
        found[i] = find_listed(m->files, names[i]);
        unknown += found[i] < 0;
        if (found[i] >= 0 && (m->splits[found[i]] & except) == 0)
            m->splits[found[i]] |= bit;
    }
    if (unknown > 0)
        ATR_TRY(report_unknown(m, atr_source_relative(m->source, path), names, found, count, unknown));

done:
    atr_free(found);
    atr_h5_names_free(names, count);
    atr_free(path);
    return status;
}

/* L09 for names: the same picture listed twice. */
static atr_status report_shared_names(marking *m)
{
    atr_status status = ATR_OK;
    int64_t shared = 0;

    for (int64_t i = 0; i < m->files->count; i++)
        shared += (m->splits[i] & (m->splits[i] - 1)) != 0;
    if (shared == 0)
        return ATR_OK;
    ATR_TRY(atr_findings_add(
        m->findings, "L09", ATR_WARNING, "",
        "%lld images are listed in more than one of train, val and test.\nThe score would be too "
        "high: the network is asked what it was shown. Take them out of one list.",
        (long long)shared));
    for (int64_t i = 0; i < m->files->count; i++)
        if ((m->splits[i] & (m->splits[i] - 1)) != 0)
            ATR_TRY(atr_findings_item(m->findings, "%s", m->files->list[i].stem));

done:
    return status;
}

static atr_status split_by_lists(marking *m, bool *any)
{
    atr_status status = ATR_OK;
    bool train = false, val = false, test = false, both = false;

    ATR_TRY(read_split_list(m, "train", 1 << ATR_SPLIT_TRAIN, 0, &train));
    ATR_TRY(read_split_list(m, "val", 1 << ATR_SPLIT_VAL, 0, &val));
    ATR_TRY(read_split_list(m, "test", 1 << ATR_SPLIT_TEST, 0, &test));
    if (!train) /* what trainval names beyond val is for training */
        ATR_TRY(read_split_list(m, "trainval", 1 << ATR_SPLIT_TRAIN, 1 << ATR_SPLIT_VAL, &both));
    *any = train || val || test || both;
    if (*any)
        ATR_TRY(report_shared_names(m));

done:
    return status;
}

atr_status atr_source_mark(const atr_source *source, const atr_source_files *files,
                           const char *const *folders, const char *pictures, atr_findings *findings,
                           uint8_t **splits)
{
    const atr_split_rule *rule = source->config->rule;
    marking m = {.source = source, .files = files, .pictures = pictures, .findings = findings};
    atr_status status = ATR_OK;
    bool any = false;

    *splits = NULL;
    ATR_TRY(ATR_NEW(files->count, &m.splits));
    for (int64_t i = 0; rule != NULL && i < files->count; i++)
        m.splits[i] = (uint8_t)(1 << atr_split_of(rule, files->list[i].stem));
    for (int i = 0; rule == NULL && !any && folders[i] != NULL; i++) {
        m.folder = folders[i];
        ATR_TRY(split_by_lists(&m, &any));
    }
    if (rule == NULL && !any) {
        status = atr_fail(ATR_ERR_USAGE,
                          "%s: no lists %s{train,val,test,trainval}.txt; give --split 0.9:0.1 to draw train "
                          "and val by name",
                          source->root, folders[0]);
        goto done;
    }
    *splits = m.splits;
    m.splits = NULL;

done:
    atr_free(m.splits);
    return status;
}

atr_status atr_source_report_missing(const atr_source *source, const char *const *names, int64_t count,
                                     int64_t samples, int64_t near, const char *expected,
                                     atr_findings *findings)
{
    static const char *const going_on[] = {
        [ATR_MISSING_ERROR] =
            "Without masks they cannot be trained on or scored. --missing-mask=skip leaves them out, "
            "--missing-mask=background takes them as all background.",
        [ATR_MISSING_SKIP] = "They are left out (--missing-mask=skip).",
        [ATR_MISSING_BACKGROUND] = "They are taken as all background (--missing-mask=background)."};
    const atr_missing_mask missing = source->config->missing;
    atr_status status = ATR_OK;

    ATR_TRY(atr_findings_add(findings, "L06", missing == ATR_MISSING_ERROR ? ATR_ERROR : ATR_WARNING, "",
                             "%lld of %lld images have no mask (first: %s; looked for %s in any case of the "
                             "suffix).\n%lld differ only in case. %s",
                             (long long)count, (long long)samples, names[0], expected, (long long)near,
                             going_on[missing]));
    for (int64_t i = 0; i < count; i++)
        ATR_TRY(atr_findings_item(findings, "%s", names[i]));

done:
    return status;
}
