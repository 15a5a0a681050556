/* Training in less memory: activations are dropped after their last use in forward, and made again on the way back, shortly before
 * backward reads them (T. Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016). Kernels give the same bits each time
 * and batch norms use the statistics that they kept, so gradients are those of the plain plan, bit by bit.
 *
 * No step runs more than twice. Which activations go is decided by the memory they would save: while there is one whose loss lowers
 * the most that is alive at any time, the one goes that saves the most bytes for the least arithmetic. What turns out to be
 * dropped in vain is kept after all. */
#include <string.h>

#include "dnn/plan_impl.h"

/* A buffer of activations. */
typedef struct candidate {
    bool may_go, kept;
    int first, last; /* steps that write it lie in here; last < first: none does */
    double cost;     /* of making it again, in multiplications */
} candidate;

typedef struct search {
    atr_plan *plan;
    candidate *buffers; /* [buffer_count] */
    int buffer_count;   /* of the plain plan */
    plan_action *late;  /* its actions behind the loss */
    int late_count;
    size_t *alive; /* bytes that are so from (in the low half: until) an action on */
    int alive_room;
} search;

/* ---- the plan with some buffers dropped --------------------------------------------------------------------------------- */

static bool writes(const atr_plan *plan, int step, int buffer)
{
    return !plan->links[step].view && plan->links[step].y_view.buffer == buffer;
}

/* Makes a buffer's contents be there on the way back: kept, or made again by the steps that wrote them. */
static atr_status need(search *s, int buffer)
{
    atr_plan *const plan = s->plan;
    atr_status status = ATR_OK;
    int again = PLAN_NOWHERE;

    if (buffer < 0 || s->buffers[buffer].kept || plan->buffers[buffer].again >= 0)
        return ATR_OK;
    ATR_TRY(plan_new_buffer(plan, plan->buffers[buffer].bytes, &again));
    plan->buffers[buffer].again = again;
    for (int p = s->buffers[buffer].first; p <= s->buffers[buffer].last; p++) {
        if (!writes(plan, p, buffer))
            continue;
        for (int i = 0; i < plan->steps[p].input_count; i++)
            ATR_TRY(need(s, plan->links[p].x_view[i].buffer));
        ATR_TRY(plan_new_action(plan, PLAN_AGAIN, p));
    }
done:
    return status;
}

/* The plan's actions and buffers for what is kept now. */
static atr_status rebuild(search *s)
{
    atr_plan *const plan = s->plan;
    atr_status status = ATR_OK;

    plan->action_count = plan->forward_actions + 1;
    plan->buffer_count = s->buffer_count;
    for (int b = 0; b < s->buffer_count; b++)
        plan->buffers[b].again = PLAN_NOWHERE;
    for (int a = 0; a < s->late_count; a++) {
        const plan_action action = s->late[a];
        const atr_step *step = &plan->steps[action.step];
        const plan_link *link = &plan->links[action.step];
        const bool back = action.kind == PLAN_BACKWARD;
        for (int i = 0; back && step->needs_x && i < step->input_count; i++)
            ATR_TRY(need(s, link->x_view[i].buffer));
        if (back && step->needs_y)
            ATR_TRY(need(s, link->y_view.buffer));
        ATR_TRY(plan_new_action(plan, action.kind, action.step));
    }
done:
    return status;
}

/* The most bytes that are alive at any time. `*when`: the action at which they are. */
static atr_status find_peak(search *s, size_t *peak, int *when)
{
    atr_plan *const plan = s->plan;
    const int room = plan->action_count + 2;
    atr_status status = ATR_OK;
    size_t now = 0;

    plan_find_lives(plan);
    if (room > s->alive_room) {
        ATR_TRY(atr_grow(s->alive_room, 2 * room, sizeof *s->alive, (void **)&s->alive));
        s->alive_room = 2 * room;
    }
    memset(s->alive, 0, (size_t)room * sizeof *s->alive);
    for (int b = 0; b < plan->buffer_count; b++) {
        const plan_buffer *buffer = &plan->buffers[b];
        if (buffer->first > buffer->last)
            continue;
        s->alive[buffer->first] += buffer->bytes;
        s->alive[buffer->last + 1] -= buffer->bytes; /* below zero for a while: sums are modulo 2^64 */
    }
    *peak = 0;
    *when = 0;
    for (int a = 0; a < room; a++) {
        now += s->alive[a];
        if (now > *peak) {
            *peak = now;
            *when = a;
        }
    }
done:
    return status;
}

static atr_status try_peak(search *s, size_t *peak, int *when)
{
    const atr_status status = rebuild(s);

    return status == ATR_OK ? find_peak(s, peak, when) : status;
}

/* ---- deciding ----------------------------------------------------------------------------------------------------------- */

/* A step that reads and writes an element takes about as long as so many multiplications. */
static double step_cost(const atr_step *step)
{
    enum { ELEMENT = 25 };
    return (double)atr_step_macs(step) + ELEMENT * (double)atr_tensor_count(&step->y);
}

