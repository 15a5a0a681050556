#include "apps/stage.h"

#include <string.h>
#include <unistd.h>

#include "apps/stop.h"
#include "core/log.h"
#include "core/timer.h"
#include "dist/monitor.h"
#include "io/h5.h"
#include "io/stage.h"

typedef struct work {
    atr_comm *comm;
    const char *folder;
    atr_stage **stages; /* [count] */
    uint8_t *states;    /* [count] atr_stage_state, as the node's leader found them */
    int64_t count;
    int lock; /* leader: see atr_stage_lock() */
    bool leads;
    int64_t copied, kept; /* bytes, by this rank */
    double started;
} work;

static atr_status open_all(work *w, char *const *sources)
{
    atr_status status = ATR_OK;

    for (int64_t i = 0; i < w->count; i++)
        ATR_TRY(atr_stage_open(sources[i], w->folder, &w->stages[i]));

done:
    return atr_comm_agree(w->comm, status);
}

/* All ranks of a node must see the same files: a source that is being replaced has two identities for a moment. */
static atr_status check_same(work *w)
{
    const int ranks = atr_comm_node_size(w->comm);
    uint64_t own = 0, *all = NULL;
    atr_status status = ATR_OK;

    for (int64_t i = 0; i < w->count; i++) {
        const uint64_t key = atr_stage_key(w->stages[i]);
        own = atr_hash64(&key, sizeof key, own);
    }
    ATR_TRY(ATR_NEW(ranks, &all));
    ATR_TRY(atr_comm_node_gather(w->comm, &own, sizeof own, all));
    for (int r = 0; r < ranks && status == ATR_OK; r++)
        if (all[r] != own)
            status =
                atr_fail(ATR_ERR_DATA, "%s: changed while it was looked at; start again when it is complete",
                         atr_stage_source(w->stages[0]));

done:
    atr_free(all);
    return atr_comm_agree(w->comm, status);
}

static bool all_good(const work *w)
{
    for (int64_t i = 0; i < w->count; i++)
        if (w->states[i] != ATR_STAGE_GOOD)
            return false;
    return true;
}

static void find_all(work *w)
{
    for (int64_t i = 0; i < w->count; i++)
        w->states[i] = (uint8_t)atr_stage_find(w->stages[i]);
}

/* Behind each piece, and while another job is waited for: what takes long, but goes on, is no stall. */
static bool piece_done(void *comm)
{
    atr_comm_beat(comm);
    return atr_stop_wanted();
}

/* Waits for another job of this user that copies on this node. */
static atr_status take_lock(work *w)
{
    enum { PAUSE_US = 200000, PATIENCE = 10 };
    atr_status status = ATR_OK;

    for (int tries = 0; w->lock == -1; tries++) {
        ATR_TRY(atr_stage_lock(w->folder, &w->lock));
        if (w->lock != -1)
            break;
        if (tries == PATIENCE)
            atr_log(ATR_LOG_INFO, "--stage: waits for another job that copies to %s on node %s", w->folder,
                    atr_comm_host(w->comm));
        if (piece_done(w->comm))
            return atr_fail(ATR_ERR_STOPPED, "stopped while waiting to stage data");
        usleep(PAUSE_US);
    }

done:
    return status;
}

static atr_status prepare_all(work *w)
{
    atr_status status = ATR_OK;

    for (int64_t i = 0; i < w->count; i++) {
        if (w->states[i] == ATR_STAGE_DOUBTED)
            atr_log(ATR_LOG_WARN, "P05: %s on node %s is not as it was copied: it is checked and repaired",
                    atr_stage_copy_path(w->stages[i]), atr_comm_host(w->comm));
        if (w->states[i] != ATR_STAGE_GOOD)
            ATR_TRY(atr_stage_prepare(w->stages[i]));
    }

done:
    return status;
}

/* The node's leader: what is there, and room for what is not. Another job may have copied meanwhile. */
static atr_status lead(work *w)
{
    atr_status status = ATR_OK;

    if (all_good(w))
        return ATR_OK;
    ATR_TRY(take_lock(w));
    find_all(w);
    ATR_TRY(atr_stage_room(w->folder, w->stages, w->count));
    ATR_TRY(prepare_all(w));

done:
    return status;
}

