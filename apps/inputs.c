#include "apps/inputs.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "io/path.h"

typedef struct growing {
    atr_inputs inputs;
    int64_t room;
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

static atr_status add(growing *g, const char *path)
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
    ATR_TRY(atr_strdup(atr_path_base(path), &in->stems[at]));
    char *dot = strrchr(in->stems[at], '.');
    if (dot != NULL && dot != in->stems[at])
        *dot = '\0';
done:
    return status;
}

static atr_status add_folder(growing *g, const char *folder)
{
    atr_status status = ATR_OK;
    struct dirent **entries = NULL;
    const int64_t before = g->inputs.count;
    const int count = scandir(folder, &entries, NULL, alphasort);

    if (count < 0)
        return atr_fail(ATR_ERR_IO, "cannot read the folder %s: %s", folder, strerror(errno));
    for (int i = 0; i < count && status == ATR_OK; i++) {
        char *path = NULL;
        if (entries[i]->d_name[0] == '.' || !has_picture_suffix(entries[i]->d_name))
            continue;
        status = atr_path_join(folder, entries[i]->d_name, &path);
        if (status == ATR_OK && !atr_path_is_folder(path))
            status = add(g, path);
        atr_free(path);
    }
    if (status == ATR_OK && g->inputs.count == before)
        status =
            atr_fail(ATR_ERR_NOT_FOUND, "the folder %s holds no pictures (*.jpg, *.jpeg, *.png)", folder);
    for (int i = 0; i < count; i++)
        free(entries[i]);
    free(entries);
    return status;
}

static int by_stem(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Outputs lie in one folder under the inputs' stems: two of the same would overwrite each other. */
static atr_status refuse_twins(const atr_inputs *inputs)
{
    atr_status status = ATR_OK;
    char **sorted = NULL;

    ATR_TRY(ATR_NEW(inputs->count, &sorted));
    memcpy(sorted, inputs->stems, (size_t)inputs->count * sizeof *sorted);
    qsort(sorted, (size_t)inputs->count, sizeof *sorted, by_stem);
    for (int64_t i = 1; i < inputs->count && status == ATR_OK; i++)
        if (strcmp(sorted[i - 1], sorted[i]) == 0)
            status =
                atr_fail(ATR_ERR_USAGE,
                         "two inputs are called '%s': both would be written to %s.png; run them one by one",
                         sorted[i], sorted[i]);
done:
    atr_free(sorted);
    return status;
}

atr_status atr_inputs_collect(const char *const *arguments, int64_t count, atr_inputs *out)
{
    atr_status status = ATR_OK;
    growing g = {{0, NULL, NULL}, 0};

    *out = g.inputs;
    for (int64_t i = 0; i < count; i++) {
        if (atr_path_is_folder(arguments[i]))
            ATR_TRY(add_folder(&g, arguments[i]));
        else
            ATR_TRY(add(&g, arguments[i]));
    }
    ATR_TRY(refuse_twins(&g.inputs));
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
