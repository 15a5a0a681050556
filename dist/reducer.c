#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "core/timer.h"
#include "dist/reducer_impl.h"

const char *const atr_allreduce_names[] = {"auto", "flat", "hierarchical", NULL};
const char *const atr_wire_names[] = {"f32", "bf16", NULL};
const char *const atr_reducer_progress_names[] = {"poll", "thread", NULL};

/* Parameters begin at multiples of this many elements. */
enum { LINE = ATR_ALIGN / sizeof(float) };

static const atr_reducer_options defaults = {.bucket_mb = ATR_BUCKET_MB};

/* Elements of a bucket of so many MB, in whole lines. */
static int64_t elements_of(double mb)
{
    const int64_t lines = (int64_t)(mb * 1e6 / ATR_ALIGN);

    return (lines > 0 ? lines : 1) * LINE;
}

static int64_t bucket_elements(const atr_reducer *reducer)
{
    return elements_of(reducer->options.bucket_mb > 0 ? reducer->options.bucket_mb : ATR_BUCKET_MB);
}

static int64_t edge_elements(const atr_reducer *reducer)
{
    const int64_t edge = elements_of(ATR_EDGE_MB), whole = bucket_elements(reducer);

    return edge < whole ? edge : whole;
}

/* The parameters that are not frozen, in slices. What is frozen may have changed since the last backward. */
static void cut(atr_reducer *reducer)
{
    const int64_t whole = bucket_elements(reducer), edge = edge_elements(reducer);
    atr_span span = {0, 0};
    int64_t n = 0;

    while (atr_params_next_span(reducer->params, false, &span))
        for (int64_t at = 0, size; at < span.count; at += size) {
            const int64_t most = n == 0 ? edge : whole;
            size = span.count - at < most ? span.count - at : most;
            reducer->facts[n++] = (atr_reducer_bucket){.offset = span.offset + at, .count = size};
        }
    if (n > 0 && reducer->facts[n - 1].count > edge) {
        reducer->facts[n - 1].count -= edge;
        reducer->facts[n].offset = reducer->facts[n - 1].offset + reducer->facts[n - 1].count;
        reducer->facts[n++].count = edge;
    }
    reducer->count = n;
    for (int64_t i = 0; i < n; i++) {
        reducer->facts[i].ready = reducer->facts[i].started = reducer->facts[i].finished = 0;
        reducer->buckets[i] = (atr_bucket){.stage = ATR_BUCKET_OPEN};
    }
    atr_wire_cut(reducer);
}

/* The same on all ranks. */
static atr_status choose(atr_reducer *reducer)
{
    const bool asked = reducer->options.allreduce == ATR_ALLREDUCE_HIERARCHICAL;
    int64_t sums[3] = {atr_comm_node_rank(reducer->comm) == 0, atr_comm_node_size(reducer->comm) > 1, 0};
    atr_status status = ATR_OK;

    if (reducer->options.allreduce != ATR_ALLREDUCE_FLAT)
        sums[2] = !atr_node_fits(reducer);
    ATR_TRY(atr_comm_sum_i64(reducer->comm, sums, 3));
    reducer->nodes = (int)sums[0];
    reducer->hierarchical =
        asked || (reducer->options.allreduce == ATR_ALLREDUCE_AUTO && sums[1] > 0 && sums[2] == 0);
    if (asked && sums[2] > 0)
        status = atr_fail(ATR_ERR_UNSUPPORTED,
                          "--allreduce hierarchical: /dev/shm has no room for the gradients of a node's %d "
                          "ranks. Containers get more by --shm-size; --allreduce flat does without.",
                          atr_comm_node_size(reducer->comm));
    if (reducer->options.progress == ATR_PROGRESS_THREAD && !reducer->comm->threads)
        status =
            atr_fail(ATR_ERR_UNSUPPORTED, "--progress thread: this MPI does not allow a thread of its own "
                                          "(MPI_THREAD_SERIALIZED). --progress poll does without.");

done:
    return status;
}

/* Memory that does not depend on the other ranks. */
static atr_status take(atr_reducer *reducer)
{
    atr_status status = ATR_OK;

    /* A bucket ends where a frozen parameter begins, too. */
    reducer->capacity = reducer->flat / bucket_elements(reducer) + atr_params_count(reducer->params) + 3;
    ATR_TRY(ATR_NEW(reducer->capacity, &reducer->buckets));
    ATR_TRY(ATR_NEW(reducer->capacity, &reducer->facts));

done:
    return status;
}

