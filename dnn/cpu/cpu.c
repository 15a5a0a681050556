#include "dnn/cpu/cpu.h"

#include <math.h>
#include <string.h>

#include "core/cpu.h"
#include "dnn/cpu/cpu_impl.h"

atr_cpu_clamp atr_cpu_clamp_of(atr_act act)
{
    return (atr_cpu_clamp){act == ATR_ACT_NONE ? -INFINITY : 0.0f, act == ATR_ACT_RELU6 ? 6.0f : INFINITY};
}

static void choose_kernels(atr_isa level, atr_cpu_engine *engine)
{
    engine->kernels = &atr_cpu_kernels_portable;
    engine->narrow = &atr_cpu_kernels_portable_bf16;
#if defined(__x86_64__)
    if (level >= ATR_ISA_AVX2) {
        engine->kernels = &atr_cpu_kernels_avx2;
        engine->narrow = &atr_cpu_kernels_avx2_bf16;
    }
    if (level >= ATR_ISA_AVX512) {
        engine->kernels = &atr_cpu_kernels_avx512;
        engine->narrow = &atr_cpu_kernels_avx512_bf16;
    }
#endif
    engine->multiplies_bf16 = level >= ATR_ISA_AVX512_BF16;
}

static void close_engine(void *opened)
{
    atr_cpu_engine *engine = opened;

    if (engine == NULL)
        return;
    atr_onednn_close(engine->dnn);
    atr_free(engine);
}

static atr_status open_engine(int threads, void **out)
{
    atr_status status = ATR_OK;
    atr_cpu_engine *engine = NULL;

    (void)threads;
    *out = NULL;
    ATR_TRY(ATR_NEW(1, &engine));
    choose_kernels(atr_isa_level(), engine);
    ATR_TRY(atr_onednn_open(&engine->dnn));
    *out = engine;
    engine = NULL;
done:
    close_engine(engine);
    return status;
}

atr_status atr_cpu_check_types(const atr_step *step)
{
    const atr_dtype type = step->x[0].type;
    bool same = step->y.type == type && step->dy.type == type;

    for (int i = 0; i < step->input_count; i++)
        same = same && step->x[i].type == type && step->dx[i].type == type;
    return same ? ATR_OK : atr_fail(ATR_ERR_UNSUPPORTED, "%s: activations of several types", step->name);
}

void atr_cpu_copy(const atr_backend *backend, const atr_tensor *from, const atr_tensor *to)
{
    const size_t bytes = (size_t)(to->dims[3] * atr_cpu_element_bytes(to));

#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range range = atr_cpu_share(atr_cpu_pixels(to), backend->threads, part);
        for (int64_t p = range.first; p < range.end; p++)
            memcpy(atr_cpu_pixel(to, p), atr_cpu_pixel(from, p), bytes);
    }
}

size_t atr_cpu_column_sums_bytes(const atr_backend *backend, int64_t channels)
{
    return (size_t)(backend->threads * atr_cpu_row(2 * channels)) * sizeof(double);
}

void atr_cpu_column_sums(const atr_backend *backend, const atr_tensor *x, void *scratch, double *sums)
{
    const atr_cpu_kernels *kernels = atr_cpu_kernels_for(backend, x->type);
    const int64_t channels = x->dims[3], row = atr_cpu_row(2 * channels), tile = atr_cpu_tile(channels);
    double *partial = scratch;

#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range range = atr_cpu_share(atr_cpu_pixels(x), backend->threads, part);
        double *mine = partial + part * row;
        memset(mine, 0, (size_t)channels * sizeof *mine);
        for (int64_t p = range.first; p < range.end; p += tile)
            kernels->column_sums(atr_cpu_pixel(x, p), x->strides[2], atr_cpu_min(tile, range.end - p),
                                 channels, (float *)(mine + channels), mine);
    }
    for (int64_t c = 0; c < channels; c++) {
        sums[c] = 0.0;
        for (int part = 0; part < backend->threads; part++)
            sums[c] += partial[part * row + c];
    }
}

