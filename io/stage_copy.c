#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/h5.h"
#include "io/h5_guard.h"
#include "io/path.h"
#include "io/stage_impl.h"

/* Piece by piece from the source to the copy. A piece's checksum is noted behind its bytes: what a killed process leaves is checked
 * against it, and read again from the source where it differs. */

static const char *work_path(const atr_stage *stage, atr_stage_state state)
{
    return state == ATR_STAGE_DOUBTED ? stage->copy : stage->partial;
}

static int64_t piece_count(const atr_stage *stage)
{
    return (stage->bytes + ATR_STAGE_CHUNK - 1) / ATR_STAGE_CHUNK;
}

static int64_t piece_bytes(const atr_stage *stage, int64_t piece)
{
    const int64_t left = stage->bytes - piece * ATR_STAGE_CHUNK;

    return left < ATR_STAGE_CHUNK ? left : ATR_STAGE_CHUNK;
}

/* Never 0, which means that a piece is not there. */
static uint64_t sum_of(const void *bytes, int64_t count)
{
    const uint64_t sum = atr_hash64(bytes, (size_t)count, 0);

    return sum != 0 ? sum : 1;
}

typedef struct copier {
    atr_stage *stage;
    const char *work;
    int source, copy, record;
    uint8_t *buffer; /* [ATR_STAGE_CHUNK] */
} copier;

