#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "io/pack_impl.h"
#include "io/path.h"

/* One packing in several files. Each is a whole data set with its own statistics; that it is a part, and of what, stands in its
 * attributes. All files are written under partial names before the first gets its own. */

bool atr_pack_is_sharded(const atr_pack_config *config)
{
    return config->shards > 0 || config->shard_bytes > 0;
}

/* Length of `output` without ".h5", or whatever stands behind the last dot of its base name. */
static int stem_length(const char *output)
{
    const char *const base = atr_path_base(output);
    const char *const dot = strrchr(base, '.');

    return (int)(dot != NULL && dot != base ? dot - output : (ptrdiff_t)strlen(output));
}

atr_status atr_pack_shard_name(const char *output, int64_t number, int64_t count, char **name)
{
    const int stem = stem_length(output);

    return atr_format(name, "%.*s-%05lld-of-%05lld%s", stem, output, (long long)number, (long long)count,
                      output + stem);
}

/* Whether `name` is STEM-NNNNN-of-NNNNN.SUFFIX of `output`'s base name. */
static bool is_shard_of(const char *name, const char *output)
{
    static const char pattern[] = "-ddddd-of-ddddd";
    const char *const base = atr_path_base(output);
    const size_t stem = (size_t)(stem_length(output) - (base - output));

    if (strncmp(name, base, stem) != 0)
        return false;
    name += stem;
    for (const char *p = pattern; *p != '\0'; p++, name++)
        if (*p == 'd' ? !isdigit((unsigned char)*name) : *name != *p)
            return false;
    return strcmp(name, base + stem) == 0;
}

/* Calls `visit` with the path of each numbered file of `output` that exists. */
static atr_status each_existing(const char *output, atr_status (*visit)(const char *path))
{
    const char *const base = atr_path_base(output);
    atr_status status = ATR_OK;
    char *folder = NULL, *path = NULL;
    DIR *dir = NULL;

    ATR_TRY(base == output ? atr_strdup(".", &folder)
                           : atr_format(&folder, "%.*s", (int)(base - output), output));
    dir = opendir(folder);
    for (const struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        if (!is_shard_of(entry->d_name, output))
            continue;
        ATR_TRY(atr_format(&path, "%.*s%s", (int)(base - output), output, entry->d_name));
        ATR_TRY(visit(path));
        atr_free(path);
        path = NULL;
    }

done:
    if (dir != NULL)
        closedir(dir);
    atr_free(path);
    atr_free(folder);
    return status;
}

static atr_status refuse_existing(const char *path)
{
    return atr_fail(ATR_ERR_USAGE,
                    "%s: exists; give --force to replace all files of this name, or another name", path);
}

static atr_status remove_existing(const char *path)
{
    if (remove(path) != 0)
        return atr_fail(ATR_ERR_IO, "%s: cannot be removed: %s", path, strerror(errno));
    return ATR_OK;
}

atr_status atr_pack_shards_check(const atr_pack_config *config)
{
    return config->force ? ATR_OK : each_existing(config->output, refuse_existing);
}

atr_status atr_pack_shards_count(atr_pack_job *job, int64_t index, const atr_pack_look *look)
{
    atr_pack_counted *const counted = &job->counted[index];
    atr_status status = ATR_OK;

    for (int id = 0; id < 256; id++)
        counted->pair_count += look->scan.pixels[id] > 0;
    ATR_TRY(ATR_NEW(2 * counted->pair_count, &counted->pairs));
    for (int64_t id = 0, at = 0; id < 256; id++)
        if (look->scan.pixels[id] > 0) {
            counted->pairs[at++] = id;
            counted->pairs[at++] = look->scan.pixels[id];
        }
    memcpy(counted->sum, look->sum, sizeof counted->sum);
    memcpy(counted->square, look->square, sizeof counted->square);

done:
    return status;
}

void atr_pack_shards_free(atr_pack_job *job)
{
    for (int64_t i = 0; job->counted != NULL && i < job->source.count; i++)
        atr_free(job->counted[i].pairs);
    atr_free(job->counted);
    job->counted = NULL;
}

/* Bytes of the samples before number `i`. */
static int64_t bytes_before(const atr_dataset_index *x, int64_t i)
{
    return x->image_at[i] + x->mask_at[i];
}

static atr_status choose_count(const atr_pack_job *job, int64_t *count)
{
    const atr_pack_config *const config = job->config;
    const int64_t samples = job->index.count, bytes = bytes_before(&job->index, samples);

    if (config->shards > samples)
        return atr_fail(ATR_ERR_USAGE, "--shards %lld: there are only %lld samples",
                        (long long)config->shards, (long long)samples);
    *count =
        config->shards > 0 ? config->shards : bytes / config->shard_bytes + (bytes % config->shard_bytes > 0);
    if (*count > samples)
        *count = samples;
    if (*count > ATR_DATASET_MOST_PARTS)
        return atr_fail(ATR_ERR_USAGE, "--shard-size: %lld MB in %lld files, at most %d can be written",
                        (long long)(bytes / 1000000), (long long)*count, ATR_DATASET_MOST_PARTS);
    return ATR_OK;
}

