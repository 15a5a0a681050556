#include <stdio.h>
#include <string.h>

#include "io/checkpoint_impl.h"
#include "io/h5.h"
#include "io/h5_guard.h"
#include "io/weights_impl.h"

enum { PARAMS_MAX = 1 << 20 };

struct atr_checkpoint_file {
    atr_h5 *file;
    atr_model_info info;
};

/* A text attribute into a buffer of `room` bytes. */
static atr_status read_word(const atr_h5 *file, const char *group, const char *name, size_t room, char *out)
{
    atr_status status = ATR_OK;
    char *text = NULL;

    ATR_TRY(atr_h5_get_text(file, group, name, &text));
    if (strlen(text) >= room)
        status = atr_fail(ATR_ERR_DATA, "%s: attribute '%s' of %s is longer than %zu bytes",
                          atr_h5_path(file), name, group, room - 1);
    else
        strcpy(out, text);

done:
    atr_free(text);
    return status;
}

static atr_status read_class_names(const atr_h5 *file, atr_model_info *info)
{
    atr_status status = ATR_OK;
    char **names = NULL;
    int64_t count = 0;

    ATR_TRY(atr_h5_read_texts(file, CKPT_MODEL "/class_names", &names, &count));
    if (count != info->classes) {
        status = atr_fail(ATR_ERR_DATA, "%s: %lld class names for %lld classes", atr_h5_path(file),
                          (long long)count, (long long)info->classes);
        goto done;
    }
    for (int64_t k = 0; k < count; k++) {
        if (strlen(names[k]) >= ATR_NAME_BYTES) {
            status = atr_fail(ATR_ERR_DATA, "%s: the name of class %lld is longer than %d bytes",
                              atr_h5_path(file), (long long)k, ATR_NAME_BYTES - 1);
            goto done;
        }
        strcpy(info->class_names[k], names[k]);
    }

done:
    atr_h5_names_free(names, count);
    return status;
}

/* Palette and preprocessing; the counts were checked before. */
static atr_status read_tables(const atr_h5 *file, atr_model_info *info)
{
    atr_status status = ATR_OK;
    const int64_t palette_dims[2] = {256, 3};
    atr_tensor palette = atr_tensor_make(ATR_U8, 2, palette_dims, info->palette);
    atr_tensor scale = atr_tensor_make(ATR_F64, 1, &info->channels, info->scale);
    atr_tensor offset = atr_tensor_make(ATR_F64, 1, &info->channels, info->offset);

    ATR_TRY(atr_h5_read(file, CKPT_MODEL "/palette", &palette));
    ATR_TRY(atr_h5_read(file, CKPT_MODEL "/scale", &scale));
    ATR_TRY(atr_h5_read(file, CKPT_MODEL "/offset", &offset));

done:
    return status;
}

static atr_status read_info(const atr_h5 *file, atr_model_info *info)
{
    atr_status status = ATR_OK;
    int64_t align = 0;

    ATR_TRY(read_word(file, CKPT_MODEL, "architecture", ATR_WORD_BYTES, info->architecture));
    ATR_TRY(read_word(file, CKPT_MODEL, "backbone", ATR_WORD_BYTES, info->backbone));
    ATR_TRY(read_word(file, CKPT_MODEL, "fit", ATR_WORD_BYTES, info->fit));
    ATR_TRY(atr_h5_get_i64(file, CKPT_MODEL, "output_stride", &info->output_stride));
    ATR_TRY(atr_h5_get_i64(file, CKPT_MODEL, "align_corners", &align));
    ATR_TRY(atr_h5_get_i64(file, CKPT_MODEL, "classes", &info->classes));
    ATR_TRY(atr_h5_get_i64(file, CKPT_MODEL, "channels", &info->channels));
    ATR_TRY(atr_h5_get_i64(file, CKPT_MODEL, "height", &info->height));
    ATR_TRY(atr_h5_get_i64(file, CKPT_MODEL, "width", &info->width));
    ATR_TRY(atr_h5_get_f64(file, CKPT_MODEL, "pad_value", &info->pad_value));
    info->align_corners = align != 0;
    for (int c = 0; c < ATR_CHANNELS_MAX; c++)
        info->scale[c] = 1; /* so that the counts can be checked before the tables are read */
    ATR_TRY(atr_model_info_check(info, ATR_ERR_DATA));
    ATR_TRY(read_class_names(file, info));
    memset(info->scale, 0, sizeof info->scale);
    ATR_TRY(read_tables(file, info));
    ATR_TRY(atr_model_info_check(info, ATR_ERR_DATA));

done:
    return status;
}

