/* What kernels keep and need beside activations, life times of buffers over the actions of one run, offsets in one arena, pointers. */
#include <stdlib.h>
#include <string.h>

#include "dnn/plan_impl.h"

static void touch(atr_plan *plan, int buffer, int when)
{
    if (buffer < 0)
        return;
    plan_buffer *b = &plan->buffers[buffer];
    if (when < b->first)
        b->first = when;
    if (when > b->last)
        b->last = when;
}

/* Whether an action comes behind the loss, where some buffers have a second one. */
static bool is_late(plan_action action)
{
    return action.kind == PLAN_AGAIN || action.kind == PLAN_BACKWARD;
}

/* Where the contents of a buffer lie for an action. */
static int buffer_for(const atr_plan *plan, int buffer, plan_action action)
{
    return buffer >= 0 && is_late(action) && plan->buffers[buffer].again >= 0 ? plan->buffers[buffer].again
                                                                              : buffer;
}

static int scratch_for(const atr_plan *plan, plan_action action)
{
    const int first = plan->links[action.step].scratch;
    const plan_act_kind kind =
        action.kind == PLAN_SUM ? PLAN_FORWARD : action.kind; /* a step that does nothing else */

    return first < 0 || kind >= PLAN_SCRATCHES ? PLAN_NOWHERE : first + (int)kind;
}

static void touch_action(atr_plan *plan, int when)
{
    const plan_action action = plan->actions[when];
    const int logits = plan->tap_values[ATR_TAP_LOGITS];

    if (action.kind == PLAN_LOSS) {
        touch(plan, plan->value_views[logits].buffer, when);
        touch(plan, plan->grad_views[logits].buffer, when);
        touch(plan, plan->loss_scratch, when);
        return;
    }
    const atr_step *step = &plan->steps[action.step];
    const plan_link *link = &plan->links[action.step];
    const bool back = action.kind == PLAN_BACKWARD;
    for (int i = 0; i < step->input_count; i++) {
        if (!back || step->needs_x)
            touch(plan, buffer_for(plan, link->x_view[i].buffer, action), when);
        if (back && step->wants_dx[i])
            touch(plan, link->dx_view[i].buffer, when);
    }
    if (!back || step->needs_y)
        touch(plan, buffer_for(plan, link->y_view.buffer, action), when);
    if (back)
        touch(plan, link->dy_view.buffer, when);
    touch(plan, link->saved, when);
    touch(plan, scratch_for(plan, action), when);
}

void plan_find_lives(atr_plan *plan)
{
    for (int b = 0; b < plan->buffer_count; b++) {
        plan->buffers[b].first = plan->action_count;
        plan->buffers[b].last = -1;
    }
    for (int when = 0; when < plan->action_count; when++)
        touch_action(plan, when);
    for (int v = 0; v < plan->value_count; v++)
        if (plan->values[v].keep)
            touch(plan, plan->value_views[v].buffer, plan->action_count);
}

static size_t loss_scratch_bytes(const atr_plan *plan)
{
    const int logits = plan->tap_values[ATR_TAP_LOGITS];
    const atr_loss_args loss = {.logits = plan_tensor(plan, logits, plan->value_views[logits]),
                                .height = plan->options.height,
                                .width = plan->options.width};
    const atr_backend_table *table = plan->backend->table;

    return (table->loss_scratch != NULL ? table->loss_scratch : atr_backend_ref.loss_scratch)(&loss);
}

/* Scratch memory lives for one action: while few activations are alive it lies where the others do at other times. */
atr_status plan_reserve(atr_plan *plan)
{
    atr_status status = ATR_OK;
    int last = PLAN_NOWHERE;

    for (int s = 0; s < plan->step_count; s++) {
        const atr_step *step = &plan->steps[s];
        plan_link *link = &plan->links[s];
        if (step->saved_bytes > 0)
            ATR_TRY(plan_new_buffer(plan, step->saved_bytes, &link->saved));
        if (step->scratch_bytes == 0)
            continue;
        ATR_TRY(plan_new_buffer(plan, step->scratch_bytes, &link->scratch));
        for (int kind = 1; kind < PLAN_SCRATCHES; kind++)
            ATR_TRY(plan_new_buffer(plan, step->scratch_bytes, &last));
    }
    ATR_TRY(plan_new_buffer(plan, loss_scratch_bytes(plan), &plan->loss_scratch));
done:
    return status;
}

