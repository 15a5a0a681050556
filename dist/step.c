#include "dist/step.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/deal.h"
#include "core/text.h"
#include "core/timer.h"
#include "dist/monitor.h"
#include "dnn/metrics.h"

const char *atr_phase_name(atr_phase phase)
{
    static const char *const names[ATR_PHASES] = {"count pixels", "forward", "backward",
                                                  "gradient all-reduce", "update"};

    return names[phase];
}

/* What the ranks tell each other before any work, summed. */
typedef struct census {
    int64_t failed, stop, pictures;
    int64_t ignored;                 /* pixels without a class */
    int64_t pixels[ATR_MAX_CLASSES]; /* valid pixels by class */
} census;

static void count_labels(const atr_parallel_batch *batch, int64_t classes, census *own)
{
    const int64_t count = batch->count * batch->height * batch->width;
    int64_t histogram[256] = {0};

    for (int64_t i = 0; i < count; i++)
        histogram[batch->labels[i]]++;
    memcpy(own->pixels, histogram, (size_t)classes * sizeof *own->pixels);
    for (int64_t k = classes; k < 256; k++)
        own->ignored += histogram[k];
}

/* Counts by class are integers, so their sum over ranks, and with it the loss's divisor, has the same bits for any number
 * of ranks. */
static atr_status take_census(const atr_parallel *parallel, const atr_parallel_batch *batch, atr_status ready,
                              bool stop, census *all)
{
    atr_status status = ATR_OK;

    *all = (census){.failed = ready != ATR_OK, .stop = stop};
    atr_comm_announce(parallel->comm, ready);
    if (ready == ATR_OK) {
        all->pictures = batch->count;
        count_labels(batch, parallel->classes, all);
    }
    ATR_TRY(atr_comm_sum_i64(parallel->comm, (int64_t *)all, 4 + parallel->classes));
    if (all->failed > 0)
        status = atr_comm_agree(parallel->comm, ready);

done:
    return status;
}

/* Network and the loss's sums of this rank's part. */
static atr_status run_forward(const atr_parallel *parallel, atr_plan *plan, const atr_parallel_batch *batch,
                              int64_t number)
{
    atr_status status = ATR_OK;

    ATR_TRY(atr_comm_enter(parallel->comm, ATR_DOING_FORWARD, number));
    atr_plan_set_sample_keys(plan, batch->keys);
    ATR_TRY(atr_plan_forward(plan, batch->images));
    if (atr_loss_needs_sums(parallel->loss))
        ATR_TRY(atr_plan_loss_sums(plan, batch->labels, parallel->loss));

done:
    return status;
}

/* Adds up the ranks' sums, where the loss needs them. A rank that failed takes part with what it has: nobody waits for it. */
static atr_status sum_loss(const atr_parallel *parallel, int64_t number)
{
    const atr_loss_sums *const sums = atr_loss_sums_of(parallel->loss);
    atr_status status = ATR_OK;

    if (sums->real_count > 0 || sums->integer_count > 0)
        (void)atr_comm_enter(parallel->comm, ATR_DOING_AGREEMENT, number);
    if (sums->real_count > 0)
        ATR_TRY(atr_comm_sum_f64(parallel->comm, sums->reals, sums->real_count));
    if (sums->integer_count > 0)
        ATR_TRY(atr_comm_sum_i64(parallel->comm, sums->integers, sums->integer_count));

done:
    return status;
}

/* Loss of this rank's part, `value` its share of the whole step's, and its gradients. */
static atr_status run_backward(const atr_parallel *parallel, atr_plan *plan, const atr_parallel_batch *batch,
                               int64_t number, atr_grad_ready_fn ready, void *user, double *value)
{
    atr_status status = ATR_OK;

    ATR_TRY(atr_comm_enter(parallel->comm, ATR_DOING_BACKWARD, number));
    ATR_TRY(atr_plan_loss(plan, batch->labels, parallel->loss, value));
    ATR_TRY(atr_plan_backward(plan, ready, user));

done:
    return status;
}

