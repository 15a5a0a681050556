#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/fault.h"
#include "io/checkpoint_impl.h"
#include "io/h5.h"
#include "io/h5_guard.h"
#include "io/path.h"

static bool terminated(const char *text, size_t room)
{
    return memchr(text, '\0', room) != NULL;
}

atr_status atr_model_info_check(const atr_model_info *info, atr_status fault)
{
    if (!terminated(info->architecture, ATR_WORD_BYTES) || !terminated(info->backbone, ATR_WORD_BYTES) ||
        !terminated(info->fit, ATR_WORD_BYTES) || info->architecture[0] == '\0' || info->backbone[0] == '\0')
        return atr_fail(fault, "the model's description lacks its architecture or backbone");
    if (info->classes < 1 || info->classes > ATR_CLASSES_MAX)
        return atr_fail(fault, "the model's description has %lld classes, 1..%d are possible",
                        (long long)info->classes, ATR_CLASSES_MAX);
    if (info->channels < 1 || info->channels > ATR_CHANNELS_MAX)
        return atr_fail(fault, "the model's description has %lld input channels, 1..%d are possible",
                        (long long)info->channels, ATR_CHANNELS_MAX);
    if (info->output_stride < 1 || info->output_stride > 64 || info->height < 0 || info->width < 0)
        return atr_fail(fault, "the model's description has output stride %lld and input size %lldx%lld",
                        (long long)info->output_stride, (long long)info->height, (long long)info->width);
    for (int64_t c = 0; c < info->channels; c++)
        if (!isfinite(info->scale[c]) || info->scale[c] == 0 || !isfinite(info->offset[c]))
            return atr_fail(fault, "the model's description: channel %lld has scale %g and offset %g",
                            (long long)c, info->scale[c], info->offset[c]);
    for (int64_t k = 0; k < info->classes; k++)
        if (!terminated(info->class_names[k], ATR_NAME_BYTES))
            return atr_fail(fault, "the model's description: the name of class %lld has no end",
                            (long long)k);
    return ATR_OK;
}

static atr_status write_class_names(atr_h5 *file, const atr_model_info *info)
{
    const char *names[ATR_CLASSES_MAX];

    for (int64_t k = 0; k < info->classes; k++)
        names[k] = info->class_names[k];
    return atr_h5_write_texts(file, CKPT_MODEL "/class_names", names, info->classes);
}

static atr_status write_info(atr_h5 *file, const atr_model_info *info)
{
    atr_status status = ATR_OK;
    const int64_t palette_dims[2] = {256, 3};
    const atr_tensor palette = atr_tensor_make(ATR_U8, 2, palette_dims, (void *)info->palette);
    const atr_tensor scale = atr_tensor_make(ATR_F64, 1, &info->channels, (void *)info->scale);
    const atr_tensor offset = atr_tensor_make(ATR_F64, 1, &info->channels, (void *)info->offset);

    ATR_TRY(atr_h5_group(file, CKPT_MODEL));
    ATR_TRY(atr_h5_set_text(file, CKPT_MODEL, "architecture", info->architecture));
    ATR_TRY(atr_h5_set_text(file, CKPT_MODEL, "backbone", info->backbone));
    ATR_TRY(atr_h5_set_i64(file, CKPT_MODEL, "output_stride", info->output_stride));
    ATR_TRY(atr_h5_set_i64(file, CKPT_MODEL, "align_corners", info->align_corners));
    ATR_TRY(atr_h5_set_i64(file, CKPT_MODEL, "classes", info->classes));
    ATR_TRY(atr_h5_set_i64(file, CKPT_MODEL, "channels", info->channels));
    ATR_TRY(atr_h5_set_i64(file, CKPT_MODEL, "height", info->height));
    ATR_TRY(atr_h5_set_i64(file, CKPT_MODEL, "width", info->width));
    ATR_TRY(atr_h5_set_text(file, CKPT_MODEL, "fit", info->fit));
    ATR_TRY(atr_h5_set_f64(file, CKPT_MODEL, "pad_value", info->pad_value));
    ATR_TRY(write_class_names(file, info));
    ATR_TRY(atr_h5_write(file, CKPT_MODEL "/palette", &palette));
    ATR_TRY(atr_h5_write(file, CKPT_MODEL "/scale", &scale));
    ATR_TRY(atr_h5_write(file, CKPT_MODEL "/offset", &offset));

done:
    return status;
}

