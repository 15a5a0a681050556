/* Convolutions on oneDNN: all but the depthwise ones.
 *
 * Taps of a dilated kernel that lie in the padding for every pixel do nothing: they are dropped, so that a 3x3 kernel with
 * rate 18 on a 9x7 map runs as the 1x1 kernel it is. oneDNN's fast code wants pixels without gaps: a slice of a wider buffer
 * is copied to or from scratch memory.
 *
 * On bf16 activations oneDNN multiplies bf16 weights, where the processor does and oneDNN has fast code for it; else the whole step runs
 * on f32 copies (dnn/widen.h). Gradients of weights are f32 always.
 *
 * In inference oneDNN sees one picture at a time: how it blocks its sums, and so their rounding, depends on the batch (with AVX2
 * it does), and a picture's result must not depend on its neighbours. */
#include <string.h>

#include "dnn/cpu/cpu.h"
#include "dnn/cpu/dense_impl.h"

/* ---- shape -------------------------------------------------------------------------------------------------------------- */

/* The first and last tap along one axis that some output position finds inside the picture; all where none does. */
static void touching_taps(const atr_conv_attr *conv, int64_t in, int64_t out, int64_t *first, int64_t *last)
{
    *first = 0;
    *last = conv->kernel - 1;
    while (*first < *last && (out - 1) * conv->stride + *first * conv->dilation - conv->pad < 0)
        ++*first;
    while (*last > *first && *last * conv->dilation - conv->pad >= in)
        --*last;
    /* oneDNN takes no negative padding in front, and behind only what the stride leaves over. */
    const int64_t before = conv->pad - *first * conv->dilation;
    const int64_t behind = (out - 1) * conv->stride + *last * conv->dilation - conv->pad + 1 - in;
    if (before < 0 || behind <= -conv->stride) {
        *first = 0;
        *last = conv->kernel - 1;
    }
}

static void find_window(const atr_step *step, atr_cpu_dense *state)
{
    const atr_conv_attr *conv = &step->conv;
    const int64_t *in = step->x[0].dims, *out = step->y.dims;
    int64_t last_y, last_x;

    touching_taps(conv, in[1], out[1], &state->first_y, &last_y);
    touching_taps(conv, in[2], out[2], &state->first_x, &last_x);
    state->window = (atr_onednn_window){last_y - state->first_y + 1, last_x - state->first_x + 1,
                                        conv->pad - state->first_y * conv->dilation,
                                        conv->pad - state->first_x * conv->dilation};
}

/* The first element of the window in OIHW weights. */
static int64_t window_offset(const atr_step *step, const atr_cpu_dense *state)
{
    return state->first_y * step->conv.kernel + state->first_x;
}

static bool whole_window(const atr_step *step, const atr_cpu_dense *state)
{
    return state->window.height == step->conv.kernel && state->window.width == step->conv.kernel;
}

static atr_tensor without_gaps(atr_tensor t)
{
    return atr_tensor_nhwc(t.type, t.dims[0], t.dims[1], t.dims[2], t.dims[3], t.data);
}

static bool has_gaps(const atr_tensor *t)
{
    return t->strides[2] != t->dims[3];
}

/* The first picture alone. */
static atr_tensor first_of(atr_tensor t)
{
    t.dims[0] = 1;
    return t;
}

static size_t activation_bytes(const atr_tensor *t)
{
    return atr_align_up((size_t)atr_tensor_count(t) * atr_dtype_bytes(t->type));
}

/* ---- preparing ---------------------------------------------------------------------------------------------------------- */

static size_t op_scratch_bytes(const atr_cpu_conv_op *op, const atr_tensor *x, const atr_tensor *y)
{
    const size_t own = atr_align_up(atr_onednn_scratch_bytes(op->op));
    const size_t packer = atr_align_up(atr_onednn_scratch_bytes(op->packer));
    const size_t packed = op->packed == NULL ? atr_align_up(atr_onednn_weight_bytes(op->op)) : 0;

    return (own > packer ? own : packer) + packed + (op->copy_x ? activation_bytes(x) : 0) +
           (op->copy_y ? activation_bytes(y) : 0) + (op->copy_residual ? activation_bytes(y) : 0);
}

