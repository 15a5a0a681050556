#ifndef ATR_DNN_PLAN_IMPL_H
#define ATR_DNN_PLAN_IMPL_H

#include "dnn/plan.h"

/* How a plan is made (plan.c calls the stages in this order):
 *   plan_lower       graph nodes -> steps and values with shapes
 *   plan_rewrite_*   one file and one function each: fuse or drop steps
 *   plan_precision   which values are bf16
 *   plan_place       values -> buffers (or channel slices of one)
 *   plan_backward    gradients: which buffer each one lives in, which step writes it, where two must be summed
 *   plan_prepare     kernels learn their shapes and say what they keep
 *   plan_reserve     buffers for what kernels keep from forward to backward, and for their scratch memory
 *   plan_recompute   what is made again on the way back in place of being kept, if asked
 *   plan_memory      life times of buffers over the run -> offsets in one arena -> pointers */

/* An activation: the output of one step. Values are numbered; a rewrite may leave some without a producer. */
typedef struct plan_value {
    atr_dtype type;  /* of the value and of its gradient; that of its concat where it is a slice */
    int64_t dims[4]; /* N,H,W,C */
    int slice_of;    /* concat value this one is a channel slice of, or -1 */
    int64_t slice_channel;
    bool images;     /* the network's input */
    bool wants_grad; /* it lies behind a trainable parameter */
    bool keep;       /* readable until the next forward: logits, taps */
} plan_value;

/* A piece of memory with a life time in actions. */
typedef struct plan_buffer {
    size_t bytes;
    int first, last; /* actions; first > last: never used */
    size_t offset;   /* in the arena */
    int again; /* the buffer that holds the same after the loss, made again; PLAN_NOWHERE: this one does */
} plan_buffer;

/* Where a tensor lies: a buffer and an offset in elements. Buffer PLAN_IMAGES is the caller's pictures. */
typedef struct plan_view {
    int buffer;
    int64_t offset, pixel_stride;
    bool shared; /* gradients: other values read the same memory, so it must not be written in place */
} plan_view;

enum { PLAN_NOWHERE = -1, PLAN_IMAGES = -2 };

/* What belongs to step i beside the atr_step that kernels see. */
typedef struct plan_link {
    int x[ATR_MAX_INPUTS], y; /* values */
    plan_view x_view[ATR_MAX_INPUTS], y_view, dx_view[ATR_MAX_INPUTS], dy_view;
    int saved;   /* buffer, or PLAN_NOWHERE */
    int scratch; /* the first of PLAN_SCRATCHES buffers, by kind of action, or PLAN_NOWHERE */
    int node;    /* of the graph: the last one that was merged in */
    int64_t first_param,
        last_param;    /* trainable parameters whose gradients backward finishes; last < first: none */
    bool removed;      /* by a rewrite */
    bool view;         /* CONCAT that costs nothing: its inputs are slices of its output */
    double seconds[2]; /* profile: forward, backward */
} plan_link;

/* PLAN_AGAIN: a forward step once more, on the way back. Kinds up to PLAN_BACKWARD have scratch memory of their own each, so that
 * it takes room only while the step runs. */
typedef enum plan_act_kind {
    PLAN_FORWARD,
    PLAN_AGAIN,
    PLAN_BACKWARD,
    PLAN_SCRATCHES,
    PLAN_LOSS = PLAN_SCRATCHES,
    PLAN_SUM
} plan_act_kind;

/* One thing that happens in a run, in order; its index is the clock of life times. */
typedef struct plan_action {
    plan_act_kind kind;
    int step; /* index into steps; PLAN_SUM: too (a step with op ADD behind the forward ones) */
} plan_action;

struct atr_plan {
    const atr_graph *graph;
    atr_params *params;
    atr_backend *backend;
    atr_plan_options options;
    uint64_t version; /* of the params that the packed weights were made from; 0: none yet */