typedef struct lap {
    double last, *seconds;
} lap;

static void end_phase(lap *clock, atr_phase phase)
{
    const double now = atr_seconds();

    clock->seconds[phase] += now - clock->last;
    clock->last = now;
}

static int64_t part_count(const atr_parallel *parallel, const atr_parallel_batch *batch)
{
    if (parallel->plans != NULL)
        return atr_plans_passes(parallel->plans, batch->global_count);
    return parallel->parts > 1 ? parallel->parts : 1;
}

/* Which plan runs part `index`, and which of this rank's samples they are. */
static atr_status find_pass(const atr_parallel *parallel, const atr_parallel_batch *batch, int64_t index,
                            atr_pass *out)
{
    const atr_share share = atr_deal(batch->count, part_count(parallel, batch), index);

    if (parallel->plans != NULL)
        return atr_plans_pass(parallel->plans, batch->global_count, index, out);
    *out = (atr_pass){parallel->plan, share.first, share.count};
    return ATR_OK;
}

/* The samples of a pass. */
static atr_parallel_batch part_of(const atr_parallel_batch *batch, const atr_pass *pass)
{
    const int64_t pixels = batch->height * batch->width, channels = atr_plan_images_channels(pass->plan);
    atr_parallel_batch part = *batch;

    part.count = pass->count;
    part.images += pass->first * pixels * channels;
    part.labels += pass->first * pixels;
    part.keys += pass->first;
    part.samples += pass->first;
    return part;
}

/* What a finished gradient of the last part is to become before it goes to the reducer. */
typedef struct summing {
    const atr_parallel *parallel;
    bool add; /* there were earlier parts */
    bool reduce;
} summing;

/* An atr_grad_ready_fn: adds the sums of the earlier parts. */
static atr_status add_earlier(void *user, int64_t offset, int64_t count)
{
    const summing *const sum = user;
    const atr_parallel *const p = sum->parallel;
    atr_status status = ATR_OK;

    if (sum->add)
        ATR_TRY(p->backend->table->accumulate(p->backend, atr_params_flat_gradients(p->params) + offset,
                                              p->sums + offset, count));
    if (sum->reduce && p->watch != NULL)
        ATR_TRY(p->watch(p->watch_user, offset, count));
    if (sum->reduce)
        ATR_TRY(atr_reducer_ready(p->reducer, offset, count));

done:
    return status;
}

/* The gradients of a part that is not the last go into the sums. */
static atr_status keep_sums(const atr_parallel *parallel, bool first)
{
    float *const gradients = atr_params_flat_gradients(parallel->params);
    atr_span span = {0, 0};
    atr_status status = ATR_OK;

    while (status == ATR_OK && atr_params_next_span(parallel->params, false, &span)) {
        if (first)
            memset(parallel->sums + span.offset, 0, (size_t)span.count * sizeof *gradients);
        status = parallel->backend->table->accumulate(parallel->backend, parallel->sums + span.offset,
                                                      gradients + span.offset, span.count);
    }
    return status;
}

/* What backward would have left behind had it had a picture: gradients of 0. */
static atr_status leave_nothing(const atr_parallel *parallel, summing *last)
{
    float *const gradients = atr_params_flat_gradients(parallel->params);
    atr_span span = {0, 0};
    atr_status status = ATR_OK;

    while (status == ATR_OK && atr_params_next_span(parallel->params, false, &span)) {
        memset(gradients + span.offset, 0, (size_t)span.count * sizeof *gradients);
        if (last != NULL)
            status = add_earlier(last, span.offset, span.count);
    }
    return status;
}

/* One part of a rank's samples on its way. */
typedef struct part {
    atr_pass pass;
    atr_parallel_batch batch;
    bool first, last;
    bool absent;  /* there is nothing to compute here, or something failed */
    double share; /* of the loss */
} part;