/* Whether all ranks of the node are well; what the leader found, on all of them. */
static atr_status share(work *w, atr_status own, bool *well)
{
    const int ranks = atr_comm_node_size(w->comm);
    const int64_t bytes = w->count + 1;
    uint8_t *mine = NULL, *all = NULL;
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW(bytes, &mine));
    ATR_TRY(ATR_NEW(ranks * bytes, &all));
    mine[0] = own == ATR_OK;
    memcpy(mine + 1, w->states, (size_t)w->count);
    ATR_TRY(atr_comm_node_gather(w->comm, mine, (size_t)bytes, all));
    memcpy(w->states, all + 1, (size_t)w->count);
    *well = true;
    for (int r = 0; r < ranks; r++)
        *well = *well && all[r * bytes] == 1;

done:
    atr_free(mine);
    atr_free(all);
    return own != ATR_OK ? own : status;
}

static atr_status copy_all(work *w)
{
    const int rank = atr_comm_node_rank(w->comm), ranks = atr_comm_node_size(w->comm);
    atr_status status = ATR_OK;

    for (int64_t i = 0; i < w->count; i++) {
        if (w->states[i] == ATR_STAGE_GOOD)
            w->kept += w->leads ? atr_stage_bytes(w->stages[i]) : 0;
        else /* each file begins with another rank, so that many small ones keep all busy */
            ATR_TRY(atr_stage_copy(w->stages[i], (atr_stage_state)w->states[i], (int)((rank + i) % ranks),
                                   ranks, piece_done, w->comm, &w->copied, &w->kept));
    }

done:
    return status;
}

static atr_status finish_all(work *w)
{
    atr_status status = ATR_OK;

    for (int64_t i = 0; i < w->count; i++)
        if (w->states[i] != ATR_STAGE_GOOD)
            ATR_TRY(atr_stage_finish(w->stages[i]));

done:
    return status;
}

/* What is done under the lock concerns this node alone: a leader that has it never waits for another node, where a rank of this job or
 * another one may be waiting for a lock. */
static atr_status stage_on_node(work *w)
{
    bool well = false;
    atr_status status = share(w, w->leads ? lead(w) : ATR_OK, &well);

    if (status == ATR_OK && well)
        status = share(w, copy_all(w), &well);
    if (status == ATR_OK && well && w->leads)
        status = finish_all(w);
    atr_stage_unlock(w->lock);
    w->lock = -1;
    return status;
}

/* A folder without room is said before any node copies. */
static atr_status look_first(work *w)
{
    if (!w->leads)
        return ATR_OK;
    find_all(w);
    return all_good(w) ? ATR_OK : atr_stage_room(w->folder, w->stages, w->count);
}

static atr_status run(work *w, char *const *sources)
{
    atr_status status = ATR_OK;

    ATR_TRY(open_all(w, sources));
    ATR_TRY(check_same(w));
    ATR_TRY(atr_comm_agree(w->comm, look_first(w)));
    ATR_TRY(atr_comm_agree(w->comm, stage_on_node(w)));

done:
    return status;
}

/* What one rank did, for the summary. */
typedef struct done_by_rank {
    int64_t copied, kept;
    double seconds;
    int32_t leads;
} done_by_rank;

