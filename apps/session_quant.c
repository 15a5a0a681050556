#include <string.h>

#include "apps/session.h"

/* What is sent of one entry before its steps. */
typedef struct heading {
    char name[ATR_NAME_BYTES];
    int64_t has_negative, count;
} heading;

static atr_status broadcast_item(atr_comm *comm, const atr_quant_steps *own, atr_quant_list *list)
{
    heading h = {{0}, 0, 0};
    float *steps = NULL;
    atr_status status = ATR_OK;

    if (own != NULL) {
        memcpy(h.name, own->name, sizeof h.name);
        h.has_negative = own->has_negative;
        h.count = own->count;
    }
    ATR_TRY(atr_comm_broadcast(comm, &h, sizeof h, 0));
    ATR_TRY(atr_comm_agree(comm, ATR_NEW(h.count, &steps)));
    if (own != NULL)
        memcpy(steps, own->steps, (size_t)h.count * sizeof *steps);
    ATR_TRY(atr_comm_broadcast(comm, steps, (size_t)h.count * sizeof *steps, 0));
    if (own == NULL)
        status = atr_quant_add(list, h.name, h.has_negative != 0, steps, h.count);
    status = atr_comm_agree(comm, status);

done:
    atr_free(steps);
    return status;
}

static atr_status broadcast_list(atr_comm *comm, atr_quant_list *list)
{
    const bool root = atr_comm_rank(comm) == 0;
    int64_t count = list->count;
    atr_status status = ATR_OK;

    ATR_TRY(atr_comm_broadcast(comm, &count, sizeof count, 0));
    for (int64_t i = 0; i < count; i++)
        ATR_TRY(broadcast_item(comm, root ? &list->items[i] : NULL, list));

done:
    return status;
}

/* On rank 0. */
static atr_status read_quant(atr_session *session, const atr_checkpoint_file *file)
{
    const bool there = atr_checkpoint_has_quant(file);
    atr_status status = ATR_OK;

    if (session->precision == ATR_PRECISION_INT8 && !there)
        return atr_fail(ATR_ERR_USAGE,
                        "--precision int8: %s was not quantised. `atrous quantize` makes a file that is",
                        atr_checkpoint_path(file));
    if (!there || (session->precision != ATR_PRECISION_INT8 && session->precision != ATR_PRECISION_MODEL))
        return ATR_OK;
    ATR_TRY(atr_checkpoint_load_quant(file, &session->quant));
    ATR_TRY(
        atr_fail_prefix(atr_quant_check(&session->quant, session->graph), "%s", atr_checkpoint_path(file)));

done:
    return status;
}

atr_status atr_session_load_quant(atr_session *session, const atr_checkpoint_file *file)
{
    const bool root = session->comm == NULL || atr_comm_rank(session->comm) == 0;
    atr_status status = ATR_OK;

    ATR_TRY(atr_session_agree(session, root ? read_quant(session, file) : ATR_OK));
    if (session->comm != NULL && atr_comm_size(session->comm) > 1) {
        ATR_TRY(broadcast_list(session->comm, &session->quant.activations));
        ATR_TRY(broadcast_list(session->comm, &session->quant.weights));
    }

done:
    return status;
}

const char *atr_session_precision(const atr_session *session)
{
    return session->quant.weights.count > 0 ? "int8" : atr_precision_text(session->backend);
}
