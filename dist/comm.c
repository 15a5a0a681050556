#include "dist/comm_impl.h"

#include <stdio.h>
#include <string.h>

#include "dist/monitor_impl.h"

atr_status atr_comm_alone(atr_comm **out)
{
    atr_status status = ATR_OK;
    atr_comm *comm = NULL;

    *out = NULL;
    ATR_TRY(ATR_NEW(1, &comm));
    comm->size = comm->node_size = 1;
    pthread_mutex_init(&comm->turn, NULL);
    atr_host_name(comm->host);
    *out = comm;

done:
    return status;
}

atr_status atr_comm_open(atr_comm **out)
{
    atr_status status = ATR_OK;
    atr_comm *comm = NULL;

    *out = NULL;
    ATR_TRY(atr_comm_alone(&comm));
    ATR_TRY(atr_comm_connect_mpi(comm));
    *out = comm;
    comm = NULL;

done:
    atr_comm_close(comm);
    return status;
}

/* MPI takes calls one at a time whatever the communicator, so a part waits for its turn with the rest of its job. */
static atr_comm *whole_of(atr_comm *comm)
{
    return comm->whole != NULL ? comm->whole : comm;
}

atr_status atr_comm_split(atr_comm *comm, int colour, atr_comm **out)
{
    atr_status status = ATR_OK;
    atr_comm *part = NULL;

    *out = NULL;
    ATR_TRY(atr_comm_alone(&part));
    part->whole = whole_of(comm);
    if (comm->transport != NULL) {
        atr_comm_take_turn(comm);
        ATR_TRY(atr_comm_give_turn(comm, comm->transport->split(comm->state, colour, part)));
        part->transport = comm->transport;
    }
    *out = part;
    part = NULL;

done:
    atr_comm_close(part);
    return status;
}

void atr_comm_close(atr_comm *comm)
{
    if (comm == NULL)
        return;
    atr_monitor_destroy(comm->monitor);
    if (comm->transport != NULL)
        comm->transport->close(comm->state);
    pthread_mutex_destroy(&comm->turn);
    atr_free(comm);
}

void atr_comm_take_turn(atr_comm *comm)
{
    pthread_mutex_lock(&whole_of(comm)->turn);
}

atr_status atr_comm_give_turn(atr_comm *comm, atr_status status)
{
    if (status != ATR_OK)
        comm->broken = whole_of(comm)->broken = true;
    pthread_mutex_unlock(&whole_of(comm)->turn);
    return status;
}

int atr_comm_rank(const atr_comm *comm)
{
    return comm->rank;
}

int atr_comm_size(const atr_comm *comm)
{
    return comm->size;
}

int atr_comm_node_rank(const atr_comm *comm)
{
    return comm->node_rank;
}

int atr_comm_node_size(const atr_comm *comm)
{
    return comm->node_size;
}

const char *atr_comm_host(const atr_comm *comm)
{
    return comm->host;
}

atr_status atr_comm_broadcast(atr_comm *comm, void *bytes, size_t count, int root)
{
    if (comm->transport == NULL)
        return ATR_OK;
    atr_comm_take_turn(comm);
    return atr_comm_give_turn(comm, comm->transport->broadcast(comm->state, bytes, count, root));
}

/* Counters lie in a block of their own; each entry is one number. */
static atr_status broadcast_counters(atr_comm *comm, atr_params *params, int root)
{
    atr_status status = ATR_OK;

    for (int64_t i = 0; i < atr_params_count(params); i++)
        if (atr_params_spec(params, i)->kind == ATR_PARAM_TRACKED)
            ATR_TRY(atr_comm_broadcast(comm, atr_params_value(params, i).data, sizeof(int64_t), root));

done:
    return status;
}

atr_status atr_comm_broadcast_params(atr_comm *comm, atr_params *params, int root)
{
    const size_t value_bytes = (size_t)atr_params_flat_count(params) * sizeof(float);
    const size_t buffer_bytes = (size_t)atr_params_buffer_count(params) * sizeof(float);
    atr_status status = ATR_OK;

    if (comm->transport == NULL)
        return ATR_OK;
    ATR_TRY(atr_comm_broadcast(comm, atr_params_flat_values(params), value_bytes, root));
    ATR_TRY(atr_comm_broadcast(comm, atr_params_flat_buffers(params), buffer_bytes, root));
    ATR_TRY(broadcast_counters(comm, params, root));
    atr_params_touch(params);

done:
    return status;
}

static atr_status all_reduce(atr_comm *comm, atr_dtype type, atr_reduce op, void *values, int64_t count)
{
    if (comm->transport == NULL)
        return ATR_OK;
    atr_comm_take_turn(comm);
    return atr_comm_give_turn(comm, comm->transport->all_reduce(comm->state, type, op, values, count));
}

atr_status atr_comm_sum_f32(atr_comm *comm, float *values, int64_t count)
{
    return all_reduce(comm, ATR_F32, ATR_REDUCE_SUM, values, count);
}