/* Whether this HDF5 file is ours, of a version we know, and was finished. */
static atr_status check_kind(const atr_h5 *file)
{
    atr_status status = ATR_OK;
    char format[ATR_WORD_BYTES];
    int64_t version = 0, complete = 0;

    if (!atr_h5_has_attr(file, "/", "format"))
        return atr_fail(ATR_ERR_DATA, "%s is no checkpoint of atrous", atr_h5_path(file));
    ATR_TRY(read_word(file, "/", "format", sizeof format, format));
    if (strcmp(format, CKPT_FORMAT) != 0)
        return atr_fail(ATR_ERR_DATA, "%s is no checkpoint but '%s'", atr_h5_path(file), format);
    ATR_TRY(atr_h5_get_i64(file, "/", "version", &version));
    if (version != CKPT_VERSION)
        return atr_fail(ATR_ERR_UNSUPPORTED, "%s: checkpoint version %lld, this build reads %d",
                        atr_h5_path(file), (long long)version, CKPT_VERSION);
    ATR_TRY(atr_h5_get_i64(file, "/", "complete", &complete));
    if (complete != 1)
        return atr_fail(ATR_ERR_DATA, "%s is not complete", atr_h5_path(file));

done:
    return status;
}

atr_status atr_checkpoint_open(const char *path, atr_checkpoint_file **out)
{
    atr_status status = ATR_OK;
    atr_checkpoint_file *file = NULL;

    *out = NULL;
    ATR_TRY(atr_h5_check_seal(path)); /* before HDF5 sees any byte */
    ATR_TRY(ATR_NEW(1, &file));
    ATR_TRY(atr_h5_open(path, &file->file));
    ATR_TRY(check_kind(file->file));
    ATR_TRY(read_info(file->file, &file->info));
    *out = file;
    file = NULL;

done:
    atr_checkpoint_close(file);
    return status;
}

void atr_checkpoint_close(atr_checkpoint_file *file)
{
    if (file == NULL)
        return;
    atr_h5_destroy(file->file);
    atr_free(file);
}

const atr_model_info *atr_checkpoint_info(const atr_checkpoint_file *file)
{
    return &file->info;
}

const char *atr_checkpoint_path(const atr_checkpoint_file *file)
{
    return atr_h5_path(file->file);
}

bool atr_checkpoint_has_optim(const atr_checkpoint_file *file)
{
    return atr_h5_exists(file->file, CKPT_OPTIM);
}

bool atr_checkpoint_has_state(const atr_checkpoint_file *file)
{
    return atr_h5_exists(file->file, CKPT_TRAIN);
}

bool atr_checkpoint_has_trained(const atr_checkpoint_file *file)
{
    return atr_h5_exists(file->file, CKPT_TRAINED);
}

bool atr_checkpoint_has_quant(const atr_checkpoint_file *file)
{
    return atr_h5_exists(file->file, CKPT_INT8);
}

atr_status atr_checkpoint_load_quant(const atr_checkpoint_file *file, atr_quant *out)
{
    if (!atr_checkpoint_has_quant(file))
        return atr_fail(ATR_ERR_NOT_FOUND,
                        "%s does not say how its network runs in int8: atrous quantize makes "
                        "a file that does",
                        atr_h5_path(file->file));
    return atr_fail_prefix(atr_checkpoint_read_quant(file->file, out), "%s", atr_h5_path(file->file));
}

atr_status atr_checkpoint_load_trained(const atr_checkpoint_file *file, atr_params *params)
{
    char path[ATR_NAME_BYTES + 16];
    atr_status status = ATR_OK;

    if (!atr_checkpoint_has_trained(file))
        return atr_fail(ATR_ERR_NOT_FOUND, "%s holds no weights beside its network", atr_h5_path(file->file));
    for (int64_t i = 0; i < atr_params_count(params); i++) {
        atr_tensor value = atr_params_value(params, i);
        snprintf(path, sizeof path, CKPT_TRAINED "/%s", atr_params_spec(params, i)->name);
        ATR_TRY(atr_h5_read(file->file, path, &value));
    }
    atr_params_touch(params);

done:
    return status;
}

