#ifndef ATR_DNN_PLAN_H
#define ATR_DNN_PLAN_H

#include "core/graph.h"
#include "core/quant.h"
#include "dnn/backend.h"
#include "dnn/rewrites.h"

/* How a graph is run at one batch and picture size: an array of steps, their packed weights, one arena.
 * Not thread-safe; plans do not share state, so several may run at once. */

typedef enum atr_mode { ATR_INFER, ATR_TRAIN } atr_mode;

/* What a plan takes, in bytes. */
typedef struct atr_plan_needs {
    size_t
        arena; /* activations, their gradients and scratch memory; 0 where another plan's memory is borrowed */
    size_t scratch; /* in the arena: the most that one step uses while it runs */
    size_t packed;  /* weights in the kernels' own forms */
} atr_plan_needs;

typedef struct atr_plan_options {
    atr_mode mode;
    int64_t batch, height, width;
    bool freeze_norm; /* training with running statistics, which stay as they are */
    bool keep_taps;   /* the tapped activations stay readable after forward (tests) */
    bool
        recompute; /* training in less memory: activations are dropped and made again on the way back; the same bits, more time */
    int rewrites;  /* bits of atr_rewrite; those that the back end was told to do without are left out */
    const atr_norm_group
        *norm_group; /* training: who shares the batch norms' statistics; NULL: nobody. Borrowed */
    int64_t
        norm_batch; /* pictures of all members; 0: `batch`. A norm that sees one value per channel uses running statistics (T03) */
    const atr_quant *
        quant; /* inference: layers that it knows run in 8-bit integers, where that pays; NULL: none. Borrowed */
    const struct atr_plan *
        memory; /* a plan whose activations may be overwritten: borrows its memory where that is large enough; NULL: none */
    atr_status (*approve)(
        void *user,
        const atr_plan_needs *
            needs); /* asked before the arena is taken; what it fails with, making the plan does; NULL: none */
    void *approve_user;
} atr_plan_options;

typedef struct atr_plan atr_plan;

/* Compiles. Borrows graph, params and back end until atr_plan_destroy(). ATR_ERR_SHAPE when a size is not positive or too
 * small for the network; ATR_ERR_MEMORY with the bytes it would take. */
atr_status atr_plan_create(const atr_graph *graph, atr_params *params, atr_backend *backend,
                           const atr_plan_options *options, atr_plan **out);
void atr_plan_destroy(atr_plan *plan);

/* Runs the network on images [N,H,W,C] f32 (host). In training they must stay until backward is done.
 * Notices changed parameters by atr_params_version(). */
atr_status atr_plan_forward(atr_plan *plan, const float *images);

/* Brings the weights into the form that the kernels want, which the next forward pass does otherwise. */
atr_status atr_plan_pack(atr_plan *plan);
/* For a member of a norm group that has no picture for this pass, or whose forward (backward) pass failed: takes part, with
 * nothing, in the sums that the pass would have made from there on. Without a group: such a pass is counted, no more. Gradients
 * are left as they are. Every pass of a member is a forward and a backward one, run or absent. */
atr_status atr_plan_forward_absent(atr_plan *plan);
atr_status atr_plan_backward_absent(atr_plan *plan);

/* With `alone`, statistics are this plan's own, without the group, until it is called again; for looking for a fault that
 * sums have spread over all members. */
void atr_plan_norm_alone(atr_plan *plan, bool alone);

/* Keys of the samples in the batch, [N], for dropout; copied. Without a call all are 0. */
void atr_plan_set_sample_keys(atr_plan *plan, const uint64_t *keys);

/* Class scores before the last resize, [N,h,w,K] f32, of the last forward. Borrowed, valid until the next call. */
atr_tensor atr_plan_logits(const atr_plan *plan);
/* A tapped activation; data is NULL where the plan did not keep it. */
atr_tensor atr_plan_tap(const atr_plan *plan, atr_tap tap);

/* The two passes of a loss (dnn/loss.h) over the logits of the last forward and labels [N,H,W] u8. The first adds to the loss's
 * sums. The second gives this batch's share of the value, adds to the loss's votes, and in training makes the gradient on the
 * logits. */
atr_status atr_plan_loss_sums(atr_plan *plan, const uint8_t *labels, atr_loss *loss);
atr_status atr_plan_loss(atr_plan *plan, const uint8_t *labels, atr_loss *loss, double *value);
/* Shortcut for measurements and tests: sum over valid pixels of -w_t ln softmax_t / divisor, without a loss object. Class
 * weights [K], NULL: all 1. */
atr_status atr_plan_cross_entropy(atr_plan *plan, const uint8_t *labels, const float *class_weights,
                                  double divisor, double *loss);

/* Tells that elements [offset, offset+count) of the flat gradient block are final. Calls come in rising order of offset. */
typedef atr_status (*atr_grad_ready_fn)(void *user, int64_t offset, int64_t count);

/* Gradients of all parameters, overwritten, from the last loss. `ready` may be NULL. Stops with the callback's status. */
atr_status atr_plan_backward(atr_plan *plan, atr_grad_ready_fn ready, void *user);

/* Label map of picture `n` of the batch (see atr_segment_args: logits, height, width and scratch are filled in here). */
atr_status atr_plan_segment(atr_plan *plan, int64_t n, const atr_segment_args *args);
/* Enlarged logits of picture `n`: out [K,H,W] f32. */
atr_status atr_plan_enlarge(atr_plan *plan, int64_t n, float *out);

/* Channels of the pictures that it runs on. */
int64_t atr_plan_images_channels(const atr_plan *plan);

/* To find out where a NaN comes from. While it is on, forward looks at the pictures and at each step's output; that slows it. The first of
 * these that holds a number that is not finite: a rising number for comparisons between ranks, and its name (borrowed); -1 and NULL: none
 * since it was switched on. */
void atr_plan_trace(atr_plan *plan, bool on);
int64_t atr_plan_first_bad(const atr_plan *plan, const char **name);

/* Called behind each step of a forward pass with what it has written, and first with the pictures: `name` is that of the graph's node
 * that makes it, of fused ones the last. Values in integers are left out. NULL ends it. */
typedef void (*atr_plan_watch_fn)(void *user, const char *name, const atr_tensor *value);
void atr_plan_watch(atr_plan *plan, atr_plan_watch_fn watch, void *user);
/* That name for input `input` of step `index`, or, with -1, for its output. */
const char *atr_plan_value_name(const atr_plan *plan, int index, int input);

/* What a plan would take; it is made but for the arena, and forgotten. Errors: as atr_plan_create(). */
atr_status atr_plan_measure(const atr_graph *graph, atr_params *params, atr_backend *backend,
                            const atr_plan_options *options, atr_plan_needs *out);
/* What it took. */
atr_plan_needs atr_plan_needs_of(const atr_plan *plan);
size_t atr_plan_arena_bytes(const atr_plan *plan);
/* How many steps run twice in training (see `recompute`), and how many steps there are. */
int atr_plan_again_count(const atr_plan *plan);
int atr_plan_step_count(const atr_plan *plan);
const atr_step *atr_plan_step(const atr_plan *plan, int index);

/* Seconds by step of everything since the last reset: forward and backward, [step count]; for profiles. Off unless asked. */
void atr_plan_profile(atr_plan *plan, bool on);
double atr_plan_seconds(const atr_plan *plan, int index, bool backward);

#endif