/* oneDNN's plain loops in bf16 are slower than its f32 code on copies. */
static atr_status refuse_slow(const atr_onednn_conv *conv, atr_cpu_conv_op *op)
{
    if (conv->x.type != ATR_BF16 || !atr_onednn_is_slow(op->op))
        return ATR_OK;
    atr_onednn_op_destroy(op->op);
    op->op = NULL;
    return atr_fail(ATR_ERR_UNSUPPORTED, "%s: no fast code for bf16", conv->layer);
}

/* The convolution as it is; where oneDNN has only slow code for gaps between pixels, the one without gaps. */
static atr_status create_conv(const atr_backend *backend, const atr_onednn_conv *wanted, atr_cpu_conv_op *op)
{
    atr_onednn *dnn = atr_cpu_engine_of(backend)->dnn;
    const bool residual_gaps = wanted->residual && wanted->residual_stride != wanted->y.dims[3];
    const bool gaps = has_gaps(&wanted->x) || has_gaps(&wanted->y) || residual_gaps;
    atr_onednn_conv conv = *wanted;
    atr_status status = atr_onednn_conv_create(dnn, &conv, &op->op);

    if (!gaps || (status == ATR_OK && !atr_onednn_is_slow(op->op)))
        return status;
    atr_onednn_op_destroy(op->op);
    op->op = NULL;
    op->copy_x = has_gaps(&wanted->x);
    op->copy_y = has_gaps(&wanted->y);
    op->copy_residual = residual_gaps;
    conv.x = without_gaps(wanted->x);
    conv.y = without_gaps(wanted->y);
    conv.residual_stride = wanted->y.dims[3];
    return atr_onednn_conv_create(dnn, &conv, &op->op);
}

static atr_status prepare_op(const atr_backend *backend, atr_step *step, atr_onednn_kind kind,
                             atr_cpu_conv_op *op)
{
    const atr_cpu_dense *state = step->state;
    const bool forward = kind == ATR_ONEDNN_INFERENCE || kind == ATR_ONEDNN_TRAINING;
    const bool weight = kind == ATR_ONEDNN_WEIGHT_GRADIENT;
    const atr_tensor *x = kind == ATR_ONEDNN_DATA_GRADIENT ? &step->dx[0] : &step->x[0];
    const atr_tensor *y = forward ? &step->y : &step->dy;
    const atr_onednn_conv conv = {
        .kind = kind,
        .layer = step->name,
        .x = kind == ATR_ONEDNN_INFERENCE ? first_of(*x) : *x,
        .y = kind == ATR_ONEDNN_INFERENCE ? first_of(*y) : *y,
        .window = state->window,
        .stride = step->conv.stride,
        .dilation = step->conv.dilation,
        .groups = step->conv.groups,
        .bias = forward ? state->bias != NULL : weight && step->bias != NULL,
        .residual = forward && step->residual,
        .residual_stride = step->residual ? step->x[1].strides[2] : 0,
        .act = forward ? step->act : ATR_ACT_NONE,
    };
    atr_status status = ATR_OK;

    ATR_TRY(create_conv(backend, &conv, op));
    ATR_TRY(refuse_slow(&conv, op));
    ATR_TRY(atr_onednn_packer_create(atr_cpu_engine_of(backend)->dnn, op->op, step->conv.kernel, weight,
                                     &op->packer));
    if (!weight)
        ATR_TRY(atr_step_packed(step, (int64_t)atr_onednn_weight_bytes(op->op), 1, &op->packed));
    const size_t bytes = op_scratch_bytes(op, &conv.x, &conv.y);
    atr_cpu_reserve(step, bytes);
done:
    return status;
}

/* Outer products need some channels on both sides; the first layer, and groups, are oneDNN's. */
static bool has_own_weight_gradient(const atr_conv_attr *conv)
{
    enum { LEAST = 8 };

    return conv->groups == 1 && conv->in_channels >= LEAST && conv->out_channels >= LEAST;
}

static void release_op(atr_cpu_conv_op *op)
{
    atr_onednn_op_destroy(op->op);
    atr_onednn_op_destroy(op->packer);
    atr_free(op->packed);
    *op = (atr_cpu_conv_op){0};
}

