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

static const atr_transport mpi_transport = {
    .close = close_mpi,
    .broadcast = broadcast,
    .all_reduce = reduce_all,
    .gather = gather_all,
    .barrier = wait_all,
    .abort = abort_all,
};

static atr_status start_mpi(mpi_state *state)
{
    int running = 0, level = 0;
    atr_status status = ATR_OK;

    ATR_TRY(check(MPI_Initialized(&running), "MPI_Initialized"));
    if (running)
        return ATR_OK;
    ATR_TRY(check(MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level), "MPI_Init_thread"));
    state->finalise = true;
    if (level < MPI_THREAD_FUNNELED)
        status = atr_fail(ATR_ERR_UNSUPPORTED, "this MPI allows no threads beside it (MPI_THREAD_FUNNELED)");

done:
    return status;
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

atr_status atr_comm_connect_mpi(atr_comm *comm)
{
    atr_status status = ATR_OK;
    mpi_state *state = NULL;

    if (!launched())
        return ATR_OK;
    ATR_TRY(ATR_NEW(1, &state));
    state->job = state->node = MPI_COMM_NULL;
    ATR_TRY(start_mpi(state));
    ATR_TRY(check(MPI_Comm_dup(MPI_COMM_WORLD, &state->job), "MPI_Comm_dup"));
    ATR_TRY(check(MPI_Comm_set_errhandler(state->job, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler"));
    ATR_TRY(check(MPI_Comm_split_type(state->job, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &state->node),
                  "MPI_Comm_split_type"));
    ATR_TRY(find_ranks(comm, state));
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
