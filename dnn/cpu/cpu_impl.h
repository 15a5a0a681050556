#ifndef ATR_DNN_CPU_CPU_IMPL_H
#define ATR_DNN_CPU_CPU_IMPL_H

#include "dnn/backend.h"
#include "dnn/cpu/kernels_impl.h"
#include "dnn/cpu/onednn.h"
#include "dnn/widen.h"

/* What the files of the host back end share. Work is cut into as many parts as the back end has threads, by fixed bounds, so
 * that results are the same each time; sums over pixels are made per part and added in the order of parts. */

typedef struct atr_cpu_engine {
    atr_onednn *dnn;
    const atr_cpu_kernels *kernels, *narrow; /* of the instruction level to use; narrow: on bf16 */
    bool multiplies_bf16; /* at that level; where oneDNN would imitate it, f32 on copies is faster */
} atr_cpu_engine;

static inline const atr_cpu_engine *atr_cpu_engine_of(const atr_backend *backend)
{
    return backend->engine;
}

static inline const atr_cpu_kernels *atr_cpu_kernels_of(const atr_backend *backend)
{
    return atr_cpu_engine_of(backend)->kernels;
}

/* Kernels whose activations are of one type. */
static inline const atr_cpu_kernels *atr_cpu_kernels_for(const atr_backend *backend, atr_dtype type)
{
    const atr_cpu_engine *engine = atr_cpu_engine_of(backend);

    return type == ATR_BF16 ? engine->narrow : engine->kernels;
}

static inline int64_t atr_cpu_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t atr_cpu_max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* The step needs at least so many bytes of scratch memory, which its parts use one after the other. */
static inline void atr_cpu_reserve(atr_step *step, size_t bytes)
{
    step->scratch_bytes = bytes > step->scratch_bytes ? bytes : step->scratch_bytes;
}

/* Part number `part` of `total` things is first .. end-1. */
typedef struct atr_cpu_range {
    int64_t first, end;
} atr_cpu_range;

static inline atr_cpu_range atr_cpu_share(int64_t total, int parts, int part)
{
    return (atr_cpu_range){total * part / parts, total * (part + 1) / parts};
}

static inline int64_t atr_cpu_element_bytes(const atr_tensor *tensor)
{
    return tensor->type == ATR_BF16 ? 2 : 4;
}

/* Pixel `index` of all N*H*W. */
static inline void *atr_cpu_pixel(const atr_tensor *tensor, int64_t index)
{
    return (char *)tensor->data + index * tensor->strides[2] * atr_cpu_element_bytes(tensor);
}

static inline int64_t atr_cpu_pixels(const atr_tensor *tensor)
{
    return tensor->dims[0] * tensor->dims[1] * tensor->dims[2];
}

/* Elements of a row of `count` floats that keeps threads on cache lines of their own. */
static inline int64_t atr_cpu_row(int64_t count)
{
    return (count + 15) / 16 * 16 + 16;
}

/* How many pixels of so many channels a kernel that reads them twice takes at once: they stay in the second-level cache, and
 * sums over them in f32 stay short. */
static inline int64_t atr_cpu_tile(int64_t channels)
{
    enum { FLOATS = 32 * 1024, LEAST = 16, MOST = 128 };

    return atr_cpu_max(LEAST, atr_cpu_min(MOST, FLOATS / channels));
}

/* ATR_ERR_UNSUPPORTED where an activation of the step, or a gradient, is of another type than x[0]. */
atr_status atr_cpu_check_types(const atr_step *step);

/* to = from of one type, pixel by pixel, whatever their pixel strides are. */
void atr_cpu_copy(const atr_backend *backend, const atr_tensor *from, const atr_tensor *to);

/* sums[c] = sum over all pixels of x, f64 [C]. `scratch`: atr_cpu_column_sums_bytes(). */
size_t atr_cpu_column_sums_bytes(const atr_backend *backend, int64_t channels);
void atr_cpu_column_sums(const atr_backend *backend, const atr_tensor *x, void *scratch, double *sums);

atr_status atr_cpu_conv_prepare(atr_backend *backend, atr_step *step);
atr_status atr_cpu_conv_refresh(atr_backend *backend, atr_step *step);
atr_status atr_cpu_conv_forward(atr_backend *backend, atr_step *step);
atr_status atr_cpu_conv_backward(atr_backend *backend, atr_step *step);
void atr_cpu_conv_release(atr_step *step);

/* The kinds of convolution behind atr_cpu_conv_*. `state` of a step is theirs; `bias` is what is added, after folding. */
bool atr_cpu_is_depthwise(const atr_conv_attr *conv);
atr_status atr_cpu_depthwise_prepare(atr_backend *backend, atr_step *step);
atr_status atr_cpu_depthwise_refresh(atr_backend *backend, atr_step *step);
atr_status atr_cpu_depthwise_forward(atr_backend *backend, atr_step *step);
atr_status atr_cpu_depthwise_backward(atr_backend *backend, atr_step *step);
void atr_cpu_depthwise_release(atr_step *step);

/* 3x3, stride 1, padded by its dilation, no groups. */
atr_status atr_cpu_winograd_prepare(atr_backend *backend, atr_step *step);
atr_status atr_cpu_winograd_refresh(atr_backend *backend, atr_step *step);
atr_status atr_cpu_winograd_forward(atr_backend *backend, atr_step *step);
atr_status atr_cpu_winograd_backward(atr_backend *backend, atr_step *step);
void atr_cpu_winograd_release(atr_step *step);
/* Thread number `part` makes the row of tiles that begins at row `y` (a multiple of the tile) of picture n, without dilation or a
 * residual; to [1,rows of them,W,O]. */
void atr_cpu_winograd_rows(const atr_backend *backend, const atr_step *step, int part, int64_t n, int64_t y,
                           const atr_tensor *to);
