/* What bf16 on the wire still owes to the sums of gradients (dist/reducer.h), in checkpoints: a run that is resumed on as many ranks goes on with
 * the same bits. */
#include "apps/train_impl.h"

atr_status atr_train_unsent_open(atr_trainer *trainer)
{
    const int64_t flat = atr_params_flat_count(trainer->session.params);

    trainer->unsent_count = atr_reducer_unsent_blocks(trainer->reducer, ATR_UNSENT_MAX);
    return atr_comm_agree(trainer->comm,
                          trainer->root ? ATR_NEW(trainer->unsent_count * flat, &trainer->unsent) : ATR_OK);
}

atr_status atr_train_unsent_take(atr_trainer *trainer)
{
    atr_status status = ATR_OK;

    if (trainer->unsent_count == 0)
        return ATR_OK;
    /* The checkpoint before may still be written from there. */
    ATR_TRY(atr_comm_agree(trainer->comm, trainer->root ? atr_run_writer_wait(trainer->writer) : ATR_OK));
    ATR_TRY(atr_reducer_unsent_get(trainer->reducer, ATR_UNSENT_MAX, trainer->unsent));

done:
    return status;
}

static atr_status load(const atr_trainer *trainer, const atr_checkpoint_file *file, int64_t count,
                       float **blocks)
{
    const int64_t flat = atr_params_flat_count(trainer->session.params);
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW(count * flat, blocks));
    ATR_TRY(atr_checkpoint_load_unsent(file, trainer->session.params, *blocks));

done:
    return status;
}

atr_status atr_train_unsent_resume(atr_trainer *trainer, const atr_checkpoint_file *file)
{
    int64_t count = 0;
    float *blocks = NULL;
    atr_status status = ATR_OK;

    if (trainer->root)
        status = atr_checkpoint_unsent_count(file, &count);
    ATR_TRY(atr_comm_agree(trainer->comm, status));
    ATR_TRY(atr_comm_broadcast(trainer->comm, &count, sizeof count, 0));
    if (count == 0)
        goto done;
    if (trainer->unsent_count == 0) {
        atr_train_say(trainer,
                      "what bf16 on the wire left out of the last step is given up: the wire is f32 now");
        goto done;
    }
    ATR_TRY(atr_comm_agree(trainer->comm, trainer->root ? load(trainer, file, count, &blocks) : ATR_OK));
    ATR_TRY(atr_reducer_unsent_set(trainer->reducer, blocks, count));

done:
    atr_free(blocks);
    return status;
}
