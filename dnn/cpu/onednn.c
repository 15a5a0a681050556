#include "dnn/cpu/onednn.h"

#include <assert.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"

struct atr_onednn {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
};

/* Who a primitive's argument is to the caller: a member of atr_onednn_buffers. */
typedef enum role { ROLE_X, ROLE_W, ROLE_B, ROLE_Y, ROLE_RESIDUAL, ROLE_SCRATCH } role;

enum { MAX_ARGS = 6, DIMS = 4 };

struct atr_onednn_op {
    dnnl_primitive_desc_t desc;
    dnnl_primitive_t primitive;
    const char *impl; /* borrowed from desc */
    char layer[ATR_NAME_BYTES];
    dnnl_exec_arg_t args[MAX_ARGS];
    role roles[MAX_ARGS];
    int arg_count;
    const_dnnl_memory_desc_t weights; /* borrowed from desc */
    dnnl_dims_t weight_dims;          /* [O,I,kh,kw] or [G,O/G,I/G,kh,kw] */
    int weight_rank;
    size_t scratch_bytes;
};

static atr_status to_status(dnnl_status_t code)
{
    switch (code) {
    case dnnl_out_of_memory:
        return ATR_ERR_MEMORY;
    case dnnl_unimplemented:
        return ATR_ERR_UNSUPPORTED;
    default:
        return ATR_ERR_INTERNAL;
    }
}

static const char *code_text(dnnl_status_t code)
{
    switch (code) {
    case dnnl_out_of_memory:
        return "out of memory";
    case dnnl_unimplemented:
        return "not implemented";
    case dnnl_invalid_arguments:
        return "invalid arguments";
    case dnnl_not_required:
        return "not required";
    default:
        return "run-time error";
    }
}

static atr_status check(dnnl_status_t code, const char *layer, const char *what)
{
    if (code == dnnl_success)
        return ATR_OK;
    return atr_fail(to_status(code), "%s: oneDNN %s: %s", layer, what, code_text(code));
}

/* ---- engine ------------------------------------------------------------------------------------------------------------- */

/* A network has some 200 primitives per picture size; creating one takes milliseconds. */
enum { CACHED_PRIMITIVES = 8192 };

char *atr_onednn_version(char *text)
{
    const dnnl_version_t *version = dnnl_version();

    snprintf(text, ATR_ONEDNN_VERSION_BYTES, "%d.%d.%d", version->major, version->minor, version->patch);
    return text;
}

atr_status atr_onednn_open(atr_onednn **out)
{
    atr_status status = ATR_OK;
    atr_onednn *dnn = NULL;

    *out = NULL;
    ATR_TRY(ATR_NEW(1, &dnn));
    ATR_TRY(check(dnnl_engine_create(&dnn->engine, dnnl_cpu, 0), "back end cpu", "engine"));
    ATR_TRY(check(dnnl_stream_create(&dnn->stream, dnn->engine, dnnl_stream_default_flags), "back end cpu",
                  "stream"));
    ATR_TRY(check(dnnl_set_primitive_cache_capacity(CACHED_PRIMITIVES), "back end cpu", "cache"));
    *out = dnn;
    dnn = NULL;
done:
    atr_onednn_close(dnn);
    return status;
}

void atr_onednn_close(atr_onednn *dnn)
{
    if (dnn == NULL)
        return;
    if (dnn->stream != NULL)
        dnnl_stream_destroy(dnn->stream);
    if (dnn->engine != NULL)
        dnnl_engine_destroy(dnn->engine);
    atr_free(dnn);
}

/* ---- what all primitives share ------------------------------------------------------------------------------------------ */

static dnnl_data_type_t data_type(atr_dtype type)
{
    return type == ATR_BF16 ? dnnl_bf16 : dnnl_f32;
}

