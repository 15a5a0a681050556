#include "dnn/plan_impl.h"

#include <assert.h>
#include <string.h>
#include <time.h>

/* ---- the parts that stages share ---------------------------------------------------------------------------------------- */

int plan_readers(const atr_plan *plan, int value, int *reader)
{
    int count = plan->values[value].keep ? 1 : 0;

    *reader = -1;
    for (int s = 0; s < plan->step_count; s++)
        for (int i = 0; !plan->links[s].removed && i < plan->steps[s].input_count; i++)
            if (plan->links[s].x[i] == value) {
                *reader = s;
                count++;
            }
    return *reader < 0 ? 0 : count;
}

int plan_producer(const atr_plan *plan, int value)
{
    for (int s = 0; s < plan->step_count; s++)
        if (!plan->links[s].removed && plan->links[s].y == value)
            return s;
    return -1;
}

void plan_compact(atr_plan *plan)
{
    int kept = 0;

    for (int s = 0; s < plan->step_count; s++) {
        if (plan->links[s].removed)
            continue;
        plan->steps[kept] = plan->steps[s];
        plan->links[kept++] = plan->links[s];
    }
    plan->step_count = kept;
}

atr_status plan_new_buffer(atr_plan *plan, size_t bytes, int *out)
{
    if (plan->buffer_count == plan->buffer_room) {
        const int room = plan->buffer_room == 0 ? 256 : 2 * plan->buffer_room;
        const atr_status status =
            atr_grow(plan->buffer_count, room, sizeof *plan->buffers, (void **)&plan->buffers);
        if (status != ATR_OK)
            return status;
        plan->buffer_room = room;
    }
    *out = plan->buffer_count++;
    plan->buffers[*out] = (plan_buffer){atr_align_up(bytes), 0, -1, 0, PLAN_NOWHERE};
    return ATR_OK;
}

atr_status plan_new_step(atr_plan *plan, int *out)
{
    atr_status status = ATR_OK;

    if (plan->step_count == plan->room) {
        const int room = plan->room == 0 ? 256 : 2 * plan->room;
        ATR_TRY(atr_grow(plan->step_count, room, sizeof *plan->steps, (void **)&plan->steps));
        ATR_TRY(atr_grow(plan->step_count, room, sizeof *plan->links, (void **)&plan->links));
        plan->room = room;
    }
    *out = plan->step_count++;
    plan_link *link = &plan->links[*out];
    memset(link, 0, sizeof *link);
    memset(&plan->steps[*out], 0, sizeof *plan->steps);
    link->first_param = 0;
    link->last_param = -1;
    link->saved = link->scratch = link->dy_view.buffer = link->y_view.buffer = PLAN_NOWHERE;
    for (int i = 0; i < ATR_MAX_INPUTS; i++)
        link->x_view[i].buffer = link->dx_view[i].buffer = PLAN_NOWHERE;
done:
    return status;
}

atr_status plan_new_action(atr_plan *plan, plan_act_kind kind, int step)
{
    if (plan->action_count % 256 == 0) {
        const atr_status status = atr_grow(plan->action_count, plan->action_count + 256,
                                           sizeof *plan->actions, (void **)&plan->actions);
        if (status != ATR_OK)
            return status;
    }
    plan->actions[plan->action_count++] = (plan_action){kind, step};
    return ATR_OK;
}

size_t plan_value_bytes(const atr_plan *plan, int value)
{
    const int64_t *d = plan->values[value].dims;

    return (size_t)(d[0] * d[1] * d[2] * d[3]) * atr_dtype_bytes(plan->values[value].type);
}

atr_tensor plan_tensor(const atr_plan *plan, int value, plan_view view)
{
    const int64_t *dims = plan->values[value].dims;
    atr_tensor tensor = atr_tensor_nhwc(plan->values[value].type, dims[0], dims[1], dims[2], dims[3], NULL);

    tensor.strides[2] = view.pixel_stride;
    tensor.strides[1] = dims[2] * view.pixel_stride;
    tensor.strides[0] = dims[1] * tensor.strides[1];
    return tensor;
}

void *plan_address(const atr_plan *plan, int value, plan_view view)
{
    if (view.buffer < 0)
        return NULL;
    return (char *)atr_arena_at(plan->arena, plan->buffers[view.buffer].offset) +
           (size_t)view.offset * atr_dtype_bytes(plan->values[value].type);
}

