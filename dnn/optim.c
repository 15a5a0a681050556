#include "dnn/optim.h"

#include <math.h>
#include <string.h>

enum { MAX_MOMENTS = 2 };

/* What there is to choose from; an optimiser more is a row more. */
static const struct {
    const char *name;
    int moments;
    const char *moment_names[MAX_MOMENTS];
} kinds[] = {
    [ATR_OPTIM_SGD] = {"sgd", 1, {"momentum"}},
    [ATR_OPTIM_ADAM] = {"adam", 2, {"exp_avg", "exp_avg_sq"}},
    [ATR_OPTIM_ADAMW] = {"adamw", 2, {"exp_avg", "exp_avg_sq"}},
};

enum { KINDS = sizeof kinds / sizeof kinds[0] };

struct atr_optim {
    atr_optim_config config;
    atr_params *params;   /* borrowed */
    atr_backend *backend; /* borrowed */
    atr_params *moments[MAX_MOMENTS];
    int64_t steps;
    int64_t *entry_steps; /* [atr_params_count] updates of each entry: fewer where it was frozen */
};

static atr_status check_config(const atr_optim_config *config)
{
    if (!(config->momentum >= 0.0 && config->momentum < 1.0))
        return atr_fail(ATR_ERR_USAGE, "momentum %g: must be at least 0 and below 1", config->momentum);
    if (!(config->weight_decay >= 0.0))
        return atr_fail(ATR_ERR_USAGE, "weight decay %g: must not be negative", config->weight_decay);
    if (config->kind != ATR_OPTIM_SGD && !(config->beta2 >= 0.0 && config->beta2 < 1.0))
        return atr_fail(ATR_ERR_USAGE, "beta2 %g: must be at least 0 and below 1", config->beta2);
    if (config->kind != ATR_OPTIM_SGD && !(config->eps > 0.0))
        return atr_fail(ATR_ERR_USAGE, "eps %g: must be above 0", config->eps);
    return ATR_OK;
}

/* A set of zeros for the trainable entries of `params` alone: its flat blocks have the layout of theirs. */
static atr_status create_moment(const atr_params *params, const atr_allocator *allocator, atr_params **out)
{
    const int64_t count = atr_params_count(params);
    atr_status status = ATR_OK;
    atr_param_spec *specs = NULL;
    int64_t trainable = 0;

    ATR_TRY(ATR_NEW(count, &specs));
    for (int64_t i = 0; i < count; i++)
        if (!atr_param_is_buffer(atr_params_spec(params, i)->kind))
            specs[trainable++] = *atr_params_spec(params, i);
    ATR_TRY(atr_params_create_plain(specs, trainable, allocator, out));

done:
    atr_free(specs);
    return status;
}

atr_status atr_optim_create(const atr_optim_config *config, atr_params *params, atr_backend *backend,
                            atr_optim **out)
{
    atr_status status = ATR_OK;
    atr_optim *optim = NULL;

    *out = NULL;
    ATR_TRY(check_config(config));
    ATR_TRY(ATR_NEW(1, &optim));
    optim->config = *config;
    optim->params = params;
    optim->backend = backend;
    ATR_TRY(ATR_NEW(atr_params_count(params), &optim->entry_steps));
    for (int i = 0; i < kinds[config->kind].moments; i++)
        ATR_TRY(create_moment(params, atr_backend_allocator(backend), &optim->moments[i]));
    *out = optim;
    optim = NULL;

done:
    atr_optim_destroy(optim);
    return status;
}

void atr_optim_destroy(atr_optim *optim)
{
    if (optim == NULL)
        return;
    for (int i = 0; i < MAX_MOMENTS; i++)
        atr_params_destroy(optim->moments[i]);
    atr_free(optim->entry_steps);
    atr_free(optim);
}

/* Elements from `offset` on of a moment. */
static float *moment_at(const atr_optim *optim, int index, int64_t offset)
{
    return index < kinds[optim->config.kind].moments ? atr_params_flat_values(optim->moments[index]) + offset
                                                     : NULL;
}