/* Our own kernels know f32 alone: of bf16 they get copies, in front of their own scratch memory. */
static size_t copies_bytes(const atr_step *step)
{
    return step->x[0].type != ATR_BF16
               ? 0
               : atr_align_up((size_t)atr_tensor_count(&step->x[0]) * sizeof(float)) +
                     atr_align_up((size_t)atr_tensor_count(&step->dy) * sizeof(float));
}

/* In f32 our own kernels are the faster ones. In bf16 they are what is left where oneDNN refuses, as it does a dilation that reaches
 * beyond the map. */
static atr_status prepare_weight_gradient(const atr_backend *backend, atr_step *step, atr_cpu_dense *state)
{
    const bool own = has_own_weight_gradient(&step->conv), narrow = step->x[0].type == ATR_BF16;

    if (!own || narrow) {
        const atr_status status = prepare_op(backend, step, ATR_ONEDNN_WEIGHT_GRADIENT, &state->weight);
        if (status != ATR_ERR_UNSUPPORTED || !own)
            return status;
        release_op(&state->weight);
    }
    const size_t bytes = copies_bytes(step) + atr_cpu_weight_gradient_bytes(backend, step);
    atr_cpu_reserve(step, bytes);
    return ATR_OK;
}

static size_t weight_bytes(const atr_step *step)
{
    const atr_conv_attr *conv = &step->conv;

    return (size_t)(conv->out_channels * atr_conv_filter(conv)) * sizeof(float);
}

/* Weights with a norm folded in [O,I,k,k] live only until they are packed: in the scratch memory behind the packer's own. */
static float *folded_of(const atr_step *step)
{
    const atr_cpu_dense *state = step->state;

    return (float *)((char *)step->scratch + atr_align_up(atr_onednn_scratch_bytes(state->forward.packer)));
}

static void reserve_folded(atr_step *step, const atr_cpu_dense *state)
{
    const size_t bytes = atr_align_up(atr_onednn_scratch_bytes(state->forward.packer)) + weight_bytes(step);

    if (step->folded && bytes > step->scratch_bytes)
        step->scratch_bytes = bytes;
}

/* Of bf16 convolutions, those whose every product is of two bf16 operands, where the machine multiplies them. */
static atr_status check_types(const atr_backend *backend, const atr_step *step)
{
    const bool products = step->x[0].type == ATR_BF16 &&
                          (!step->training || (step->dy.type == ATR_BF16 && step->dx[0].type == ATR_BF16)) &&
                          (!step->residual || step->x[1].type == step->y.type);

    return !atr_step_is_narrow(step) || (products && atr_cpu_engine_of(backend)->multiplies_bf16)
               ? ATR_OK
               : atr_fail(ATR_ERR_UNSUPPORTED, "%s: no products of bf16 for it", step->name);
}

atr_status atr_cpu_dense_prepare(atr_backend *backend, atr_step *step)
{
    const atr_conv_attr *conv = &step->conv;
    atr_status status = ATR_OK;
    atr_cpu_dense *state = NULL;

    ATR_TRY(check_types(backend, step));
    ATR_TRY(ATR_NEW(1, &state));
    step->state = state;
    find_window(step, state);
    if (step->folded || step->bias != NULL)
        ATR_TRY(ATR_NEW(conv->out_channels, &state->bias));
    ATR_TRY(prepare_op(backend, step, step->training ? ATR_ONEDNN_TRAINING : ATR_ONEDNN_INFERENCE,
                       &state->forward));
    reserve_folded(step, state);
    if (step->training && step->wants_dx[0])
        ATR_TRY(prepare_op(backend, step, ATR_ONEDNN_DATA_GRADIENT, &state->data));
    if (step->training && step->wants_dw)
        ATR_TRY(prepare_weight_gradient(backend, step, state));
done:
    return status;
}

void atr_cpu_dense_release(atr_step *step)
{
    atr_cpu_dense *state = step->state;

    if (state == NULL)
        return;
    release_op(&state->forward);
    release_op(&state->data);
    release_op(&state->weight);
    atr_free(state->bias);
    atr_free(state);
    step->state = NULL;
}

