/* Graph nodes to steps and values with shapes. */
#include <string.h>

#include "core/log.h"
#include "core/rng.h"
#include "dnn/plan_impl.h"

static atr_status infer_conv(const atr_node *node, const int64_t in[4], int64_t out[4])
{
    const atr_conv_attr *conv = &node->conv;
    const int64_t reach = conv->dilation * (conv->kernel - 1) + 1;

    out[0] = in[0];
    out[3] = conv->out_channels;
    for (int i = 1; i <= 2; i++) {
        const int64_t room = in[i] + 2 * conv->pad - reach;
        if (room < 0)
            return atr_fail(
                ATR_ERR_SHAPE,
                "%s: a picture of %lldx%lld is too small for a kernel that reaches over %lld pixels",
                node->name, (long long)in[1], (long long)in[2], (long long)reach);
        out[i] = room / conv->stride + 1;
    }
    return ATR_OK;
}

/* Output shape of `node`; `shapes` are those of its inputs. */
static atr_status infer(const atr_plan *plan, const atr_node *node, const int64_t *const shapes[],
                        int64_t out[4])
{
    const atr_plan_options *o = &plan->options;

    switch (node->op) {
    case ATR_OP_INPUT:
        memcpy(out, (const int64_t[]){o->batch, o->height, o->width, node->channels}, 4 * sizeof *out);
        return ATR_OK;
    case ATR_OP_CONV:
        return infer_conv(node, shapes[0], out);
    case ATR_OP_RESIZE:
        memcpy(out, (const int64_t[]){shapes[0][0], shapes[1][1], shapes[1][2], shapes[0][3]},
               4 * sizeof *out);
        return ATR_OK;
    case ATR_OP_GLOBAL_POOL:
        memcpy(out, (const int64_t[]){shapes[0][0], 1, 1, shapes[0][3]}, 4 * sizeof *out);
        return ATR_OK;
    default:
        break;
    }
    memcpy(out, shapes[0], 4 * sizeof *out);
    out[3] = node->channels;
    for (int i = 1; i < node->input_count; i++)
        if (memcmp(shapes[0], shapes[i], 3 * sizeof *out) != 0)
            return atr_fail(ATR_ERR_SHAPE, "%s: inputs of %lldx%lld and %lldx%lld pixels do not fit",
                            node->name, (long long)shapes[0][1], (long long)shapes[0][2],
                            (long long)shapes[i][1], (long long)shapes[i][2]);
    return ATR_OK;
}

static float *value_of(const atr_plan *plan, int64_t param)
{
    return param < 0 ? NULL : atr_params_value(plan->params, param).data;
}

static float *gradient_of(const atr_plan *plan, int64_t param)
{
    return param < 0 ? NULL : atr_params_gradient(plan->params, param).data;
}

static void bind_conv(const atr_plan *plan, const atr_node *node, atr_step *step, plan_link *link)
{
    step->conv = node->conv;
    step->weight = value_of(plan, node->conv.weight);
    step->bias = value_of(plan, node->conv.bias);
    step->wants_dw = step->training;
    step->dweight = gradient_of(plan, node->conv.weight);
    step->dbias = gradient_of(plan, node->conv.bias);
    link->first_param = node->conv.weight;
    link->last_param = node->conv.bias < 0 ? node->conv.weight : node->conv.bias;
}

static void bind_norm(const atr_plan *plan, const atr_node *node, const int64_t dims[4], atr_step *step,
                      plan_link *link)
{
    step->norm = node->norm;
    step->weight = value_of(plan, node->norm.weight);
    step->bias = value_of(plan, node->norm.bias);
    step->running_mean = value_of(plan, node->norm.running_mean);
    step->running_var = value_of(plan, node->norm.running_var);
    step->num_tracked = atr_params_value(plan->params, node->norm.num_tracked).data;
    step->wants_dw = step->training;
    step->dweight = gradient_of(plan, node->norm.weight);
    step->dbias = gradient_of(plan, node->norm.bias);
    link->first_param = node->norm.weight;
    link->last_param = node->norm.bias;
    step->batch_stats = step->training && !plan->options.freeze_norm;
    if (step->batch_stats && dims[0] * dims[1] * dims[2] == 1) {
        atr_log(ATR_LOG_WARN,
                "T03: batch 1 on 1 rank: %s would see one value per channel. Using running statistics there.",
                node->name);
        step->batch_stats = false;
    }
}

/* True where a node leaves its input as it is. */
static bool is_identity(const atr_plan *plan, const atr_node *node)
{
    return node->op == ATR_OP_DROPOUT && (plan->options.mode == ATR_INFER || node->dropout == 0);
}

static atr_status lower_node(atr_plan *plan, int index, int *value_of_node)
{
    atr_status status = ATR_OK;
    const atr_node *node = atr_graph_node(plan->graph, index);
    const int64_t *shapes[ATR_MAX_INPUTS] = {NULL};
    int s = -1;

    for (int i = 0; i < node->input_count; i++)
        shapes[i] = plan->values[value_of_node[node->inputs[i]]].dims;
    if (is_identity(plan, node)) {
        value_of_node[index] = value_of_node[node->inputs[0]];
        return ATR_OK;
    }
    const int v = plan->value_count++;
    plan->values[v].slice_of = -1;
    value_of_node[index] = v;
    ATR_TRY(infer(plan, node, shapes, plan->values[v].dims));
    plan->values[v].images = node->op == ATR_OP_INPUT;
    if (plan->values[v].images)
        goto done;

    ATR_TRY(plan_new_step(plan, &s));
    atr_step *step = &plan->steps[s];
    plan_link *link = &plan->links[s];
    step->op = node->op;
    step->name = node->name;
    step->training = plan->options.mode == ATR_TRAIN;
    link->node = index;
    link->y = v;
    /* A resize reads only the size of its second input: no edge, so that it does not keep that one alive. */
    step->input_count = node->op == ATR_OP_RESIZE ? 1 : node->input_count;
    for (int i = 0; i < step->input_count; i++)
        link->x[i] = value_of_node[node->inputs[i]];
    if (node->op == ATR_OP_CONV)
        bind_conv(plan, node, step, link);
    if (node->op == ATR_OP_NORM)
        bind_norm(plan, node, plan->values[v].dims, step, link);
    if (node->op == ATR_OP_ACT)
        step->act = node->act;
    if (node->op == ATR_OP_DROPOUT) {
        step->dropout = node->dropout;
        step->stream = atr_fnv1a64(node->name);
        step->sample_keys = plan->sample_keys;
    }
done:
    return status;
}

atr_status plan_lower(atr_plan *plan)
{
    atr_status status = ATR_OK;
    const int nodes = atr_graph_count(plan->graph);
    int *value_of_node = NULL;

    ATR_TRY(ATR_NEW(nodes, &value_of_node));
    ATR_TRY(ATR_NEW(nodes, &plan->values));
    for (int i = 0; i < nodes; i++)
        ATR_TRY(lower_node(plan, i, value_of_node));
    for (int tap = 0; tap < ATR_TAPS; tap++) {
        const int node = atr_graph_tap(plan->graph, tap);
        plan->tap_values[tap] = node < 0 ? -1 : value_of_node[node];
        if (node >= 0 && (plan->options.keep_taps || tap == ATR_TAP_LOGITS))
            plan->values[value_of_node[node]].keep = true;
    }
    if (plan->tap_values[ATR_TAP_LOGITS] < 0)
        status = atr_fail(ATR_ERR_USAGE, "the graph marks no node as its class scores");
done:
    atr_free(value_of_node);
    return status;
}
