#ifndef ATR_DNN_CPU_ONEDNN_H
#define ATR_DNN_CPU_ONEDNN_H

#include "core/graph.h"
#include "core/tensor.h"

/* A thin layer over oneDNN v3: convolution, product of matrices, reordering of weights. onednn.c is the one file that sees
 * oneDNN's headers. Nothing here takes scratch memory of its own while it runs: callers lend it. */

/* oneDNN's engine and stream. May be shared by the steps of one back end, not by threads at the same time. */
typedef struct atr_onednn atr_onednn;

/* "3.2.0", of the library that is linked, into `text`; returns `text`. */
enum { ATR_ONEDNN_VERSION_BYTES = 64 };
char *atr_onednn_version(char *text);

atr_status atr_onednn_open(atr_onednn **out);
void atr_onednn_close(atr_onednn *dnn);

/* One primitive with the memory objects it runs on. */
typedef struct atr_onednn_op atr_onednn_op;

typedef enum atr_onednn_kind {
    ATR_ONEDNN_INFERENCE,     /* y = act(conv(x, w) + b + residual) */
    ATR_ONEDNN_TRAINING,      /* the same, when backward follows */
    ATR_ONEDNN_DATA_GRADIENT, /* dx from dy and w: dx takes the place of x, dy that of y */
    ATR_ONEDNN_WEIGHT_GRADIENT /* dw and db from x and dy: dw takes the place of w, db that of b, dy that of y */
} atr_onednn_kind;

/* The rectangle of taps that a convolution uses, in the order top and left first. Below and right of the picture there is as
 * much padding as the output's extent needs. */
typedef struct atr_onednn_window {
    int64_t height, width;
    int64_t pad_top, pad_left;
} atr_onednn_window;

typedef struct atr_onednn_conv {
    atr_onednn_kind kind;
    const char *layer; /* for messages */
    atr_tensor x, y;   /* [N,H,W,C], any pixel stride; pointers are not read */
    atr_onednn_window window;
    int64_t stride, dilation, groups;
    bool bias;
    bool residual; /* of y's shape, with pixel stride residual_stride */
    int64_t residual_stride;
    atr_act act;
} atr_onednn_conv;

/* ATR_ERR_UNSUPPORTED where oneDNN has nothing for it. */
atr_status atr_onednn_conv_create(atr_onednn *dnn, const atr_onednn_conv *conv, atr_onednn_op **out);

/* y [m,n] = x [m,k] w [k,n], sums in f32, with strides of rows and columns in elements; one of each pair is 1. */
typedef struct atr_onednn_matmul {
    const char *layer;
    atr_dtype type, y_type; /* of x and w, ATR_F32 or ATR_BF16; of y */
    int64_t m, n, k;
    int64_t x_strides[2], w_strides[2], y_strides[2];
    bool bias; /* [n] */
    atr_act act;
} atr_onednn_matmul;

atr_status atr_onednn_matmul_create(atr_onednn *dnn, const atr_onednn_matmul *matmul, atr_onednn_op **out);

/* Copies between a window of OIHW weights [O, I/G, kernel, kernel] in f32 and the form in which `op` keeps its weights:
 * into it (x is the window's first element, y the packed block), or out of it with `unpack` (x is the packed block, y the window). */
atr_status atr_onednn_packer_create(atr_onednn *dnn, const atr_onednn_op *op, int64_t kernel, bool unpack,
                                    atr_onednn_op **out);

void atr_onednn_op_destroy(atr_onednn_op *op);

/* Bytes of the weights in the form `op` keeps them, and of the scratch memory a run takes. */
size_t atr_onednn_weight_bytes(const atr_onednn_op *op);
size_t atr_onednn_scratch_bytes(const atr_onednn_op *op);

/* oneDNN's name of the implementation, such as "brgconv:avx512_core". Borrowed from `op`. "ref" or "gemm" in it: slow. */
const char *atr_onednn_impl(const atr_onednn_op *op);
bool atr_onednn_is_slow(const atr_onednn_op *op);

/* What a run reads and writes, under the names of the kind's formula; those it has no use for stay NULL. */
typedef struct atr_onednn_buffers {
    void *x, *w, *b, *y, *residual;
    void *scratch; /* atr_onednn_scratch_bytes(), aligned to ATR_ALIGN */
} atr_onednn_buffers;

/* Runs on as many threads as OpenMP's teams had when the op was made. */
atr_status atr_onednn_run(atr_onednn *dnn, const atr_onednn_op *op, const atr_onednn_buffers *buffers);

#endif