static const char *impl_of(const atr_onednn_op *op)
{
    return op == NULL ? "" : atr_onednn_impl(op);
}

atr_cpu_conv_names atr_cpu_conv_names_of(const atr_step *step)
{
    const atr_cpu_dense *state = step->state;

    if (atr_cpu_is_depthwise(&step->conv) || (step->winograd && !atr_step_is_narrow(step)))
        return (atr_cpu_conv_names){"own", step->wants_dx[0] ? "own" : "", step->wants_dw ? "own" : ""};
    const bool own = step->wants_dw && state->weight.op == NULL;
    return (atr_cpu_conv_names){impl_of(state->forward.op), impl_of(state->data.op),
                                own ? "own" : impl_of(state->weight.op)};
}

/* ---- running ------------------------------------------------------------------------------------------------------------ */

static atr_status pack(const atr_backend *backend, const atr_step *step, const float *weights,
                       const atr_cpu_conv_op *op)
{
    const atr_cpu_dense *state = step->state;
    const atr_onednn_buffers buffers = {
        .x = (void *)(uintptr_t)(weights + window_offset(step, state)), /* only read */
        .y = op->packed,
        .scratch = step->scratch};

    return op->op == NULL ? ATR_OK : atr_onednn_run(atr_cpu_engine_of(backend)->dnn, op->packer, &buffers);
}

atr_status atr_cpu_dense_refresh(atr_backend *backend, atr_step *step)
{
    atr_cpu_dense *state = step->state;
    const float *weights = step->weight;
    atr_status status = ATR_OK;

    if (step->folded) {
        float *folded = folded_of(step);
        atr_conv_fold(step, folded, state->bias);
        weights = folded;
    } else if (state->bias != NULL) {
        memcpy(state->bias, step->bias, (size_t)step->conv.out_channels * sizeof(float));
    }
    ATR_TRY(pack(backend, step, weights, &state->forward));
    ATR_TRY(pack(backend, step, weights, &state->data));
done:
    return status;
}

/* The next piece of scratch memory. */
static void *take(char **at, size_t bytes)
{
    void *piece = *at;

    *at += atr_align_up(bytes);
    return piece;
}

/* A tensor as oneDNN gets it: itself, or room for a copy without gaps. */
static atr_tensor as_given(const atr_tensor *t, bool copy, char **at)
{
    atr_tensor given = *t;

    if (copy) {
        given = without_gaps(*t);
        given.data = take(at, activation_bytes(t));
    }
    return given;
}

static atr_tensor picture_of(const atr_tensor *t, int64_t n)
{
    atr_tensor picture = first_of(*t);

    picture.data = (char *)t->data + n * t->strides[0] * atr_cpu_element_bytes(t);
    return picture;
}

/* Of `x`, `y` and `residual` (NULL: none) as large as the convolution was made for. */
static atr_status forward(const atr_backend *backend, const atr_step *step, const atr_tensor *from,
                          const atr_tensor *residual, const atr_tensor *to)
{
    const atr_cpu_dense *state = step->state;
    const atr_cpu_conv_op *op = &state->forward;
    atr_onednn_buffers buffers = {.w = op->packed, .b = state->bias, .scratch = step->scratch};
    char *at = (char *)step->scratch + atr_align_up(atr_onednn_scratch_bytes(op->op));
    const atr_tensor x = as_given(from, op->copy_x, &at);
    const atr_tensor y = as_given(to, op->copy_y, &at);
    atr_status status = ATR_OK;

    if (op->copy_x)
        atr_cpu_copy(backend, from, &x);
    if (residual != NULL) {
        const atr_tensor added = as_given(residual, op->copy_residual, &at);
        if (op->copy_residual)
            atr_cpu_copy(backend, residual, &added);
        buffers.residual = added.data;
    }
    buffers.x = x.data;
    buffers.y = y.data;
    ATR_TRY(atr_onednn_run(atr_cpu_engine_of(backend)->dnn, op->op, &buffers));
    if (op->copy_y)
        atr_cpu_copy(backend, &y, to);
done:
    return status;
}

