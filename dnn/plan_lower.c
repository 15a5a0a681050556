/* Graph nodes to steps and values with shapes. */
#include <string.h>

#include "core/log.h"
#include "core/rng.h"
#include "dnn/plan_impl.h"

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
    step->wants_dw = step->training && !atr_params_frozen(plan->params, node->conv.weight);
    step->dweight = gradient_of(plan, node->conv.weight);
    step->dbias = gradient_of(plan, node->conv.bias);
    link->first_param = node->conv.weight;
    link->last_param = node->conv.bias < 0 ? node->conv.weight : node->conv.bias;
}

int64_t plan_norm_pixels(const atr_plan *plan, const int64_t dims[4], bool alone)
{
    const bool shared = plan->options.norm_batch > 0 && !alone;

    return (shared ? plan->options.norm_batch : dims[0]) * dims[1] * dims[2];
}

static void bind_norm(const atr_plan *plan, const atr_node *node, const int64_t dims[4], atr_step *step,
                      plan_link *link)
{
    step->norm = node->norm;
    step->weight = value_of(plan, node->norm.weight);
    step->bias = value_of(plan, node->norm.bias);
    step->running_mean = value_of(plan, node->norm.running_mean);
    step->running_var = value_of(plan, node->norm.running_var);
    step->wants_dw = step->training && !atr_params_frozen(plan->params, node->norm.weight);
    step->dweight = gradient_of(plan, node->norm.weight);
    step->dbias = gradient_of(plan, node->norm.bias);
    link->first_param = node->norm.weight;
    link->last_param = node->norm.bias;
    step->batch_stats = step->training && !plan->options.freeze_norm &&
                        !atr_params_frozen(plan->params, node->norm.running_mean);
    if (step->batch_stats) /* T03 changes nothing: the counters of ranks with one picture and with several are equal */
        step->num_tracked = atr_params_value(plan->params, node->norm.num_tracked).data;
    step->norm_pixels = plan_norm_pixels(plan, dims, false);
    step->group = step->batch_stats ? plan->options.norm_group : NULL;
    if (step->batch_stats && step->norm_pixels == 1) {
        atr_log(
            ATR_LOG_WARN,
            "T03: a pass of one picture: %s would see one value per channel. Using running statistics there.",
            node->name);
        step->batch_stats = false;
        step->group = NULL;
    }
}

/* True where a node leaves its input as it is. */
static bool is_identity(const atr_plan *plan, const atr_node *node)
{
    return node->op == ATR_OP_DROPOUT && (plan->options.mode == ATR_INFER || node->dropout == 0);
}

static atr_status lower_node(atr_plan *plan, int index, const int64_t shape[4], int *value_of_node)
{
    atr_status status = ATR_OK;
    const atr_node *node = atr_graph_node(plan->graph, index);
    int s = -1;

    if (is_identity(plan, node)) {
        value_of_node[index] = value_of_node[node->inputs[0]];
        return ATR_OK;
    }
    const int v = plan->value_count++;
    plan->values[v].type = ATR_F32;
    plan->values[v].slice_of = -1;
    value_of_node[index] = v;
    memcpy(plan->values[v].dims, shape, sizeof plan->values[v].dims);
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

/* A gradient is wanted by every value that lies behind a trainable parameter. A step whose output wants none runs as in
 * inference: it keeps nothing, and what inference fuses may be fused. Only dropout and the batch's statistics stay. */
static void mark_wanted(atr_plan *plan)
{
    for (int s = 0; s < plan->step_count; s++) {
        atr_step *step = &plan->steps[s];
        const plan_link *link = &plan->links[s];
        bool wanted = step->wants_dw;
        for (int i = 0; i < step->input_count; i++)
            wanted = wanted || plan->values[link->x[i]].wants_grad;
        plan->values[link->y].wants_grad = wanted;
        step->training = step->training && (wanted || step->op == ATR_OP_DROPOUT);
    }
}

atr_status plan_lower(atr_plan *plan)
{
    atr_status status = ATR_OK;
    const int nodes = atr_graph_count(plan->graph);
    const atr_plan_options *o = &plan->options;
    int64_t(*shapes)[4] = NULL;
    int *value_of_node = NULL;

    ATR_TRY(ATR_NEW(nodes, &shapes));
    ATR_TRY(atr_graph_shapes(plan->graph, o->batch, o->height, o->width, shapes));
    ATR_TRY(ATR_NEW(nodes, &value_of_node));
    ATR_TRY(ATR_NEW(nodes, &plan->values));
    for (int i = 0; i < nodes; i++)
        ATR_TRY(lower_node(plan, i, shapes[i], value_of_node));
    mark_wanted(plan);
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
    atr_free(shapes);
    return status;
}
