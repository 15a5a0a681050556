#include "apps/inputs.h"

#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "io/path.h"

/* An input's file or a folder, whatever path leads to it. */
typedef struct identity {
    dev_t device;
    ino_t number;
} identity;

static bool identify(const char *path, identity *out)
{
    struct stat info;

    if (stat(path, &info) != 0)
        return false;
    *out = (identity){info.st_dev, info.st_ino};
    return true;
}

typedef struct growing {
    atr_inputs inputs;
    int64_t room;
    const atr_inputs_rules *rules;
    identity skipped;
    bool skips; /* `skipped` is a folder that is there */
} growing;

static bool has_picture_suffix(const char *name)
{
    static const char *const suffixes[] = {".jpg", ".jpeg", ".png"};
    const char *dot = strrchr(name, '.');

    for (size_t i = 0; dot != NULL && i < sizeof suffixes / sizeof suffixes[0]; i++)
        if (strcasecmp(dot, suffixes[i]) == 0)
            return true;
    return false;
}

/* `below`: the folders between the named folder and the file, "" or "day/cam1/". */
static atr_status add(growing *g, const char *path, const char *below)
{
    atr_status status = ATR_OK;
    atr_inputs *in = &g->inputs;

    if (in->count == g->room) {
        const int64_t room = g->room == 0 ? 64 : 2 * g->room;
        ATR_TRY(atr_grow(in->count, room, sizeof *in->paths, (void **)&in->paths));
        ATR_TRY(atr_grow(in->count, room, sizeof *in->stems, (void **)&in->stems));
        g->room = room;
    }
    ATR_TRY(atr_strdup(path, &in->paths[in->count]));
    const int64_t at = in->count++;
    ATR_TRY(atr_format(&in->stems[at], "%s%s", below, atr_path_base(path)));
    char *base = in->stems[at] + strlen(below), *dot = strrchr(base, '.');
    if (dot != NULL && dot != base)
        *dot = '\0';
done:
    return status;
}

static atr_status add_folder(growing *g, const char *folder, const char *below);

/* One entry of a folder: a picture, a folder below, or nothing of ours. */
static atr_status add_entry(growing *g, const char *folder, const char *name, const char *below)
{
    atr_status status = ATR_OK;
    char *path = NULL, *deeper = NULL;
    struct stat info;
    identity own;

    ATR_TRY(atr_path_join(folder, name, &path));
    if (has_picture_suffix(name) && !atr_path_is_folder(path)) {
        ATR_TRY(add(g, path, below));
    } else if (g->rules->recursive && lstat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
        own = (identity){info.st_dev, info.st_ino};
        if (g->skips && own.device == g->skipped.device && own.number == g->skipped.number)
            goto done;
        ATR_TRY(atr_format(&deeper, "%s%s/", below, name));
        ATR_TRY(add_folder(g, path, deeper));
    }
done:
    atr_free(path);
    atr_free(deeper);
    return status;
}

static atr_status add_folder(growing *g, const char *folder, const char *below)
{
    atr_status status = ATR_OK;
    struct dirent **entries = NULL;
    const int count = scandir(folder, &entries, NULL, alphasort);

    if (count < 0)
        return atr_fail(ATR_ERR_IO, "cannot read the folder %s: %s", folder, strerror(errno));
    for (int i = 0; i < count && status == ATR_OK; i++)
        if (entries[i]->d_name[0] != '.')
            status = add_entry(g, folder, entries[i]->d_name, below);
    for (int i = 0; i < count; i++)
        free(entries[i]);
    free(entries);
    return status;
}

/* A file, or the pictures of a folder. */
static atr_status add_path(growing *g, const char *path)
{
    atr_status status = ATR_OK;
    const int64_t before = g->inputs.count;

    if (!atr_path_is_folder(path))
        return add(g, path, "");
    ATR_TRY(add_folder(g, path, ""));
    if (g->inputs.count == before)
        status = atr_fail(ATR_ERR_NOT_FOUND, "the folder %s holds no pictures (*.jpg, *.jpeg, *.png)%s", path,
                          g->rules->recursive ? "" : "; --recursive looks into the folders in it");
done:
    return status;
}

/* What a pattern matches, sorted by name. */
static atr_status add_pattern(growing *g, const char *pattern)
{
    atr_status status = ATR_OK;
    glob_t found = {0};
    const int code = glob(pattern, GLOB_ERR, NULL, &found);

    if (code == GLOB_NOMATCH)
        status = atr_fail(ATR_ERR_NOT_FOUND, "nothing matches the pattern %s", pattern);
    else if (code != 0)
        status = atr_fail(ATR_ERR_IO, "cannot look for %s: %s", pattern,
                          code == GLOB_NOSPACE ? "no memory" : strerror(errno));
    for (size_t i = 0; status == ATR_OK && i < found.gl_pathc; i++)
        status = add_path(g, found.gl_pathv[i]);
    globfree(&found);
    return status;
}

