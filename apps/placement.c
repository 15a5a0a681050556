#include "apps/placement.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/machine.h"

static atr_place own_place(const atr_session *session)
{
    atr_place own = {
        .threads = session->threads.count, .quota = session->threads.quota, .mask = atr_cpu_mask_get()};
    char domains[ATR_CPU_MASK_TEXT_BYTES];
    atr_machine machine;

    atr_machine_read_domains("", &machine);
    const atr_cpu_mask touched = atr_machine_domains_of(&machine, &own.mask);
    snprintf(own.domains, sizeof own.domains, "%.*s", ATR_PLACE_DOMAINS_BYTES - 1,
             atr_cpu_mask_text(&touched, domains));
    snprintf(own.host, sizeof own.host, "%.*s", ATR_PLACE_HOST_BYTES - 1, atr_comm_host(session->comm));
    return own;
}

atr_status atr_place_gather(const atr_session *session, atr_place **out)
{
    atr_comm *const comm = session->comm;
    const int rank = atr_comm_rank(comm);
    atr_place own = own_place(session);
    int *ranks = NULL;
    atr_status status = ATR_OK;

    *out = NULL;
    status = ATR_NEW(atr_comm_node_size(comm), &ranks);
    if (status == ATR_OK)
        status = ATR_NEW(atr_comm_size(comm), out);
    ATR_TRY(atr_comm_agree(comm, status));
    ATR_TRY(atr_comm_node_gather(comm, &rank, sizeof rank, ranks));
    own.node = ranks[0]; /* ranks of a node stand in order */
    ATR_TRY(atr_comm_gather(comm, &own, sizeof own, *out));

done:
    atr_free(ranks);
    if (status != ATR_OK) {
        atr_free(*out);
        *out = NULL;
    }
    return status;
}

/* The rank of `node` behind `rank` (-1: its first), or -1. */
static int next_on_node(const atr_place *places, int count, int node, int rank)
{
    for (int i = rank + 1; i < count; i++)
        if (places[i].node == node)
            return i;
    return -1;
}

static bool same_place(const atr_place *a, const atr_place *b)
{
    return a->threads == b->threads && memcmp(&a->mask, &b->mask, sizeof a->mask) == 0 &&
           strcmp(a->domains, b->domains) == 0;
}

/* Whether two nodes have equal ranks, one by one. */
static bool same_node(const atr_place *places, int count, int a, int b)
{
    int i = a, j = b;

    while (i >= 0 && j >= 0 && same_place(&places[i], &places[j])) {
        i = next_on_node(places, count, a, i);
        j = next_on_node(places, count, b, j);
    }
    return i < 0 && j < 0;
}

/* Nodes that look like `node` and come after it; -1 when one before it does, which has told it already. */
static int alike(const atr_place *places, int count, int node)
{
    int found = 0;

    for (int other = 0; other < count; other++) {
        if (places[other].node != other || other == node || !same_node(places, count, node, other))
            continue;
        if (other < node)
            return -1;
        found++;
    }
    return found;
}

void atr_place_map(const atr_place *places, int count, atr_text *text)
{
    atr_text_append(text, "%6s  %-20s %-16s %-6s %s\n", "rank", "node", "cores", "NUMA", "threads");
    for (int node = 0; node < count; node++) {
        const int others = places[node].node == node ? alike(places, count, node) : -1;
        if (others < 0)
            continue;
        for (int i = node; i >= 0; i = next_on_node(places, count, node, i)) {
            char cores[ATR_CPU_MASK_TEXT_BYTES];
            atr_text_append(text, "%6d  %-20s %-16s %-6s %d\n", i, places[i].host,
                            atr_cpu_mask_text(&places[i].mask, cores),
                            places[i].domains[0] != '\0' ? places[i].domains : "?", places[i].threads);
        }
        if (others > 0)
            atr_text_append(text, "%6s  and %d more node%s like it\n", "", others, others == 1 ? "" : "s");
    }
}

/* What the ranks of one node have together. */
typedef struct node_sum {
    int ranks, threads;
    int first, second; /* ranks whose cores overlap; -1: none */
    int cpus;          /* that they may use, by masks and quota */
    atr_cpu_mask mask;
} node_sum;

static node_sum sum_node(const atr_place *places, int count, int node)
{
    node_sum sum = {.first = -1, .second = -1};

    for (int i = node; i >= 0; i = next_on_node(places, count, node, i)) {
        for (int j = node; sum.first < 0 && j < i; j = next_on_node(places, count, node, j))
            if (atr_cpu_mask_overlap(&places[i].mask, &places[j].mask)) {
                sum.first = j;
                sum.second = i;
            }
        for (int w = 0; w < ATR_CPU_WORDS; w++)
            sum.mask.words[w] |= places[i].mask.words[w];
        sum.ranks++;
        sum.threads += places[i].threads;
    }
    sum.cpus = atr_cpu_mask_count(&sum.mask);
    if (places[node].quota > 0 && ceil(places[node].quota) < sum.cpus)
        sum.cpus = (int)ceil(places[node].quota);
    return sum;
}

void atr_place_warning(const atr_place *places, int count, atr_text *text)
{
    char cores[ATR_CPU_MASK_TEXT_BYTES];

    for (int node = 0; node < count; node++) {
        if (places[node].node != node)
            continue;
        const node_sum sum = sum_node(places, count, node);
        if (sum.ranks > sum.cpus) {
            atr_text_append(text,
                            "R02: %d ranks on %d core%s of node %s: %.3gx too many. Start at most %d there: "
                            "mpirun --map-by ppr:%d:node:PE=1 --bind-to core.",
                            sum.ranks, sum.cpus, sum.cpus == 1 ? "" : "s", places[node].host,
                            (double)sum.ranks / sum.cpus, sum.cpus, sum.cpus);
            return;
        }
        if (sum.first >= 0) {
            atr_text_append(
                text,
                "R02: ranks %d and %d on node %s may run on the same cores (%s), so each of its %d "
                "ranks uses a share of them. Give each its own: mpirun --map-by ppr:%d:node:PE=%d "
                "--bind-to core.",
                sum.first, sum.second, places[node].host, atr_cpu_mask_text(&sum.mask, cores), sum.ranks,
                sum.ranks, sum.cpus / sum.ranks);
            return;
        }
    }
}
