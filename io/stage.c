#include "io/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/dataset.h"
#include "io/h5.h"
#include "io/h5_guard.h"
#include "io/path.h"
#include "io/stage_impl.h"

atr_status atr_stage_home(const char *folder, char **out)
{
    const size_t length = strlen(folder);

    return atr_format(out, "%s%satrous-%lld", folder, length > 0 && folder[length - 1] == '/' ? "" : "/",
                      (long long)geteuid());
}

/* A file without a whole seal: opening it as a data set finds the words for what is wrong with it. */
static atr_status refuse_source(const char *source, atr_status status)
{
    atr_dataset *dataset = NULL;

    if (status == ATR_ERR_DATA && atr_dataset_open(source, &dataset) != ATR_OK)
        return ATR_ERR_DATA;
    atr_dataset_close(dataset);
    return status;
}

static atr_status look_at_source(atr_stage *stage)
{
    atr_status status = ATR_OK;
    struct stat facts;

    ATR_TRY(refuse_source(stage->source, atr_h5_seal_key(stage->source, &stage->seal, &stage->bytes)));
    if (stat(stage->source, &facts) != 0) {
        status = atr_fail(ATR_ERR_IO, "%s: %s", stage->source, strerror(errno));
        goto done;
    }
    stage->mtime_ns = atr_stage_mtime(&facts);
    const int64_t identity[2] = {stage->bytes, stage->mtime_ns};
    stage->key = atr_hash64(identity, sizeof identity, stage->seal);

done:
    return status;
}

atr_status atr_stage_open(const char *source, const char *folder, atr_stage **out)
{
    atr_status status = ATR_OK;
    atr_stage *stage = NULL;
    char *home = NULL;

    *out = NULL;
    ATR_TRY(ATR_NEW(1, &stage));
    if (!atr_path_is_folder(folder)) {
        status =
            atr_fail(ATR_ERR_USAGE, "--stage %s: no such folder here; it must exist on every node", folder);
        goto done;
    }
    ATR_TRY(atr_strdup(source, &stage->source));
    ATR_TRY(atr_strdup(folder, &stage->folder));
    ATR_TRY(look_at_source(stage));
    ATR_TRY(atr_stage_home(folder, &home));
    ATR_TRY(atr_format(&stage->copy, "%s/%016llx/%s", home, (unsigned long long)stage->key,
                       atr_path_base(source)));
    ATR_TRY(atr_path_partial(stage->copy, &stage->partial));
    ATR_TRY(atr_format(&stage->record, "%s.record", stage->copy));
    *out = stage;
    stage = NULL;

done:
    atr_free(home);
    atr_stage_close(stage);
    return status;
}

void atr_stage_close(atr_stage *stage)
{
    if (stage == NULL)
        return;
    atr_free(stage->source);
    atr_free(stage->folder);
    atr_free(stage->copy);
    atr_free(stage->partial);
    atr_free(stage->record);
    atr_free(stage);
}

const char *atr_stage_source(const atr_stage *stage)
{
    return stage->source;
}

const char *atr_stage_copy_path(const atr_stage *stage)
{
    return stage->copy;
}

int64_t atr_stage_bytes(const atr_stage *stage)
{
    return stage->bytes;
}

uint64_t atr_stage_key(const atr_stage *stage)
{
    return stage->key;
}

/* Of this user, no link: in a folder that all may write to, somebody else's copy is not trusted. */
static bool is_own(const char *path, mode_t kind, struct stat *facts)
{
    return lstat(path, facts) == 0 && (facts->st_mode & S_IFMT) == kind && facts->st_uid == geteuid();
}

static bool home_is_own(const atr_stage *stage)
{
    struct stat facts;
    char *home = NULL;
    const bool own = atr_stage_home(stage->folder, &home) == ATR_OK && is_own(home, S_IFDIR, &facts);

    atr_free(home);
    return own;
}

atr_stage_state atr_stage_find(atr_stage *stage)
{
    atr_stage_record record;
    uint64_t seal = 0;
    int64_t bytes = 0;
    struct stat facts;

    stage->state = ATR_STAGE_PARTIAL;
    if (!home_is_own(stage) || !is_own(stage->copy, S_IFREG, &facts) || facts.st_size != stage->bytes)
        return stage->state;
    stage->state = ATR_STAGE_DOUBTED;
    if (atr_stage_record_read(stage, &record) && record.copy_mtime_ns != 0 &&
        record.copy_mtime_ns == atr_stage_mtime(&facts) &&
        atr_h5_seal_key(stage->copy, &seal, &bytes) == ATR_OK && seal == stage->seal &&
        atr_h5_check_seal(stage->copy) == ATR_OK)
        stage->state = ATR_STAGE_GOOD;
    return stage->state;
}

static atr_status make_home(const char *folder, char **home)
{
    atr_status status = ATR_OK;
    struct stat facts;

    ATR_TRY(atr_stage_home(folder, home));
    if (mkdir(*home, 0700) != 0 && errno != EEXIST)
        status = atr_fail(ATR_ERR_IO, "--stage: %s cannot be made: %s", *home, strerror(errno));
    else if (!is_own(*home, S_IFDIR, &facts))
        status = atr_fail(ATR_ERR_IO, "--stage: %s belongs to somebody else, or is no folder", *home);

done:
    return status;
}

atr_status atr_stage_lock(const char *folder, int *lock)
{
    atr_status status = ATR_OK;
    char *home = NULL, *path = NULL;

    *lock = -1;
    ATR_TRY(make_home(folder, &home));
    ATR_TRY(atr_path_join(home, "lock", &path));
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        status = atr_fail(ATR_ERR_IO, "--stage: %s: %s", path, strerror(errno));
        goto done;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        *lock = fd;
        goto done;
    }
    *lock = errno == EWOULDBLOCK || errno == EINTR ? -1 : -2;
    close(fd);

done:
    atr_free(path);
    atr_free(home);
    return status;
}

void atr_stage_unlock(int lock)
{
    if (lock >= 0)
        close(lock);
}