/* Parameters and buffers under `group`. */
static atr_status write_values(atr_h5 *file, const char *group, const atr_params *params)
{
    char path[ATR_NAME_BYTES + 16];
    atr_status status = ATR_OK;

    for (int64_t i = 0; i < atr_params_count(params); i++) {
        const atr_tensor value = atr_params_value(params, i);
        snprintf(path, sizeof path, "%s/%s", group, atr_params_spec(params, i)->name);
        ATR_TRY(atr_h5_write(file, path, &value));
    }

done:
    return status;
}

/* The parameters, and their names in the order of the state_dict (HDF5 lists a group in order of bytes). */
static atr_status write_params(atr_h5 *file, const atr_params *params)
{
    atr_status status = ATR_OK;
    const int64_t count = atr_params_count(params);
    const char **names = NULL;

    ATR_TRY(ATR_NEW(count, &names));
    for (int64_t i = 0; i < count; i++)
        names[i] = atr_params_spec(params, i)->name;
    ATR_TRY(write_values(file, CKPT_PARAMS, params));
    ATR_TRY(atr_h5_write_texts(file, CKPT_MODEL "/param_names", names, count));
    ATR_TRY(atr_checkpoint_write_places(file, params));

done:
    atr_free(names);
    return status;
}

/* A flat block, parameter by parameter: what each trainable one has of it, under GROUP/SLOT/NAME. */
static atr_status write_flat(atr_h5 *file, const char *group, const char *slot, const atr_params *params,
                             float *flat)
{
    atr_status status = ATR_OK;
    char path[ATR_NAME_BYTES + ATR_WORD_BYTES + 16];

    for (int64_t i = 0; i < atr_params_count(params); i++) {
        const atr_param_spec *spec = atr_params_spec(params, i);
        if (atr_param_is_buffer(spec->kind))
            continue;
        const atr_tensor part =
            atr_tensor_make(ATR_F32, spec->rank, spec->dims, flat + atr_params_flat_offset(params, i));
        snprintf(path, sizeof path, "%s/%s/%s", group, slot, spec->name);
        ATR_TRY(atr_h5_write(file, path, &part));
    }

done:
    return status;
}

static atr_status write_optim(atr_h5 *file, const atr_params *params, const atr_optim_state *optim)
{
    atr_status status = ATR_OK;

    if (optim->slot_count < 0 || optim->slot_count > ATR_SLOTS_MAX || optim->kind[0] == '\0')
        return atr_fail(ATR_ERR_USAGE, "the optimiser's state has no kind, or %d moments", optim->slot_count);
    ATR_TRY(atr_h5_group(file, CKPT_OPTIM));
    ATR_TRY(atr_h5_set_text(file, CKPT_OPTIM, "kind", optim->kind));
    ATR_TRY(atr_h5_set_i64(file, CKPT_OPTIM, "step", optim->step));
    if (optim->entry_steps != NULL) {
        const int64_t count = atr_params_count(params);
        const atr_tensor steps = atr_tensor_make(ATR_I64, 1, &count, optim->entry_steps);
        ATR_TRY(atr_h5_write(file, CKPT_OPTIM "/entry_steps", &steps));
    }
    for (int i = 0; i < optim->slot_count; i++)
        ATR_TRY(write_flat(file, CKPT_OPTIM, optim->slots[i].name, params, optim->slots[i].flat));

done:
    return status;
}

static atr_status write_extras(atr_h5 *file, const atr_train_state *state)
{
    atr_status status = ATR_OK;
    const char **keys = NULL, **values = NULL;

    if (state->extra_count == 0)
        return ATR_OK;
    ATR_TRY(ATR_NEW(state->extra_count, &keys));
    ATR_TRY(ATR_NEW(state->extra_count, &values));
    for (int64_t i = 0; i < state->extra_count; i++) {
        keys[i] = state->extras[i].key;
        values[i] = state->extras[i].value;
    }
    ATR_TRY(atr_h5_write_texts(file, CKPT_TRAIN "/extra_keys", keys, state->extra_count));
    ATR_TRY(atr_h5_write_texts(file, CKPT_TRAIN "/extra_values", values, state->extra_count));

done:
    atr_free(keys);
    atr_free(values);
    return status;
}