/* Updates the elements of `span`, all of which have seen the same number of updates, `step` with this one. */
static atr_status update_span(const atr_optim *optim, atr_span span, int64_t step, double lr, double scale)
{
    const atr_optim_config *config = &optim->config;
    const atr_backend_table *table = optim->backend->table;
    const atr_update_args args = {
        .values = atr_params_flat_values(optim->params) + span.offset,
        .gradients = atr_params_flat_gradients(optim->params) + span.offset,
        .m = moment_at(optim, 0, span.offset),
        .v = moment_at(optim, 1, span.offset),
        .count = span.count,
        .lr = lr,
        .scale = scale,
        .weight_decay = config->weight_decay,
        .momentum = config->momentum,
        .beta2 = config->beta2,
        .eps = config->eps,
        .nesterov = config->nesterov,
        .decoupled = config->kind == ATR_OPTIM_ADAMW,
        .step = step,
    };
    atr_status (*const update)(atr_backend *, const atr_update_args *) =
        config->kind == ATR_OPTIM_SGD ? table->sgd : table->adam;

    if (update == NULL)
        return atr_fail(ATR_ERR_UNSUPPORTED, "back end %s has no %s", table->name, kinds[config->kind].name);
    return span.count > 0 ? update(optim->backend, &args) : ATR_OK;
}

/* Entries in the order of the flat blocks; neighbours that have seen as many updates go in one pass. */
atr_status atr_optim_step(atr_optim *optim, double lr, double scale)
{
    const atr_params *const params = optim->params;
    atr_span span = {0, 0};
    int64_t steps = 0;
    atr_status status = ATR_OK;

    atr_backend_enter(optim->backend);
    for (int64_t i = atr_params_count(params) - 1; i >= 0; i--) {
        if (atr_param_is_buffer(atr_params_spec(params, i)->kind) || atr_params_frozen(params, i))
            continue;
        const int64_t offset = atr_params_flat_offset(params, i);
        optim->entry_steps[i]++;
        if (offset != span.offset + span.count || optim->entry_steps[i] != steps) {
            ATR_TRY(update_span(optim, span, steps, lr, scale));
            span = (atr_span){offset, 0};
            steps = optim->entry_steps[i];
        }
        span.count += atr_params_flat_room(params, i);
    }
    ATR_TRY(update_span(optim, span, steps, lr, scale));
    optim->steps++;
    atr_params_touch(optim->params);

done:
    return status;
}

atr_status atr_optim_gradient_norm(atr_optim *optim, double *out)
{
    const float *const gradients = atr_params_flat_gradients(optim->params);
    atr_span span = {0, 0};
    double sum = 0;
    atr_status status = ATR_OK;

    atr_backend_enter(optim->backend);
    while (atr_params_next_span(optim->params, false, &span)) {
        double squares = 0;
        ATR_TRY(optim->backend->table->sum_squares(optim->backend, gradients + span.offset, span.count,
                                                   &squares));
        sum += squares;
    }
    *out = sqrt(sum);

done:
    return status;
}

int atr_optim_moment_count(const atr_optim *optim)
{
    return kinds[optim->config.kind].moments;
}

const char *atr_optim_moment_name(const atr_optim *optim, int index)
{
    return kinds[optim->config.kind].moment_names[index];
}

atr_params *atr_optim_moment(atr_optim *optim, int index)
{
    return optim->moments[index];
}

int64_t atr_optim_steps(const atr_optim *optim)
{
    return optim->steps;
}

int64_t *atr_optim_entry_steps(atr_optim *optim)
{
    return optim->entry_steps;
}

void atr_optim_set_steps(atr_optim *optim, int64_t steps)
{
    optim->steps = steps;
    for (int64_t i = 0; i < atr_params_count(optim->params); i++)
        optim->entry_steps[i] = atr_param_is_buffer(atr_params_spec(optim->params, i)->kind) ? 0 : steps;
}

void atr_optim_set_update_count(atr_optim *optim, int64_t steps)
{
    optim->steps = steps;
}

atr_status atr_optim_kind_parse(const char *name, atr_optim_kind *out)
{
    for (int i = 0; i < KINDS; i++)
        if (strcmp(name, kinds[i].name) == 0) {
            *out = (atr_optim_kind)i;
            return ATR_OK;
        }
    return atr_fail(ATR_ERR_USAGE, "no optimiser '%s' (have: sgd, adam, adamw)", name);
}

const char *atr_optim_kind_name(atr_optim_kind kind)
{
    return kinds[kind].name;
}