static atr_status read_param(const atr_h5 *file, const char *name, atr_weights *weights)
{
    atr_status status = ATR_OK;
    atr_h5_info info;
    atr_tensor tensor = {0};
    char path[ATR_NAME_BYTES + 16];

    if (strlen(name) >= ATR_NAME_BYTES || strchr(name, '/') != NULL)
        return atr_fail(ATR_ERR_DATA, "%s: a parameter's name is too long or has a '/'", atr_h5_path(file));
    snprintf(path, sizeof path, CKPT_PARAMS "/%s", name);
    ATR_TRY(atr_h5_describe(file, path, &info));
    if (info.kind != ATR_H5_TENSOR)
        return atr_fail(ATR_ERR_DATA, "%s: %s is no array of numbers", atr_h5_path(file), path);
    ATR_TRY(atr_h5_read_new(file, path, info.type, 0, &tensor));
    ATR_TRY(atr_weights_own(weights, tensor.data));
    ATR_TRY(atr_weights_add(weights, name, strlen(name), &tensor));

done:
    return status;
}

atr_status atr_checkpoint_weights(const atr_checkpoint_file *file, atr_weights **out)
{
    atr_status status = ATR_OK;
    atr_weights *weights = NULL;
    char **names = NULL;
    int64_t count = 0;

    *out = NULL;
    ATR_TRY(atr_weights_create("checkpoint", &weights));
    ATR_TRY(atr_h5_read_texts(file->file, CKPT_MODEL "/param_names", &names, &count));
    if (count > PARAMS_MAX) {
        status = atr_fail(ATR_ERR_DATA, "%s: %lld parameters", atr_h5_path(file->file), (long long)count);
        goto done;
    }
    for (int64_t i = 0; i < count; i++)
        ATR_TRY(read_param(file->file, names[i], weights));
    *out = weights;
    weights = NULL;

done:
    atr_h5_names_free(names, count);
    atr_weights_destroy(weights);
    return status;
}

atr_status atr_checkpoint_load_params(const atr_checkpoint_file *file, atr_load_mode mode, atr_params *params,
                                      atr_load_report *report)
{
    atr_status status = ATR_OK;
    atr_weights *weights = NULL;
    atr_load_report found = {0};
    bool fits = false;

    if (report != NULL)
        *report = found;
    ATR_TRY(atr_checkpoint_read_in_place(file->file, params, &found, &fits));
    if (fits) {
        if (report != NULL)
            *report = found;
        goto done;
    }
    ATR_TRY(atr_checkpoint_weights(file, &weights));
    status = atr_fail_prefix(atr_weights_fill(weights, mode, params, report), "%s", atr_h5_path(file->file));

done:
    atr_weights_destroy(weights);
    return status;
}

atr_status atr_checkpoint_map_params(const atr_checkpoint_file *file, atr_params *params)
{
    bool fits = false;
    const atr_status status = atr_checkpoint_map_in_place(file->file, params, &fits);

    return status != ATR_OK || fits ? status
                                    : atr_checkpoint_load_params(file, ATR_LOAD_STRICT, params, NULL);
}

/* The other way round of the writer's write_flat(). */
static atr_status read_flat(const atr_h5 *file, const char *group, const char *slot, const atr_params *params,
                            float *flat)
{
    atr_status status = ATR_OK;
    char path[ATR_NAME_BYTES + ATR_WORD_BYTES + 16];

    for (int64_t i = 0; i < atr_params_count(params); i++) {
        const atr_param_spec *spec = atr_params_spec(params, i);
        if (atr_param_is_buffer(spec->kind))
            continue;
        atr_tensor part =
            atr_tensor_make(ATR_F32, spec->rank, spec->dims, flat + atr_params_flat_offset(params, i));
        snprintf(path, sizeof path, "%s/%s/%s", group, slot, spec->name);
        ATR_TRY(atr_h5_read(file, path, &part));
    }

done:
    return status;
}

