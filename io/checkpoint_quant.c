/* How a network runs in integers, as a group of a checkpoint. */
#include <stdio.h>
#include <string.h>

#include "io/checkpoint_impl.h"

#define ACTIVATIONS CKPT_INT8 "/activations"
#define WEIGHTS     CKPT_INT8 "/weights"

enum { PATH_BYTES = ATR_NAME_BYTES + 32, QUANT_VERSION = 1, ITEMS_MAX = 1 << 16 };

static atr_status write_list(atr_h5 *file, const char *group, const atr_quant_list *list, bool signs)
{
    char path[PATH_BYTES];
    atr_status status = ATR_OK;

    ATR_TRY(atr_h5_group(file, group));
    for (int64_t i = 0; i < list->count; i++) {
        const atr_quant_steps *item = &list->items[i];
        const atr_tensor steps = atr_tensor_make(ATR_F32, 1, &item->count, item->steps);
        snprintf(path, sizeof path, "%s/%s", group, item->name);
        ATR_TRY(atr_h5_write(file, path, &steps));
        if (signs)
            ATR_TRY(atr_h5_set_i64(file, path, "zero", item->has_negative ? 128 : 0));
    }

done:
    return status;
}

atr_status atr_checkpoint_write_quant(atr_h5 *file, const atr_quant *quant)
{
    atr_status status = ATR_OK;

    ATR_TRY(atr_h5_group(file, CKPT_INT8));
    ATR_TRY(atr_h5_set_i64(file, CKPT_INT8, "version", QUANT_VERSION));
    ATR_TRY(write_list(file, ACTIVATIONS, &quant->activations, true));
    ATR_TRY(write_list(file, WEIGHTS, &quant->weights, false));

done:
    return status;
}

static atr_status read_item(const atr_h5 *file, const char *group, const char *name, bool signs,
                            atr_quant_list *list)
{
    char path[PATH_BYTES];
    atr_tensor steps = {0};
    int64_t zero = 0;
    atr_h5_info info;
    atr_status status = ATR_OK;

    if (strlen(name) >= ATR_NAME_BYTES)
        return atr_fail(ATR_ERR_DATA, "a name in %s is too long", group);
    snprintf(path, sizeof path, "%s/%s", group, name);
    ATR_TRY(atr_h5_describe(file, path, &info));
    if (info.kind != ATR_H5_TENSOR || info.rank != 1 || info.type != ATR_F32) {
        status = atr_fail(ATR_ERR_DATA, "%s is no list of f32 numbers", path);
        goto done;
    }
    if (signs)
        ATR_TRY(atr_h5_get_i64(file, path, "zero", &zero));
    if (zero != 0 && zero != 128) {
        status = atr_fail(ATR_ERR_DATA, "%s: the zero of its integers is %lld; it is 0 or 128", path,
                          (long long)zero);
        goto done;
    }
    ATR_TRY(atr_h5_read_new(file, path, ATR_F32, 0, &steps));
    ATR_TRY(atr_quant_add(list, name, zero != 0, steps.data, steps.dims[0]));

done:
    atr_free(steps.data);
    return status;
}

static atr_status read_list(const atr_h5 *file, const char *group, bool signs, atr_quant_list *list)
{
    char **names = NULL;
    int64_t count = 0;
    atr_status status = ATR_OK;

    ATR_TRY(atr_h5_list(file, group, &names, &count));
    if (count > ITEMS_MAX) {
        status = atr_fail(ATR_ERR_DATA, "%lld entries in %s", (long long)count, group);
        goto done;
    }
    for (int64_t i = 0; i < count; i++)
        ATR_TRY(read_item(file, group, names[i], signs, list));

done:
    atr_h5_names_free(names, count);
    return status;
}

atr_status atr_checkpoint_read_quant(const atr_h5 *file, atr_quant *out)
{
    int64_t version = 0;
    atr_status status = ATR_OK;

    ATR_TRY(atr_h5_get_i64(file, CKPT_INT8, "version", &version));
    if (version != QUANT_VERSION) {
        status = atr_fail(ATR_ERR_UNSUPPORTED, "int8 steps of version %lld, this build reads %d",
                          (long long)version, QUANT_VERSION);
        goto done;
    }
    ATR_TRY(read_list(file, ACTIVATIONS, true, &out->activations));
    ATR_TRY(read_list(file, WEIGHTS, false, &out->weights));

done:
    if (status != ATR_OK)
        atr_quant_free(out);
    return status;
}