static atr_status open_copier(atr_stage *stage, atr_stage_state state, copier *out)
{
    atr_status status = ATR_OK;

    *out = (copier){.stage = stage, .work = work_path(stage, state), .source = -1, .copy = -1, .record = -1};
    ATR_TRY(ATR_NEW(ATR_STAGE_CHUNK, &out->buffer));
    out->source = open(stage->source, O_RDONLY | O_CLOEXEC);
    if (out->source < 0) {
        status = atr_fail(ATR_ERR_IO, "%s: %s", stage->source, strerror(errno));
        goto done;
    }
    out->copy = open(out->work, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (out->copy < 0 &&
        errno == ENOENT) { /* where locks are refused, another job may have given it its name */
        out->work = stage->copy;
        out->copy = open(out->work, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    }
    out->record = open(stage->record, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (out->copy < 0 || out->record < 0)
        status = atr_fail(ATR_ERR_IO, "--stage: %s: %s", out->copy < 0 ? out->work : stage->record,
                          strerror(errno));

done:
    return status;
}

static void close_copier(copier *c)
{
    if (c->source >= 0)
        close(c->source);
    if (c->copy >= 0)
        close(c->copy);
    if (c->record >= 0)
        close(c->record);
    atr_free(c->buffer);
}

/* Whether the piece has arrived and is whole. */
static bool is_there(const copier *c, int64_t piece, uint64_t noted)
{
    const int64_t count = piece_bytes(c->stage, piece);

    return noted != 0 &&
           atr_stage_read(c->copy, c->work, c->buffer, count, piece * ATR_STAGE_CHUNK) == ATR_OK &&
           sum_of(c->buffer, count) == noted;
}

/* What is read once need not stay in memory, which the copy will want (in /dev/shm it is memory). */
static atr_status copy_piece(const copier *c, int64_t piece)
{
    const int64_t at = piece * ATR_STAGE_CHUNK, count = piece_bytes(c->stage, piece);
    atr_status status = ATR_OK;

    ATR_TRY(atr_stage_read(c->source, c->stage->source, c->buffer, count, at));
    (void)posix_fadvise(c->source, (off_t)at, (off_t)count, POSIX_FADV_DONTNEED);
    ATR_TRY(atr_stage_write(c->copy, c->work, c->buffer, count, at));
    const uint64_t sum = sum_of(c->buffer, count);
    ATR_TRY(atr_stage_write(c->record, c->stage->record, &sum, sizeof sum, atr_stage_sum_at(piece)));

done:
    return status;
}

atr_status atr_stage_copy(atr_stage *stage, atr_stage_state state, int part, int parts,
                          bool (*stop)(void *user), void *user, int64_t *copied, int64_t *kept)
{
    atr_status status = ATR_OK;
    copier c = {.source = -1, .copy = -1, .record = -1};

    ATR_TRY(open_copier(stage, state, &c));
    for (int64_t piece = part; piece < piece_count(stage); piece += parts) {
        uint64_t noted = 0;
        if (stop != NULL && stop(user)) {
            status = atr_fail(ATR_ERR_STOPPED, "stopped while %s was staged", stage->source);
            goto done;
        }
        ATR_TRY(atr_stage_read(c.record, stage->record, &noted, sizeof noted, atr_stage_sum_at(piece)));
        if (is_there(&c, piece, noted)) {
            *kept += piece_bytes(stage, piece);
            continue;
        }
        ATR_TRY(copy_piece(&c, piece));
        *copied += piece_bytes(stage, piece);
    }

done:
    close_copier(&c);
    return status;
}

/* The record: sums of an earlier try stay where it was of this very source. */
static atr_status prepare_record(atr_stage *stage)
{
    atr_stage_record old;
    const atr_stage_record fresh = atr_stage_record_make(stage, 0);
    const bool known = atr_stage_record_read(stage, &old);
    const int fd =
        open(stage->record, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | (known ? 0 : O_TRUNC), 0600);
    atr_status status = ATR_OK;

    if (fd < 0)
        return atr_fail(ATR_ERR_IO, "--stage: %s: %s", stage->record, strerror(errno));
    if (ftruncate(fd, (off_t)atr_stage_sum_at(piece_count(stage))) != 0)
        status = atr_fail(ATR_ERR_IO, "--stage: %s: %s", stage->record, strerror(errno));
    if (status == ATR_OK)
        status = atr_stage_record_write(fd, stage->record, &fresh);
    close(fd);
    return status;
}

/* The place is taken now, so that a disk that others fill meanwhile does not end the copy half-way. Without fallocate() the check
 * before must do. */
static atr_status take_place(atr_stage *stage, int fd)
{
    if (ftruncate(fd, (off_t)stage->bytes) != 0 && errno != ENOSPC)
        return atr_fail(ATR_ERR_IO, "--stage: %s: %s", stage->partial, strerror(errno));
    if (fallocate(fd, 0, 0, (off_t)stage->bytes) == 0 || errno != ENOSPC)
        return ATR_OK;
    unlink(stage->partial);
    return atr_stage_room(stage->folder, &stage, 1) != ATR_OK
               ? ATR_ERR_IO
               : atr_fail(ATR_ERR_IO, "P04: no room for a copy of %s (%.1f MB) in %s", stage->source,
                          (double)stage->bytes / 1e6, stage->folder);
}

atr_status atr_stage_prepare(atr_stage *stage)
{
    atr_status status = ATR_OK;
    int fd = -1;

    ATR_TRY(atr_path_make_above(stage->copy));
    ATR_TRY(prepare_record(stage));
    if (stage->state == ATR_STAGE_DOUBTED)
        goto done;
    fd = open(stage->partial, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        status = atr_fail(ATR_ERR_IO, "--stage: %s: %s", stage->partial, strerror(errno));
        goto done;
    }
    ATR_TRY(take_place(stage, fd));

done:
    if (fd >= 0)
        close(fd);
    return status;
}

static atr_status check_unchanged(const atr_stage *stage)
{
    struct stat facts;

    if (stat(stage->source, &facts) != 0)
        return atr_fail(ATR_ERR_IO, "%s: %s", stage->source, strerror(errno));
    if (facts.st_size != stage->bytes || atr_stage_mtime(&facts) != stage->mtime_ns)
        return atr_fail(ATR_ERR_DATA, "%s: changed while it was staged; start again when it is complete",
                        stage->source);
    return ATR_OK;
}

/* Syncs the copy, and gives it its name unless it has it: it was repaired, or another job, where locks are refused, was faster. */
static atr_status give_name(const atr_stage *stage)
{
    const char *const work = work_path(stage, stage->state);
    const atr_status status = atr_path_replace(work, stage->copy);

    return status == ATR_OK || atr_path_exists(work) ? status : atr_path_replace(stage->copy, stage->copy);
}

/* The mark comes last: until then the copy is checked piece by piece. */
static atr_status mark_good(const atr_stage *stage)
{
    const int fd = open(stage->record, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    atr_status status = ATR_OK;
    struct stat facts;

    if (fd < 0 || stat(stage->copy, &facts) != 0) {
        status = atr_fail(ATR_ERR_IO, "--stage: %s: %s", stage->record, strerror(errno));
        goto done;
    }
    const atr_stage_record record = atr_stage_record_make(stage, atr_stage_mtime(&facts));
    ATR_TRY(atr_stage_record_write(fd, stage->record, &record));
    if (fsync(fd) != 0)
        status = atr_fail(ATR_ERR_IO, "--stage: %s: %s", stage->record, strerror(errno));

done:
    if (fd >= 0)
        close(fd);
    return status;
}

atr_status atr_stage_finish(atr_stage *stage)
{
    atr_status status = ATR_OK;

    ATR_TRY(check_unchanged(stage));
    ATR_TRY(give_name(stage));
    ATR_TRY(atr_h5_check_seal(stage->copy));
    ATR_TRY(mark_good(stage));
    stage->state = ATR_STAGE_GOOD;

done:
    return status;
}
