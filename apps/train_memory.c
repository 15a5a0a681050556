/* What a training run takes of memory: said before it is taken, and refused where it is more than --memory-limit. */
#include <stdio.h>

#include "apps/train_impl.h"

enum { PREFETCHED = 3, LABEL = 1 }; /* batches that the loader holds; bytes of a pixel's label */

/* Bytes of one block of all values. */
static int64_t block_bytes(const atr_trainer *trainer)
{
    return atr_params_flat_count(trainer->session.params) * (int64_t)sizeof(float);
}

/* Blocks that are full of zeros that nobody touched yet, when the first plan is made: gradients, moments, sums of parts. And what is made
 * later: rank 0's copy for checkpoints. What bf16 on the wire still owes is room that is untouched until the first one. */
static int64_t blocks_to_come(const atr_trainer *trainer)
{
    const int moments = trainer->resumed ? 0 : atr_optim_moment_count(trainer->optim);
    const int copied = 1 + atr_optim_moment_count(trainer->optim) + (trainer->ema != NULL);

    return 1 + moments + (trainer->sums != NULL) + (trainer->root ? trainer->unsent_count : 0) +
           (trainer->root && trainer->options->async_save ? copied : 0);
}

/* The network that is evaluated between the epochs has a plan of its own, the same in all phases. */
static atr_status measure_evaluation(atr_trainer *trainer)
{
    const atr_session *const s = &trainer->session;
    const atr_plan_options plan = {.mode = ATR_INFER,
                                   .batch = 1,
                                   .height = trainer->config.height,
                                   .width = trainer->config.width,
                                   .rewrites = ATR_REWRITE_ALL};
    atr_plan_needs needs = {0};

    if (trainer->memory_evaluation > 0 || trainer->options->eval_period <= 0)
        return ATR_OK;
    const atr_status status = atr_plan_measure(s->graph, s->params, s->backend, &plan, &needs);
    trainer->memory_evaluation = (int64_t)(needs.arena + needs.packed);
    return status;
}

static void say(const atr_trainer *trainer, const atr_plan_needs *needs, int64_t blocks, int64_t total)
{
    const int64_t evaluation = trainer->memory_evaluation;
    const int64_t held = total - (int64_t)needs->arena - blocks - evaluation;
    char text[6][ATR_MEMORY_TEXT_BYTES];

    atr_train_say(
        trainer,
        "memory per rank: %s: activations %s (%s of it scratch)%s, gradients, moments and copies of the "
        "values %s, evaluation %s, and %s that are held already: program, values, packed weights, "
        "batches",
        atr_memory_text(total, text[0]), atr_memory_text((int64_t)needs->arena, text[1]),
        atr_memory_text((int64_t)needs->scratch, text[2]),
        trainer->options->recompute ? " with --recompute" : "", atr_memory_text(blocks, text[3]),
        atr_memory_text(evaluation, text[4]), atr_memory_text(held, text[5]));
}

atr_status atr_train_memory_approve(void *user, const atr_plan_needs *needs)
{
    atr_trainer *const trainer = user;
    const bool first = trainer->memory_taken == 0;
    const int64_t ranks = atr_comm_size(trainer->comm), parts = trainer->options->accumulate;
    const int64_t blocks =
        blocks_to_come(trainer) * block_bytes(trainer) + (int64_t)atr_reducer_bytes(trainer->reducer);
    atr_plan_options plan = trainer->plan_options;
    int64_t total = 0;
    char work[128];
    atr_status status = ATR_OK;

    plan.batch = (trainer->phase->batch + ranks * parts - 1) / (ranks * parts);
    ATR_TRY(measure_evaluation(trainer));
    snprintf(work, sizeof work, "training on %lld pictures of %lldx%lld in a pass", (long long)plan.batch,
             (long long)plan.height, (long long)plan.width);
    const atr_memory_request request = {
        .guard = &trainer->session.memory,
        .work = work,
        .graph = trainer->session.graph,
        .params = trainer->session.params,
        .backend = trainer->session.backend,
        .plan = &plan,
        .others = blocks + trainer->memory_evaluation,
        .each_pixel = PREFETCHED * parts * (trainer->session.info.channels * (int64_t)sizeof(float) + LABEL),
        .batch_step = ranks * parts,
        .size = "--size"};
    ATR_TRY(atr_memory_ask(&request, needs, &total));
    trainer->memory_taken += (int64_t)(needs->arena + needs->packed);
    if (first)
        say(trainer, needs, blocks, total);
done:
    return status;
}