/* Computes, if there is something and all went well so far; then takes part in what the others still wait for. */
static atr_status forward_part(const atr_parallel *parallel, part *p, int64_t number, bool alone,
                               atr_status *local)
{
    p->absent = p->absent || *local != ATR_OK;
    if (!p->absent)
        *local = run_forward(parallel, p->pass.plan, &p->batch, number);
    p->absent = p->absent || *local != ATR_OK;
    return p->absent && !alone ? atr_plan_forward_absent(p->pass.plan) : ATR_OK;
}

static atr_status backward_part(const atr_parallel *parallel, part *p, int64_t number, bool alone,
                                atr_status *local)
{
    summing sum = {.parallel = parallel, .add = !p->first, .reduce = !alone};
    const bool empty = p->absent && *local == ATR_OK;
    atr_status status = ATR_OK;

    if (!p->absent)
        *local = run_backward(parallel, p->pass.plan, &p->batch, number, p->last ? add_earlier : NULL, &sum,
                              &p->share);
    p->absent = p->absent || *local != ATR_OK;
    if (p->absent && !alone)
        ATR_TRY(atr_plan_backward_absent(p->pass.plan));
    if (empty)
        *local = leave_nothing(parallel, p->last ? &sum : NULL);
    if (*local == ATR_OK && !p->last)
        *local = keep_sums(parallel, p->first);

done:
    return status;
}

/* Loss and gradients of this rank's samples, part by part. `local` is how this rank fares; once it has failed it computes nothing
 * more, but takes part in the sums that the loss and batch norms need, for the others wait for it there. `alone`: no other rank
 * takes part, and no gradient goes to the reducer. The status is that of the sums. */
static atr_status run_parts(const atr_parallel *parallel, const atr_parallel_batch *batch, int64_t number,
                            bool alone, atr_status *local, double *loss, lap *clock)
{
    const int64_t parts = part_count(parallel, batch);
    atr_status status = ATR_OK;

    *local = ATR_OK;
    *loss = 0;
    for (int64_t i = 0; i < parts; i++) {
        part p = {.first = i == 0, .last = i == parts - 1};
        ATR_TRY(find_pass(parallel, batch, i, &p.pass));
        p.batch = part_of(batch, &p.pass);
        p.absent = p.pass.count == 0;
        ATR_TRY(forward_part(parallel, &p, number, alone, local));
        atr_comm_announce(parallel->comm, *local);
        if (!alone)
            ATR_TRY(sum_loss(parallel, number));
        atr_loss_settle(parallel->loss);
        end_phase(clock, ATR_PHASE_FORWARD);
        ATR_TRY(backward_part(parallel, &p, number, alone, local));
        *loss += p.share;
        atr_comm_announce(parallel->comm, *local);
        end_phase(clock, ATR_PHASE_BACKWARD);
    }

done:
    return status;
}

/* Whether batch norms look at this rank's pictures alone. */
static void norm_alone(const atr_parallel *parallel, bool alone)
{
    if (parallel->plans != NULL)
        atr_plans_norm_alone(parallel->plans, alone);
    else
        atr_plan_norm_alone(parallel->plan, alone);
}

/* Name of the first parameter, in the order in which backward finishes them, whose gradient is not finite; NULL: none. */
static const char *first_bad_gradient(const atr_parallel *parallel)
{
    for (int64_t i = atr_params_count(parallel->params) - 1; i >= 0; i--) {
        const atr_param_spec *const spec = atr_params_spec(parallel->params, i);
        const atr_tensor gradient = atr_params_gradient(parallel->params, i);
        double sum = 0;
        if (atr_param_is_buffer(spec->kind) || atr_params_frozen(parallel->params, i))
            continue;
        if (parallel->backend->table->sum_squares(parallel->backend, gradient.data,
                                                  atr_tensor_count(&gradient), &sum) != ATR_OK ||
            !isfinite(sum))
            return spec->name;
    }
    return NULL;
}

static void list_samples(const atr_parallel_batch *batch, char *text, size_t bytes)
{
    enum { SHOWN = 16 };
    size_t used = 0;

    text[0] = '\0';
    for (int64_t i = 0; i < batch->count && i < SHOWN && used < bytes; i++)
        used += (size_t)snprintf(text + used, bytes - used, "%s%lld", i > 0 ? ", " : "",
                                 (long long)batch->samples[i]);
    if (batch->count > SHOWN && used < bytes)
        snprintf(text + used, bytes - used, ", ...");
}