static atr_status write_state(atr_h5 *file, const atr_train_state *state)
{
    atr_status status = ATR_OK;
    const char *config = state->config != NULL ? state->config : "";

    ATR_TRY(atr_h5_group(file, CKPT_TRAIN));
    ATR_TRY(atr_h5_set_i64(file, CKPT_TRAIN, "epoch", state->epoch));
    ATR_TRY(atr_h5_set_i64(file, CKPT_TRAIN, "step_in_epoch", state->step_in_epoch));
    ATR_TRY(atr_h5_set_i64(file, CKPT_TRAIN, "global_step", state->global_step));
    ATR_TRY(atr_h5_set_i64(file, CKPT_TRAIN, "global_batch", state->global_batch));
    ATR_TRY(atr_h5_set_i64(file, CKPT_TRAIN, "ranks", state->ranks));
    ATR_TRY(atr_h5_set_u64(file, CKPT_TRAIN, "seed", state->seed));
    ATR_TRY(atr_h5_set_u64(file, CKPT_TRAIN, "rng_key", state->rng_key));
    ATR_TRY(atr_h5_set_f64(file, CKPT_TRAIN, "best_score", state->best_score));
    ATR_TRY(atr_h5_set_i64(file, CKPT_TRAIN, "best_epoch", state->best_epoch));
    ATR_TRY(atr_h5_set_i64(file, CKPT_TRAIN, "average_steps", state->average_steps));
    ATR_TRY(atr_h5_set_u64(file, CKPT_TRAIN, "data_fingerprint", state->data_fingerprint));
    ATR_TRY(atr_h5_set_text(file, CKPT_TRAIN, "schedule", state->schedule));
    ATR_TRY(atr_h5_write_texts(file, CKPT_TRAIN "/config", &config, 1));
    ATR_TRY(write_extras(file, state));

done:
    return status;
}

static atr_status write_unsent(atr_h5 *file, const atr_checkpoint *ckpt)
{
    const int64_t flat = atr_params_flat_count(ckpt->params);
    char name[ATR_WORD_BYTES];
    atr_status status = ATR_OK;

    if (ckpt->unsent_count < 0 || ckpt->unsent_count > ATR_UNSENT_MAX)
        return atr_fail(ATR_ERR_USAGE, "%lld blocks are still to be sent", (long long)ckpt->unsent_count);
    if (ckpt->unsent_count == 0)
        return ATR_OK;
    ATR_TRY(atr_h5_group(file, CKPT_UNSENT));
    ATR_TRY(atr_h5_set_i64(file, CKPT_UNSENT, "count", ckpt->unsent_count));
    for (int64_t k = 0; k < ckpt->unsent_count; k++) {
        snprintf(name, sizeof name, "%lld", (long long)k);
        ATR_TRY(write_flat(file, CKPT_UNSENT, name, ckpt->params, ckpt->unsent + k * flat));
    }

done:
    return status;
}

atr_status atr_checkpoint_write_partial(const char *partial, const atr_checkpoint *ckpt)
{
    atr_status status = ATR_OK;
    atr_h5 *file = NULL;

    ATR_TRY(atr_model_info_check(ckpt->info, ATR_ERR_USAGE));
    ATR_TRY(atr_h5_create(partial, &file));
    ATR_TRY(atr_h5_set_text(file, "/", "format", CKPT_FORMAT));
    ATR_TRY(atr_h5_set_i64(file, "/", "version", CKPT_VERSION));
    ATR_TRY(write_info(file, ckpt->info));
    ATR_TRY(write_params(file, ckpt->params));
    ATR_TRY(atr_fault("write", -1, ckpt->state != NULL ? ckpt->state->global_step : -1));
    if (ckpt->optim != NULL)
        ATR_TRY(write_optim(file, ckpt->params, ckpt->optim));
    if (ckpt->state != NULL)
        ATR_TRY(write_state(file, ckpt->state));
    if (ckpt->state != NULL && ckpt->trained != NULL)
        ATR_TRY(write_values(file, CKPT_TRAINED, ckpt->trained));
    if (ckpt->state != NULL)
        ATR_TRY(write_unsent(file, ckpt));
    if (ckpt->quant != NULL)
        ATR_TRY(atr_checkpoint_write_quant(file, ckpt->quant));
    ATR_TRY(atr_h5_set_i64(file, "/", "complete", 1));
    ATR_TRY(atr_h5_close(&file)); /* a full disk shows here at the latest */
    ATR_TRY(atr_h5_seal(partial, NULL, 0));

done:
    atr_h5_destroy(file);
    return status;
}

atr_status atr_checkpoint_write(const char *path, const atr_checkpoint *ckpt)
{
    atr_status status = ATR_OK;
    char *partial = NULL;

    ATR_TRY(atr_path_partial(path, &partial));
    ATR_TRY(atr_checkpoint_write_partial(partial, ckpt));
    ATR_TRY(atr_path_replace(partial, path));

done:
    if (status != ATR_OK && partial != NULL)
        unlink(partial);
    atr_free(partial);
    return status;
}
