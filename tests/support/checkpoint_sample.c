#include "tests/support/checkpoint_sample.h"

#include <math.h>
#include <string.h>

#include "core/rng.h"
#include "tests/support/network.h"
#include "tests/support/scratch.h"

const atr_param_spec checkpoint_specs[CHECKPOINT_SPECS] = {
    {"backbone.0.weight", ATR_PARAM_CONV_WEIGHT, 4, {7, 3, 3, 3}},
    {"backbone.1.weight", ATR_PARAM_NORM_WEIGHT, 1, {7}},
    {"backbone.1.bias", ATR_PARAM_NORM_BIAS, 1, {7}},
    {"backbone.1.running_mean", ATR_PARAM_RUNNING_MEAN, 1, {7}},
    {"backbone.1.running_var", ATR_PARAM_RUNNING_VAR, 1, {7}},
    {"backbone.1.num_batches_tracked", ATR_PARAM_TRACKED, 0, {0}},
    {"cls_conv.weight", ATR_PARAM_CONV_WEIGHT, 4, {5, 7, 1, 1}},
    {"cls_conv.bias", ATR_PARAM_CONV_BIAS, 1, {5}},
};

static void fill_floats(float *values, int64_t count, uint64_t key)
{
    for (int64_t i = 0; i < count; i++)
        values[i] = (float)atr_rng_normal(key, (uint64_t)i);
}

void checkpoint_sample_fill(atr_params *params, uint64_t seed)
{
    for (int64_t i = 0; i < atr_params_count(params); i++) {
        const atr_tensor value = atr_params_value(params, i);
        if (value.type == ATR_I64)
            *(int64_t *)value.data = (int64_t)seed + ((int64_t)1 << 40);
        else
            fill_floats(value.data, atr_tensor_count(&value), seed * 100 + (uint64_t)i);
    }
}

void checkpoint_sample_info(atr_model_info *info)
{
    memset(info, 0, sizeof *info);
    strcpy(info->architecture, "deeplabv3plus");
    strcpy(info->backbone, "mobilenetv2");
    strcpy(info->fit, "letterbox");
    info->output_stride = 16;
    info->align_corners = true;
    info->classes = 5;
    strcpy(info->class_names[0], "background");
    strcpy(info->class_names[1], "Stra\xc3\x9f"
                                 "e");
    strcpy(info->class_names[4], "a name with spaces, commas and \"quotes\"");
    for (int i = 0; i < 256 * 3; i++)
        info->palette[i / 3][i % 3] = (uint8_t)(i * 7);
    info->channels = 3;
    for (int c = 0; c < 3; c++) {
        info->scale[c] = 1.0 / 255 / (c + 1);
        info->offset[c] = -0.1 * c;
    }
    info->height = 512;
    info->width = 1024;
    info->pad_value = 128;
}

void checkpoint_sample_make(checkpoint_sample *s, uint64_t seed)
{
    memset(s, 0, sizeof *s);
    s->folder = scratch_create();
    checkpoint_sample_info(&s->info);

    must(atr_params_create(checkpoint_specs, CHECKPOINT_SPECS, &atr_host_allocator, &s->params));
    checkpoint_sample_fill(s->params, seed);
    must(ATR_NEW(atr_params_flat_count(s->params), &s->first));
    must(ATR_NEW(atr_params_flat_count(s->params), &s->second));
    fill_floats(s->first, atr_params_flat_count(s->params), seed + 1);
    fill_floats(s->second, atr_params_flat_count(s->params), seed + 2);
    strcpy(s->optim.kind, "adam");
    s->optim.step = 7120;
    s->optim.slot_count = 2;
    strcpy(s->optim.slots[0].name, "exp_avg");
    strcpy(s->optim.slots[1].name, "exp_avg_sq");
    s->optim.slots[0].flat = s->first;
    s->optim.slots[1].flat = s->second;

    s->state.epoch = 3;
    s->state.step_in_epoch = 17;
    s->state.global_step = 7000 + (int64_t)seed;
    s->state.global_batch = 256;
    s->state.ranks = 16;
    s->state.seed = UINT64_MAX - 5;
    s->state.rng_key = 0x8000000000000001u;
    s->state.best_score = NAN;
    s->state.best_epoch = -1;
    s->state.data_fingerprint = 0xDEADBEEFCAFEF00Du;
    strcpy(s->state.schedule, "cos");
    s->state.config = "train:\n  lr: 0.007\n  classes: [a, b]\n";
    strcpy(s->extras[0].key, "git");
    strcpy(s->extras[0].value, "abc123");
    strcpy(s->extras[1].key, "note");
    s->state.extra_count = 2;
    s->state.extras = s->extras;
    s->ckpt = (atr_checkpoint){.info = &s->info, .params = s->params, .optim = &s->optim, .state = &s->state};
}

void checkpoint_sample_free(checkpoint_sample *s)
{
    atr_params_destroy(s->params);
    atr_free(s->first);
    atr_free(s->second);
    scratch_remove(s->folder);
}
