/* Weight gradients of widely dilated convolutions as products of matrices, one for each tap:
 *
 *     dw_t [O,I] = sum over pixels p that tap t finds inside the picture of  dy[p,:]' x[p + t,:]
 *
 * The farther the taps lie apart, the fewer pixels meet: at rate 18 on 32x32 that is 39 % of a dense convolution's work. The
 * two views of a tap are copied together first, which costs far less than the product. */
#include <string.h>

#include "dnn/cpu/dense_impl.h"

bool atr_cpu_wants_products(const atr_step *step, const atr_cpu_dense *state)
{
    const atr_conv_attr *conv = &step->conv;
    const atr_onednn_window *window = &state->window;

    if (conv->groups > 1 || conv->dilation == 1 || window->height * window->width == 1)
        return false;
    return (window->height - 1) * conv->dilation + 1 > step->x[0].dims[1] ||
           (window->width - 1) * conv->dilation + 1 > step->x[0].dims[2];
}

/* Output positions o with 0 <= o stride + shift < in. */
static atr_cpu_range meeting(int64_t shift, int64_t stride, int64_t in, int64_t out)
{
    const int64_t first = shift >= 0 ? 0 : (-shift + stride - 1) / stride;
    const int64_t end = shift >= in ? 0 : atr_cpu_min(out, (in - 1 - shift) / stride + 1);

    return (atr_cpu_range){first, atr_cpu_max(first, end)};
}

static int64_t extent(atr_cpu_range range)
{
    return range.end - range.first;
}

static int64_t product_pixels(const atr_step *step, const atr_cpu_tap_product *product)
{
    return step->dy.dims[0] * extent(product->y) * extent(product->x);
}

/* Both views are whole tensors, so rows of the matrices lie a pixel stride apart. */
static bool is_whole(const atr_step *step, const atr_cpu_tap_product *product)
{
    return step->conv.stride == 1 && product->shift_y == 0 && product->shift_x == 0 &&
           atr_cpu_pixels(&step->x[0]) == product_pixels(step, product) &&
           atr_cpu_pixels(&step->dy) == product_pixels(step, product);
}

static atr_status prepare_product(const atr_backend *backend, const atr_step *step, int64_t tap,
                                  atr_cpu_tap_product *product)
{
    const atr_conv_attr *conv = &step->conv;
    const int64_t *in = step->x[0].dims, *out = step->dy.dims;

    product->index = tap;
    product->shift_y = tap / conv->kernel * conv->dilation - conv->pad;
    product->shift_x = tap % conv->kernel * conv->dilation - conv->pad;
    product->y = meeting(product->shift_y, conv->stride, in[1], out[1]);
    product->x = meeting(product->shift_x, conv->stride, in[2], out[2]);
    product->gather = !is_whole(step, product);
    if (product_pixels(step, product) == 0)
        return ATR_OK; /* no pixel: the gradient is zero */
    const atr_onednn_matmul matmul = {
        .layer = step->name,
        .m = conv->out_channels,
        .n = conv->in_channels,
        .k = product_pixels(step, product),
        .x_strides = {1, product->gather ? conv->out_channels : step->dy.strides[2]},
        .w_strides = {product->gather ? conv->in_channels : step->x[0].strides[2], 1},
        .y_strides = {conv->in_channels, 1},
    };
    return atr_onednn_matmul_create(atr_cpu_engine_of(backend)->dnn, &matmul, &product->op);
}

/* What a run keeps in the scratch memory, in this order: products [taps][O,I], the two views, oneDNN's own; and before all of
 * it, or in its place, the sums for the bias. */
typedef struct layout {
    size_t products, y_view, x_view, own, total;
} layout;

static layout layout_of(const atr_backend *backend, const atr_step *step, const atr_cpu_dense *state)
{
    const size_t in = (size_t)step->conv.in_channels, out = (size_t)step->conv.out_channels;
    size_t pixels = 0, own = 0;
    layout l = {.products = 0};

    for (int64_t i = 0; i < state->product_count; i++) {
        const atr_cpu_tap_product *product = &state->products[i];
        const size_t count = (size_t)product_pixels(step, product);
        const size_t bytes = product->op == NULL ? 0 : atr_onednn_scratch_bytes(product->op);
        pixels = product->gather && count > pixels ? count : pixels;
        own = bytes > own ? bytes : own;
    }
    l.y_view = atr_align_up((size_t)state->product_count * in * out * sizeof(float));
    l.x_view = l.y_view + atr_align_up(pixels * out * sizeof(float));
    l.own = l.x_view + atr_align_up(pixels * in * sizeof(float));
    l.total = l.own + atr_align_up(own);
    const size_t sums =
        atr_align_up(out * sizeof(double)) + atr_cpu_column_sums_bytes(backend, step->conv.out_channels);
    l.total = sums > l.total ? sums : l.total;
    return l;
}

