#include <math.h>
#include <string.h>

#include "dnn/bilinear.h"
#include "dnn/ref/ref_impl.h"

/* Softmax cross-entropy on enlarged logits. With l = resize(logits) at a pixel with label t < K and weight w_t:
 *
 *     loss_pixel = w_t (ln sum_k exp(l_k) - l_t) / divisor
 *     dl_k       = w_t (exp(l_k) / sum_j exp(l_j) - [k = t]) / divisor
 *     dlogits    = transposed resize of dl
 *
 * A row of dlogits gathers from the rows of pixels that read it; each pixel's softmax is therefore computed once for the
 * loss and once or twice for the gradient, instead of being stored. */

/* Scratch: row losses [N,H] and gradient sums [N,h,w,K], both f64; whether a gradient is wanted is not known yet when a plan asks. */
size_t atr_ref_loss_scratch(const atr_loss_args *args)
{
    const int64_t rows = args->logits.dims[0] * args->height;

    return (size_t)(rows + atr_tensor_count(&args->logits)) * sizeof(double);
}

static double weight_of(const atr_loss_args *args, int64_t label)
{
    const double weight = args->class_weights != NULL ? (double)args->class_weights[label] : 1.0;

    return args->divisor > 0.0 ? weight / args->divisor : 0.0;
}

/* l -> exp(l - max l) in place; returns ln sum exp(l). `sum` receives the sum of what is left in place. */
static double exponentials(double *l, int64_t classes, double *sum)
{
    double top = l[0];

    for (int64_t k = 1; k < classes; k++)
        top = l[k] > top ? l[k] : top;
    *sum = 0.0;
    for (int64_t k = 0; k < classes; k++) {
        l[k] = exp(l[k] - top);
        *sum += l[k];
    }
    return top + log(*sum);
}

static double row_loss(const atr_loss_args *args, int64_t n, int64_t y)
{
    const int64_t classes = args->logits.dims[3];
    const uint8_t *labels = args->labels + (n * args->height + y) * args->width;
    double loss = 0.0;

    for (int64_t x = 0; x < args->width; x++) {
        const int64_t label = labels[x];
        double l[ATR_REF_CLASSES], sum;
        if (label >= classes)
            continue;
        atr_ref_logits_at(&args->logits, n, args->height, args->width, y, x, l);
        const double own = l[label];
        loss += weight_of(args, label) * (exponentials(l, classes, &sum) - own);
    }
    return loss;
}

/* Adds vertical * (transposed horizontal resize of dl of pixel row y) to sums [w,K]. */
static void add_row_gradient(const atr_loss_args *args, int64_t n, int64_t y, double vertical, double *sums)
{
    const int64_t classes = args->logits.dims[3], w = args->logits.dims[2];
    const uint8_t *labels = args->labels + (n * args->height + y) * args->width;

    for (int64_t x = 0; x < args->width; x++) {
        const int64_t label = labels[x];
        const atr_bilinear_tap tap = atr_bilinear_corners(x, w, args->width);
        double l[ATR_REF_CLASSES], sum;
        if (label >= classes)
            continue;
        atr_ref_logits_at(&args->logits, n, args->height, args->width, y, x, l);
        exponentials(l, classes, &sum);
        const double weight = vertical * weight_of(args, label);
        for (int64_t k = 0; k < classes; k++) {
            const double dl = weight * (l[k] / sum - (k == label ? 1.0 : 0.0));
            sums[tap.first * classes + k] += (1.0 - tap.weight) * dl;
            sums[tap.second * classes + k] += tap.weight * dl;
        }
    }
}

/* Row iy of dlogits of picture n: `sums` [w,K] is its own piece of the scratch. */
static void gradient_row(const atr_loss_args *args, int64_t n, int64_t iy, double *sums)
{
    const int64_t h = args->logits.dims[1], w = args->logits.dims[2], classes = args->logits.dims[3];

    memset(sums, 0, (size_t)(w * classes) * sizeof *sums);
    for (int64_t y = 0; y < args->height; y++) {
        const atr_bilinear_tap tap = atr_bilinear_corners(y, h, args->height);
        const double vertical =
            (tap.first == iy ? 1.0 - tap.weight : 0.0) + (tap.second == iy ? tap.weight : 0.0);
        if (vertical > 0.0)
            add_row_gradient(args, n, y, vertical, sums);
    }
    for (int64_t x = 0; x < w; x++)
        for (int64_t k = 0; k < classes; k++)
            atr_ref_pixel(&args->dlogits, (n * h + iy) * w + x)[k] = (float)sums[x * classes + k];
}

atr_status atr_ref_cross_entropy(atr_backend *backend, atr_loss_args *args)
{
    const int64_t rows = args->logits.dims[0] * args->height;
    const int64_t h = args->logits.dims[1], row_sums = args->logits.dims[2] * args->logits.dims[3];
    double *losses = args->scratch, *sums = losses + rows;
    const atr_status status = atr_ref_check_classes(&args->logits);

    (void)backend;
    if (status != ATR_OK)
        return status;
#pragma omp parallel for schedule(dynamic)
    for (int64_t row = 0; row < rows; row++)
        losses[row] = row_loss(args, row / args->height, row % args->height);
    args->loss = 0.0;
    for (int64_t row = 0; row < rows; row++)
        args->loss += losses[row];
    if (args->dlogits.data == NULL)
        return ATR_OK;
#pragma omp parallel for schedule(dynamic)
    for (int64_t row = 0; row < args->logits.dims[0] * h; row++)
        gradient_row(args, row / h, row % h, sums + row * row_sums);
    return ATR_OK;
}