const atr_backend_table atr_backend_cpu = {
    .name = "cpu",
    .summary = "oneDNN and own kernels for AVX-512, AVX2 or any processor, with OpenMP",
    .host = true,
    .open = open_engine,
    .close = close_engine,
    .op =
        {
            [ATR_OP_CONV] = {atr_cpu_conv_prepare, atr_cpu_conv_refresh, atr_cpu_conv_forward,
                             atr_cpu_conv_backward, atr_cpu_conv_release},
            [ATR_OP_CONV_RESIZED] = {atr_cpu_resized_conv_prepare, atr_cpu_resized_conv_refresh,
                                     atr_cpu_resized_conv_forward, atr_cpu_resized_conv_backward,
                                     atr_cpu_resized_conv_release},
            [ATR_OP_CONV_POOLED] = {atr_cpu_pooled_conv_prepare, atr_cpu_pooled_conv_refresh,
                                    atr_cpu_pooled_conv_forward, atr_cpu_pooled_conv_backward,
                                    atr_cpu_pooled_conv_release},
            [ATR_OP_CONV_BANDS] = {atr_cpu_banded_conv_prepare, atr_cpu_banded_conv_refresh,
                                   atr_cpu_banded_conv_forward, NULL, atr_cpu_banded_conv_release},
            [ATR_OP_CONV_INT8] = {atr_cpu_int8_prepare, atr_cpu_int8_refresh, atr_cpu_int8_forward, NULL,
                                  atr_cpu_int8_release},
            [ATR_OP_QUANTIZE] = {atr_cpu_quantize_prepare, NULL, atr_cpu_quantize_forward, NULL,
                                 atr_cpu_int8_release},
            [ATR_OP_NORM] = {atr_cpu_norm_prepare, NULL, atr_cpu_norm_forward, atr_cpu_norm_backward, NULL},
            [ATR_OP_ACT] = {atr_cpu_act_prepare, NULL, atr_cpu_act_forward, atr_cpu_act_backward, NULL},
            [ATR_OP_ADD] = {atr_cpu_plain_prepare, NULL, atr_cpu_add_forward, NULL, NULL},
            [ATR_OP_CONCAT] = {atr_cpu_plain_prepare, NULL, atr_cpu_concat_forward, NULL, NULL},
            [ATR_OP_GLOBAL_POOL] = {atr_cpu_pool_prepare, NULL, atr_cpu_pool_forward, atr_cpu_pool_backward,
                                    NULL},
            [ATR_OP_RESIZE] = {atr_cpu_resize_prepare, NULL, atr_cpu_resize_forward, atr_cpu_resize_backward,
                               atr_cpu_resize_release},
            [ATR_OP_DROPOUT] = {atr_cpu_plain_prepare, NULL, atr_cpu_dropout_forward,
                                atr_cpu_dropout_backward, NULL},
        },
    .knows_bf16 =
        {
            [ATR_OP_CONV] = true,
            [ATR_OP_CONV_RESIZED] = true,
            [ATR_OP_CONV_POOLED] = true,
            [ATR_OP_NORM] = true,
            [ATR_OP_ACT] = true,
            [ATR_OP_ADD] = true,
            [ATR_OP_CONCAT] = true,
            [ATR_OP_GLOBAL_POOL] = true,
            [ATR_OP_DROPOUT] = true,
        },
    .loss_scratch = atr_cpu_loss_scratch,
    .loss_sums = atr_cpu_loss_sums,
    .loss = atr_cpu_loss,
    .segment_scratch = atr_cpu_segment_scratch,
    .segment = atr_cpu_segment,
    .enlarge = atr_cpu_enlarge,
    .sgd = atr_cpu_sgd,
    .adam = atr_cpu_adam,
    .accumulate = atr_cpu_accumulate,
    .average = atr_cpu_average,
    .sum_squares = atr_cpu_sum_squares,
};