atr_status atr_cpu_products_prepare(const atr_backend *backend, atr_step *step, atr_cpu_dense *state)
{
    const int64_t width = state->window.width, count = state->window.height * width;
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW(count, &state->products));
    state->product_count = count;
    for (int64_t i = 0; i < count; i++) {
        const int64_t tap = (state->first_y + i / width) * step->conv.kernel + state->first_x + i % width;
        ATR_TRY(prepare_product(backend, step, tap, &state->products[i]));
    }
    const size_t bytes = layout_of(backend, step, state).total;
    step->scratch_bytes = bytes > step->scratch_bytes ? bytes : step->scratch_bytes;
done:
    return status;
}

void atr_cpu_products_release(atr_cpu_dense *state)
{
    for (int64_t i = 0; i < state->product_count; i++)
        atr_onednn_op_destroy(state->products[i].op);
    atr_free(state->products);
}

/* The pixels of `from` at rows and columns (o * stride + shift) of the product's ranges, one behind the other. */
static void gather(const atr_backend *backend, const atr_tensor *from, const atr_cpu_tap_product *product,
                   int64_t stride, int64_t shift_y, int64_t shift_x, float *to)
{
    const int64_t height = extent(product->y), width = extent(product->x), channels = from->dims[3];

#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range rows = atr_cpu_share(from->dims[0] * height, backend->threads, part);
        for (int64_t row = rows.first; row < rows.end; row++) {
            const int64_t y = (product->y.first + row % height) * stride + shift_y;
            const int64_t start = (row / height * from->dims[1] + y) * from->dims[2];
            for (int64_t i = 0; i < width; i++)
                memcpy(to + (row * width + i) * channels,
                       atr_cpu_pixel(from, start + (product->x.first + i) * stride + shift_x),
                       (size_t)channels * sizeof *to);
        }
    }
}

static atr_status run_product(const atr_backend *backend, const atr_step *step, const layout *l,
                              const atr_cpu_tap_product *product, float *result)
{
    char *scratch = step->scratch;
    float *y_view = (float *)(scratch + l->y_view), *x_view = (float *)(scratch + l->x_view);
    atr_onednn_buffers buffers = {
        .x = step->dy.data, .w = step->x[0].data, .y = result, .scratch = scratch + l->own};

    if (product->op == NULL) {
        memset(result, 0, (size_t)(step->conv.out_channels * step->conv.in_channels) * sizeof *result);
        return ATR_OK;
    }
    if (product->gather) {
        gather(backend, &step->dy, product, 1, 0, 0, y_view);
        gather(backend, &step->x[0], product, step->conv.stride, product->shift_y, product->shift_x, x_view);
        buffers.x = y_view;
        buffers.w = x_view;
    }
    return atr_onednn_run(atr_cpu_engine_of(backend)->dnn, product->op, &buffers);
}

/* products [taps of the window][O,I] -> dweight [O,I,k,k]; taps outside the window get 0. */
static void interleave(const atr_backend *backend, const atr_step *step, const atr_cpu_dense *state,
                       const float *products)
{
    const int64_t pairs = step->conv.out_channels * step->conv.in_channels;
    const int64_t taps = step->conv.kernel * step->conv.kernel;

#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range range = atr_cpu_share(pairs, backend->threads, part);
        memset(step->dweight + range.first * taps, 0,
               (size_t)((range.end - range.first) * taps) * sizeof *step->dweight);
        for (int64_t i = range.first; i < range.end; i++)
            for (int64_t t = 0; t < state->product_count; t++)
                step->dweight[i * taps + state->products[t].index] = products[t * pairs + i];
    }
}

static void bias_gradient(const atr_backend *backend, const atr_step *step)
{
    const int64_t channels = step->conv.out_channels;
    double *sums = step->scratch;

    atr_cpu_column_sums(backend, &step->dy,
                        (char *)step->scratch + atr_align_up((size_t)channels * sizeof *sums), sums);
    for (int64_t c = 0; c < channels; c++)
        step->dbias[c] = (float)sums[c];
}

atr_status atr_cpu_products_run(const atr_backend *backend, const atr_step *step, const atr_cpu_dense *state)
{
    const layout l = layout_of(backend, step, state);
    const int64_t pairs = step->conv.out_channels * step->conv.in_channels;
    float *products = step->scratch;
    atr_status status = ATR_OK;

    for (int64_t i = 0; i < state->product_count; i++)
        ATR_TRY(run_product(backend, step, &l, &state->products[i], products + i * pairs));
    interleave(backend, step, state, products);
    if (step->bias != NULL)
        bias_gradient(backend, step);
done:
    return status;
}