atr_status atr_inputs_collect(const char *const *arguments, int64_t count, const atr_inputs_rules *rules,
                              atr_inputs *out)
{
    atr_status status = ATR_OK;
    growing g = {.rules = rules};

    *out = g.inputs;
    g.skips = rules->skip != NULL && identify(rules->skip, &g.skipped);
    for (int64_t i = 0; i < count; i++) {
        if (atr_path_exists(arguments[i])) /* a file may be called "a[1].png" */
            ATR_TRY(add_path(&g, arguments[i]));
        else if (strpbrk(arguments[i], "*?[") != NULL)
            ATR_TRY(add_pattern(&g, arguments[i]));
        else
            ATR_TRY(atr_fail(ATR_ERR_NOT_FOUND, "there is no file or folder %s", arguments[i]));
    }
    *out = g.inputs;
    g.inputs = (atr_inputs){0, NULL, NULL};
done:
    atr_inputs_free(&g.inputs);
    return status;
}

void atr_inputs_free(atr_inputs *inputs)
{
    for (int64_t i = 0; i < inputs->count; i++) {
        atr_free(inputs->paths[i]);
        atr_free(inputs->stems[i]);
    }
    atr_free(inputs->paths);
    atr_free(inputs->stems);
    *inputs = (atr_inputs){0, NULL, NULL};
}

static int by_identity(const void *a, const void *b)
{
    const identity *x = a, *y = b;

    if (x->device != y->device)
        return x->device < y->device ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

/* A file that would be written, and the input it is made of. */
typedef struct output {
    char *path;
    int64_t input;
} output;

static int by_path(const void *a, const void *b)
{
    const output *x = a, *y = b;
    const int order = strcmp(x->path, y->path);

    return order != 0 ? order : (x->input > y->input) - (x->input < y->input);
}

static atr_status name_outputs(const atr_inputs *inputs, const char *folder, const char *const *suffixes,
                               int64_t count, output *out)
{
    atr_status status = ATR_OK;

    for (int64_t i = 0; i < inputs->count; i++)
        for (int64_t s = 0; s < count; s++, out++) {
            out->input = i;
            ATR_TRY(atr_format(&out->path, "%s/%s%s", folder, inputs->stems[i], suffixes[s]));
        }
done:
    return status;
}

static atr_status refuse_twins(const atr_inputs *inputs, const output *sorted, int64_t count)
{
    for (int64_t i = 1; i < count; i++)
        if (strcmp(sorted[i - 1].path, sorted[i].path) == 0)
            return atr_fail(ATR_ERR_USAGE,
                            "%s and %s would both be written to %s: give them different names, or run them "
                            "one by one into different folders",
                            inputs->paths[sorted[i - 1].input], inputs->paths[sorted[i].input],
                            sorted[i].path);
    return ATR_OK;
}

static atr_status refuse_overwriting(const atr_inputs *inputs, const output *outputs, int64_t count)
{
    atr_status status = ATR_OK;
    identity *sources = NULL, target;
    int64_t there = 0;

    ATR_TRY(ATR_NEW(inputs->count, &sources));
    for (int64_t i = 0; i < inputs->count; i++)
        there += identify(inputs->paths[i], &sources[there]);
    qsort(sources, (size_t)there, sizeof *sources, by_identity);
    for (int64_t i = 0; i < count && status == ATR_OK; i++)
        if (identify(outputs[i].path, &target) &&
            bsearch(&target, sources, (size_t)there, sizeof *sources, by_identity) != NULL)
            status = atr_fail(ATR_ERR_USAGE, "%s is an input and would be overwritten: choose another folder",
                              outputs[i].path);
done:
    atr_free(sources);
    return status;
}

atr_status atr_inputs_check_outputs(const atr_inputs *inputs, const char *folder, const char *const *suffixes)
{
    atr_status status = ATR_OK;
    int64_t each = 0;
    output *outputs = NULL;

    while (suffixes[each] != NULL)
        each++;
    const int64_t count = inputs->count * each;
    ATR_TRY(ATR_NEW(count, &outputs));
    ATR_TRY(name_outputs(inputs, folder, suffixes, each, outputs));
    qsort(outputs, (size_t)count, sizeof *outputs, by_path);
    ATR_TRY(refuse_twins(inputs, outputs, count));
    ATR_TRY(refuse_overwriting(inputs, outputs, count));
done:
    for (int64_t i = 0; outputs != NULL && i < count; i++)
        atr_free(outputs[i].path);
    atr_free(outputs);
    return status;
}