typedef struct placed {
    size_t begin, end;
} placed;

static int by_begin(const void *a, const void *b)
{
    const size_t x = ((const placed *)a)->begin, y = ((const placed *)b)->begin;
    return x < y ? -1 : x > y;
}

/* Largest first, each at the lowest offset where no buffer alive at the same time lies (first fit decreasing, as in
 * Pisarchyk & Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020). Returns the arena's size. */
static size_t place_buffers(atr_plan *plan, const int *order, placed *taken)
{
    size_t total = 0;

    for (int i = 0; i < plan->buffer_count; i++) {
        plan_buffer *b = &plan->buffers[order[i]];
        int count = 0;
        if (b->first > b->last)
            continue;
        for (int j = 0; j < i; j++) {
            const plan_buffer *o = &plan->buffers[order[j]];
            if (o->first <= o->last && o->first <= b->last && b->first <= o->last)
                taken[count++] = (placed){o->offset, o->offset + o->bytes};
        }
        qsort(taken, (size_t)count, sizeof *taken, by_begin);
        size_t offset = 0;
        for (int j = 0; j < count && offset + b->bytes > taken[j].begin; j++)
            if (taken[j].end > offset)
                offset = taken[j].end;
        b->offset = offset;
        if (offset + b->bytes > total)
            total = offset + b->bytes;
    }
    return total;
}

/* Indices of buffers, largest first; equal sizes keep their order, so that a plan is the same each time. */
static void sort_by_size(const atr_plan *plan, int *order)
{
    for (int i = 0; i < plan->buffer_count; i++) {
        int j = i;
        for (; j > 0 && plan->buffers[order[j - 1]].bytes < plan->buffers[i].bytes; j--)
            order[j] = order[j - 1];
        order[j] = i;
    }
}

/* `value` at a view, as an action sees it. */
static void *address(const atr_plan *plan, int value, plan_view view, plan_action action)
{
    if (view.buffer == PLAN_IMAGES)
        return (void *)(uintptr_t)plan->images; /* kernels never write x */
    view.buffer = buffer_for(plan, view.buffer, action);
    return plan_address(plan, value, view);
}

static void *start_of(const atr_plan *plan, int buffer)
{
    return buffer < 0 ? NULL : atr_arena_at(plan->arena, plan->buffers[buffer].offset);
}

void plan_bind(atr_plan *plan, plan_action action)
{
    atr_step *step = &plan->steps[action.step];
    const plan_link *link = &plan->links[action.step];

    for (int i = 0; i < step->input_count; i++) {
        step->x[i].data = address(plan, link->x[i], link->x_view[i], action);
        step->dx[i].data = step->wants_dx[i] ? plan_address(plan, link->x[i], link->dx_view[i]) : NULL;
    }
    step->y.data = address(plan, link->y, link->y_view, action);
    step->dy.data = plan_address(plan, link->y, link->dy_view);
    step->saved = start_of(plan, link->saved);
    step->scratch = start_of(plan, scratch_for(plan, action));
}

static atr_status take_arena(atr_plan *plan, size_t bytes)
{
    const atr_plan *const lender = plan->options.memory;

    atr_status status = ATR_OK;

    plan->borrowed = lender != NULL && atr_arena_bytes(lender->arena) >= bytes;
    ATR_TRY(plan_approve(plan, plan->borrowed ? 0 : bytes));
    if (plan->borrowed)
        plan->arena = lender->arena;
    else
        ATR_TRY(atr_arena_create(atr_backend_allocator(plan->backend), bytes, &plan->arena));
done:
    return status;
}

atr_status plan_memory(atr_plan *plan)
{
    atr_status status = ATR_OK;
    int *order = NULL;
    placed *taken = NULL;

    plan_find_lives(plan);
    ATR_TRY(ATR_NEW(plan->buffer_count, &order));
    ATR_TRY(ATR_NEW(plan->buffer_count, &taken));
    sort_by_size(plan, order);
    ATR_TRY(take_arena(plan, place_buffers(plan, order, taken)));
    for (int s = 0; s < plan->step_count; s++)
        plan_bind(plan, (plan_action){s < plan->forward_count ? PLAN_FORWARD : PLAN_SUM, s});
done:
    atr_free(order);
    atr_free(taken);
    return status;
}