atr_status atr_comm_sum_f64(atr_comm *comm, double *values, int64_t count)
{
    return all_reduce(comm, ATR_F64, ATR_REDUCE_SUM, values, count);
}

atr_status atr_comm_sum_i64(atr_comm *comm, int64_t *values, int64_t count)
{
    return all_reduce(comm, ATR_I64, ATR_REDUCE_SUM, values, count);
}

static atr_status gather(atr_comm *comm, bool node_only, const void *mine, size_t count, void *all)
{
    if (comm->transport == NULL) {
        memcpy(all, mine, count);
        return ATR_OK;
    }
    atr_comm_take_turn(comm);
    return atr_comm_give_turn(comm, comm->transport->gather(comm->state, node_only, mine, count, all));
}

atr_status atr_comm_gather(atr_comm *comm, const void *mine, size_t count, void *all)
{
    return gather(comm, false, mine, count, all);
}

atr_status atr_comm_node_gather(atr_comm *comm, const void *mine, size_t count, void *all)
{
    return gather(comm, true, mine, count, all);
}

atr_status atr_comm_barrier(atr_comm *comm)
{
    if (comm->transport == NULL)
        return ATR_OK;
    atr_comm_take_turn(comm);
    return atr_comm_give_turn(comm, comm->transport->barrier(comm->state));
}

atr_status atr_comm_exchange(atr_comm *comm, int peer, const void *send, void *recv, size_t count)
{
    if (comm->transport == NULL) {
        memcpy(recv, send, count);
        return ATR_OK;
    }
    atr_comm_take_turn(comm);
    return atr_comm_give_turn(comm, comm->transport->exchange(comm->state, peer, send, recv, count));
}

/* What a failing rank tells the others. */
typedef struct verdict {
    int status;
    char host[ATR_HOST_BYTES];
    char message[ATR_MESSAGE_BYTES];
} verdict;

/* The lowest failing rank's words on all ranks. Where all ranks fail, as on a wrong option or a missing file, there is no
 * need to say which one speaks. */
static atr_status share_failure(atr_comm *comm, atr_status status, int from, bool everywhere)
{
    verdict words = {.status = (int)status};

    snprintf(words.host, sizeof words.host, "%s", comm->host);
    snprintf(words.message, sizeof words.message, "%s", atr_status_message());
    status = atr_comm_broadcast(comm, &words, sizeof words, from);
    if (status != ATR_OK)
        return status;
    comm->agreed = (atr_status)words.status;
    atr_monitor_agreed(comm->monitor);
    const size_t length = strlen(words.message);
    const bool sentence = length > 0 && strchr(".!?", words.message[length - 1]) != NULL;
    if (everywhere)
        atr_fail(comm->agreed, "%s", words.message);
    else
        atr_fail(comm->agreed, "R01: rank %d on node %s: %s%s Stopping all %d ranks.", from, words.host,
                 words.message, sentence ? "" : ".", comm->size);
    snprintf(comm->message, sizeof comm->message, "%s", atr_status_message());
    return comm->agreed;
}

atr_status atr_comm_agree(atr_comm *comm, atr_status status)
{
    int64_t lowest[2] = {status == ATR_OK ? comm->size : comm->rank, status == ATR_OK ? 0 : 1};

    if (comm->size == 1)
        return status;
    if (comm->agreed != ATR_OK)
        return atr_fail(comm->agreed, "%s", comm->message);
    atr_comm_announce(comm, status);
    const atr_status sent = all_reduce(comm, ATR_I64, ATR_REDUCE_MIN, lowest, 2);
    if (sent != ATR_OK)
        return sent;
    return lowest[0] == comm->size ? ATR_OK : share_failure(comm, status, (int)lowest[0], lowest[1] == 1);
}

void atr_comm_announce(atr_comm *comm, atr_status status)
{
    if (status != ATR_OK)
        atr_monitor_failed(comm->monitor);
}

bool atr_comm_agreed_to_stop(const atr_comm *comm)
{
    return comm->agreed != ATR_OK;
}

void atr_comm_abort(atr_comm *comm, int code)
{
    if (comm == NULL || comm->transport == NULL)
        return;
    atr_monitor_aborting(comm->monitor);
    comm->transport->abort(comm->state, code);
}

atr_status atr_comm_average_buffers(atr_comm *comm, atr_params *params, int64_t weight, int64_t total)
{
    float *const buffers = atr_params_flat_buffers(params);
    const float own = (float)weight, all = (float)total;
    atr_span span = {0, 0};
    atr_status status = ATR_OK;

    if (comm->transport == NULL)
        return ATR_OK;
    while (atr_params_next_span(params, true, &span)) {
        for (int64_t i = 0; i < span.count; i++)
            buffers[span.offset + i] *= own;
        ATR_TRY(atr_comm_sum_f32(comm, buffers + span.offset, span.count));
        for (int64_t i = 0; i < span.count; i++)
            buffers[span.offset + i] /= all;
        atr_params_touch(params);
    }

done:
    return status;
}