/* Of the slowest node, for that is what the job waited for. */
static void say(const work *w, const done_by_rank *shares, int ranks, atr_text *out)
{
    double slowest = 0;
    int64_t copied = 0, kept = 0;
    int nodes = 0;

    for (int r = 0; r < ranks; r++) {
        nodes += shares[r].leads;
        copied += shares[r].copied;
        kept += shares[r].kept;
        slowest = shares[r].seconds > slowest ? shares[r].seconds : slowest;
    }
    atr_text_append(out, "staged: %s%s", atr_stage_copy_path(w->stages[0]), w->count > 1 ? " and " : "");
    if (w->count > 1)
        atr_text_append(out, "%lld more", (long long)w->count - 1);
    if (nodes > 1)
        atr_text_append(out, " on each of %d nodes", nodes);
    if (copied == 0)
        atr_text_append(out, ": found, %.1f MB, in %.1f s", (double)kept / 1e6 / nodes, slowest);
    else
        atr_text_append(out, ": %.1f MB copied by %d rank%s in %.1f s (%.0f MB/s%s)", (double)copied / 1e6,
                        ranks, ranks == 1 ? "" : "s", slowest,
                        slowest > 0 ? (double)copied / 1e6 / slowest : 0, nodes > 1 ? " over all nodes" : "");
    if (copied > 0 && kept > 0)
        atr_text_append(out, ", %.1f MB were there", (double)kept / 1e6);
}

static atr_status summarise(const work *w, atr_text *said)
{
    const int ranks = atr_comm_size(w->comm);
    const done_by_rank own = {w->copied, w->kept, atr_seconds() - w->started, w->leads};
    done_by_rank *shares = NULL;
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW(ranks, &shares));
    ATR_TRY(atr_comm_gather(w->comm, &own, sizeof own, shares));
    if (atr_comm_rank(w->comm) == 0)
        say(w, shares, ranks, said);

done:
    atr_free(shares);
    return status;
}

static atr_status list_files(const work *w, atr_staged *out)
{
    atr_status status = ATR_OK;
    char *text = NULL;

    ATR_TRY(ATR_NEW(w->count, &out->files));
    out->count = w->count;
    for (int64_t i = 0; i < w->count; i++) {
        ATR_TRY(atr_strdup(atr_stage_copy_path(w->stages[i]), &text));
        out->files[i].path = text;
        ATR_TRY(atr_strdup(atr_stage_source(w->stages[i]), &text));
        out->files[i].origin = text;
    }

done:
    return atr_comm_agree(w->comm, status);
}

atr_status atr_stage_files(atr_comm *comm, const char *folder, char *const *sources, int64_t count,
                           atr_staged *out, atr_text *said)
{
    work w = {.comm = comm,
              .folder = folder,
              .count = count,
              .lock = -1,
              .leads = atr_comm_node_rank(comm) == 0,
              .started = atr_seconds()};
    atr_status status = ATR_OK;

    *out = (atr_staged){0};
    status = ATR_NEW(count, &w.stages);
    if (status == ATR_OK)
        status = ATR_NEW(count, &w.states);
    ATR_TRY(atr_comm_agree(comm, status));
    ATR_TRY(run(&w, sources));
    ATR_TRY(list_files(&w, out));
    ATR_TRY(summarise(&w, said));

done:
    atr_stage_unlock(w.lock);
    for (int64_t i = 0; w.stages != NULL && i < count; i++)
        atr_stage_close(w.stages[i]);
    atr_free(w.stages);
    atr_free(w.states);
    if (status != ATR_OK)
        atr_staged_free(out);
    return status;
}

void atr_staged_free(atr_staged *staged)
{
    for (int64_t i = 0; staged->files != NULL && i < staged->count; i++) {
        atr_free((char *)staged->files[i].path);
        atr_free((char *)staged->files[i].origin);
    }
    atr_free(staged->files);
    *staged = (atr_staged){0};
}

atr_status atr_stage_open_dataset(atr_comm *comm, const char *folder, const char *const *names, int64_t count,
                                  atr_dataset **out, atr_text *said)
{
    atr_staged staged = {0};
    char **files = NULL;
    int64_t file_count = 0;
    atr_status status = ATR_OK;

    ATR_TRY(atr_comm_agree(comm, atr_dataset_files(names, count, &files, &file_count)));
    ATR_TRY(atr_stage_files(comm, folder, files, file_count, &staged, said));
    ATR_TRY(atr_comm_agree(comm, atr_dataset_open_files(staged.files, staged.count, out)));

done:
    atr_staged_free(&staged);
    atr_dataset_files_free(files, file_count);
    return status;
}