atr_status atr_checkpoint_unsent_count(const atr_checkpoint_file *ckpt, int64_t *out)
{
    atr_status status = ATR_OK;

    *out = 0;
    if (!atr_h5_exists(ckpt->file, CKPT_UNSENT))
        return ATR_OK;
    ATR_TRY(atr_h5_get_i64(ckpt->file, CKPT_UNSENT, "count", out));
    if (*out < 0 || *out > ATR_UNSENT_MAX)
        status = atr_fail(ATR_ERR_DATA, "%s: %lld blocks are still to be sent", atr_h5_path(ckpt->file),
                          (long long)*out);

done:
    return status;
}

atr_status atr_checkpoint_load_unsent(const atr_checkpoint_file *ckpt, const atr_params *params,
                                      float *blocks)
{
    const int64_t flat = atr_params_flat_count(params);
    char name[ATR_WORD_BYTES];
    int64_t count = 0;
    atr_status status = ATR_OK;

    ATR_TRY(atr_checkpoint_unsent_count(ckpt, &count));
    for (int64_t k = 0; k < count; k++) {
        snprintf(name, sizeof name, "%lld", (long long)k);
        ATR_TRY(read_flat(ckpt->file, CKPT_UNSENT, name, params, blocks + k * flat));
    }

done:
    return status;
}

/* Files of runs without any frozen part may lack them. */
static atr_status read_entry_steps(const atr_h5 *file, const atr_params *params, atr_optim_state *optim)
{
    const int64_t count = atr_params_count(params);
    atr_tensor steps = atr_tensor_make(ATR_I64, 1, &count, optim->entry_steps);
    atr_status status = ATR_OK;

    if (optim->entry_steps == NULL)
        return ATR_OK;
    if (atr_h5_exists(file, CKPT_OPTIM "/entry_steps"))
        ATR_TRY(atr_h5_read(file, CKPT_OPTIM "/entry_steps", &steps));
    for (int64_t i = 0; i < count; i++) {
        const bool buffer = atr_param_is_buffer(atr_params_spec(params, i)->kind);
        if (!atr_h5_exists(file, CKPT_OPTIM "/entry_steps"))
            optim->entry_steps[i] = buffer ? 0 : optim->step;
        else if (optim->entry_steps[i] < 0 || optim->entry_steps[i] > optim->step)
            return atr_fail(ATR_ERR_DATA, "%s: %lld updates of %s after %lld in all", atr_h5_path(file),
                            (long long)optim->entry_steps[i], atr_params_spec(params, i)->name,
                            (long long)optim->step);
    }

done:
    return status;
}

atr_status atr_checkpoint_load_optim(const atr_checkpoint_file *file, const atr_params *params,
                                     atr_optim_state *optim)
{
    atr_status status = ATR_OK;
    char kind[ATR_WORD_BYTES];

    if (!atr_checkpoint_has_optim(file))
        return atr_fail(ATR_ERR_NOT_FOUND,
                        "%s holds a model without an optimiser's state: it cannot be resumed",
                        atr_h5_path(file->file));
    ATR_TRY(read_word(file->file, CKPT_OPTIM, "kind", sizeof kind, kind));
    if (strcmp(kind, optim->kind) != 0)
        return atr_fail(ATR_ERR_DATA, "%s: the optimiser is %s, asked for is %s", atr_h5_path(file->file),
                        kind, optim->kind);
    ATR_TRY(atr_h5_get_i64(file->file, CKPT_OPTIM, "step", &optim->step));
    ATR_TRY(read_entry_steps(file->file, params, optim));
    for (int i = 0; i < optim->slot_count; i++)
        ATR_TRY(read_flat(file->file, CKPT_OPTIM, optim->slots[i].name, params, optim->slots[i].flat));

done:
    return status;
}

