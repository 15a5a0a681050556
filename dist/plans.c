#include "dist/plans.h"

#include "core/deal.h"

/* What tells one plan from another. */
typedef struct size {
    int64_t batch;   /* pictures here, at least 1 */
    int64_t members; /* pictures of the norm group; 0: no group, or one without a picture */
} size;

typedef struct entry {
    size size;
    atr_plan *plan;
} entry;

struct atr_plans {
    atr_plans_config config;
    entry *entries; /* largest batch first */
    int64_t count;
};

int64_t atr_plans_passes(const atr_plans *plans, int64_t count)
{
    return atr_deal_passes(count, plans->config.batch, plans->config.parts);
}

/* This rank's pictures of a pass of a step of `count`, and the size of its plan. */
static int64_t pass_size(const atr_plans *plans, int64_t count, int64_t pass, size *out)
{
    const atr_plans_config *const c = &plans->config;
    const int64_t passes = atr_plans_passes(plans, count);
    const int64_t mine = atr_deal_pass(count, passes, pass, c->ranks, c->rank, c->rank + 1).count;

    out->batch = mine > 0 ? mine : 1;
    out->members = 0;
    if (c->norm_ranks != NULL && atr_norm_ranks_group(c->norm_ranks) != NULL)
        out->members =
            atr_deal_pass(count, passes, pass, c->ranks, c->norm_ranks->first, c->norm_ranks->end).count;
    return mine;
}

static const entry *find(const atr_plans *plans, size wanted)
{
    for (int64_t i = 0; i < plans->count; i++)
        if (plans->entries[i].size.batch == wanted.batch && plans->entries[i].size.members == wanted.members)
            return &plans->entries[i];
    return NULL;
}

/* Puts a size where it belongs, unless it is there. */
static void note(atr_plans *plans, size wanted)
{
    int64_t at = plans->count;

    if (find(plans, wanted) != NULL)
        return;
    for (; at > 0 && plans->entries[at - 1].size.batch < wanted.batch; at--)
        plans->entries[at] = plans->entries[at - 1];
    plans->entries[at] = (entry){.size = wanted};
    plans->count++;
}

static void note_step(atr_plans *plans, int64_t count)
{
    size wanted;

    for (int64_t pass = 0; pass < atr_plans_passes(plans, count); pass++) {
        pass_size(plans, count, pass, &wanted);
        note(plans, wanted);
    }
}

static atr_status compile(atr_plans *plans, entry *e)
{
    const atr_plans_config *const c = &plans->config;
    atr_plan_options options = c->plan;

    options.batch = e->size.batch;
    options.norm_group = e->size.members > 0 ? atr_norm_ranks_group(c->norm_ranks) : NULL;
    options.norm_batch = e->size.members;
    options.memory = plans->entries[0].plan;
    return atr_plan_create(c->graph, c->params, c->backend, &options, &e->plan);
}

atr_status atr_plans_create(const atr_plans_config *config, atr_plans **out)
{
    atr_status status = ATR_OK;
    atr_plans *plans = NULL;

    *out = NULL;
    ATR_TRY(ATR_NEW(1, &plans));
    plans->config = *config;
    ATR_TRY(ATR_NEW(2 * config->parts, &plans->entries));
    for (int i = 0; i < 2; i++)
        if (config->steps[i] > 0)
            note_step(plans, config->steps[i]);
    for (int64_t i = 0; i < plans->count; i++)
        ATR_TRY(compile(plans, &plans->entries[i]));
    *out = plans;
    plans = NULL;

done:
    atr_plans_destroy(plans);
    return status;
}

void atr_plans_destroy(atr_plans *plans)
{
    if (plans == NULL)
        return;
    for (int64_t i = plans->count - 1; i >= 0; i--) /* the first one lends its memory to the others */
        atr_plan_destroy(plans->entries[i].plan);
    atr_free(plans->entries);
    atr_free(plans);
}

atr_status atr_plans_pass(const atr_plans *plans, int64_t count, int64_t pass, atr_pass *out)
{
    size wanted;

    *out = (atr_pass){0};
    for (int64_t i = 0; i < pass; i++)
        out->first += pass_size(plans, count, i, &wanted);
    out->count = pass_size(plans, count, pass, &wanted);
    const entry *const e = find(plans, wanted);
    if (e == NULL)
        return atr_fail(ATR_ERR_INTERNAL, "no plan for pass %lld of a step of %lld pictures", (long long)pass,
                        (long long)count);
    out->plan = e->plan;
    return ATR_OK;
}

atr_plan *atr_plans_largest(const atr_plans *plans)
{
    return plans->entries[0].plan;
}

void atr_plans_norm_alone(const atr_plans *plans, bool alone)
{
    for (int64_t i = 0; i < plans->count; i++)
        atr_plan_norm_alone(plans->entries[i].plan, alone);
}
