#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "io/checkpoint_impl.h"
#include "io/h5_guard.h"
#include "io/path.h"

/* The checkpoints of a run's folder. Files are only ever replaced by rename, never changed in place, so two names may share
 * one file by a hard link. */

typedef struct run_paths {
    char *last, *previous, *best, *partial;
} run_paths;

static void paths_free(run_paths *paths)
{
    atr_free(paths->last);
    atr_free(paths->previous);
    atr_free(paths->best);
    atr_free(paths->partial);
}

static atr_status paths_make(const char *folder, run_paths *paths)
{
    atr_status status = ATR_OK;

    ATR_TRY(atr_path_join(folder, "last.h5", &paths->last));
    ATR_TRY(atr_path_join(folder, "last.prev.h5", &paths->previous));
    ATR_TRY(atr_path_join(folder, "best.h5", &paths->best));
    ATR_TRY(atr_path_partial(paths->last, &paths->partial));

done:
    return status;
}

/* Gives last.h5 its second name, by a link where possible: then last.h5 is there at every moment. A damaged one is not worth
 * keeping, and must not push out a sound previous one. */
static atr_status keep_previous(const run_paths *paths)
{
    if (atr_h5_check_seal(paths->last) != ATR_OK)
        return ATR_OK;
    if (unlink(paths->previous) != 0 && errno != ENOENT)
        return atr_fail(ATR_ERR_IO, "%s: cannot be replaced: %s", paths->previous, strerror(errno));
    if (link(paths->last, paths->previous) == 0)
        return ATR_OK;
    if (rename(paths->last, paths->previous) != 0)
        return atr_fail(ATR_ERR_IO, "%s: cannot be renamed to %s: %s", paths->last, paths->previous,
                        strerror(errno));
    return ATR_OK;
}

/* Makes best.h5 the same file as last.h5, or an equal one where the file system has no links. */
static atr_status keep_best(const run_paths *paths, const atr_checkpoint *ckpt)
{
    atr_status status = ATR_OK;
    char *partial = NULL;

    ATR_TRY(atr_path_partial(paths->best, &partial));
    unlink(partial);
    if (link(paths->last, partial) == 0)
        ATR_TRY(atr_path_replace(partial, paths->best));
    else
        ATR_TRY(atr_checkpoint_write(paths->best, ckpt));

done:
    atr_free(partial);
    return status;
}

atr_status atr_run_save(const char *folder, const atr_checkpoint *ckpt, bool best)
{
    atr_status status = ATR_OK;
    run_paths paths = {0};

    ATR_TRY(paths_make(folder, &paths));
    ATR_TRY(atr_checkpoint_write_partial(paths.partial, ckpt));
    ATR_TRY(keep_previous(&paths));
    ATR_TRY(atr_path_replace(paths.partial, paths.last));
    if (best)
        ATR_TRY(keep_best(&paths, ckpt));

done:
    if (status != ATR_OK && paths.partial != NULL)
        unlink(paths.partial);
    paths_free(&paths);
    return status;
}

/* "last.h5 is damaged (checksum), using step 7000." */
static atr_status make_note(const char *fault, const atr_checkpoint_file *used, char **note)
{
    atr_status status = ATR_OK;
    atr_train_state state = {0};

    if (!atr_checkpoint_has_state(used))
        return atr_format(note, "%s, using last.prev.h5.", fault);
    ATR_TRY(atr_checkpoint_load_state(used, &state));
    ATR_TRY(atr_format(note, "%s, using step %lld.", fault, (long long)state.global_step));

done:
    atr_train_state_free(&state);
    return status;
}

/* What is wrong with last.h5, without the folder's name in front. */
static atr_status describe_fault(atr_status fault, const char *folder, char **out)
{
    const char *message = atr_status_message();
    size_t length = strlen(folder);

    while (length > 0 && folder[length - 1] == '/')
        length--;
    if (fault == ATR_ERR_NOT_FOUND)
        return atr_strdup("last.h5 is missing", out);
    if (strncmp(message, folder, length) == 0 && message[length] == '/')
        message += length + 1;
    return atr_strdup(message, out);
}

atr_status atr_run_resume(const char *folder, atr_checkpoint_file **out, char **note)
{
    atr_status status = ATR_OK;
    run_paths paths = {0};
    char *fault = NULL, *words = NULL;
    atr_checkpoint_file *file = NULL;

    *out = NULL;
    if (note != NULL)
        *note = NULL;
    ATR_TRY(paths_make(folder, &paths));
    const atr_status first = atr_checkpoint_open(paths.last, &file);
    if (first != ATR_OK) {
        ATR_TRY(describe_fault(first, folder, &fault));
        const atr_status second = atr_checkpoint_open(paths.previous, &file);
        if (second == ATR_ERR_NOT_FOUND) {
            status = first == ATR_ERR_NOT_FOUND
                         ? atr_fail(first, "%s holds no checkpoint to resume from", folder)
                         : atr_fail(first, "%s: %s, and there is no last.prev.h5", folder, fault);
            goto done;
        }
        ATR_TRY(atr_fail_prefix(second, "%s: %s, and the one before cannot be used", folder, fault));
        ATR_TRY(make_note(fault, file, &words));
    }
    if (note != NULL) {
        *note = words;
        words = NULL;
    }
    *out = file;
    file = NULL;

done:
    paths_free(&paths);
    atr_free(fault);
    atr_free(words);
    atr_checkpoint_close(file);
    return status;
}