/* ---- making a plan ------------------------------------------------------------------------------------------------------ */

/* Every value gets a buffer of its own, or a slice of its concat's. Values that no step writes get none. */
atr_status plan_place(atr_plan *plan)
{
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW(plan->value_count, &plan->value_views));
    ATR_TRY(ATR_NEW(plan->value_count, &plan->grad_views));
    for (int v = plan->value_count - 1; v >= 0; v--) {
        const plan_value *value = &plan->values[v];
        plan_view *view = &plan->value_views[v];
        plan->grad_views[v] = (plan_view){PLAN_NOWHERE, 0, value->dims[3], false};
        *view = (plan_view){value->images ? PLAN_IMAGES : PLAN_NOWHERE, 0, value->dims[3], false};
        if (value->slice_of >= 0) { /* a concat comes after its inputs: it is placed already */
            *view = plan->value_views[value->slice_of];
            view->offset += value->slice_channel;
        } else if (plan_producer(plan, v) >= 0) {
            ATR_TRY(plan_new_buffer(plan, plan_value_bytes(plan, v), &view->buffer));
        }
    }
    for (int s = 0; s < plan->step_count; s++) {
        plan_link *link = &plan->links[s];
        for (int i = 0; i < plan->steps[s].input_count; i++)
            link->x_view[i] = plan->value_views[link->x[i]];
        link->y_view = plan->value_views[link->y];
        if (!link->view)
            ATR_TRY(plan_new_action(plan, PLAN_FORWARD, s));
    }
    plan->forward_count = plan->step_count;
    plan->forward_actions = plan->action_count;
done:
    return status;
}

atr_status plan_prepare_step(atr_plan *plan, int s)
{
    atr_step *step = &plan->steps[s];
    const plan_link *link = &plan->links[s];

    for (int i = 0; i < step->input_count; i++) {
        step->x[i] = plan_tensor(plan, link->x[i], link->x_view[i]);
        step->dx[i] = plan_tensor(plan, link->x[i], step->wants_dx[i] ? link->dx_view[i] : link->x_view[i]);
    }
    step->y = plan_tensor(plan, link->y, link->y_view);
    step->dy =
        plan_tensor(plan, link->y, link->dy_view.buffer == PLAN_NOWHERE ? link->y_view : link->dy_view);
    return link->view ? ATR_OK : atr_backend_prepare(plan->backend, step);
}

static atr_status check_options(const atr_plan_options *options)
{
    if (options->norm_batch != 0 && options->norm_batch < options->batch)
        return atr_fail(ATR_ERR_USAGE, "batch norms over %lld pictures in a batch of %lld",
                        (long long)options->norm_batch, (long long)options->batch);
    if (options->batch < 1 || options->height < 1 || options->width < 1)
        return atr_fail(ATR_ERR_SHAPE, "cannot plan for %lld pictures of %lldx%lld pixels",
                        (long long)options->batch, (long long)options->width, (long long)options->height);
    if ((double)options->batch * (double)options->height * (double)options->width > 0x1p40)
        return atr_fail(ATR_ERR_SHAPE, "%lld pictures of %lldx%lld pixels are more than any plan can hold",
                        (long long)options->batch, (long long)options->width, (long long)options->height);
    return ATR_OK;
}

static atr_status compile(atr_plan *plan)
{
    atr_status status = ATR_OK;
    const int on = plan->options.rewrites & plan->backend->rewrites;
    const bool training = plan->options.mode == ATR_TRAIN;

    ATR_TRY(plan_lower(plan));
    if (on & ATR_REWRITE_FOLD_NORM)
        plan_rewrite_fold_norm(plan);
    if (training && on & ATR_REWRITE_NORM_ACT)
        plan_rewrite_norm_act(plan);
    if (on & ATR_REWRITE_RESIZED)
        plan_rewrite_resized(plan);
    if (on & ATR_REWRITE_POOLED)
        plan_rewrite_pooled(plan);
    if (on & ATR_REWRITE_WINOGRAD)
        plan_rewrite_winograd(plan);
    if (on & ATR_REWRITE_BANDS && plan->backend->precision == ATR_F32 && plan->options.quant == NULL)
        ATR_TRY(plan_rewrite_bands(plan));
    plan_precision(plan);
    ATR_TRY(plan_rewrite_int8(plan));
    if (on & ATR_REWRITE_CONCAT)
        plan_rewrite_concat(plan);
    ATR_TRY(plan_place(plan));
    ATR_TRY(plan_backward(plan));
    ATR_TRY(plan_prepare(plan));
    ATR_TRY(plan_reserve(plan));
    ATR_TRY(plan_recompute(plan));
    ATR_TRY(plan_memory(plan));
done:
    return status;
}