static atr_status read_extras(const atr_h5 *file, atr_train_state *state)
{
    atr_status status = ATR_OK;
    char **keys = NULL, **values = NULL;
    int64_t count = 0, value_count = 0;

    if (!atr_h5_exists(file, CKPT_TRAIN "/extra_keys"))
        return ATR_OK;
    ATR_TRY(atr_h5_read_texts(file, CKPT_TRAIN "/extra_keys", &keys, &count));
    ATR_TRY(atr_h5_read_texts(file, CKPT_TRAIN "/extra_values", &values, &value_count));
    if (count != value_count) {
        status = atr_fail(ATR_ERR_DATA, "%s: %lld keys and %lld values", atr_h5_path(file), (long long)count,
                          (long long)value_count);
        goto done;
    }
    ATR_TRY(ATR_NEW(count, &state->extras));
    for (int64_t i = 0; i < count; i++) {
        if (strlen(keys[i]) >= ATR_NAME_BYTES || strlen(values[i]) >= ATR_EXTRA_BYTES) {
            status = atr_fail(ATR_ERR_DATA, "%s: key %lld of the training state is too long",
                              atr_h5_path(file), (long long)i);
            goto done;
        }
        strcpy(state->extras[i].key, keys[i]);
        strcpy(state->extras[i].value, values[i]);
    }
    state->extra_count = count;

done:
    atr_h5_names_free(keys, count);
    atr_h5_names_free(values, value_count);
    return status;
}

static atr_status read_config(const atr_h5 *file, atr_train_state *state)
{
    atr_status status = ATR_OK;
    char **config = NULL;
    int64_t count = 0;

    ATR_TRY(atr_h5_read_texts(file, CKPT_TRAIN "/config", &config, &count));
    if (count > 0)
        ATR_TRY(atr_strdup(config[0], &state->config));

done:
    atr_h5_names_free(config, count);
    return status;
}

/* A state that no run can be in is damage. */
static atr_status check_state(const atr_h5 *file, const atr_train_state *state)
{
    if (state->epoch < 0 || state->step_in_epoch < 0 || state->global_step < state->step_in_epoch ||
        state->global_batch < 0 || state->ranks < 0 || state->average_steps < 0)
        return atr_fail(ATR_ERR_DATA, "%s: the training state makes no sense (epoch %lld, step %lld)",
                        atr_h5_path(file), (long long)state->epoch, (long long)state->global_step);
    return ATR_OK;
}

atr_status atr_checkpoint_load_state(const atr_checkpoint_file *ckpt, atr_train_state *out)
{
    atr_status status = ATR_OK;
    const atr_h5 *file = ckpt->file;
    atr_train_state state = {0};

    *out = state;
    if (!atr_checkpoint_has_state(ckpt))
        return atr_fail(ATR_ERR_NOT_FOUND, "%s holds a model without the state of a training run",
                        atr_h5_path(file));
    ATR_TRY(atr_h5_get_i64(file, CKPT_TRAIN, "epoch", &state.epoch));
    ATR_TRY(atr_h5_get_i64(file, CKPT_TRAIN, "step_in_epoch", &state.step_in_epoch));
    ATR_TRY(atr_h5_get_i64(file, CKPT_TRAIN, "global_step", &state.global_step));
    ATR_TRY(atr_h5_get_i64(file, CKPT_TRAIN, "global_batch", &state.global_batch));
    ATR_TRY(atr_h5_get_i64(file, CKPT_TRAIN, "ranks", &state.ranks));
    ATR_TRY(atr_h5_get_u64(file, CKPT_TRAIN, "seed", &state.seed));
    ATR_TRY(atr_h5_get_u64(file, CKPT_TRAIN, "rng_key", &state.rng_key));
    ATR_TRY(atr_h5_get_f64(file, CKPT_TRAIN, "best_score", &state.best_score));
    ATR_TRY(atr_h5_get_i64(file, CKPT_TRAIN, "best_epoch", &state.best_epoch));
    if (atr_h5_has_attr(file, CKPT_TRAIN, "average_steps"))
        ATR_TRY(atr_h5_get_i64(file, CKPT_TRAIN, "average_steps", &state.average_steps));
    ATR_TRY(atr_h5_get_u64(file, CKPT_TRAIN, "data_fingerprint", &state.data_fingerprint));
    ATR_TRY(read_word(file, CKPT_TRAIN, "schedule", ATR_WORD_BYTES, state.schedule));
    ATR_TRY(check_state(file, &state));
    ATR_TRY(read_config(file, &state));
    ATR_TRY(read_extras(file, &state));
    *out = state;
    state = (atr_train_state){0};

done:
    atr_train_state_free(&state);
    return status;
}

void atr_train_state_free(atr_train_state *state)
{
    atr_free(state->config);
    atr_free(state->extras);
    state->config = NULL;
    state->extras = NULL;
    state->extra_count = 0;
}
