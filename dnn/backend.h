#ifndef ATR_DNN_BACKEND_H
#define ATR_DNN_BACKEND_H

#include "core/mem.h"
#include "dnn/loss.h"
#include "dnn/step.h"

/* An engine or device that runs steps. Its abilities are one `static const struct atr_backend_table`.
 * An empty slot of a host back end means the `ref` kernel, so a back end is right before it is fast; on a device an empty slot
 * is a refusal. Calls may be asynchronous on a device: nothing may assume a result before synchronise(). */

typedef struct atr_backend atr_backend;

struct atr_kernel {
    /* Learns the shapes; fills the fields of atr_step marked so; may create primitives. ATR_ERR_UNSUPPORTED means "let `ref` do it". */
    atr_status (*prepare)(atr_backend *backend, atr_step *step);
    /* Weights or running statistics changed: repack, refold. NULL where nothing is packed. Called before the first forward. */
    atr_status (*refresh)(atr_backend *backend, atr_step *step);
    atr_status (*forward)(atr_backend *backend, atr_step *step);
    /* NULL where the plan needs none (ADD and CONCAT: gradients are views). */
    atr_status (*backward)(atr_backend *backend, atr_step *step);
    void (*release)(atr_step *step); /* NULL where prepare makes no state; takes half-prepared steps */
};

/* A loss over logits that are first resized (bilinear, align_corners) from [N,h,w,K] to the labels' H x W; dlogits is its
 * gradient at [N,h,w,K]. What is computed at a pixel, and which sums a first pass makes, say dnn/loss.h's form and sums. Neither
 * enlarged logits nor one-hot labels ever exist. Results do not depend on the number of threads. Same size (h == H, w == W)
 * means no resize. */
typedef struct atr_loss_args {
    atr_tensor logits;         /* [N,h,w,K] f32 */
    const uint8_t *labels;     /* [N,H,W], values >= K are ignored */
    int64_t height, width;     /* H, W */
    atr_loss_sums *sums;       /* loss_sums(): added to */
    const atr_loss_form *form; /* loss() */
    atr_tensor dlogits;        /* loss(): [N,h,w,K] f32, overwritten; data NULL: loss only */
    atr_loss_votes votes;      /* loss(): added to; NULL: not wanted */
    void *scratch;             /* loss_scratch() bytes */
    double loss;               /* loss(): out */
} atr_loss_args;

/* Class scores of one picture to its label map. The logits are resized (bilinear, align_corners) to the network's H x W and
 * turned into probabilities; the box is cut out (padding goes), and resized (bilinear, half-pixel centres, as OpenCV's
 * INTER_LINEAR) to the output size; ids is the arg-max (first of equals). Nothing of size K*H*W is made unless `probabilities`
 * is wanted. */
typedef struct atr_segment_args {
    atr_tensor logits;                  /* [1,h,w,K] f32 */
    int64_t height, width;              /* network's input size */
    int64_t box_y, box_x, box_h, box_w; /* part of it that holds the picture */
    int64_t out_h, out_w;
    uint8_t *ids;         /* [out_h,out_w], or NULL */
    float *probabilities; /* [K,out_h,out_w], or NULL */
    float *confidence;    /* [out_h,out_w] probability of ids, or NULL */
    void *scratch;        /* segment_scratch() bytes */
} atr_segment_args;

/* One pass over flat blocks of `count` f32 (values, gradients, moments); `scale` multiplies gradients first. */
typedef struct atr_update_args {
    float *values;
    const float *gradients;
    float *m, *v; /* SGD: m is the momentum buffer, v unused */
    int64_t count;
    double lr, scale, weight_decay;
    double momentum; /* SGD momentum; Adam beta1 */
    double beta2, eps;
    bool nesterov;
    bool decoupled; /* Adam: AdamW's decay, of the values and not through the gradient */
    int64_t step;   /* Adam: 1 for the first update */
} atr_update_args;