/* Each part is agreed before the next one, which all ranks must come to. */
static atr_status open_parts(atr_reducer *reducer)
{
    atr_comm *const comm = reducer->comm;
    atr_status status = ATR_OK;

    ATR_TRY(atr_comm_agree(comm, take(reducer)));
    ATR_TRY(atr_comm_agree(comm, choose(reducer)));
    for (int i = 0; i < 2; i++)
        ATR_TRY(atr_comm_agree(
            comm, comm->transport->open_lane(comm->state, reducer->hierarchical, &reducer->lanes[i])));
    if (reducer->hierarchical)
        ATR_TRY(atr_comm_agree(comm, atr_node_open(reducer)));
    status = atr_wire_open(reducer);
    if (status == ATR_OK && reducer->options.progress == ATR_PROGRESS_THREAD)
        status = atr_reducer_thread_start(reducer);
    ATR_TRY(atr_comm_agree(comm, status));

done:
    return status;
}

atr_status atr_reducer_create(atr_comm *comm, atr_params *params, const atr_reducer_options *options,
                              atr_reducer **out)
{
    atr_status status = ATR_OK;
    atr_reducer *reducer = NULL;

    *out = NULL;
    ATR_TRY(atr_comm_agree(comm, ATR_NEW(1, &reducer)));
    reducer->comm = comm;
    reducer->params = params;
    reducer->options = options != NULL ? *options : defaults;
    reducer->flat = atr_params_flat_count(params);
    reducer->nodes = 1;
    if (comm->size > 1)
        ATR_TRY(open_parts(reducer));
    *out = reducer;
    reducer = NULL;

done:
    atr_reducer_destroy(reducer);
    return status;
}

void atr_reducer_destroy(atr_reducer *reducer)
{
    if (reducer == NULL)
        return;
    atr_reducer_thread_stop(reducer);
    atr_wire_close(reducer);
    atr_node_close(reducer);
    for (int i = 0; i < 2; i++)
        if (reducer->lanes[i].size > 0 && !reducer->comm->broken)
            reducer->comm->transport->close_lane(&reducer->lanes[i]);
    atr_free(reducer->buckets);
    atr_free(reducer->facts);
    atr_free(reducer);
}

void atr_reducer_begin(atr_reducer *reducer)
{
    reducer->ready = reducer->full = 0;
    if (reducer->comm->size == 1)
        return;
    reducer->began = atr_seconds();
    reducer->round++;
    reducer->first = reducer->sent = reducer->collected = 0;
    reducer->converting = 0;
    cut(reducer);
}

/* This rank's part of the node's sum is done: the leader sends the whole of it, the others wait for the result. */
static atr_status advance_summed(atr_reducer *reducer, int64_t index, bool *moved)
{
    atr_bucket *const bucket = &reducer->buckets[index];
    const bool leader = reducer->node.rank == 0;

    if (reducer->hierarchical &&
        (leader ? !atr_node_summed(reducer, index) : !atr_node_distributed(reducer, index)))
        return ATR_OK;
    if (leader && reducer->lanes[0].size > 1) {
        if (reducer->sent != index) /* a lane's operations start in one order everywhere */
            return ATR_OK;
        reducer->sent++;
        *moved = true;
        return atr_wire_send(reducer, index);
    }
    bucket->stage = ATR_BUCKET_DONE;
    *moved = true;
    return ATR_OK;
}

/* The sum is where this rank got it: the gradients get it, and the rest of the node. */
static void finish(atr_reducer *reducer, int64_t index)
{
    atr_reducer_bucket *const fact = &reducer->facts[index];
    float *const gradients = atr_params_flat_gradients(reducer->params);
    const float *const from = reducer->hierarchical ? reducer->node.result : reducer->received;

    if (reducer->hierarchical && reducer->node.rank == 0)
        atr_node_distribute(reducer, index);
    if (from != NULL)
        memcpy(gradients + fact->offset, from + fact->offset, (size_t)fact->count * sizeof *gradients);
    fact->finished = atr_seconds() - reducer->began;
}

static atr_status advance_bucket(atr_reducer *reducer, int64_t index, bool *moved)
{
    atr_bucket *const bucket = &reducer->buckets[index];
    atr_status status = ATR_OK;

    if (bucket->stage == ATR_BUCKET_OPEN) {
        reducer->facts[index].started = atr_seconds() - reducer->began;
        if (reducer->hierarchical)
            atr_node_arrive(reducer, index);
        bucket->stage = reducer->hierarchical ? ATR_BUCKET_ARRIVED : ATR_BUCKET_SUMMED;
        *moved = true;
    }
    if (bucket->stage == ATR_BUCKET_ARRIVED && atr_node_sum(reducer, index)) {
        bucket->stage = ATR_BUCKET_SUMMED;
        *moved = true;
    }
    if (bucket->stage == ATR_BUCKET_SUMMED)
        ATR_TRY(advance_summed(reducer, index, moved));
    else if (bucket->stage == ATR_BUCKET_SENT || bucket->stage == ATR_BUCKET_COLLECTED)
        ATR_TRY(atr_wire_advance(reducer, index, moved));
    if (bucket->stage == ATR_BUCKET_DONE)
        finish(reducer, index);

done:
    return status;
}

