/* Prediction in 8-bit integers: convolutions that the options' atr_quant knows become CONV_INT8. An activation is u8 where integers are
 * all that is made of it, f32 otherwise: then a QUANTIZE stands between it and the integer layers that read it. Comes behind the
 * rewrites that fuse and before buffers are placed. */
#include <string.h>

#include "dnn/int8.h"
#include "dnn/plan_impl.h"

static const char *node_name(const atr_plan *plan, int node)
{
    return atr_graph_node(plan->graph, node)->name;
}

static const char *images_name(const atr_plan *plan)
{
    for (int i = 0; i < atr_graph_count(plan->graph); i++)
        if (atr_graph_node(plan->graph, i)->op == ATR_OP_INPUT)
            return node_name(plan, i);
    return "";
}

/* Activations are called as the node that makes them: of fused ones the last. */
static const char *value_name(const atr_plan *plan, int value)
{
    const int producer = plan_producer(plan, value);

    return producer >= 0 ? node_name(plan, plan->links[producer].node) : images_name(plan);
}

const char *atr_plan_value_name(const atr_plan *plan, int index, int input)
{
    const plan_link *link = &plan->links[index];

    return value_name(plan, input < 0 ? link->y : link->x[input]);
}

static const atr_quant_steps *steps_of(const atr_plan *plan, int value)
{
    const atr_quant_steps *steps = atr_quant_find(&plan->options.quant->activations, value_name(plan, value));

    return steps != NULL && steps->count == plan->values[value].dims[3] ? steps : NULL;
}

static uint8_t zero_of(const atr_quant_steps *steps)
{
    return steps->has_negative ? 128 : 0;
}

static void convert_step(atr_plan *plan, int s)
{
    atr_step *step = &plan->steps[s];
    const plan_link *link = &plan->links[s];
    const atr_quant_steps *weights = atr_quant_find(&plan->options.quant->weights, step->name);

    if (weights == NULL || !atr_int8_can(step) || weights->count != step->conv.out_channels)
        return;
    const atr_quant_steps *x = steps_of(plan, link->x[0]);
    if (x == NULL)
        return;
    step->op = ATR_OP_CONV_INT8;
    step->int8.weight_steps = weights->steps;
    step->int8.x_steps = x->steps;
    step->int8.x_zero = zero_of(x);
}

/* Who reads a value, and how. */
typedef struct readers {
    bool integers; /* as the input of a CONV_INT8 */
    bool floats;   /* as anything else but its residual */
} readers;

static readers readers_of(const atr_plan *plan, int value)
{
    readers found = {false, plan->values[value].keep};

    for (int s = 0; s < plan->step_count; s++)
        for (int i = 0; i < plan->steps[s].input_count; i++) {
            if (plan->links[s].x[i] != value)
                continue;
            const bool integer = plan->steps[s].op == ATR_OP_CONV_INT8;
            found.integers = found.integers || (integer && i == 0);
            found.floats = found.floats || !integer;
        }
    return found;
}

/* Makes room for a step at `at`. */
static atr_status insert_step(atr_plan *plan, int at)
{
    int last = 0;
    const atr_status status = plan_new_step(plan, &last);

    if (status != ATR_OK)
        return status;
    const atr_step step = plan->steps[last];
    const plan_link link = plan->links[last];
    memmove(&plan->steps[at + 1], &plan->steps[at], (size_t)(last - at) * sizeof step);
    memmove(&plan->links[at + 1], &plan->links[at], (size_t)(last - at) * sizeof link);
    plan->steps[at] = step;
    plan->links[at] = link;
    return ATR_OK;
}

/* A copy of `value` in integers, made right behind it, for those that read it as integers. */
static atr_status add_quantize(atr_plan *plan, int value, const atr_quant_steps *steps)
{
    const int producer = plan_producer(plan, value), at = producer + 1, copy = plan->value_count;
    atr_status status = ATR_OK;

    ATR_TRY(atr_grow(copy, copy + 1, sizeof *plan->values, (void **)&plan->values));
    plan->value_count++;
    plan->values[copy] = (plan_value){.type = ATR_U8, .slice_of = -1};
    memcpy(plan->values[copy].dims, plan->values[value].dims, sizeof plan->values[copy].dims);
    for (int s = 0; s < plan->step_count; s++)
        if (plan->steps[s].op == ATR_OP_CONV_INT8 && plan->links[s].x[0] == value)
            plan->links[s].x[0] = copy;
    ATR_TRY(insert_step(plan, at));
    atr_step *step = &plan->steps[at];
    step->op = ATR_OP_QUANTIZE;
    step->name = steps->name;
    step->input_count = 1;
    step->int8.y_steps = steps->steps;
    step->int8.y_zero = zero_of(steps);
    plan->links[at].x[0] = value;
    plan->links[at].y = copy;
    plan->links[at].node = producer >= 0 ? plan->links[producer].node : 0;

done:
    return status;
}

/* The decoder's first convolution sums in f32, but can round to integers at the end. */
static bool makes_bytes(const atr_step *step)
{
    return step->op == ATR_OP_CONV_INT8 || step->op == ATR_OP_CONV_RESIZED;
}

static void use_bytes(atr_plan *plan, int value, const atr_quant_steps *steps)
{
    const int producer = plan_producer(plan, value);

    plan->values[value].type = ATR_U8;
    plan->steps[producer].int8.y_steps = steps->steps;
    plan->steps[producer].int8.y_zero = zero_of(steps);
    for (int s = 0; s < plan->step_count; s++)
        if (plan->steps[s].residual && plan->links[s].x[1] == value) {
            plan->steps[s].int8.residual_steps = steps->steps;
            plan->steps[s].int8.residual_zero = zero_of(steps);
        }
}

/* Steps are those of weights with the norm folded in. */
static bool is_wanted(const atr_plan *plan)
{
    return plan->options.quant != NULL && plan->options.mode == ATR_INFER &&
           plan->backend->precision == ATR_F32 &&
           (plan->options.rewrites & plan->backend->rewrites & ATR_REWRITE_FOLD_NORM) != 0;
}

atr_status plan_rewrite_int8(atr_plan *plan)
{
    const int values = plan->value_count;
    atr_status status = ATR_OK;

    if (!is_wanted(plan))
        return ATR_OK;
    for (int s = 0; s < plan->step_count; s++)
        convert_step(plan, s);
    for (int v = 0; v < values; v++) {
        const readers who = readers_of(plan, v);
        const int producer = plan_producer(plan, v);
        if (!who.integers)
            continue;
        const atr_quant_steps *steps = steps_of(plan, v);
        if (!who.floats && producer >= 0 && makes_bytes(&plan->steps[producer]))
            use_bytes(plan, v, steps);
        else
            ATR_TRY(add_quantize(plan, v, steps));
    }

done:
    return status;
}