/* First sample of file `k` of `count`: about k/count of the bytes lie before it, each file has a sample. */
static int64_t choose_first(const atr_dataset_index *x, int64_t k, int64_t count, int64_t previous)
{
    const double wanted = (double)bytes_before(x, x->count) * (double)k / (double)count;
    int64_t i = previous + 1;

    while (i < x->count - (count - k) && (double)bytes_before(x, i) < wanted)
        i++;
    return i;
}

/* The sums of samples [first, first + count) alone. */
static void count_part(const atr_pack_job *job, int64_t first, int64_t count, atr_dataset_stats *out)
{
    const atr_dataset_index *const x = &job->index;
    atr_pack_sums sums = {0};

    for (int64_t i = first; i < first + count; i++) {
        const atr_pack_counted *const counted = &job->counted[i];
        int64_t pixels[256] = {0};
        for (int64_t p = 0; p < counted->pair_count; p++)
            pixels[counted->pairs[2 * p]] = counted->pairs[2 * p + 1];
        atr_dataset_stats_add(out, x->splits[i], pixels);
        atr_pack_sums_add(&sums, x->splits[i], (double)x->sizes[2 * i] * (double)x->sizes[2 * i + 1],
                          counted->sum, counted->square);
    }
    atr_pack_moments(&sums, out);
}

/* A view of the job's index from sample `first` on, but for the offsets, which begin at 0: to be freed. */
static atr_status make_view(const atr_pack_job *job, int64_t first, int64_t end, atr_dataset_index *view)
{
    const atr_dataset_index *const x = &job->index;
    const int64_t count = end - first;
    atr_status status = ATR_OK;

    *view = *x;
    view->count = count;
    view->names = x->names + first;
    view->sizes = x->sizes + 2 * first;
    view->splits = x->splits + first;
    view->image_sums = x->image_sums + first;
    view->mask_sums = x->mask_sums + first;
    view->contents = x->contents + first;
    view->image_at = view->mask_at = NULL;
    view->stats = (atr_dataset_stats){0};
    ATR_TRY(ATR_NEW(count + 1, &view->image_at));
    ATR_TRY(ATR_NEW(count + 1, &view->mask_at));
    for (int64_t i = 0; i <= count; i++) {
        view->image_at[i] = x->image_at[first + i] - x->image_at[first];
        view->mask_at[i] = x->mask_at[first + i] - x->mask_at[first];
    }
    count_part(job, first, count, &view->stats);
    view->fingerprint = atr_dataset_index_fingerprint(view);

done:
    return status;
}

static atr_status write_part(const atr_pack_job *job, int64_t first, int64_t end, int64_t part, int64_t parts,
                             const char *partial, int64_t *bytes)
{
    atr_dataset_index view = {0};
    int64_t size = 0;
    atr_status status = ATR_OK;

    ATR_TRY(make_view(job, first, end, &view));
    view.part = part;
    view.parts = parts;
    view.whole = job->index.fingerprint;
    ATR_TRY(atr_pack_write_file(job, &view, first, partial));
    ATR_TRY(atr_path_size(partial, &size));
    *bytes += size;

done:
    atr_free(view.image_at);
    atr_free(view.mask_at);
    return status;
}

/* Old files of the name go first: what a killed writer leaves is never a mixture of old and new. */
static atr_status give_names(const char *output, char *const *partials, int64_t count)
{
    atr_status status = ATR_OK;
    char *name = NULL;

    ATR_TRY(each_existing(output, remove_existing));
    for (int64_t k = 0; k < count; k++) {
        ATR_TRY(atr_pack_shard_name(output, k + 1, count, &name));
        ATR_TRY(atr_path_replace(partials[k], name));
        atr_free(name);
        name = NULL;
    }

done:
    atr_free(name);
    return status;
}

atr_status atr_pack_shards_write(atr_pack_job *job, int64_t *bytes, int64_t *shards)
{
    const char *const output = job->config->output;
    int64_t count = 0, first = 0;
    char **partials = NULL, *name = NULL;
    atr_status status = ATR_OK;

    ATR_TRY(choose_count(job, &count));
    ATR_TRY(ATR_NEW(count, &partials));
    for (int64_t k = 0; k < count; k++) {
        const int64_t end =
            k + 1 == count ? job->index.count : choose_first(&job->index, k + 1, count, first);
        ATR_TRY(atr_pack_shard_name(output, k + 1, count, &name));
        ATR_TRY(atr_path_partial(name, &partials[k]));
        atr_free(name);
        name = NULL;
        ATR_TRY(write_part(job, first, end, k + 1, count, partials[k], bytes));
        first = end;
    }
    ATR_TRY(give_names(output, partials, count));
    *shards = count;

done:
    for (int64_t k = 0; status != ATR_OK && partials != NULL && k < count; k++)
        if (partials[k] != NULL)
            remove(partials[k]);
    atr_free(name);
    atr_dataset_files_free(partials, count);
    return status;
}