static void *buffer_of(const atr_onednn_buffers *buffers, role who)
{
    switch (who) {
    case ROLE_X:
        return buffers->x;
    case ROLE_W:
        return buffers->w;
    case ROLE_B:
        return buffers->b;
    case ROLE_Y:
        return buffers->y;
    case ROLE_RESIDUAL:
        return buffers->residual;
    default:
        return buffers->scratch;
    }
}

/* Adds argument number `id`, whose shape the primitive descriptor knows. */
static atr_status add_arg(const atr_onednn *dnn, atr_onednn_op *op, int id, role who)
{
    const_dnnl_memory_desc_t md = dnnl_primitive_desc_query_md(op->desc, dnnl_query_exec_arg_md, id);
    dnnl_memory_t memory = NULL;

    assert(op->arg_count < MAX_ARGS);
    if (md == NULL)
        return atr_fail(ATR_ERR_INTERNAL, "%s: oneDNN knows no argument %d", op->layer, id);
    const atr_status status =
        check(dnnl_memory_create(&memory, md, dnn->engine, DNNL_MEMORY_NONE), op->layer, "memory");
    if (status != ATR_OK)
        return status;
    op->roles[op->arg_count] = who;
    op->args[op->arg_count++] = (dnnl_exec_arg_t){id, memory};
    return ATR_OK;
}

/* From a descriptor to something that runs: primitive, scratch, name. The other arguments are there already. */
static atr_status finish(const atr_onednn *dnn, atr_onednn_op *op)
{
    atr_status status = ATR_OK;
    const_dnnl_memory_desc_t scratch = NULL;

    ATR_TRY(check(dnnl_primitive_create(&op->primitive, op->desc), op->layer, "primitive"));
    ATR_TRY(check(dnnl_primitive_desc_query(op->desc, dnnl_query_impl_info_str, 0, &op->impl), op->layer,
                  "name"));
    scratch = dnnl_primitive_desc_query_md(op->desc, dnnl_query_scratchpad_md, 0);
    op->scratch_bytes = scratch == NULL ? 0 : dnnl_memory_desc_get_size(scratch);
    if (op->scratch_bytes > 0)
        ATR_TRY(add_arg(dnn, op, DNNL_ARG_SCRATCHPAD, ROLE_SCRATCH));
done:
    return status;
}

static atr_status new_op(const char *layer, atr_onednn_op **out)
{
    const atr_status status = ATR_NEW(1, out);

    if (status == ATR_OK)
        snprintf((*out)->layer, sizeof(*out)->layer, "%s", layer);
    return status;
}

void atr_onednn_op_destroy(atr_onednn_op *op)
{
    if (op == NULL)
        return;
    for (int i = 0; i < op->arg_count; i++)
        dnnl_memory_destroy(op->args[i].memory);
    if (op->primitive != NULL)
        dnnl_primitive_destroy(op->primitive);
    if (op->desc != NULL)
        dnnl_primitive_desc_destroy(op->desc);
    atr_free(op);
}

size_t atr_onednn_weight_bytes(const atr_onednn_op *op)
{
    return op->weights == NULL ? 0 : dnnl_memory_desc_get_size(op->weights);
}

size_t atr_onednn_scratch_bytes(const atr_onednn_op *op)
{
    return op->scratch_bytes;
}

const char *atr_onednn_impl(const atr_onednn_op *op)
{
    return op->impl;
}

bool atr_onednn_is_slow(const atr_onednn_op *op)
{
    return strstr(op->impl, "ref") != NULL || strstr(op->impl, "gemm") != NULL;
}

atr_status atr_onednn_run(atr_onednn *dnn, const atr_onednn_op *op, const atr_onednn_buffers *buffers)
{
    atr_status status = ATR_OK;

    for (int i = 0; i < op->arg_count; i++)
        ATR_TRY(check(dnnl_memory_set_data_handle(op->args[i].memory, buffer_of(buffers, op->roles[i])),
                      op->layer, "buffer"));
    ATR_TRY(check(dnnl_primitive_execute(op->primitive, dnn->stream, op->arg_count, op->args), op->layer,
                  "execution"));
    ATR_TRY(check(dnnl_stream_wait(dnn->stream), op->layer, "stream"));
done:
    return status;
}

