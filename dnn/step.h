#ifndef ATR_DNN_STEP_H
#define ATR_DNN_STEP_H

#include <stdbool.h>

#include "core/graph.h"
#include "core/mem.h"
#include "core/tensor.h"
#include "dnn/norm_group.h"

/* One step of a plan: an operation with its shapes, and, once memory is planned, its pointers. Plans make steps, back ends
 * run them.
 *
 * Activations are [N,H,W,C] with channels contiguous (stride 1). The pixel stride, strides[2], may exceed C: the tensor is
 * then a slice of channels of a wider buffer (how a concat disappears). strides[1] = W*strides[2], strides[0] = H*strides[1]
 * always. Kernels honour the pixel stride of every tensor they touch and never write between the slices. They are f32 or bf16, each of
 * a type of its own; a gradient has the type of its activation, and the same buffer only where the types are equal.
 *
 * Forward may be given y == x[0] (same data and strides) for ACT, NORM without `training`, DROPOUT, and y == x[0] or x[1] for
 * ADD. Backward may be given dx[0] == dy for NORM, ACT and DROPOUT. Otherwise buffers do not overlap.
 *
 * A NORM may be run on no picture (N = 0 in all activations; see dnn/norm_group.h): it takes part in its group's sums, and its
 * running statistics become those of the other members. Without a group they stay, and the batch is counted. */

typedef struct atr_kernel atr_kernel;

enum { ATR_CHAIN = 3 }; /* convolutions of a CONV_BANDS */

/* CONV_INT8, QUANTIZE, and CONV_RESIZED with y in integers, which rounds as QUANTIZE does: steps of the integers (core/quant.h), borrowed from the plan's options; which formula they belong to says
 * dnn/int8.h. */
typedef struct atr_step_int8 {
    const float *x_steps;        /* CONV_INT8: [I] */
    const float *weight_steps;   /* CONV_INT8: [O] */
    const float *residual_steps; /* CONV_INT8: [O]; NULL: the residual, where there is one, is f32 */
    const float *y_steps;        /* [O]; NULL: y is f32 */
    uint8_t x_zero, residual_zero, y_zero;
} atr_step_int8;

typedef struct atr_step {
    atr_op op;
    const char *name;         /* borrowed from the graph */
    const atr_kernel *kernel; /* who runs it: the back end's own, or the `ref` one where that has none */
    const atr_kernel *inner;  /* kernel is atr_widened (dnn/widen.h): the one that it runs on f32 copies */

    /* Attributes: those of the graph's node that belong to `op`. */
    atr_conv_attr
        conv; /* CONV, CONV_INT8; CONV_RESIZED, CONV_POOLED: in_channels of both inputs together, those of x[0] first */
    atr_norm_attr norm; /* NORM; CONV with `folded`: the batch norm folded into it */
    double dropout;     /* p */
    uint64_t stream;    /* DROPOUT: which layer, mixed into the sample's key */
    bool training;      /* backward will follow forward */
    bool
        again; /* forward, once more for backward: the same y. NORM: by the statistics in `saved`, and nothing is counted */
    bool
        batch_stats; /* NORM: normalise with the batch's statistics and update the running ones; else use the running ones */
    const atr_norm_group *group; /* NORM with batch_stats: who shares the statistics; NULL: nobody */
    int64_t norm_pixels;         /* NORM: pixels that the statistics are of, over the group */
    bool
        folded; /* CONV, CONV_RESIZED and CONV_POOLED, inference: y = act(norm(conv(x) + bias) + residual), norm by running
                               statistics */
    struct atr_step *
        chain; /* CONV_BANDS [ATR_CHAIN]: its convolutions with attributes and parameters; owned by the plan */
    bool residual; /* CONV, CONV_BANDS: add x[1], of y's shape, before the activation */
    atr_act act;   /* ACT; NORM and CONV: the activation fused behind it */
    bool
        winograd; /* CONV, CONV_INT8 and CONV_RESIZED, 3x3, stride 1, padded by its dilation: minimal filtering pays; a back end may */
    atr_step_int8 int8;
    bool wants_dw; /* backward computes the gradients of its parameters */

    /* Activations. `data` is NULL while a step is being prepared; shapes and strides are final. */
    atr_tensor x[ATR_MAX_INPUTS];
    int input_count;
    atr_tensor y;
    atr_tensor dy;                 /* backward: gradient of y, complete */
    atr_tensor dx[ATR_MAX_INPUTS]; /* backward: gradients of x, overwritten (never added to) */
    bool wants_dx[ATR_MAX_INPUTS];

    /* Parameters, f32, contiguous, PyTorch layout (OIHW); NULL where absent. Gradients are overwritten. */
    float *weight, *bias, *running_mean, *running_var; /* CONV: weight, bias. NORM: all four */
    float *norm_weight, *norm_bias;                    /* CONV with `folded`, with running_* above */
    float *dweight, *dbias;
    int64_t *num_tracked; /* NORM: counts forward passes in training; NULL where the statistics are frozen */
    const uint64_t *sample_keys; /* [N], DROPOUT in training */

    /* Filled by prepare(). */
    bool needs_x, needs_y; /* backward reads x (all inputs) or y: the plan keeps them until then */
    size_t saved_bytes;    /* kept from forward to backward */
    size_t scratch_bytes;  /* only during one call of forward, backward or refresh */
    size_t packed_bytes;   /* of its weights in the kernel's own form, in `state` */
    void *state;           /* the kernel's own: primitives, packed weights; freed by release() */

    /* Set by the plan before the first run, aligned to ATR_ALIGN. */
    void *saved, *scratch;
} atr_step;

bool atr_step_is_conv(const atr_step *step);
/* Multiply-accumulates of a convolution's forward pass as the graph writes it (see atr_conv_macs()), all of a chain's; else 0. */
int64_t atr_step_macs(const atr_step *step);

/* Room for `count` elements of weights in the kernel's own form, zeroed, in `*out` (a pointer to a pointer): the kernel frees it in
 * release(). */
static inline atr_status atr_step_packed(atr_step *step, int64_t count, size_t element, void *out)
{
    step->packed_bytes += (size_t)count * element;
    return atr_alloc(count, element, out);
}

#endif
