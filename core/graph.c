#include "core/graph.h"

#include <stdio.h>
#include <string.h>

struct atr_graph {
    atr_node *nodes;
    int count, room;
    atr_param_spec *specs;
    int64_t spec_count, spec_room;
    int taps[ATR_TAPS];
};

atr_status atr_graph_create(atr_graph **out)
{
    const atr_status status = ATR_NEW(1, out);

    if (status != ATR_OK)
        return status;
    for (int i = 0; i < ATR_TAPS; i++)
        (*out)->taps[i] = -1;
    return ATR_OK;
}

void atr_graph_destroy(atr_graph *graph)
{
    if (graph == NULL)
        return;
    atr_free(graph->nodes);
    atr_free(graph->specs);
    atr_free(graph);
}

int atr_graph_count(const atr_graph *graph)
{
    return graph->count;
}

const atr_node *atr_graph_node(const atr_graph *graph, int index)
{
    return &graph->nodes[index];
}

int64_t atr_graph_param_count(const atr_graph *graph)
{
    return graph->spec_count;
}

const atr_param_spec *atr_graph_param_specs(const atr_graph *graph)
{
    return graph->specs;
}

int atr_graph_tap(const atr_graph *graph, atr_tap tap)
{
    return graph->taps[tap];
}

void atr_graph_set_tap(atr_graph *graph, atr_tap tap, int node)
{
    graph->taps[tap] = node;
}

/* Appends an empty node with checked inputs; its channels are those of input 0. */
static atr_status append(atr_graph *graph, atr_op op, const char *name, const int *inputs, int count,
                         atr_node **out)
{
    if (count > ATR_MAX_INPUTS)
        return atr_fail(ATR_ERR_UNSUPPORTED, "%s: %d inputs, at most %d", name, count, ATR_MAX_INPUTS);
    for (int i = 0; i < count; i++)
        if (inputs[i] < 0 || inputs[i] >= graph->count)
            return atr_fail(ATR_ERR_USAGE, "%s: input %d is not a node that exists", name, i);
    if (graph->count == graph->room) {
        const int room = graph->room == 0 ? 128 : 2 * graph->room;
        const atr_status status = atr_grow(graph->count, room, sizeof *graph->nodes, (void **)&graph->nodes);
        if (status != ATR_OK)
            return status;
        graph->room = room;
    }
    atr_node *node = &graph->nodes[graph->count++];
    node->op = op;
    snprintf(node->name, sizeof node->name, "%s", name);
    node->input_count = count;
    for (int i = 0; i < count; i++)
        node->inputs[i] = inputs[i];
    node->channels = count > 0 ? graph->nodes[inputs[0]].channels : 0;
    *out = node;
    return ATR_OK;
}

static atr_status declare(atr_graph *graph, const char *module, const char *leaf, atr_param_kind kind,
                          int rank, const int64_t *dims, int64_t *index)
{
    if (graph->spec_count == graph->spec_room) {
        const int64_t room = graph->spec_room == 0 ? 512 : 2 * graph->spec_room;
        const atr_status status =
            atr_grow(graph->spec_count, room, sizeof *graph->specs, (void **)&graph->specs);
        if (status != ATR_OK)
            return status;
        graph->spec_room = room;
    }
    atr_param_spec *spec = &graph->specs[graph->spec_count];
    const int length = snprintf(spec->name, sizeof spec->name, "%s.%s", module, leaf);
    if (length < 0 || (size_t)length >= sizeof spec->name)
        return atr_fail(ATR_ERR_USAGE, "parameter name %s.%s is too long", module, leaf);
    spec->kind = kind;
    spec->rank = rank;
    for (int i = 0; i < rank; i++)
        spec->dims[i] = dims[i];
    *index = graph->spec_count++;
    return ATR_OK;
}

atr_status atr_graph_input(atr_graph *graph, int64_t channels, int *out)
{
    atr_status status = ATR_OK;
    atr_node *node = NULL;

    if (channels < 1)
        return atr_fail(ATR_ERR_SHAPE, "a picture needs at least one channel, not %lld", (long long)channels);
    ATR_TRY(append(graph, ATR_OP_INPUT, "input", NULL, 0, &node));
    node->channels = channels;
    *out = graph->count - 1;
done:
    return status;
}