/* What a step that keeps nothing for backward made (frozen parts) cannot be made again from what is kept. */
static void describe(search *s)
{
    const atr_plan *const plan = s->plan;

    for (int b = 0; b < s->buffer_count; b++)
        s->buffers[b] = (candidate){.may_go = true, .kept = true, .first = 0, .last = -1};
    for (int p = 0; p < plan->forward_count; p++) {
        const int b = plan->links[p].y_view.buffer;
        if (plan->links[p].view || b < 0)
            continue;
        candidate *const c = &s->buffers[b];
        c->first = c->last < 0 ? p : c->first;
        c->last = p;
        c->may_go = c->may_go && plan->steps[p].training;
        c->cost += step_cost(&plan->steps[p]);
    }
    for (int b = 0; b < s->buffer_count; b++)
        s->buffers[b].may_go = s->buffers[b].may_go && s->buffers[b].last >= 0;
    for (int v = 0; v < plan->value_count; v++)
        if (plan->values[v].keep && plan->value_views[v].buffer >= 0)
            s->buffers[plan->value_views[v].buffer].may_go = false;
}

static bool is_pointwise(const search *s, int buffer)
{
    const candidate *const c = &s->buffers[buffer];

    for (int p = c->first; p <= c->last; p++) {
        const atr_op op = s->plan->steps[p].op;
        if (writes(s->plan, p, buffer) && op != ATR_OP_NORM && op != ATR_OP_ACT && op != ATR_OP_DROPOUT)
            return false;
    }
    return true;
}

/* Of the kept buffers that are alive at the peak, the next one behind `*last` in order of bytes saved for the arithmetic; -1: no more. */
static int next_candidate(const search *s, const bool *tried)
{
    int best = -1;

    for (int b = 0; b < s->buffer_count; b++) {
        const candidate *const c = &s->buffers[b];
        if (!c->may_go || !c->kept || tried[b])
            continue;
        if (best < 0 || (double)s->plan->buffers[b].bytes * s->buffers[best].cost >
                            (double)s->plan->buffers[best].bytes * c->cost)
            best = b;
    }
    return best;
}

static void mark_absent(const search *s, int when, bool *tried)
{
    for (int b = 0; b < s->buffer_count; b++)
        tried[b] = s->plan->buffers[b].first > when || s->plan->buffers[b].last < when;
}

/* Drops one more buffer if that lowers the peak; `*done`: none does. */
static atr_status drop_one(search *s, bool *tried, size_t *peak, int *when, bool *done)
{
    atr_status status = ATR_OK;
    size_t lower = 0;
    int then = 0;

    mark_absent(s, *when, tried);
    for (int b; (b = next_candidate(s, tried)) >= 0;) {
        tried[b] = true;
        s->buffers[b].kept = false;
        ATR_TRY(try_peak(s, &lower, &then));
        if (lower < *peak) {
            *peak = lower;
            *when = then;
            return ATR_OK;
        }
        s->buffers[b].kept = true;
    }
    *done = true;
    ATR_TRY(try_peak(s, peak, when));
done:
    return status;
}

/* Keeps what lowers nothing after all, the dearest first. */
static atr_status keep_idle(search *s, bool *tried, size_t peak)
{
    atr_status status = ATR_OK;
    size_t other = 0;
    int when = 0;

    memset(tried, 0, (size_t)s->buffer_count * sizeof *tried);
    for (;;) {
        int dearest = -1;
        for (int b = 0; b < s->buffer_count; b++)
            if (!s->buffers[b].kept && !tried[b] &&
                (dearest < 0 || s->buffers[b].cost > s->buffers[dearest].cost))
                dearest = b;
        if (dearest < 0)
            break;
        tried[dearest] = s->buffers[dearest].kept = true;
        ATR_TRY(try_peak(s, &other, &when));
        s->buffers[dearest].kept = other <= peak;
    }
    ATR_TRY(rebuild(s));
done:
    return status;
}

static atr_status decide(search *s)
{
    atr_status status = ATR_OK;
    size_t peak = 0, plain = 0;
    int when = 0;
    bool *tried = NULL, done = false;

    ATR_TRY(ATR_NEW(s->buffer_count, &tried));
    ATR_TRY(try_peak(s, &plain, &when));
    for (int b = 0; b < s->buffer_count; b++)
        s->buffers[b].kept = !s->buffers[b].may_go || !is_pointwise(s, b);
    ATR_TRY(try_peak(s, &peak, &when));
    while (!done && s->plan->options.recompute)
        ATR_TRY(drop_one(s, tried, &peak, &when, &done));
    ATR_TRY(keep_idle(s, tried, peak));
done:
    atr_free(tried);
    return status;
}

atr_status plan_recompute(atr_plan *plan)
{
    atr_status status = ATR_OK;
    search s = {.plan = plan, .buffer_count = plan->buffer_count};

    const bool pointwise = (plan->options.rewrites & plan->backend->rewrites & ATR_REWRITE_NORM_AGAIN) != 0;

    if (plan->options.mode != ATR_TRAIN || (!plan->options.recompute && !pointwise))
        return ATR_OK;
    s.late_count = plan->action_count - plan->forward_actions - 1;
    ATR_TRY(ATR_NEW(s.buffer_count, &s.buffers));
    ATR_TRY(ATR_NEW(s.late_count, &s.late));
    memcpy(s.late, plan->actions + plan->forward_actions + 1, (size_t)s.late_count * sizeof *s.late);
    describe(&s);
    ATR_TRY(decide(&s));
done:
    atr_free(s.buffers);
    atr_free(s.late);
    atr_free(s.alive);
    return status;
}