/* "NaN" and "infinite" as people write them, other numbers as usual. */
static const char *number_text(double value, char text[ATR_REAL_TEXT_BYTES])
{
    if (isfinite(value))
        return atr_real_text(value, text);
    return isnan(value) ? "NaN" : "infinite";
}

/* Where a rank's fault begins: a place in the order of the computation, and its name. */
typedef struct culprit {
    int64_t place; /* of the forward pass, then gradients_place; INT64_MAX: nowhere */
    char tensor[ATR_NAME_BYTES + 32];
} culprit;

static const int64_t gradients_place = INT64_MAX - 1;

/* Passes of one size share a plan, which remembers the first fault of all of them. */
static void trace_passes(const atr_parallel *parallel, const atr_parallel_batch *batch, bool on)
{
    atr_pass pass;

    for (int64_t i = 0; i < part_count(parallel, batch); i++)
        if (find_pass(parallel, batch, i, &pass) == ATR_OK)
            atr_plan_trace(pass.plan, on);
}

static culprit find_culprit(const atr_parallel *parallel, const atr_parallel_batch *batch, double loss)
{
    culprit found = {INT64_MAX, "(none)"};
    const char *name = NULL;
    atr_pass pass;

    for (int64_t i = 0; i < part_count(parallel, batch); i++) {
        if (find_pass(parallel, batch, i, &pass) != ATR_OK)
            continue;
        const int64_t step = atr_plan_first_bad(pass.plan, &name);
        if (step < 0 || step >= found.place)
            continue;
        found.place = step;
        snprintf(found.tensor, sizeof found.tensor, "%s%s", step > 0 ? "output of " : "", name);
    }
    if (found.place < INT64_MAX)
        return found;
    name = first_bad_gradient(parallel);
    if (!isfinite(loss) || name != NULL)
        found.place = gradients_place;
    if (name != NULL)
        snprintf(found.tensor, sizeof found.tensor, "gradient of %s", name);
    return found;
}

/* Whether no rank's fault begins earlier: statistics of a batch norm over ranks spread one to all of them. */
static atr_status is_earliest(atr_comm *comm, int64_t place, bool *earliest)
{
    int64_t *places = NULL;
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW(atr_comm_size(comm), &places));
    ATR_TRY(atr_comm_gather(comm, &place, sizeof place, places));
    *earliest = place < INT64_MAX;
    for (int r = 0; r < atr_comm_size(comm); r++)
        *earliest &= places[r] >= place;

done:
    atr_free(places);
    return status;
}

/* The sum over ranks has spread the fault everywhere. So each rank runs its part once more, its loss settled by its own sums
 * alone, and looks where the fault is its own; all of them agree on the message of the rank in which it begins first, the lowest one of
 * several. */
static atr_status explain_numeric(const atr_parallel *parallel, const atr_parallel_batch *batch,
                                  const census *all, int64_t number)
{
    char samples[512], value[ATR_REAL_TEXT_BYTES];
    double loss = 0, seconds[ATR_PHASES] = {0};
    lap clock = {0, seconds};
    bool earliest = false;
    atr_status status = ATR_OK, local = ATR_OK;

    atr_loss_begin(parallel->loss, all->pixels, all->ignored, part_count(parallel, batch));
    trace_passes(parallel, batch, true);
    norm_alone(parallel, true);
    status = run_parts(parallel, batch, number, true, &local, &loss, &clock);
    norm_alone(parallel, false);
    ATR_TRY(atr_comm_agree(parallel->comm, status != ATR_OK ? status : local));
    loss += atr_loss_known(parallel->loss);
    const culprit found = find_culprit(parallel, batch, loss);
    ATR_TRY(is_earliest(parallel->comm, found.place, &earliest));
    list_samples(batch, samples, sizeof samples);
    if (earliest)
        status = atr_fail(ATR_ERR_NUMERIC,
                          "T01: step %lld rank %d: loss is %s. First non-finite tensor: %s. Samples %s.",
                          (long long)number, atr_comm_rank(parallel->comm), number_text(loss, value),
                          found.tensor, samples);
    status = atr_comm_agree(parallel->comm, status);
    if (status == ATR_OK)
        status =
            atr_fail(ATR_ERR_NUMERIC, "T01: step %lld: the sum of the ranks' gradients is too large for f32",
                     (long long)number);

done:
    trace_passes(parallel, batch, false);
    return status;
}