atr_status atr_plan_create(const atr_graph *graph, atr_params *params, atr_backend *backend,
                           const atr_plan_options *options, atr_plan **out)
{
    atr_status status = ATR_OK;
    atr_plan *plan = NULL;

    *out = NULL;
    ATR_TRY(check_options(options));
    ATR_TRY(ATR_NEW(1, &plan));
    plan->graph = graph;
    plan->params = params;
    plan->backend = backend;
    plan->options = *options;
    ATR_TRY(ATR_NEW(options->batch, &plan->sample_keys));
    atr_backend_enter(backend);
    ATR_TRY(compile(plan));
    *out = plan;
    plan = NULL;
done:
    atr_plan_destroy(plan);
    return status;
}

void atr_plan_destroy(atr_plan *plan)
{
    if (plan == NULL)
        return;
    for (int s = 0; s < plan->step_count; s++) {
        const atr_kernel *kernel = plan->steps[s].kernel;
        if (kernel != NULL && kernel->release != NULL)
            kernel->release(&plan->steps[s]);
        atr_free(plan->steps[s].chain);
    }
    if (!plan->borrowed)
        atr_arena_destroy(plan->arena);
    atr_free(plan->steps);
    atr_free(plan->links);
    atr_free(plan->values);
    atr_free(plan->value_views);
    atr_free(plan->grad_views);
    atr_free(plan->buffers);
    atr_free(plan->actions);
    atr_free(plan->sample_keys);
    atr_free(plan->segment_scratch);
    atr_free(plan);
}

/* ---- running it --------------------------------------------------------------------------------------------------------- */

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Runs one action; sums of gradients, and what is made again, count as backward in the profile. */
static atr_status run(atr_plan *plan, plan_action action)
{
    atr_step *step = &plan->steps[action.step];
    const double start = plan->profile ? now() : 0;
    atr_status status = ATR_OK;

    plan_bind(plan, action);
    step->again = action.kind == PLAN_AGAIN;
    if (action.kind == PLAN_BACKWARD)
        status = step->kernel->backward(plan->backend, step);
    else
        status = step->kernel->forward(plan->backend, step);
    step->again = false;
    if (status == ATR_OK && action.kind == PLAN_FORWARD)
        plan_trace_step(plan, action.step);
    if (status == ATR_OK && action.kind == PLAN_FORWARD && plan->watch != NULL && step->y.type == ATR_F32)
        plan->watch(plan->watch_user, atr_plan_value_name(plan, action.step, -1), &step->y);
    if (plan->profile)
        plan->links[action.step].seconds[action.kind != PLAN_FORWARD] += now() - start;
    return status;
}

/* A step's own form of its weights is made: what it was made from may go. */
static void drop_weights(const atr_plan *plan, const atr_step *step)
{
    if (step->op == ATR_OP_CONV_BANDS)
        for (int i = 0; i < ATR_CHAIN; i++)
            drop_weights(plan, &step->chain[i]);
    else if (atr_step_is_conv(step))
        atr_params_drop(plan->params, step->weight, step->conv.out_channels * atr_conv_filter(&step->conv));
}

/* Packs weights anew when the parameters are not those of the last time. */
static atr_status refresh(atr_plan *plan)
{
    const uint64_t version = atr_params_version(plan->params);

    if (plan->version == version)
        return ATR_OK;
    const atr_status mapped = atr_params_check_mapping(plan->params);
    if (mapped != ATR_OK)
        return mapped;
    for (int s = 0; s < plan->step_count; s++) {
        atr_step *step = &plan->steps[s];
        if (step->kernel == NULL || step->kernel->refresh == NULL)
            continue;
        plan_bind(plan, (plan_action){PLAN_FORWARD, s}); /* for its scratch memory */
        const atr_status status = step->kernel->refresh(plan->backend, step);
        if (status != ATR_OK)
            return status;
        drop_weights(plan, step);
    }
    plan->version = version;
    return ATR_OK;
}

