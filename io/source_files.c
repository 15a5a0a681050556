#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "io/h5.h"
#include "io/image.h"
#include "io/path.h"
#include "io/source_impl.h"

enum { DEEPEST = 32, LIST_LIMIT = 1 << 30 };

void atr_source_files_free(atr_source_files *files)
{
    for (int64_t i = 0; i < files->count; i++) {
        atr_free(files->list[i].stem);
        atr_free(files->list[i].path);
    }
    atr_free(files->list);
    atr_free(files->folded);
    *files = (atr_source_files){0};
}

/* Position of the suffix of `name` in `suffixes`, -1 if it is none of them; `*length` of the name without it. */
static int suffix_rank(const char *name, const char *const *suffixes, int *length)
{
    const char *dot = strrchr(name, '.');

    for (int i = 0; dot != NULL && suffixes[i] != NULL; i++)
        if (strcasecmp(dot + 1, suffixes[i]) == 0) {
            *length = (int)(dot - name);
            return i;
        }
    return -1;
}

static atr_status add_file(const char *folder, const char *below, const char *name, int length, int rank,
                           atr_source_files *out)
{
    atr_status status = ATR_OK;
    atr_source_file file = {.rank = rank};

    ATR_TRY(atr_format(&file.stem, "%s%.*s", below, length, name));
    ATR_TRY(atr_format(&file.path, "%s/%s%s", folder, below, name));
    if (out->count == out->capacity) {
        const int64_t capacity = out->capacity == 0 ? 256 : 2 * out->capacity;
        ATR_TRY(atr_grow(out->capacity, capacity, sizeof *out->list, (void **)&out->list));
        out->capacity = capacity;
    }
    out->list[out->count++] = file;
    return ATR_OK;

done:
    atr_free(file.stem);
    atr_free(file.path);
    return status;
}

/* `below`: path from `folder` to the folder looked at, "" or ending with '/'. */
static atr_status walk(const char *folder, const char *below, int depth, const char *const *suffixes,
                       atr_source_files *out)
{
    atr_status status = ATR_OK;
    char *path = NULL;
    DIR *dir = NULL;

    if (depth > DEEPEST)
        return atr_fail(ATR_ERR_DATA, "%s/%s: more than %d folders deep (a link in a circle?)", folder, below,
                        DEEPEST);
    ATR_TRY(atr_format(&path, "%s/%s", folder, below));
    dir = opendir(path);
    if (dir == NULL) {
        status = atr_fail(errno == ENOENT ? ATR_ERR_NOT_FOUND : ATR_ERR_IO, "%s: %s", path, strerror(errno));
        goto done;
    }
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        int length = 0;
        const int rank = suffix_rank(entry->d_name, suffixes, &length);
        if (entry->d_name[0] == '.')
            continue;
        atr_free(path);
        ATR_TRY(atr_format(&path, "%s/%s%s", folder, below, entry->d_name));
        if (atr_path_is_folder(path)) {
            atr_free(path);
            ATR_TRY(atr_format(&path, "%s%s/", below, entry->d_name));
            ATR_TRY(walk(folder, path, depth + 1, suffixes, out));
        } else if (rank >= 0) {
            ATR_TRY(add_file(folder, below, entry->d_name, length, rank, out));
        }
    }

done:
    if (dir != NULL)
        closedir(dir);
    atr_free(path);
    return status;
}

static int by_stem(const void *a, const void *b)
{
    const atr_source_file *x = a, *y = b;
    const int order = strcmp(x->stem, y->stem);

    if (order != 0)
        return order;
    return x->rank != y->rank ? x->rank - y->rank : strcmp(x->path, y->path);
}

static int by_folded(const void *a, const void *b)
{
    return strcasecmp(*(const char *const *)a, *(const char *const *)b);
}

static void fold(atr_source_files *files)
{
    for (int64_t i = 0; i < files->count; i++)
        files->folded[i] = files->list[i].stem;
    if (files->count > 1)
        qsort(files->folded, (size_t)files->count, sizeof *files->folded, by_folded);
}

void atr_source_files_filter(atr_source_files *files, const bool *keep)
{
    int64_t kept = 0;

    for (int64_t i = 0; i < files->count; i++) {
        if (keep[i]) {
            files->list[kept++] = files->list[i];
        } else {
            atr_free(files->list[i].stem);
            atr_free(files->list[i].path);
        }
    }
    files->count = kept;
    fold(files);
}

atr_status atr_source_collect(const char *folder, const char *const *suffixes, atr_source_files *out)
{
    atr_status status = ATR_OK;

    *out = (atr_source_files){0};
    ATR_TRY(walk(folder, "", 0, suffixes, out));
    ATR_TRY(ATR_NEW(out->count, &out->folded));
    if (out->count > 1)
        qsort(out->list, (size_t)out->count, sizeof *out->list, by_stem);
    fold(out);

done:
    if (status != ATR_OK)
        atr_source_files_free(out);
    return status;
}

int64_t atr_source_find(const atr_source_files *files, const char *stem)
{
    int64_t low = 0, high = files->count;

    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (strcmp(files->list[middle].stem, stem) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < files->count && strcmp(files->list[low].stem, stem) == 0 ? low : -1;
}

bool atr_source_has_any_case(const atr_source_files *files, const char *stem)
{
    return files->count > 0 &&
           bsearch(&stem, files->folded, (size_t)files->count, sizeof *files->folded, by_folded) != NULL;
}

static atr_status add_line(const char *text, size_t length, char ***names, int64_t *count, int64_t *capacity)
{
    atr_status status = ATR_OK;

    while (length > 0 && isspace((unsigned char)text[length - 1]))
        length--;
    while (length > 0 && isspace((unsigned char)text[0])) {
        text++;
        length--;
    }
    if (length == 0)
        return ATR_OK;
    if (*count == *capacity) {
        const int64_t more = *capacity == 0 ? 256 : 2 * *capacity;
        ATR_TRY(atr_grow(*capacity, more, sizeof **names, (void **)names));
        *capacity = more;
    }
    ATR_TRY(atr_format(&(*names)[*count], "%.*s", (int)length, text));
    ++*count;

done:
    return status;
}

atr_status atr_source_read_list(const char *path, char ***names, int64_t *count)
{
    atr_status status = ATR_OK;
    char *bytes = NULL, **found = NULL;
    size_t size = 0, start = 0;
    int64_t used = 0, capacity = 0;

    *names = NULL;
    *count = 0;
    ATR_TRY(atr_file_read(path, LIST_LIMIT, (void **)&bytes, &size));
    if (size >= 3 && memcmp(bytes, "\xEF\xBB\xBF", 3) == 0)
        start = 3;
    while (start < size) {
        const char *end = memchr(bytes + start, '\n', size - start);
        const size_t length = end == NULL ? size - start : (size_t)(end - (bytes + start));
        ATR_TRY(add_line(bytes + start, length, &found, &used, &capacity));
        start += length + 1;
    }
    *names = found;
    *count = used;
    found = NULL;

done:
    if (found != NULL)
        atr_h5_names_free(found, used);
    atr_free(bytes);
    return status;
}
