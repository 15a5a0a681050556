#ifndef ATR_DNN_REF_REF_IMPL_H
#define ATR_DNN_REF_REF_IMPL_H

#include "dnn/backend.h"

/* The reference back end: each operation as plain loops under its formula. It is what other back ends are measured against,
 * so sums run in double, and each result is summed by one thread in a fixed order: the number of threads changes nothing.
 * Inner loops run over channels, which lie next to each other, so that compilers vectorise them. */

enum {
    ATR_REF_CHANNELS = 64 /* channels that one task of a reduction over pixels takes */
};

/* Before an inner loop that takes most of the time: compiled once per vector width, chosen when the program starts. Each
 * element's operations and their order stay the same, and so do the results, bit for bit. The sanitizers' runtimes do not
 * stand yet when that choice is made. */
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define ATR_REF_WIDE __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define ATR_REF_WIDE
#endif

/* Pixel `index` of all N*H*W; the pixel stride may exceed the channels (see atr_step). */
static inline float *atr_ref_pixel(const atr_tensor *tensor, int64_t index)
{
    return (float *)tensor->data + index * tensor->strides[2];
}

static inline int64_t atr_ref_pixels(const atr_tensor *tensor)
{
    return tensor->dims[0] * tensor->dims[1] * tensor->dims[2];
}

static inline int64_t atr_ref_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* act(x). Comparisons are written so that NaN comes through. */
static inline float atr_ref_act(atr_act act, float x)
{
    if (act != ATR_ACT_NONE && x < 0.0f)
        return 0.0f;
    if (act == ATR_ACT_RELU6 && x > 6.0f)
        return 6.0f;
    return x;
}

/* Does the gradient pass where the activation's input (or output, which is equivalent) is x? Not at the kinks. */
static inline bool atr_ref_act_passes(atr_act act, float x)
{
    return act == ATR_ACT_NONE || (x > 0.0f && (act != ATR_ACT_RELU6 || x < 6.0f));
}

atr_status atr_ref_conv_prepare(atr_backend *backend, atr_step *step);
atr_status atr_ref_conv_refresh(atr_backend *backend, atr_step *step);
atr_status atr_ref_conv_forward(atr_backend *backend, atr_step *step);
atr_status atr_ref_conv_backward(atr_backend *backend, atr_step *step);
void atr_ref_conv_release(atr_step *step);

atr_status atr_ref_norm_prepare(atr_backend *backend, atr_step *step);
atr_status atr_ref_norm_forward(atr_backend *backend, atr_step *step);
atr_status atr_ref_norm_backward(atr_backend *backend, atr_step *step);

atr_status atr_ref_act_prepare(atr_backend *backend, atr_step *step);
atr_status atr_ref_act_forward(atr_backend *backend, atr_step *step);
atr_status atr_ref_act_backward(atr_backend *backend, atr_step *step);

/* For operations that keep nothing and need no scratch. */
atr_status atr_ref_plain_prepare(atr_backend *backend, atr_step *step);
atr_status atr_ref_add_forward(atr_backend *backend, atr_step *step);
atr_status atr_ref_concat_forward(atr_backend *backend, atr_step *step);
atr_status atr_ref_dropout_forward(atr_backend *backend, atr_step *step);
atr_status atr_ref_dropout_backward(atr_backend *backend, atr_step *step);

atr_status atr_ref_pool_forward(atr_backend *backend, atr_step *step);
atr_status atr_ref_pool_backward(atr_backend *backend, atr_step *step);
atr_status atr_ref_resize_forward(atr_backend *backend, atr_step *step);
atr_status atr_ref_resize_backward(atr_backend *backend, atr_step *step);
atr_status atr_ref_enlarge(atr_backend *backend, const atr_tensor *logits, int64_t height, int64_t width,
                           float *out);

/* CONV_INT8 and QUANTIZE. */
atr_status atr_ref_int8_prepare(atr_backend *backend, atr_step *step);
atr_status atr_ref_int8_refresh(atr_backend *backend, atr_step *step);
atr_status atr_ref_int8_forward(atr_backend *backend, atr_step *step);
void atr_ref_int8_release(atr_step *step);
atr_status atr_ref_quantize_forward(atr_backend *backend, atr_step *step);

/* Class ids are bytes and 255 can be no class: ATR_ERR_SHAPE for more than 255 logits a pixel. */
enum { ATR_REF_CLASSES = 255 };
atr_status atr_ref_check_classes(const atr_tensor *logits);

/* The K logits at (y, x) of picture `n` enlarged to height x width, in double. */
void atr_ref_logits_at(const atr_tensor *logits, int64_t n, int64_t height, int64_t width, int64_t y,
                       int64_t x, double *out);

size_t atr_ref_loss_scratch(const atr_loss_args *args);
atr_status atr_ref_loss_sums(atr_backend *backend, atr_loss_args *args);
atr_status atr_ref_loss(atr_backend *backend, atr_loss_args *args);
size_t atr_ref_segment_scratch(const atr_segment_args *args);
atr_status atr_ref_segment(atr_backend *backend, const atr_segment_args *args);

atr_status atr_ref_sgd(atr_backend *backend, const atr_update_args *args);
atr_status atr_ref_adam(atr_backend *backend, const atr_update_args *args);
atr_status atr_ref_accumulate(atr_backend *backend, float *to, const float *from, int64_t count);
atr_status atr_ref_average(atr_backend *backend, float *mean, const float *values, int64_t count,
                           double weight);
atr_status atr_ref_sum_squares(atr_backend *backend, const float *values, int64_t count, double *out);

#endif