/* ---- attributes --------------------------------------------------------------------------------------------------------- */

static dnnl_status_t append_act(dnnl_post_ops_t post_ops, atr_act act)
{
    switch (act) {
    case ATR_ACT_RELU:
        return dnnl_post_ops_append_eltwise(post_ops, dnnl_eltwise_relu, 0.0f, 0.0f);
    case ATR_ACT_RELU6:
        return dnnl_post_ops_append_eltwise(post_ops, dnnl_eltwise_clip_v2, 0.0f, 6.0f);
    default:
        return dnnl_success;
    }
}

/* Scratch memory of ours, then `residual` (NULL: none) added, then the activation. */
static atr_status make_attr(const char *layer, const_dnnl_memory_desc_t residual, atr_act act,
                            dnnl_primitive_attr_t *out)
{
    atr_status status = ATR_OK;
    dnnl_post_ops_t post_ops = NULL;

    ATR_TRY(check(dnnl_primitive_attr_create(out), layer, "attributes"));
    ATR_TRY(
        check(dnnl_primitive_attr_set_scratchpad_mode(*out, dnnl_scratchpad_mode_user), layer, "scratch"));
    ATR_TRY(check(dnnl_post_ops_create(&post_ops), layer, "post-operations"));
    if (residual != NULL)
        ATR_TRY(check(dnnl_post_ops_append_binary(post_ops, dnnl_binary_add, residual), layer, "residual"));
    ATR_TRY(check(append_act(post_ops, act), layer, "activation"));
    ATR_TRY(check(dnnl_primitive_attr_set_post_ops(*out, post_ops), layer, "post-operations"));
done:
    if (post_ops != NULL)
        dnnl_post_ops_destroy(post_ops);
    return status;
}

static void destroy_md(dnnl_memory_desc_t md)
{
    if (md != NULL)
        dnnl_memory_desc_destroy(md);
}

/* ---- convolution -------------------------------------------------------------------------------------------------------- */

/* Our [N,H,W,C] is oneDNN's [N,C,H,W] with these strides. */
static atr_status activation_md(const char *layer, const atr_tensor *t, int64_t pixel_stride,
                                dnnl_memory_desc_t *out)
{
    const int64_t *d = t->dims;
    const dnnl_dims_t dims = {d[0], d[3], d[1], d[2]};
    const dnnl_dims_t strides = {d[1] * d[2] * pixel_stride, 1, d[2] * pixel_stride, pixel_stride};

    return check(dnnl_memory_desc_create_with_strides(out, DIMS, dims, data_type(t->type), strides), layer,
                 "activation");
}

typedef struct conv_mds {
    dnnl_memory_desc_t x, w, b, y, residual;
    dnnl_memory_desc_t hint_w; /* backward: weights of the forward convolution, in the activations' type */
} conv_mds;

static void destroy_mds(conv_mds *mds)
{
    destroy_md(mds->x);
    destroy_md(mds->w);
    destroy_md(mds->b);
    destroy_md(mds->y);
    destroy_md(mds->residual);
    destroy_md(mds->hint_w);
}