/* Outputs along a side of the tile that takes the fewest products for an output of shape `y`: 2, 3 or 4. */
int atr_cpu_winograd_tile(const atr_conv_attr *conv, const int64_t y[4]);

atr_status atr_cpu_dense_prepare(atr_backend *backend, atr_step *step);
atr_status atr_cpu_dense_refresh(atr_backend *backend, atr_step *step);
atr_status atr_cpu_dense_forward(atr_backend *backend, atr_step *step);
atr_status atr_cpu_dense_backward(atr_backend *backend, atr_step *step);
void atr_cpu_dense_release(atr_step *step);

/* CONV_RESIZED. */
atr_status atr_cpu_resized_conv_prepare(atr_backend *backend, atr_step *step);
atr_status atr_cpu_resized_conv_refresh(atr_backend *backend, atr_step *step);
atr_status atr_cpu_resized_conv_forward(atr_backend *backend, atr_step *step);
atr_status atr_cpu_resized_conv_backward(atr_backend *backend, atr_step *step);
void atr_cpu_resized_conv_release(atr_step *step);

/* CONV_POOLED. */
atr_status atr_cpu_pooled_conv_prepare(atr_backend *backend, atr_step *step);
atr_status atr_cpu_pooled_conv_refresh(atr_backend *backend, atr_step *step);
atr_status atr_cpu_pooled_conv_forward(atr_backend *backend, atr_step *step);
atr_status atr_cpu_pooled_conv_backward(atr_backend *backend, atr_step *step);
void atr_cpu_pooled_conv_release(atr_step *step);

/* CONV_BANDS. */
atr_status atr_cpu_banded_conv_prepare(atr_backend *backend, atr_step *step);
atr_status atr_cpu_banded_conv_refresh(atr_backend *backend, atr_step *step);
atr_status atr_cpu_banded_conv_forward(atr_backend *backend, atr_step *step);
void atr_cpu_banded_conv_release(atr_step *step);

/* CONV_INT8 and QUANTIZE. */
atr_status atr_cpu_int8_prepare(atr_backend *backend, atr_step *step);
atr_status atr_cpu_int8_refresh(atr_backend *backend, atr_step *step);
atr_status atr_cpu_int8_forward(atr_backend *backend, atr_step *step);
void atr_cpu_int8_release(atr_step *step);
atr_status atr_cpu_quantize_prepare(atr_backend *backend, atr_step *step);
atr_status atr_cpu_quantize_forward(atr_backend *backend, atr_step *step);

/* For operations that keep nothing and need no scratch. */
atr_status atr_cpu_plain_prepare(atr_backend *backend, atr_step *step);
atr_status atr_cpu_act_prepare(atr_backend *backend, atr_step *step);
atr_status atr_cpu_act_forward(atr_backend *backend, atr_step *step);
atr_status atr_cpu_act_backward(atr_backend *backend, atr_step *step);
atr_status atr_cpu_add_forward(atr_backend *backend, atr_step *step);
atr_status atr_cpu_concat_forward(atr_backend *backend, atr_step *step);
atr_status atr_cpu_dropout_forward(atr_backend *backend, atr_step *step);
atr_status atr_cpu_dropout_backward(atr_backend *backend, atr_step *step);
atr_status atr_cpu_pool_prepare(atr_backend *backend, atr_step *step);
atr_status atr_cpu_pool_forward(atr_backend *backend, atr_step *step);
atr_status atr_cpu_pool_backward(atr_backend *backend, atr_step *step);

/* columns[o] for all outputs of an axis, align_corners or half-pixel centres (dnn/bilinear.h). */
void atr_cpu_columns_corners(int64_t in, int64_t out, atr_cpu_column *columns);
void atr_cpu_columns_centres(int64_t in, int64_t out, atr_cpu_column *columns);

atr_status atr_cpu_resize_prepare(atr_backend *backend, atr_step *step);
atr_status atr_cpu_resize_forward(atr_backend *backend, atr_step *step);
atr_status atr_cpu_resize_backward(atr_backend *backend, atr_step *step);
void atr_cpu_resize_release(atr_step *step);
atr_status atr_cpu_enlarge(atr_backend *backend, const atr_tensor *logits, int64_t height, int64_t width,
                           float *out);

/* Classes are padded to whole vectors with logits that no softmax sees. */
int64_t atr_cpu_padded_classes(const atr_backend *backend, int64_t classes);
/* Sets the padding of `pixels` rows [padded] of a block of logits. */
void atr_cpu_pad_classes(float *logits, int64_t pixels, int64_t classes, int64_t padded);

size_t atr_cpu_loss_scratch(const atr_loss_args *args);
atr_status atr_cpu_loss_sums(atr_backend *backend, atr_loss_args *args);
atr_status atr_cpu_loss(atr_backend *backend, atr_loss_args *args);
size_t atr_cpu_segment_scratch(const atr_segment_args *args);
atr_status atr_cpu_segment(atr_backend *backend, const atr_segment_args *args);

atr_status atr_cpu_sgd(atr_backend *backend, const atr_update_args *args);
atr_status atr_cpu_adam(atr_backend *backend, const atr_update_args *args);
atr_status atr_cpu_accumulate(atr_backend *backend, float *to, const float *from, int64_t count);
atr_status atr_cpu_average(atr_backend *backend, float *mean, const float *values, int64_t count,
                           double weight);
atr_status atr_cpu_sum_squares(atr_backend *backend, const float *values, int64_t count, double *out);

atr_status atr_cpu_norm_prepare(atr_backend *backend, atr_step *step);
atr_status atr_cpu_norm_forward(atr_backend *backend, atr_step *step);
atr_status atr_cpu_norm_backward(atr_backend *backend, atr_step *step);

#endif