/* Sums gradients, losses and votes. `local` is how this rank's part went; every rank takes part in the sums all the same, so that
 * nobody waits for a rank that has failed. The agreed status. */
static atr_status reduce(const atr_parallel *parallel, atr_status local, double *loss)
{
    double shares[2] = {local == ATR_OK ? *loss : 0.0, local != ATR_OK ? 1.0 : 0.0};
    char why[2048];
    atr_status status = ATR_OK;

    snprintf(why, sizeof why, "%s", atr_status_message());
    ATR_TRY(atr_reducer_wait(parallel->reducer));
    ATR_TRY(atr_comm_sum_f64(parallel->comm, shares, 2));
    ATR_TRY(atr_comm_sum_i64(parallel->comm, atr_loss_votes_of(parallel->loss).hits, 2 * parallel->classes));
    *loss = shares[0] + atr_loss_known(parallel->loss);
    if (shares[1] > 0)
        status = atr_comm_agree(parallel->comm, local != ATR_OK ? atr_fail(local, "%s", why) : ATR_OK);

done:
    return status;
}

/* What brings a gradient of this norm down to `clip`, as PyTorch's clip_grad_norm_ (Pascanu et al. 2013). */
static double clip_scale(double clip, double norm)
{
    return clip > 0 && norm > clip ? clip / (norm + 1e-6) : 1.0;
}

atr_status atr_parallel_step(const atr_parallel *parallel, const atr_parallel_batch *batch, atr_status ready,
                             bool stop, int64_t number, double lr, atr_parallel_result *out)
{
    lap clock = {atr_seconds(), out->seconds};
    census all;
    atr_status status = ATR_OK, local = ATR_OK;

    *out = (atr_parallel_result){0};
    (void)atr_comm_enter(parallel->comm, ATR_DOING_AGREEMENT, number);
    ATR_TRY(take_census(parallel, batch, ready, stop, &all));
    atr_loss_begin(parallel->loss, all.pixels, all.ignored, part_count(parallel, batch));
    for (int64_t k = 0; k < parallel->classes; k++)
        out->valid_pixels += all.pixels[k];
    out->stop = all.stop > 0;
    end_phase(&clock, ATR_PHASE_COUNT);

    atr_reducer_begin(parallel->reducer);
    ATR_TRY(run_parts(parallel, batch, number, false, &local, &out->loss, &clock));

    (void)atr_comm_enter(parallel->comm, ATR_DOING_ALL_REDUCE, number);
    ATR_TRY(reduce(parallel, local, &out->loss));
    out->f_score = atr_loss_f_score(parallel->loss);
    if (!parallel->freeze_norm && (parallel->norm_ranks == NULL || !parallel->norm_ranks->all))
        ATR_TRY(atr_comm_average_buffers(parallel->comm, parallel->params, batch->count, all.pictures));
    end_phase(&clock, ATR_PHASE_REDUCE);

    (void)atr_comm_enter(parallel->comm, ATR_DOING_UPDATE, number);
    ATR_TRY(atr_optim_gradient_norm(parallel->optim, &out->gradient_norm));
    if (!isfinite(out->loss) || !isfinite(out->gradient_norm))
        ATR_TRY(explain_numeric(parallel, batch, &all, number));
    ATR_TRY(atr_optim_step(parallel->optim, lr, clip_scale(parallel->clip, out->gradient_norm)));
    end_phase(&clock, ATR_PHASE_UPDATE);

done:
    return status;
}