atr_status atr_plan_pack(atr_plan *plan)
{
    atr_backend_enter(plan->backend);
    return refresh(plan);
}

void atr_plan_watch(atr_plan *plan, atr_plan_watch_fn watch, void *user)
{
    plan->watch = watch;
    plan->watch_user = user;
}

static void watch_images(const atr_plan *plan)
{
    for (int s = 0; plan->watch != NULL && s < plan->forward_count; s++)
        if (plan->links[s].x_view[0].buffer == PLAN_IMAGES) {
            atr_tensor images = plan->steps[s].x[0];
            images.data = (void *)(uintptr_t)plan->images; /* nobody writes it */
            plan->watch(plan->watch_user, atr_plan_value_name(plan, s, 0), &images);
            return;
        }
}

atr_status atr_plan_forward(atr_plan *plan, const float *images)
{
    atr_status status = ATR_OK;

    atr_backend_enter(plan->backend);
    plan->have_loss = false;
    plan->images = images;
    ATR_TRY(refresh(plan));
    plan_trace_images(plan, images);
    watch_images(plan);
    for (plan->reached = 0; plan->reached < plan->forward_actions; plan->reached++)
        ATR_TRY(run(plan, plan->actions[plan->reached]));
done:
    return status;
}

void atr_plan_set_sample_keys(atr_plan *plan, const uint64_t *keys)
{
    memcpy(plan->sample_keys, keys, (size_t)plan->options.batch * sizeof *keys);
}

atr_tensor atr_plan_tap(const atr_plan *plan, atr_tap tap)
{
    const int value = plan->tap_values[tap];

    if (value < 0 || !plan->values[value].keep || plan->value_views[value].buffer < 0)
        return (atr_tensor){.data = NULL};
    const plan_view view = plan->value_views[value];
    atr_tensor tensor = plan_tensor(plan, value, view);
    tensor.data = plan_address(plan, value, view);
    return tensor;
}

atr_tensor atr_plan_logits(const atr_plan *plan)
{
    return atr_plan_tap(plan, ATR_TAP_LOGITS);
}

static atr_loss_args loss_args(const atr_plan *plan, const uint8_t *labels)
{
    return (atr_loss_args){.logits = atr_plan_logits(plan),
                           .labels = labels,
                           .height = plan->options.height,
                           .width = plan->options.width,
                           .scratch = atr_arena_at(plan->arena, plan->buffers[plan->loss_scratch].offset)};
}

/* A back end without losses leaves them to `ref`. */
static const atr_backend_table *loss_table(const atr_plan *plan)
{
    return plan->backend->table->loss != NULL ? plan->backend->table : &atr_backend_ref;
}

atr_status atr_plan_loss_sums(atr_plan *plan, const uint8_t *labels, atr_loss *loss)
{
    atr_loss_args args = loss_args(plan, labels);

    args.sums = atr_loss_sums_of(loss);
    atr_backend_enter(plan->backend);
    return loss_table(plan)->loss_sums(plan->backend, &args);
}

/* The second pass by `form`; `votes` may be empty. */
static atr_status run_loss(atr_plan *plan, const uint8_t *labels, const atr_loss_form *form,
                           atr_loss_votes votes, double *value)
{
    const plan_view gradient = plan->grad_views[plan->tap_values[ATR_TAP_LOGITS]];
    const bool training = plan->options.mode == ATR_TRAIN;
    atr_loss_args args = loss_args(plan, labels);

    args.form = form;
    args.votes = votes;
    if (training) {
        args.dlogits = plan_tensor(plan, plan->tap_values[ATR_TAP_LOGITS], gradient);
        args.dlogits.data = plan_address(plan, plan->tap_values[ATR_TAP_LOGITS], gradient);
    }
    atr_backend_enter(plan->backend);
    const atr_status status = loss_table(plan)->loss(plan->backend, &args);
    *value = args.loss;
    plan->have_loss = status == ATR_OK && training;
    return status;
}

atr_status atr_plan_loss(atr_plan *plan, const uint8_t *labels, atr_loss *loss, double *value)
{
    return run_loss(plan, labels, atr_loss_form_of(loss), atr_loss_votes_of(loss), value);
}