typedef struct atr_backend_table {
    const char *name;    /* "cpu" */
    const char *summary; /* one line for --help and doctor */
    bool host;           /* its memory is the host's: pictures need no copy, `ref` fills empty slots */

    atr_status (*open)(int threads, void **engine); /* NULL: no engine */
    void (*close)(void *engine);
    const atr_allocator *(*allocator)(void *engine);                                /* NULL: the host's */
    atr_status (*copy_in)(void *engine, void *to, const void *from, size_t bytes);  /* NULL on a host */
    atr_status (*copy_out)(void *engine, void *to, const void *from, size_t bytes); /* NULL on a host */
    atr_status (*synchronise)(void *engine); /* NULL: nothing to wait for */

    atr_kernel op[ATR_OPS];
    bool knows_bf16
        [ATR_OPS]; /* prepare() looks at the activations' types; the others are run on f32 copies (dnn/widen.h) */

    size_t (*loss_scratch)(const atr_loss_args *args); /* reads the shapes alone */
    atr_status (*loss_sums)(atr_backend *backend, atr_loss_args *args);
    atr_status (*loss)(atr_backend *backend, atr_loss_args *args);
    size_t (*segment_scratch)(const atr_segment_args *args);
    atr_status (*segment)(atr_backend *backend, const atr_segment_args *args);
    /* Enlarged logits of one picture: logits [1,h,w,K] -> out [K,H,W] f32, bilinear, align_corners. For --logits and tests. */
    atr_status (*enlarge)(atr_backend *backend, const atr_tensor *logits, int64_t height, int64_t width,
                          float *out);

    /* SGD:  g' = scale g + wd p;  m = momentum m + g';  p -= lr (nesterov ? g' + momentum m : m)
     * Adam: g' = scale g + wd p;  m = b1 m + (1-b1) g';  v = b2 v + (1-b2) g'^2;
     *       p -= lr (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps)                       (Kingma & Ba 2015; PyTorch's order)
     *       decoupled: g' = scale g, and p is multiplied by 1 - lr wd before       (AdamW, Loshchilov & Hutter 2019) */
    atr_status (*sgd)(atr_backend *backend, const atr_update_args *args);
    atr_status (*adam)(atr_backend *backend, const atr_update_args *args);
    /* to += from, over flat blocks (gradients of the parts of a step). */
    atr_status (*accumulate)(atr_backend *backend, float *to, const float *from, int64_t count);
    /* mean += weight (values - mean); a value that equals its mean leaves it as it is (averages of weights). */
    atr_status (*average)(atr_backend *backend, float *mean, const float *values, int64_t count,
                          double weight);
    /* Sum of squares in double, independent of the number of threads; not finite when any element is not. */
    atr_status (*sum_squares)(atr_backend *backend, const float *values, int64_t count, double *out);
} atr_backend_table;

struct atr_backend {
    const atr_backend_table *table;
    void *engine;
    int threads;
    int rewrites; /* bits of atr_rewrite (dnn/rewrites.h) that plans on it may apply; all, unless the opener takes some away */
    atr_dtype
        precision; /* of activations in plans on it, ATR_F32 unless the opener chooses ATR_BF16 (dnn/plan_precision.c) */
};

/* Opens a back end by name ("auto": the best that is there). An unknown or absent one is ATR_ERR_UNSUPPORTED:
 * "--backend cuda: not compiled into this build (have: cpu, ref)". `threads` >= 1.
 * The table of an opened host back end has no empty slots: `ref` has filled them. */
atr_status atr_backend_open(const char *name, int threads, atr_backend **out);
void atr_backend_close(atr_backend *backend);

/* Chooses who runs a step and lets it prepare: the back end's kernel; on a host, where that has none for the step's types, the same on
 * f32 copies; then `ref`. Different steps may be prepared by different threads at once. */
atr_status atr_backend_prepare(atr_backend *backend, atr_step *step);

/* Names of what is compiled in, separated by ", ". */
const char *atr_backend_names(void);

/* Makes this thread's OpenMP teams `threads` wide: first thing in every entry into a back end. */
void atr_backend_enter(const atr_backend *backend);

/* Label map of logits in host memory that no plan owns (an average over several runs): `args` is complete but for scratch. On a
 * device `ref` makes it. */
atr_status atr_backend_segment(atr_backend *backend, const atr_segment_args *args);

/* Whether all of values [count] are finite; of a picture-shaped tensor [N,H,W,C], which may be a slice of a wider one. For looking into
 * a fault: not fast. */
bool atr_backend_finite(atr_backend *backend, const float *values, int64_t count);
bool atr_backend_finite_pixels(atr_backend *backend, const atr_tensor *tensor);

/* The allocator for parameters and activations of this back end. */
const atr_allocator *atr_backend_allocator(const atr_backend *backend);

/* Kernels and helpers of the two host back ends; `cpu` fills its empty slots from `ref`. */
extern const atr_backend_table atr_backend_ref;
extern const atr_backend_table atr_backend_cpu;

#endif
