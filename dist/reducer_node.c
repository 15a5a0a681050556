/* The sums among the ranks of a node, through memory that they share. Nobody waits: each rank does what can be done when it looks. */
#include <string.h>
#include <sys/statvfs.h>

#include "dist/reducer_impl.h"

static int64_t flag_count(const atr_reducer *reducer)
{
    return (2 * (int64_t)atr_comm_node_size(reducer->comm) + 1) * reducer->capacity;
}

/* Flags first, on lines of their own; then the blocks. */
static size_t flag_bytes(const atr_reducer *reducer)
{
    return atr_align_up((size_t)flag_count(reducer) * sizeof(atomic_uint));
}

static size_t node_bytes(const atr_reducer *reducer)
{
    const size_t blocks = (size_t)atr_comm_node_size(reducer->comm) + 1;

    return flag_bytes(reducer) + blocks * (size_t)reducer->flat * sizeof(float);
}

/* MPI does not look before it takes shared memory: a write to a page that is not there ends the program. */
bool atr_node_fits(const atr_reducer *reducer)
{
    struct statvfs volume;

    if (atr_comm_node_size(reducer->comm) == 1 || statvfs("/dev/shm", &volume) != 0)
        return true;
    return (double)volume.f_bavail * (double)volume.f_frsize > 1.05 * (double)node_bytes(reducer);
}

/* Pages are there once they have been written: near this rank's cores, and seen by who looks for room next. */
static void take_pages(const atr_node *node, int64_t flat)
{
    memset(node->slots + node->rank * flat, 0, (size_t)flat * sizeof *node->slots);
    if (node->rank == 0)
        memset(node->result, 0, (size_t)flat * sizeof *node->result);
}

atr_status atr_node_open(atr_reducer *reducer)
{
    atr_comm *const comm = reducer->comm;
    atr_node *const node = &reducer->node;
    const int64_t flat = reducer->flat, capacity = reducer->capacity;
    char here = 0, all[4096];
    atr_status status = ATR_OK;

    if (atr_comm_node_size(comm) > (int)sizeof all)
        return atr_fail(ATR_ERR_UNSUPPORTED, "%d ranks on one node", atr_comm_node_size(comm));
    ATR_TRY(comm->transport->share(comm->state, node_bytes(reducer), &node->shared));
    node->rank = atr_comm_node_rank(comm);
    node->size = atr_comm_node_size(comm);
    node->arrived = node->shared.base;
    node->summed = node->arrived + node->size * capacity;
    node->distributed = node->summed + node->size * capacity;
    node->slots = (float *)((char *)node->shared.base + flag_bytes(reducer));
    node->result = node->slots + node->size * flat;
    if (node->rank == 0)
        memset(node->shared.base, 0, flag_bytes(reducer));
    take_pages(node, flat);
    ATR_TRY(atr_comm_node_gather(comm, &here, 1, all)); /* nobody sets a flag before they are zero */

done:
    return status;
}

void atr_node_close(atr_reducer *reducer)
{
    if (reducer->node.shared.base != NULL && !reducer->comm->broken)
        reducer->comm->transport->unshare(&reducer->node.shared);
}

static bool all_there(const atr_reducer *reducer, const atomic_uint *flags, int64_t index)
{
    for (int r = 0; r < reducer->node.size; r++)
        if (atomic_load_explicit(&flags[r * reducer->capacity + index], memory_order_acquire) !=
            reducer->round)
            return false;
    return true;
}

static void set(const atr_reducer *reducer, atomic_uint *flag)
{
    atomic_store_explicit(flag, reducer->round, memory_order_release);
}

void atr_node_arrive(atr_reducer *reducer, int64_t index)
{
    atr_node *const node = &reducer->node;
    const atr_reducer_bucket *const fact = &reducer->facts[index];

    memcpy(node->slots + node->rank * reducer->flat + fact->offset,
           atr_params_flat_gradients(reducer->params) + fact->offset, (size_t)fact->count * sizeof(float));
    set(reducer, &node->arrived[node->rank * reducer->capacity + index]);
}

/* The sum goes to where it ends where there is one node, else into the leader's slot, from where it is sent: that is read
 * again only after the leader has overwritten it in the next backward. */
bool atr_node_sum(atr_reducer *reducer, int64_t index)
{
    atr_node *const node = &reducer->node;
    const atr_reducer_bucket *const fact = &reducer->facts[index];
    const int64_t from = fact->offset + fact->count * node->rank / node->size;
    const int64_t to = fact->offset + fact->count * (node->rank + 1) / node->size;
    float *const sum = reducer->nodes == 1 ? node->result : node->slots;

    if (!all_there(reducer, node->arrived, index))
        return false;
    if (sum != node->slots)
        memcpy(sum + from, node->slots + from, (size_t)(to - from) * sizeof *sum);
    for (int r = 1; r < node->size; r++) {
        const float *const slot = node->slots + r * reducer->flat;
        for (int64_t i = from; i < to; i++)
            sum[i] += slot[i];
    }
    set(reducer, &node->summed[node->rank * reducer->capacity + index]);
    return true;
}

bool atr_node_summed(const atr_reducer *reducer, int64_t index)
{
    return all_there(reducer, reducer->node.summed, index);
}

void atr_node_distribute(atr_reducer *reducer, int64_t index)
{
    set(reducer, &reducer->node.distributed[index]);
}

bool atr_node_distributed(const atr_reducer *reducer, int64_t index)
{
    return atomic_load_explicit(&reducer->node.distributed[index], memory_order_acquire) == reducer->round;
}
