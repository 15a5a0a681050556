#include "dist/comm_impl.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef ATR_WITH_MPI
#include <mpi.h>

/* MPI counts are `int`; larger blocks go in pieces of this many elements. */
enum { PIECE = 1 << 28 };

/* Sums go in place and in pieces that stay in the cache between the ranks of a node: 23 MB of gradients over 2 ranks took 2 ms
 * in pieces of 256 KiB to 8 MiB, and 23 ms in one piece. Fixed pieces keep the order of sums, and so the bits. */
enum { SUM_PIECE = 1 << 20 };

typedef struct mpi_state {
    MPI_Comm job, node; /* duplicates: a library below us may talk on MPI_COMM_WORLD */
    bool finalise;      /* we started MPI, so we end it */
} mpi_state;

/* A launcher says so in the environment of what it starts. A bare MPI_Init (a "singleton") works too, but costs time and
 * fails on machines where the launcher's daemon cannot start. */
static bool launched(void)
{
    static const char *const signs[] = {
        "OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMIX_NAMESPACE", "PMI_RANK", "PMI_SIZE", "MV2_COMM_WORLD_SIZE"};

    for (size_t i = 0; i < sizeof signs / sizeof signs[0]; i++)
        if (getenv(signs[i]) != NULL)
            return true;
    return false;
}

static atr_status check(int code, const char *what)
{
    char text[MPI_MAX_ERROR_STRING + 1] = "";
    int length = 0;

    if (code == MPI_SUCCESS)
        return ATR_OK;
    MPI_Error_string(code, text, &length);
    return atr_fail(ATR_ERR_REMOTE, "%s failed: %s", what, text);
}

static void close_mpi(void *opaque)
{
    mpi_state *const state = opaque;

    if (state->node != MPI_COMM_NULL)
        MPI_Comm_free(&state->node);
    if (state->job != MPI_COMM_NULL)
        MPI_Comm_free(&state->job);
    if (state->finalise)
        MPI_Finalize();
    atr_free(state);
}

static atr_status broadcast(void *opaque, void *bytes, size_t count, int root)
{
    const mpi_state *const state = opaque;
    unsigned char *at = bytes;
    atr_status status = ATR_OK;

    for (; count > 0 && status == ATR_OK;) {
        const size_t piece = count < PIECE ? count : PIECE;
        status = check(MPI_Bcast(at, (int)piece, MPI_BYTE, root, state->job), "MPI_Bcast");
        at += piece;
        count -= piece;
    }
    return status;
}

static MPI_Datatype mpi_type(atr_dtype type)
{
    switch (type) {
    case ATR_F32:
        return MPI_FLOAT;
    case ATR_F64:
        return MPI_DOUBLE;
    default:
        return MPI_INT64_T;
    }
}

static atr_status reduce_all(void *opaque, atr_dtype type, atr_reduce op, void *values, int64_t count)
{
    const mpi_state *const state = opaque;
    const MPI_Op mpi_op = op == ATR_REDUCE_SUM ? MPI_SUM : MPI_MIN;
    unsigned char *at = values;
    atr_status status = ATR_OK;

    for (; count > 0 && status == ATR_OK;) {
        const int piece = count < SUM_PIECE ? (int)count : SUM_PIECE;
        status = check(MPI_Allreduce(MPI_IN_PLACE, at, piece, mpi_type(type), mpi_op, state->job),
                       "MPI_Allreduce");
        at += (size_t)piece * atr_dtype_bytes(type);
        count -= piece;
    }
    return status;
}

static atr_status gather_all(void *opaque, bool node_only, const void *mine, size_t count, void *all)
{
    const mpi_state *const state = opaque;

    if (count > INT_MAX)
        return atr_fail(ATR_ERR_INTERNAL, "gather of %zu bytes per rank", count);
    return check(MPI_Allgather(mine, (int)count, MPI_BYTE, all, (int)count, MPI_BYTE,
                               node_only ? state->node : state->job),
                 "MPI_Allgather");
}

static atr_status wait_all(void *opaque)
{
    const mpi_state *const state = opaque;

    return check(MPI_Barrier(state->job), "MPI_Barrier");
}

static void abort_all(void *opaque, int code)
{
    const mpi_state *const state = opaque;

    MPI_Abort(state->job, code);
}

static atr_status find_ranks(atr_comm *comm, const mpi_state *state)
{
    atr_status status = ATR_OK;

    ATR_TRY(check(MPI_Comm_rank(state->job, &comm->rank), "MPI_Comm_rank"));
    ATR_TRY(check(MPI_Comm_size(state->job, &comm->size), "MPI_Comm_size"));
    ATR_TRY(check(MPI_Comm_rank(state->node, &comm->node_rank), "MPI_Comm_rank"));
    ATR_TRY(check(MPI_Comm_size(state->node, &comm->node_size), "MPI_Comm_size"));

done:
    return status;
}