atr_status atr_plan_cross_entropy(atr_plan *plan, const uint8_t *labels, const float *class_weights,
                                  double divisor, double *loss)
{
    const int64_t classes = atr_plan_logits(plan).dims[3];
    atr_loss_form form = {.parts = ATR_LOSS_PLAIN};

    for (int64_t k = 0; k < classes && divisor > 0.0; k++)
        form.plain[k] = (class_weights != NULL ? (double)class_weights[k] : 1.0) / divisor;
    return run_loss(plan, labels, &form, (atr_loss_votes){NULL, NULL}, loss);
}

/* A step's parameters were declared one behind the other, so in reverse layout the last one lies first. */
static atr_status announce(const atr_plan *plan, const plan_link *link, atr_grad_ready_fn ready, void *user)
{
    for (int64_t p = link->last_param; p >= link->first_param; p--) {
        const atr_tensor gradient = atr_params_gradient(plan->params, p);
        const atr_status status =
            ready(user, atr_params_flat_offset(plan->params, p), atr_tensor_count(&gradient));
        if (status != ATR_OK)
            return status;
    }
    return ATR_OK;
}

atr_status atr_plan_backward(atr_plan *plan, atr_grad_ready_fn ready, void *user)
{
    atr_status status = ATR_OK;

    if (!plan->have_loss)
        return atr_fail(ATR_ERR_USAGE, "backward needs a training plan and a loss of the last forward");
    plan->have_loss = false;
    atr_backend_enter(plan->backend);
    for (plan->reached = plan->forward_actions + 1; plan->reached < plan->action_count; plan->reached++) {
        const plan_action action = plan->actions[plan->reached];
        ATR_TRY(run(plan, action));
        if (ready != NULL && action.kind == PLAN_BACKWARD && plan->steps[action.step].wants_dw)
            ATR_TRY(announce(plan, &plan->links[action.step], ready, user));
    }
    plan->reached = 0;
done:
    return status;
}

/* Picture `n` of the logits as a batch of one. */
static atr_tensor logits_of(const atr_plan *plan, int64_t n)
{
    atr_tensor logits = atr_plan_logits(plan);

    assert(n >= 0 && n < logits.dims[0]);
    logits.data = (float *)logits.data + n * logits.strides[0];
    logits.dims[0] = 1;
    return logits;
}

atr_status atr_plan_segment(atr_plan *plan, int64_t n, const atr_segment_args *wanted)
{
    atr_status status = ATR_OK;
    const atr_backend_table *table =
        plan->backend->table->segment != NULL ? plan->backend->table : &atr_backend_ref;
    atr_segment_args args = *wanted;

    args.logits = logits_of(plan, n);
    args.height = plan->options.height;
    args.width = plan->options.width;
    atr_backend_enter(plan->backend);
    const size_t bytes = table->segment_scratch(&args);
    if (bytes > plan->segment_scratch_bytes) {
        atr_free(plan->segment_scratch);
        plan->segment_scratch_bytes = 0;
        ATR_TRY(atr_alloc((int64_t)bytes, 1, &plan->segment_scratch));
        plan->segment_scratch_bytes = bytes;
    }
    args.scratch = plan->segment_scratch;
    ATR_TRY(table->segment(plan->backend, &args));
done:
    return status;
}

atr_status atr_plan_enlarge(atr_plan *plan, int64_t n, float *out)
{
    const atr_backend_table *table =
        plan->backend->table->enlarge != NULL ? plan->backend->table : &atr_backend_ref;
    const atr_tensor logits = logits_of(plan, n);

    atr_backend_enter(plan->backend);
    return table->enlarge(plan->backend, &logits, plan->options.height, plan->options.width, out);
}

/* ---- looking at it ------------------------------------------------------------------------------------------------------ */

int64_t atr_plan_images_channels(const atr_plan *plan)
{
    for (int v = 0; v < plan->value_count; v++)
        if (plan->values[v].images)
            return plan->values[v].dims[3];
    return 0;
}

int atr_plan_step_count(const atr_plan *plan)
{
    return plan->step_count;
}

const atr_step *atr_plan_step(const atr_plan *plan, int index)
{
    return &plan->steps[index];
}

void atr_plan_profile(atr_plan *plan, bool on)
{
    plan->profile = on;
    for (int s = 0; s < plan->step_count; s++)
        plan->links[s].seconds[0] = plan->links[s].seconds[1] = 0;
}

double atr_plan_seconds(const atr_plan *plan, int index, bool backward)
{
    return plan->links[index].seconds[backward];
}