atr_status atr_cpu_dense_forward(atr_backend *backend, atr_step *step)
{
    atr_status status = ATR_OK;

    if (step->training)
        return forward(backend, step, &step->x[0], step->residual ? &step->x[1] : NULL, &step->y);
    for (int64_t n = 0; n < step->y.dims[0]; n++) {
        const atr_tensor x = picture_of(&step->x[0], n), y = picture_of(&step->y, n);
        const atr_tensor residual = step->residual ? picture_of(&step->x[1], n) : (atr_tensor){0};

        ATR_TRY(forward(backend, step, &x, step->residual ? &residual : NULL, &y));
    }
done:
    return status;
}

static atr_status data_gradient(const atr_backend *backend, const atr_step *step)
{
    const atr_cpu_dense *state = step->state;
    const atr_cpu_conv_op *op = &state->data;
    char *at = (char *)step->scratch + atr_align_up(atr_onednn_scratch_bytes(op->op));
    const atr_tensor dx = as_given(&step->dx[0], op->copy_x, &at);
    const atr_tensor dy = as_given(&step->dy, op->copy_y, &at);
    const atr_onednn_buffers buffers = {
        .x = dx.data, .w = op->packed, .y = dy.data, .scratch = step->scratch};
    atr_status status = ATR_OK;

    if (op->copy_y)
        atr_cpu_copy(backend, &step->dy, &dy);
    ATR_TRY(atr_onednn_run(atr_cpu_engine_of(backend)->dnn, op->op, &buffers));
    if (op->copy_x)
        atr_cpu_copy(backend, &dx, &step->dx[0]);
done:
    return status;
}

static atr_status weight_gradient(const atr_backend *backend, const atr_step *step)
{
    atr_onednn *dnn = atr_cpu_engine_of(backend)->dnn;
    const atr_cpu_dense *state = step->state;
    const atr_cpu_conv_op *op = &state->weight;
    const size_t own = atr_onednn_scratch_bytes(op->op), packer = atr_onednn_scratch_bytes(op->packer);
    char *at = (char *)step->scratch + atr_align_up(own > packer ? own : packer);
    void *packed = take(&at, atr_onednn_weight_bytes(op->op));
    const atr_tensor x = as_given(&step->x[0], op->copy_x, &at);
    const atr_tensor dy = as_given(&step->dy, op->copy_y, &at);
    const atr_onednn_buffers run = {
        .x = x.data, .w = packed, .b = step->dbias, .y = dy.data, .scratch = step->scratch};
    const atr_onednn_buffers unpack = {
        .x = packed, .y = step->dweight + window_offset(step, state), .scratch = step->scratch};
    atr_status status = ATR_OK;

    if (op->copy_x)
        atr_cpu_copy(backend, &step->x[0], &x);
    if (op->copy_y)
        atr_cpu_copy(backend, &step->dy, &dy);
    ATR_TRY(atr_onednn_run(dnn, op->op, &run));
    if (!whole_window(step, state))
        memset(step->dweight, 0, weight_bytes(step));
    ATR_TRY(atr_onednn_run(dnn, op->packer, &unpack));
done:
    return status;
}

static void own_weight_gradient(const atr_backend *backend, const atr_step *step)
{
    char *at = step->scratch;
    atr_step wide = *step;

    if (step->x[0].type == ATR_BF16) {
        wide.x[0].type = wide.dy.type = ATR_F32;
        wide.x[0] = as_given(&wide.x[0], true, &at);
        wide.dy = as_given(&wide.dy, true, &at);
        atr_widen(&step->x[0], &wide.x[0]);
        atr_widen(&step->dy, &wide.dy);
        wide.scratch = at;
    }
    atr_cpu_weight_gradient(backend, &wide);
}

atr_status atr_cpu_dense_backward(atr_backend *backend, atr_step *step)
{
    const atr_cpu_dense *state = step->state;
    atr_status status = ATR_OK;

    if (step->wants_dx[0])
        ATR_TRY(data_gradient(backend, step));
    if (step->wants_dw && state->weight.op == NULL)
        own_weight_gradient(backend, step);
    else if (step->wants_dw)
        ATR_TRY(weight_gradient(backend, step));
done:
    return status;
}
