#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/dataset.h"
#include "io/path.h"

/* From what a user names to files: folders, lists and patterns. */

typedef struct found {
    char **files;
    int64_t count, room;
} found;

static bool ends_with(const char *text, const char *end)
{
    const size_t length = strlen(text), tail = strlen(end);

    return length > tail && strcmp(text + length - tail, end) == 0;
}

static atr_status add(found *f, const char *path)
{
    atr_status status = ATR_OK;

    if (f->count == f->room) {
        const int64_t room = f->room == 0 ? 16 : 2 * f->room;
        ATR_TRY(atr_grow(f->count, room, sizeof *f->files, (void **)&f->files));
        f->room = room;
    }
    ATR_TRY(atr_strdup(path, &f->files[f->count]));
    f->count++;

done:
    return status;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort_from(found *f, int64_t first)
{
    if (f->count - first > 1)
        qsort(f->files + first, (size_t)(f->count - first), sizeof *f->files, by_bytes);
}

static atr_status add_folder(found *f, const char *folder)
{
    const int64_t before = f->count;
    atr_status status = ATR_OK;
    char *path = NULL;
    DIR *dir = opendir(folder);

    if (dir == NULL)
        return atr_fail(ATR_ERR_IO, "%s: %s", folder, strerror(errno));
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (entry->d_name[0] == '.' || !ends_with(entry->d_name, ".h5"))
            continue;
        ATR_TRY(atr_path_join(folder, entry->d_name, &path));
        ATR_TRY(add(f, path));
        atr_free(path);
        path = NULL;
    }
    if (f->count == before)
        status = atr_fail(ATR_ERR_NOT_FOUND, "%s: no file named *.h5 in this folder", folder);
    sort_from(f, before);

done:
    atr_free(path);
    closedir(dir);
    return status;
}

static atr_status add_pattern(found *f, const char *pattern)
{
    const int64_t before = f->count;
    atr_status status = ATR_OK;
    glob_t matches = {0};
    const int answer = glob(pattern, GLOB_NOSORT, NULL, &matches);

    if (answer == GLOB_NOMATCH)
        status = atr_fail(ATR_ERR_NOT_FOUND, "%s: no file has a name of this pattern", pattern);
    else if (answer != 0)
        status = atr_fail(answer == GLOB_NOSPACE ? ATR_ERR_MEMORY : ATR_ERR_IO,
                          "%s: the files of this pattern cannot be listed", pattern);
    for (size_t i = 0; status == ATR_OK && i < matches.gl_pathc; i++)
        status = add(f, matches.gl_pathv[i]);
    sort_from(f, before);
    globfree(&matches);
    return status;
}

/* All but a list. */
static atr_status add_name(found *f, const char *name)
{
    if (atr_path_is_folder(name))
        return add_folder(f, name);
    if (!atr_path_exists(name) && strpbrk(name, "*?[") != NULL)
        return add_pattern(f, name);
    return add(f, name); /* opening says what is wrong with it */
}

static atr_status add_line(found *f, const char *folder, char *line)
{
    atr_status status = ATR_OK;
    char *path = NULL;
    size_t length = strlen(line);

    while (length > 0 && strchr(" \t\r\n", line[length - 1]) != NULL)
        line[--length] = '\0';
    line += strspn(line, " \t");
    if (line[0] == '\0' || line[0] == '#')
        return ATR_OK;
    ATR_TRY(atr_path_join(folder, line, &path));
    ATR_TRY(add_name(f, path));

done:
    atr_free(path);
    return status;
}

static atr_status add_list(found *f, const char *list)
{
    const int64_t before = f->count;
    atr_status status = ATR_OK;
    char *folder = NULL, *line = NULL;
    size_t room = 0;
    FILE *file = fopen(list, "r");

    if (file == NULL)
        return atr_fail(errno == ENOENT ? ATR_ERR_NOT_FOUND : ATR_ERR_IO, "%s: %s", list, strerror(errno));
    ATR_TRY(atr_format(&folder, "%.*s", (int)(atr_path_base(list) - list), list));
    while (getline(&line, &room, file) >= 0)
        ATR_TRY(atr_fail_prefix(add_line(f, folder, line), "%s", list));
    if (ferror(file))
        status = atr_fail(ATR_ERR_IO, "%s: read error", list);
    else if (f->count == before)
        status = atr_fail(ATR_ERR_NOT_FOUND, "%s: this list names no file", list);

done:
    free(line);
    atr_free(folder);
    fclose(file);
    return status;
}

atr_status atr_dataset_files(const char *const *names, int64_t count, char ***files, int64_t *file_count)
{
    atr_status status = ATR_OK;
    found f = {0};

    *files = NULL;
    *file_count = 0;
    for (int64_t i = 0; i < count; i++) {
        const bool list = ends_with(names[i], ".txt") || ends_with(names[i], ".list");
        ATR_TRY(list && !atr_path_is_folder(names[i]) ? add_list(&f, names[i]) : add_name(&f, names[i]));
    }
    *files = f.files;
    *file_count = f.count;
    f = (found){0};

done:
    atr_dataset_files_free(f.files, f.count);
    return status;
}

void atr_dataset_files_free(char **files, int64_t count)
{
    for (int64_t i = 0; files != NULL && i < count; i++)
        atr_free(files[i]);
    atr_free(files);
}