/* The ranks of `state->job`, once it is made: their nodes, their numbers. */
static atr_status describe(atr_comm *comm, mpi_state *state)
{
    atr_status status = ATR_OK;

    ATR_TRY(check(MPI_Comm_set_errhandler(state->job, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler"));
    ATR_TRY(check(MPI_Comm_split_type(state->job, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &state->node),
                  "MPI_Comm_split_type"));
    ATR_TRY(find_ranks(comm, state));

done:
    return status;
}

static atr_status split(void *opaque, int colour, atr_comm *out)
{
    const mpi_state *const whole = opaque;
    atr_status status = ATR_OK;
    mpi_state *state = NULL;

    ATR_TRY(ATR_NEW(1, &state));
    state->job = state->node = MPI_COMM_NULL;
    ATR_TRY(check(MPI_Comm_split(whole->job, colour, 0, &state->job), "MPI_Comm_split"));
    ATR_TRY(describe(out, state));
    out->state = state;
    state = NULL;

done:
    if (state != NULL)
        close_mpi(state);
    return status;
}

/* Handles of MPI are integers or pointers, by its maker. */
_Static_assert(sizeof(MPI_Comm) <= sizeof(uint64_t) && sizeof(MPI_Request) <= sizeof(uint64_t) &&
                   sizeof(MPI_Win) <= sizeof(uint64_t),
               "a handle of MPI fits");

static atr_status open_lane(void *opaque, bool leaders, atr_lane *out)
{
    const mpi_state *const state = opaque;
    MPI_Comm ranks = MPI_COMM_NULL;
    int node_rank = 0, rank = 0;
    atr_status status = ATR_OK;

    *out = (atr_lane){0};
    ATR_TRY(check(MPI_Comm_rank(state->node, &node_rank), "MPI_Comm_rank"));
    ATR_TRY(check(MPI_Comm_rank(state->job, &rank), "MPI_Comm_rank"));
    ATR_TRY(check(MPI_Comm_split(state->job, leaders && node_rank != 0 ? MPI_UNDEFINED : 0, rank, &ranks),
                  "MPI_Comm_split"));
    if (ranks == MPI_COMM_NULL)
        return ATR_OK;
    memcpy(&out->handle, &ranks, sizeof ranks);
    ATR_TRY(check(MPI_Comm_rank(ranks, &out->rank), "MPI_Comm_rank"));
    ATR_TRY(check(MPI_Comm_size(ranks, &out->size), "MPI_Comm_size"));

done:
    return status;
}

static void close_lane(atr_lane *lane)
{
    MPI_Comm ranks;

    if (lane->size == 0)
        return;
    memcpy(&ranks, &lane->handle, sizeof ranks);
    MPI_Comm_free(&ranks);
    *lane = (atr_lane){0};
}

static atr_status start(const atr_lane *lane, atr_transfer what, const void *send, void *recv, int64_t count,
                        atr_request *out)
{
    MPI_Request request = MPI_REQUEST_NULL;
    MPI_Comm ranks;
    atr_status status = ATR_OK;

    if (count > INT_MAX)
        return atr_fail(ATR_ERR_INTERNAL, "transfer of %lld elements", (long long)count);
    memcpy(&ranks, &lane->handle, sizeof ranks);
    const int n = (int)count;
    switch (what) {
    case ATR_TRANSFER_SUM:
        status = check(MPI_Iallreduce(send, recv, n, MPI_FLOAT, MPI_SUM, ranks, &request), "MPI_Iallreduce");
        break;
    case ATR_TRANSFER_SCATTER:
        status = check(MPI_Ialltoall(send, n, MPI_UINT16_T, recv, n, MPI_UINT16_T, ranks, &request),
                       "MPI_Ialltoall");
        break;
    case ATR_TRANSFER_COLLECT:
        status = check(MPI_Iallgather(send, n, MPI_UINT16_T, recv, n, MPI_UINT16_T, ranks, &request),
                       "MPI_Iallgather");
        break;
    case ATR_TRANSFER_GATHER:
        status =
            check(MPI_Igather(send, n, MPI_FLOAT, recv, n, MPI_FLOAT, 0, ranks, &request), "MPI_Igather");
        break;
    case ATR_TRANSFER_DEAL:
        status =
            check(MPI_Iscatter(send, n, MPI_FLOAT, recv, n, MPI_FLOAT, 0, ranks, &request), "MPI_Iscatter");
        break;
    }
    memcpy(&out->handle, &request, sizeof request);
    return status;
}

static atr_status test(atr_request *pending, bool *done)
{
    MPI_Request request;
    int flag = 0;

    memcpy(&request, &pending->handle, sizeof request);
    const atr_status status = check(MPI_Test(&request, &flag, MPI_STATUS_IGNORE), "MPI_Test");
    memcpy(&pending->handle, &request, sizeof request);
    *done = flag != 0;
    return status;
}

/* All of it belongs to the first rank, so that it is one block; each rank's pages still lie where that rank writes first. */
static atr_status open_shared(void *opaque, size_t bytes, atr_shared *out)
{
    const mpi_state *const state = opaque;
    MPI_Win window = MPI_WIN_NULL;
    MPI_Aint size = 0;
    void *mine = NULL;
    int node_rank = 0, unit = 0;
    atr_status status = ATR_OK;

    *out = (atr_shared){0};
    ATR_TRY(check(MPI_Comm_rank(state->node, &node_rank), "MPI_Comm_rank"));
    ATR_TRY(check(MPI_Win_allocate_shared(node_rank == 0 ? (MPI_Aint)bytes : 0, 1, MPI_INFO_NULL, state->node,
                                          &mine, &window),
                  "MPI_Win_allocate_shared"));
    ATR_TRY(check(MPI_Win_shared_query(window, 0, &size, &unit, &out->base), "MPI_Win_shared_query"));
    ATR_TRY(check(MPI_Win_lock_all(MPI_MODE_NOCHECK, window), "MPI_Win_lock_all"));
    memcpy(&out->handle, &window, sizeof window);

done:
    return status;
}

static void close_shared(atr_shared *shared)
{
    MPI_Win window;

    if (shared->base == NULL)
        return;
    memcpy(&window, &shared->handle, sizeof window);
    MPI_Win_unlock_all(window);
    MPI_Win_free(&window);
    *shared = (atr_shared){0};
}

static atr_status exchange(void *opaque, int peer, const void *send, void *recv, size_t bytes)
{
    const mpi_state *const state = opaque;

    if (bytes > INT_MAX)
        return atr_fail(ATR_ERR_INTERNAL, "exchange of %zu bytes", bytes);
    return check(MPI_Sendrecv(send, (int)bytes, MPI_BYTE, peer, 0, recv, (int)bytes, MPI_BYTE, peer, 0,
                              state->job, MPI_STATUS_IGNORE),
                 "MPI_Sendrecv");
}

static const atr_transport mpi_transport = {
    .close = close_mpi,
    .broadcast = broadcast,
    .all_reduce = reduce_all,
    .gather = gather_all,
    .barrier = wait_all,
    .abort = abort_all,
    .open_lane = open_lane,
    .close_lane = close_lane,
    .start = start,
    .test = test,
    .share = open_shared,
    .unshare = close_shared,
    .exchange = exchange,
    .split = split,
};

/* Over TCP a message first asks whether it may come. With one connection between two ranks that question, and its answer, wait behind the
 * data of other messages, and each direction stands still while the other one is busy: 2 ranks at 200 Mbit/s, gradients of 11.6 MB in bf16,
 * from the first bucket to the last sum: 590 ms, with two connections 530, the wire alone takes 473.
 *
 * For less than 4 ranks Open MPI 4.1 sums by a binomial tree (all data to one rank and back), which takes twice as long as Rabenseifner's
 * algorithm that it has for more: 16 MiB over 2 hosts at 1 Gbit/s in 264 ms instead of 154 ms. The user's own choice stays. */
static void choose_algorithms(void)
{
    setenv("OMPI_MCA_coll_libnbc_iallreduce_algorithm", "3", 0);
    setenv("OMPI_MCA_btl_tcp_links", "2", 0);
}

static atr_status start_mpi(mpi_state *state, bool *threads)
{
    int running = 0, level = 0;
    atr_status status = ATR_OK;

    ATR_TRY(check(MPI_Initialized(&running), "MPI_Initialized"));
    if (running) {
        ATR_TRY(check(MPI_Query_thread(&level), "MPI_Query_thread"));
    } else {
        choose_algorithms();
        ATR_TRY(check(MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &level), "MPI_Init_thread"));
        state->finalise = true;
    }
    *threads = level >= MPI_THREAD_SERIALIZED;
    if (level < MPI_THREAD_FUNNELED)
        status = atr_fail(ATR_ERR_UNSUPPORTED, "this MPI allows no threads beside it (MPI_THREAD_FUNNELED)");

done:
    return status;
}

atr_status atr_comm_connect_mpi(atr_comm *comm)
{
    atr_status status = ATR_OK;
    mpi_state *state = NULL;

    if (!launched())
        return ATR_OK;
    ATR_TRY(ATR_NEW(1, &state));
    state->job = state->node = MPI_COMM_NULL;
    ATR_TRY(start_mpi(state, &comm->threads));
    ATR_TRY(check(MPI_Comm_dup(MPI_COMM_WORLD, &state->job), "MPI_Comm_dup"));
    ATR_TRY(describe(comm, state));
    comm->transport = &mpi_transport;
    comm->state = state;
    state = NULL;

done:
    if (state != NULL)
        close_mpi(state);
    return status;
}

char *atr_comm_library(char *text)
{
    char version[MPI_MAX_LIBRARY_VERSION_STRING + 1] = "";
    int length = 0;

    MPI_Get_library_version(version, &length); /* allowed before MPI is started */
    version[strcspn(version, ",\n")] = '\0';
    snprintf(text, ATR_COMM_LIBRARY_BYTES, "%.*s", ATR_COMM_LIBRARY_BYTES - 1, version);
    return text;
}

#else

char *atr_comm_library(char *text)
{
    snprintf(text, ATR_COMM_LIBRARY_BYTES, "none: this program was built without MPI");
    return text;
}

atr_status atr_comm_connect_mpi(atr_comm *comm)
{
    (void)comm;
    return ATR_OK;
}

#endif
