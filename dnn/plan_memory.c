/* Life times of buffers over the actions of one run, offsets in one arena, pointers. */
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

/* A step whose kernel keeps something between forward and backward gets a buffer for it. */
static atr_status add_saved(atr_plan *plan)
{
    for (int s = 0; s < plan->step_count; s++) {
        plan->links[s].saved = PLAN_NOWHERE;
        if (plan->steps[s].saved_bytes > 0) {
            const atr_status status =
                plan_new_buffer(plan, plan->steps[s].saved_bytes, &plan->links[s].saved);
            if (status != ATR_OK)
                return status;
        }
    }
    return ATR_OK;
}

static void touch_action(atr_plan *plan, int when)
{
    const plan_action action = plan->actions[when];
    const int logits = plan->tap_values[ATR_TAP_LOGITS];

    if (action.kind == PLAN_LOSS) {
        touch(plan, plan->value_views[logits].buffer, when);
        touch(plan, plan->grad_views[logits].buffer, when);
        return;
    }
    const atr_step *step = &plan->steps[action.step];
    const plan_link *link = &plan->links[action.step];
    const bool back = action.kind == PLAN_BACKWARD;
    for (int i = 0; i < step->input_count; i++) {
        if (!back || step->needs_x)
            touch(plan, link->x_view[i].buffer, when);
        if (back && step->wants_dx[i])
            touch(plan, link->dx_view[i].buffer, when);
    }
    if (!back || step->needs_y)
        touch(plan, link->y_view.buffer, when);
    if (back)
        touch(plan, link->dy_view.buffer, when);
    touch(plan, link->saved, when);
}

static void find_lives(atr_plan *plan)
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

static size_t scratch_bytes(const atr_plan *plan)
{
    size_t most = 0;

    for (int s = 0; s < plan->step_count; s++)
        if (plan->steps[s].scratch_bytes > most)
            most = plan->steps[s].scratch_bytes;
    const atr_loss_args loss = {.logits = plan_tensor(plan, plan->tap_values[ATR_TAP_LOGITS],
                                                      plan->value_views[plan->tap_values[ATR_TAP_LOGITS]]),
                                .height = plan->options.height,
                                .width = plan->options.width};
    const atr_backend_table *table = plan->backend->table;
    const size_t for_loss =
        (table->loss_scratch != NULL ? table->loss_scratch : atr_backend_ref.loss_scratch)(&loss);
    return atr_align_up(for_loss > most ? for_loss : most);
}

static void set_pointers(atr_plan *plan)
{
    for (int s = 0; s < plan->step_count; s++) {
        atr_step *step = &plan->steps[s];
        const plan_link *link = &plan->links[s];
        for (int i = 0; i < step->input_count; i++) {
            step->x[i].data = plan_address(plan, link->x[i], link->x_view[i]);
            step->dx[i].data = step->wants_dx[i] ? plan_address(plan, link->x[i], link->dx_view[i]) : NULL;
        }
        step->y.data = plan_address(plan, link->y, link->y_view);
        step->dy.data = plan_address(plan, link->y, link->dy_view);
        step->saved = link->saved < 0 ? NULL : atr_arena_at(plan->arena, plan->buffers[link->saved].offset);
        step->scratch = step->scratch_bytes == 0 ? NULL : atr_arena_at(plan->arena, plan->scratch_offset);
    }
}

static atr_status take_arena(atr_plan *plan, size_t bytes)
{
    const atr_plan *const lender = plan->options.memory;

    plan->borrowed = lender != NULL && atr_arena_bytes(lender->arena) >= bytes;
    if (!plan->borrowed)
        return atr_arena_create(atr_backend_allocator(plan->backend), bytes, &plan->arena);
    plan->arena = lender->arena;
    return ATR_OK;
}

atr_status plan_memory(atr_plan *plan)
{
    atr_status status = ATR_OK;
    int *order = NULL;
    placed *taken = NULL;

    ATR_TRY(add_saved(plan));
    find_lives(plan);
    ATR_TRY(ATR_NEW(plan->buffer_count, &order));
    ATR_TRY(ATR_NEW(plan->buffer_count, &taken));
    sort_by_size(plan, order);
    plan->scratch_offset = place_buffers(plan, order, taken);
    ATR_TRY(take_arena(plan, plan->scratch_offset + scratch_bytes(plan)));
    set_pointers(plan);
done:
    atr_free(order);
    atr_free(taken);
    return status;
}