/* Weights may lie as the implementation likes best. Their gradients and biases are f32 whatever the activations are. */
static atr_status make_mds(const atr_onednn_conv *conv, atr_onednn_op *op, conv_mds *mds)
{
    const int64_t groups = conv->groups, out = conv->y.dims[3], in = conv->x.dims[3];
    const atr_onednn_window *window = &conv->window;
    const dnnl_dims_t dense = {out, in, window->height, window->width};
    const dnnl_dims_t grouped = {groups, out / groups, in / groups, window->height, window->width};
    const dnnl_dims_t bias = {out};
    const dnnl_data_type_t weight_type =
        conv->kind == ATR_ONEDNN_WEIGHT_GRADIENT ? dnnl_f32 : data_type(conv->x.type);
    atr_status status = ATR_OK;

    op->weight_rank = groups > 1 ? 5 : 4;
    memcpy(op->weight_dims, groups > 1 ? grouped : dense, sizeof dense);
    ATR_TRY(activation_md(conv->layer, &conv->x, conv->x.strides[2], &mds->x));
    ATR_TRY(activation_md(conv->layer, &conv->y, conv->y.strides[2], &mds->y));
    ATR_TRY(check(dnnl_memory_desc_create_with_tag(&mds->w, op->weight_rank, op->weight_dims, weight_type,
                                                   dnnl_format_tag_any),
                  conv->layer, "weights"));
    ATR_TRY(check(dnnl_memory_desc_create_with_tag(&mds->hint_w, op->weight_rank, op->weight_dims,
                                                   data_type(conv->x.type), dnnl_format_tag_any),
                  conv->layer, "weights"));
    if (conv->bias)
        ATR_TRY(
            check(dnnl_memory_desc_create_with_tag(&mds->b, 1, bias, dnnl_f32, dnnl_a), conv->layer, "bias"));
    if (conv->residual)
        ATR_TRY(activation_md(conv->layer, &conv->y, conv->residual_stride, &mds->residual));
done:
    return status;
}

typedef struct conv_dims {
    dnnl_dims_t strides, dilates, pad_begin, pad_end;
} conv_dims;

/* oneDNN's dilation is one less than ours. Padding behind is what makes the output's extent come out exactly. */
static conv_dims make_dims(const atr_onednn_conv *conv)
{
    const atr_onednn_window *w = &conv->window;
    conv_dims dims = {.strides = {conv->stride, conv->stride},
                      .dilates = {conv->dilation - 1, conv->dilation - 1},
                      .pad_begin = {w->pad_top, w->pad_left}};
    const int64_t kernel[2] = {w->height, w->width};

    for (int i = 0; i < 2; i++)
        dims.pad_end[i] = (conv->y.dims[1 + i] - 1) * conv->stride + (kernel[i] - 1) * conv->dilation + 1 -
                          conv->x.dims[1 + i] - dims.pad_begin[i];
    return dims;
}

static dnnl_status_t describe_forward(const atr_onednn *dnn, const conv_mds *mds,
                                      const_dnnl_memory_desc_t weights, const conv_dims *dims,
                                      dnnl_prop_kind_t prop, const_dnnl_primitive_attr_t attr,
                                      dnnl_primitive_desc_t *out)
{
    return dnnl_convolution_forward_primitive_desc_create(
        out, dnn->engine, prop, dnnl_convolution_direct, mds->x, weights, mds->b, mds->y, dims->strides,
        dims->dilates, dims->pad_begin, dims->pad_end, attr);
}

/* Backward descriptors take a forward one as a hint; it must not share the attributes' post-operations, so there are none. */
static dnnl_status_t describe_backward(const atr_onednn *dnn, const atr_onednn_conv *conv,
                                       const conv_mds *mds, const conv_dims *dims,
                                       const_dnnl_primitive_attr_t attr, dnnl_primitive_desc_t *out)
{
    dnnl_primitive_desc_t hint = NULL;
    dnnl_status_t code = describe_forward(dnn, mds, mds->hint_w, dims, dnnl_forward_training, attr, &hint);

    if (code == dnnl_success && conv->kind == ATR_ONEDNN_DATA_GRADIENT)
        code = dnnl_convolution_backward_data_primitive_desc_create(
            out, dnn->engine, dnnl_convolution_direct, mds->x, mds->w, mds->y, dims->strides, dims->dilates,
            dims->pad_begin, dims->pad_end, hint, attr);
    else if (code == dnnl_success)
        code = dnnl_convolution_backward_weights_primitive_desc_create(
            out, dnn->engine, dnnl_convolution_direct, mds->x, mds->w, mds->b, mds->y, dims->strides,
            dims->dilates, dims->pad_begin, dims->pad_end, hint, attr);
    if (hint != NULL)
        dnnl_primitive_desc_destroy(hint);
    return code;
}