atr_status atr_reducer_advance(atr_reducer *reducer, int64_t full, bool *moved)
{
    atr_status status = ATR_OK;

    *moved = false;
    atr_comm_take_turn(reducer->comm);
    for (int64_t i = reducer->first; i < full; i++) {
        if (reducer->buckets[i].stage != ATR_BUCKET_DONE)
            ATR_TRY(advance_bucket(reducer, i, moved));
        if (i == reducer->first && reducer->buckets[i].stage == ATR_BUCKET_DONE)
            reducer->first++;
    }

done:
    return atr_comm_give_turn(reducer->comm, status);
}

/* Buckets whose last element is final by now. A parameter's end stands for that of its last line, which nothing else is in. */
static bool find_full(atr_reducer *reducer)
{
    const int64_t before = reducer->full;
    const int64_t ready = (reducer->ready + LINE - 1) / LINE * LINE;

    while (reducer->full < reducer->count &&
           reducer->facts[reducer->full].offset + reducer->facts[reducer->full].count <= ready)
        reducer->facts[reducer->full++].ready = atr_seconds() - reducer->began;
    return reducer->full > before;
}

atr_status atr_reducer_ready(void *user, int64_t offset, int64_t count)
{
    atr_reducer *const reducer = user;
    const int64_t end = offset + count;
    bool moved = false;

    if (offset < reducer->ready || count < 0 || end > reducer->flat)
        return atr_fail(ATR_ERR_INTERNAL, "gradients %lld..%lld reported after %lld", (long long)offset,
                        (long long)end, (long long)reducer->ready);
    reducer->ready = end;
    if (reducer->comm->size == 1)
        return ATR_OK;
    const bool more = find_full(reducer);
    if (reducer->options.bucket_mb <= 0)
        return ATR_OK;
    if (reducer->thread == NULL)
        return atr_reducer_advance(reducer, reducer->full, &moved);
    if (more)
        atr_reducer_thread_tell(reducer, reducer->full);
    return ATR_OK;
}

/* Ranks may be more than cores: who has nothing to do lets others go on. */
static atr_status finish_polled(atr_reducer *reducer)
{
    bool moved = false;
    atr_status status = ATR_OK;

    while (!atr_reducer_done(reducer)) {
        ATR_TRY(atr_reducer_advance(reducer, reducer->full, &moved));
        if (!moved)
            sched_yield();
    }

done:
    return status;
}

atr_status atr_reducer_wait(atr_reducer *reducer)
{
    if (reducer->comm->size == 1)
        return ATR_OK;
    reducer->ready = reducer->flat;
    find_full(reducer);
    if (reducer->thread == NULL)
        return finish_polled(reducer);
    atr_reducer_thread_tell(reducer, reducer->full);
    return atr_reducer_thread_wait(reducer);
}

int64_t atr_reducer_buckets(const atr_reducer *reducer, const atr_reducer_bucket **out)
{
    *out = reducer->facts;
    return reducer->count;
}

double atr_reducer_converting(const atr_reducer *reducer)
{
    return reducer->converting;
}

int64_t atr_reducer_bytes(const atr_reducer *reducer)
{
    const int64_t block = reducer->flat * (int64_t)sizeof(float);
    int64_t blocks = reducer->received != NULL;

    if (reducer->hierarchical)
        blocks += 1 + (reducer->node.rank == 0);
    if (reducer->residual != NULL)
        blocks += 2; /* the residual, and two of half the size */
    return blocks * block;
}

char *atr_reducer_text(const atr_reducer *reducer, char *text)
{
    char buckets[48] = "no overlap";

    if (reducer->options.bucket_mb > 0)
        snprintf(buckets, sizeof buckets, "buckets of %g MB", reducer->options.bucket_mb);
    snprintf(text, ATR_REDUCER_TEXT_BYTES, "%s over %d node%s, %s, %s, %s",
             reducer->hierarchical ? "hierarchical" : "flat", reducer->nodes, reducer->nodes == 1 ? "" : "s",
             atr_wire_names[reducer->options.wire], buckets,
             reducer->thread != NULL ? "moved by a thread" : "polled");
    return text;
}