atr_status atr_graph_conv(atr_graph *graph, const char *name, int x, atr_conv_spec spec, int *out)
{
    atr_status status = ATR_OK;
    atr_node *node = NULL;

    ATR_TRY(append(graph, ATR_OP_CONV, name, &x, 1, &node));
    const int64_t in = node->channels;
    if (spec.out_channels < 1 || spec.kernel < 1 || spec.stride < 1 || spec.dilation < 1 || spec.pad < 0 ||
        spec.groups < 1 || in % spec.groups != 0 || spec.out_channels % spec.groups != 0)
        return atr_fail(
            ATR_ERR_SHAPE, "%s: no convolution from %lld to %lld channels in %lld groups (kernel %lld)", name,
            (long long)in, (long long)spec.out_channels, (long long)spec.groups, (long long)spec.kernel);
    node->channels = spec.out_channels;
    node->conv = (atr_conv_attr){
        in, spec.out_channels, spec.kernel, spec.stride, spec.pad, spec.dilation, spec.groups, -1, -1};
    const int64_t dims[] = {spec.out_channels, in / spec.groups, spec.kernel, spec.kernel};
    ATR_TRY(declare(graph, name, "weight", ATR_PARAM_CONV_WEIGHT, 4, dims, &node->conv.weight));
    if (spec.bias)
        ATR_TRY(declare(graph, name, "bias", ATR_PARAM_CONV_BIAS, 1, dims, &node->conv.bias));
    *out = graph->count - 1;
done:
    return status;
}

atr_status atr_graph_norm(atr_graph *graph, const char *name, int x, double momentum, double eps, int *out)
{
    atr_status status = ATR_OK;
    atr_node *node = NULL;

    ATR_TRY(append(graph, ATR_OP_NORM, name, &x, 1, &node));
    atr_norm_attr *norm = &node->norm;
    norm->channels = node->channels;
    norm->eps = eps;
    norm->momentum = momentum;
    ATR_TRY(declare(graph, name, "weight", ATR_PARAM_NORM_WEIGHT, 1, &node->channels, &norm->weight));
    ATR_TRY(declare(graph, name, "bias", ATR_PARAM_NORM_BIAS, 1, &node->channels, &norm->bias));
    ATR_TRY(declare(graph, name, "running_mean", ATR_PARAM_RUNNING_MEAN, 1, &node->channels,
                    &norm->running_mean));
    ATR_TRY(
        declare(graph, name, "running_var", ATR_PARAM_RUNNING_VAR, 1, &node->channels, &norm->running_var));
    ATR_TRY(declare(graph, name, "num_batches_tracked", ATR_PARAM_TRACKED, 0, NULL, &norm->num_tracked));
    *out = graph->count - 1;
done:
    return status;
}

atr_status atr_graph_act(atr_graph *graph, const char *name, int x, atr_act act, int *out)
{
    atr_node *node = NULL;
    const atr_status status = append(graph, ATR_OP_ACT, name, &x, 1, &node);

    if (status == ATR_OK) {
        node->act = act;
        *out = graph->count - 1;
    }
    return status;
}

atr_status atr_graph_add(atr_graph *graph, const char *name, int a, int b, int *out)
{
    atr_node *node = NULL;
    const atr_status status = append(graph, ATR_OP_ADD, name, (const int[]){a, b}, 2, &node);

    if (status != ATR_OK)
        return status;
    if (graph->nodes[a].channels != graph->nodes[b].channels)
        return atr_fail(ATR_ERR_SHAPE, "%s: cannot add %lld and %lld channels", name,
                        (long long)graph->nodes[a].channels, (long long)graph->nodes[b].channels);
    *out = graph->count - 1;
    return ATR_OK;
}

atr_status atr_graph_concat(atr_graph *graph, const char *name, const int *inputs, int count, int *out)
{
    atr_node *node = NULL;
    atr_status status = ATR_OK;

    if (count < 1)
        return atr_fail(ATR_ERR_USAGE, "%s: nothing to join", name);
    status = append(graph, ATR_OP_CONCAT, name, inputs, count, &node);
    if (status != ATR_OK)
        return status;
    node->channels = 0;
    for (int i = 0; i < count; i++)
        node->channels += graph->nodes[inputs[i]].channels;
    *out = graph->count - 1;
    return ATR_OK;
}

atr_status atr_graph_global_pool(atr_graph *graph, const char *name, int x, int *out)
{
    atr_node *node = NULL;
    const atr_status status = append(graph, ATR_OP_GLOBAL_POOL, name, &x, 1, &node);

    if (status == ATR_OK)
        *out = graph->count - 1;
    return status;
}

atr_status atr_graph_resize(atr_graph *graph, const char *name, int x, int like, int *out)
{
    atr_node *node = NULL;
    const atr_status status = append(graph, ATR_OP_RESIZE, name, (const int[]){x, like}, 2, &node);

    if (status == ATR_OK)
        *out = graph->count - 1;
    return status;
}

atr_status atr_graph_dropout(atr_graph *graph, const char *name, int x, double p, int *out)
{
    atr_node *node = NULL;
    atr_status status = ATR_OK;

    if (!(p >= 0 && p < 1))
        return atr_fail(ATR_ERR_USAGE, "%s: a dropout of %g is not in [0,1)", name, p);
    status = append(graph, ATR_OP_DROPOUT, name, &x, 1, &node);
    if (status == ATR_OK) {
        node->dropout = p;
        *out = graph->count - 1;
    }
    return status;
}
