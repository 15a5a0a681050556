#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apps/train_impl.h"
#include "core/recipe.h"
#include "core/timer.h"
#include "io/events.h"
#include "io/path.h"

/* What a run leaves in its folder; then what is drawn of it, which alone is no run. Event files come on top. */
static const char *const files[] = {"config.yaml", "log.jsonl",      "last.h5",        "last.prev.h5",
                                    "best.h5",     "epoch_loss.png", "epoch_miou.png", "report.html"};

enum { FILES = sizeof files / sizeof files[0], RUN_FILES = 5 };

static atr_status find_run(const char *folder, bool *found)
{
    atr_status status = ATR_OK;

    *found = false;
    for (int i = 0; i < RUN_FILES; i++) {
        char *path = NULL;
        ATR_TRY(atr_path_join(folder, files[i], &path));
        *found |= atr_path_exists(path);
        atr_free(path);
    }

done:
    return status;
}

static atr_status remove_run(const char *folder)
{
    atr_status status = ATR_OK;

    for (int i = 0; i < FILES && status == ATR_OK; i++) {
        char *path = NULL;
        ATR_TRY(atr_path_join(folder, files[i], &path));
        if (remove(path) != 0 && errno != ENOENT)
            status = atr_fail(ATR_ERR_IO, "%s: %s", path, strerror(errno));
        atr_free(path);
    }

done:
    return status;
}

/* Their names hold a time. */
static atr_status remove_events(const char *folder)
{
    DIR *const dir = opendir(folder);
    atr_status status = ATR_OK;

    if (dir == NULL)
        return atr_fail(ATR_ERR_IO, "%s: %s", folder, strerror(errno));
    for (const struct dirent *entry = readdir(dir); entry != NULL && status == ATR_OK; entry = readdir(dir))
        if (atr_events_is_name(entry->d_name) && unlinkat(dirfd(dir), entry->d_name, 0) != 0)
            status = atr_fail(ATR_ERR_IO, "%s/%s: %s", folder, entry->d_name, strerror(errno));
    closedir(dir);
    return status;
}

atr_status atr_train_folder_prepare(const atr_train_options *options, atr_run_lock **lock)
{
    bool found = false;
    atr_status status = ATR_OK;

    if (mkdir(options->out, 0777) != 0 && errno != EEXIST)
        return atr_fail(ATR_ERR_IO, "%s: %s", options->out, strerror(errno));
    if (!atr_path_is_folder(options->out))
        return atr_fail(ATR_ERR_IO, "%s: is not a folder", options->out);
    ATR_TRY(atr_run_lock_take(options->out, lock));
    ATR_TRY(find_run(options->out, &found));
    if (found && !options->force && !options->resume)
        status =
            atr_fail(ATR_ERR_USAGE, "%s holds a run already: --resume goes on with it, --force starts over",
                     options->out);

done:
    return status;
}

/* One name as text, several as a list. */
static void append_data(const atr_trainer *trainer, atr_text *text)
{
    const bool several = trainer->data_count > 1;

    for (int64_t i = 0; i < trainer->data_count; i++) {
        atr_text_append(text, i > 0 ? "," : several ? "[" : "");
        atr_json_string(text, trainer->data[i]);
    }
    atr_text_append(text, several ? "]" : "");
}

/* The log's first line of each start: what was run on what. */
static atr_status log_start(atr_trainer *trainer)
{
    char now[ATR_TIME_TEXT_BYTES];
    atr_text text = {0};

    atr_text_append(&text, "{\"kind\":\"start\",\"time\":\"%s\",\"data\":", atr_time_text(now));
    append_data(trainer, &text);
    atr_text_append(
        &text,
        ",\"fingerprint\":\"%016llx\",\"backbone\":\"%s\",\"classes\":%lld,\"batch\":%lld,\"ranks\":%d,"
        "\"threads\":%d,\"backend\":\"%s\",\"precision\":\"%s\",\"epochs\":%lld,\"steps_per_epoch\":%lld,"
        "\"resumed_at\":%lld}",
        (unsigned long long)atr_dataset_fingerprint(trainer->dataset), trainer->session.info.backbone,
        (long long)trainer->session.info.classes, (long long)trainer->phase->batch,
        atr_comm_size(trainer->comm), trainer->session.threads.count, trainer->session.backend->table->name,
        atr_precision_text(trainer->session.backend), (long long)trainer->options->epochs,
        (long long)trainer->steps_per_epoch, (long long)trainer->cursor.global_step);
    return atr_runlog_line(trainer->log, &text);
}

atr_status atr_train_folder_open_log(atr_trainer *trainer)
{
    char *path = NULL;
    atr_status status = ATR_OK;

    if (trainer->options->force) {
        ATR_TRY(remove_run(trainer->options->out));
        ATR_TRY(remove_events(trainer->options->out));
    }
    if (trainer->resumed)
        atr_train_say_killed(trainer);
    ATR_TRY(atr_path_join(trainer->options->out, "config.yaml", &path));
    ATR_TRY(atr_options_write_yaml(trainer->parsed, path));
    ATR_TRY(atr_runlog_open(trainer->options->out, trainer->cursor.global_step, &trainer->log));
    ATR_TRY(log_start(trainer));
    ATR_TRY(atr_train_watch_open(trainer));

done:
    atr_free(path);
    return status;
}