static atr_status add_conv_args(const atr_onednn *dnn, const atr_onednn_conv *conv, atr_onednn_op *op)
{
    const bool data = conv->kind == ATR_ONEDNN_DATA_GRADIENT;
    const bool weights = conv->kind == ATR_ONEDNN_WEIGHT_GRADIENT;
    atr_status status = ATR_OK;

    op->weights = dnnl_primitive_desc_query_md(
        op->desc, weights ? dnnl_query_diff_weights_md : dnnl_query_weights_md, 0);
    ATR_TRY(add_arg(dnn, op, data ? DNNL_ARG_DIFF_SRC : DNNL_ARG_SRC, ROLE_X));
    ATR_TRY(add_arg(dnn, op, weights ? DNNL_ARG_DIFF_WEIGHTS : DNNL_ARG_WEIGHTS, ROLE_W));
    ATR_TRY(add_arg(dnn, op, data || weights ? DNNL_ARG_DIFF_DST : DNNL_ARG_DST, ROLE_Y));
    if (conv->bias && !data)
        ATR_TRY(add_arg(dnn, op, weights ? DNNL_ARG_DIFF_BIAS : DNNL_ARG_BIAS, ROLE_B));
    if (conv->residual)
        ATR_TRY(add_arg(dnn, op, DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1, ROLE_RESIDUAL));
    ATR_TRY(finish(dnn, op));
done:
    return status;
}

atr_status atr_onednn_conv_create(atr_onednn *dnn, const atr_onednn_conv *conv, atr_onednn_op **out)
{
    const conv_dims dims = make_dims(conv);
    const bool forward = conv->kind == ATR_ONEDNN_INFERENCE || conv->kind == ATR_ONEDNN_TRAINING;
    const dnnl_prop_kind_t prop =
        conv->kind == ATR_ONEDNN_INFERENCE ? dnnl_forward_inference : dnnl_forward_training;
    conv_mds mds = {NULL, NULL, NULL, NULL, NULL, NULL};
    dnnl_primitive_attr_t attr = NULL;
    atr_status status = ATR_OK;
    atr_onednn_op *op = NULL;

    *out = NULL;
    ATR_TRY(new_op(conv->layer, &op));
    ATR_TRY(make_mds(conv, op, &mds));
    ATR_TRY(make_attr(conv->layer, mds.residual, conv->act, &attr));
    ATR_TRY(check(forward ? describe_forward(dnn, &mds, mds.w, &dims, prop, attr, &op->desc)
                          : describe_backward(dnn, conv, &mds, &dims, attr, &op->desc),
                  conv->layer, "convolution"));
    ATR_TRY(add_conv_args(dnn, conv, op));
    *out = op;
    op = NULL;
done:
    destroy_mds(&mds);
    if (attr != NULL)
        dnnl_primitive_attr_destroy(attr);
    atr_onednn_op_destroy(op);
    return status;
}

/* ---- weights ------------------------------------------------------------------------------------------------------------ */