    atr_step *steps; /* forward steps, then the sums of gradients */
    plan_link *links;
    int step_count, forward_count, room;
    plan_value *values;
    plan_view *value_views, *grad_views; /* by value */
    int value_count;
    int tap_values[ATR_TAPS]; /* value of each tap, or -1 */

    plan_buffer *buffers;
    int buffer_count, buffer_room;
    plan_action *actions;
    int action_count, forward_actions; /* the loss is action number forward_actions */

    atr_arena *arena;
    atr_plan_needs needs;
    int loss_scratch; /* buffer */
    const float *images;
    uint64_t *sample_keys;
    void *segment_scratch;
    size_t segment_scratch_bytes;
    atr_plan_watch_fn watch; /* NULL: nobody */
    void *watch_user;
    bool profile, have_loss;
    bool borrowed; /* the arena belongs to options.memory */
    int reached;   /* training: actions of this pass that are done */
    bool trace;
    int64_t bad; /* while tracing: 0: the pictures, i + 1: the output of step i; -1: nothing yet */
};

atr_status plan_lower(atr_plan *plan);
void plan_rewrite_fold_norm(atr_plan *plan);
void plan_rewrite_norm_act(atr_plan *plan);
void plan_rewrite_concat(atr_plan *plan);
void plan_rewrite_resized(atr_plan *plan);
void plan_rewrite_winograd(atr_plan *plan);
void plan_rewrite_pooled(atr_plan *plan);
atr_status plan_rewrite_bands(atr_plan *plan);
atr_status plan_rewrite_int8(atr_plan *plan); /* nothing where the options name no integers */
void plan_precision(atr_plan *plan);
atr_status plan_place(atr_plan *plan);
atr_status plan_backward(atr_plan *plan);
atr_status plan_prepare(atr_plan *plan);
atr_status plan_reserve(atr_plan *plan);
atr_status plan_recompute(atr_plan *plan);
atr_status plan_memory(atr_plan *plan);

/* Life times of all buffers over the present actions, kept values to the end. */
void plan_find_lives(atr_plan *plan);
/* Fills in `needs` for an arena of so many bytes and lets the caller approve. */
atr_status plan_approve(atr_plan *plan, size_t arena_bytes);
/* Lets the step of an action see the memory that it works on there. */
void plan_bind(atr_plan *plan, plan_action action);

/* Where the plan is traced: looks at the pictures; at what a step has just written. */
void plan_trace_images(atr_plan *plan, const float *images);
void plan_trace_step(atr_plan *plan, int step);

/* Steps that were removed go; order is kept. */
void plan_compact(atr_plan *plan);
/* How many steps read a value; where it is one, `*reader` is that step. A kept value counts one reader more. */
int plan_readers(const atr_plan *plan, int value, int *reader);
/* The step that writes a value, or -1. */
int plan_producer(const atr_plan *plan, int value);
atr_status plan_new_buffer(atr_plan *plan, size_t bytes, int *out);
/* Appends an empty step; `*out` is its index. */
atr_status plan_new_step(atr_plan *plan, int *out);
atr_status plan_new_action(atr_plan *plan, plan_act_kind kind, int step);
size_t plan_value_bytes(const atr_plan *plan, int value);
/* A tensor of a value's type and shape at a view; no pointer yet. */
atr_tensor plan_tensor(const atr_plan *plan, int value, plan_view view);
/* Where a tensor of a value lies once there is memory; NULL for what lies in no buffer. */
void *plan_address(const atr_plan *plan, int value, plan_view view);
/* Pixels that a norm's statistics are of, with and without its group. */
int64_t plan_norm_pixels(const atr_plan *plan, const int64_t dims[4], bool alone);
/* Lets the kernel of `step` prepare: the back end's, else `ref`'s. Different steps may be prepared by different threads at once. */
atr_status plan_prepare_step(atr_plan *plan, int step);

#endif