atr_status atr_onednn_packer_create(atr_onednn *dnn, const atr_onednn_op *op, int64_t kernel, bool unpack,
                                    atr_onednn_op **out)
{
    const int first = op->weight_rank - DIMS; /* 1 where there is a dimension for groups */
    const int64_t out_channels = op->weight_dims[first], in_channels = op->weight_dims[first + 1];
    const int64_t filter = in_channels * kernel * kernel;
    const dnnl_dims_t dense = {filter, kernel * kernel, kernel, 1};
    const dnnl_dims_t grouped = {out_channels * filter, filter, kernel * kernel, kernel, 1};
    dnnl_memory_desc_t window = NULL;
    dnnl_primitive_attr_t attr = NULL;
    atr_status status = ATR_OK;
    atr_onednn_op *packer = NULL;

    *out = NULL;
    ATR_TRY(new_op(op->layer, &packer));
    ATR_TRY(check(dnnl_memory_desc_create_with_strides(&window, op->weight_rank, op->weight_dims, dnnl_f32,
                                                       first == 1 ? grouped : dense),
                  op->layer, "weights"));
    ATR_TRY(make_attr(op->layer, NULL, ATR_ACT_NONE, &attr));
    ATR_TRY(
        check(dnnl_reorder_primitive_desc_create(&packer->desc, unpack ? op->weights : window, dnn->engine,
                                                 unpack ? window : op->weights, dnn->engine, attr),
              op->layer, "reorder"));
    ATR_TRY(add_arg(dnn, packer, DNNL_ARG_FROM, ROLE_X));
    ATR_TRY(add_arg(dnn, packer, DNNL_ARG_TO, ROLE_Y));
    ATR_TRY(finish(dnn, packer));
    *out = packer;
    packer = NULL;
done:
    destroy_md(window);
    if (attr != NULL)
        dnnl_primitive_attr_destroy(attr);
    atr_onednn_op_destroy(packer);
    return status;
}

/* ---- product of matrices ------------------------------------------------------------------------------------------------ */

static atr_status matrix_md(const char *layer, atr_dtype type, int64_t rows, int64_t columns,
                            const int64_t strides[2], dnnl_memory_desc_t *out)
{
    const dnnl_dims_t dims = {rows, columns}, steps = {strides[0], strides[1]};

    return check(dnnl_memory_desc_create_with_strides(out, 2, dims, data_type(type), steps), layer, "matrix");
}

static atr_status add_matmul_args(const atr_onednn *dnn, atr_onednn_op *op, bool bias)
{
    atr_status status = ATR_OK;

    ATR_TRY(add_arg(dnn, op, DNNL_ARG_SRC, ROLE_X));
    ATR_TRY(add_arg(dnn, op, DNNL_ARG_WEIGHTS, ROLE_W));
    ATR_TRY(add_arg(dnn, op, DNNL_ARG_DST, ROLE_Y));
    if (bias)
        ATR_TRY(add_arg(dnn, op, DNNL_ARG_BIAS, ROLE_B));
    ATR_TRY(finish(dnn, op));
done:
    return status;
}

atr_status atr_onednn_matmul_create(atr_onednn *dnn, const atr_onednn_matmul *matmul, atr_onednn_op **out)
{
    const int64_t row[2] = {matmul->n, 1};
    const char *layer = matmul->layer;
    dnnl_memory_desc_t x = NULL, w = NULL, b = NULL, y = NULL;
    dnnl_primitive_attr_t attr = NULL;
    atr_status status = ATR_OK;
    atr_onednn_op *op = NULL;

    *out = NULL;
    ATR_TRY(new_op(layer, &op));
    ATR_TRY(matrix_md(layer, matmul->type, matmul->m, matmul->k, matmul->x_strides, &x));
    ATR_TRY(matrix_md(layer, matmul->type, matmul->k, matmul->n, matmul->w_strides, &w));
    ATR_TRY(matrix_md(layer, matmul->y_type, matmul->m, matmul->n, matmul->y_strides, &y));
    if (matmul->bias)
        ATR_TRY(matrix_md(layer, ATR_F32, 1, matmul->n, row, &b));
    ATR_TRY(make_attr(layer, NULL, matmul->act, &attr));
    ATR_TRY(
        check(dnnl_matmul_primitive_desc_create(&op->desc, dnn->engine, x, w, b, y, attr), layer, "matmul"));
    ATR_TRY(add_matmul_args(dnn, op, matmul->bias));
    *out = op;
    op = NULL;
done:
    destroy_md(x);
    destroy_md(w);
    destroy_md(b);
    destroy_md(y);
    if (attr != NULL)
        dnnl_primitive_attr_destroy(attr);
    atr_onednn_op_destroy(op);
    return status;
}
