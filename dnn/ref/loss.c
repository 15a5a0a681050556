#include <math.h>
#include <string.h>

#include "dnn/bilinear.h"
#include "dnn/ref/ref_impl.h"

/* Losses on enlarged logits, by their form (dnn/loss.h). With l = resize(logits) at a pixel with label t,
 * p = softmax(l), c = -ln p_t = ln sum_j exp(l_j) - l_t, and the loss L of the pixel as the form says:
 *
 *     dL/dl_k = dL/dc (p_k - [k = t])                               what is a function of c alone
 *             + sum_j even_j p_k - even_k                           what is even over all classes
 *             + p_k (dL/dp_k - sum_j p_j dL/dp_j)                   what is a function of p
 *     dlogits = transposed resize of dL/dl
 *
 * A row of dlogits gathers from the rows of pixels that read it; each pixel's softmax is therefore computed once for the
 * loss and once or twice for the gradient, instead of being stored. */

/* Scratch, all f64: row losses [N,H] and gradient sums [N,h,w,K] of the second pass, or sums by row [N,H,2,K] of the first. */
size_t atr_ref_loss_scratch(const atr_loss_args *args)
{
    const int64_t rows = args->logits.dims[0] * args->height, classes = args->logits.dims[3];
    const int64_t first = rows * 2 * classes, second = rows + atr_tensor_count(&args->logits);

    return (size_t)(first > second ? first : second) * sizeof(double);
}

/* A pixel's probabilities. */
typedef struct pixel {
    double l[ATR_REF_CLASSES], p[ATR_REF_CLASSES];
    double log_sum; /* ln sum_k exp(l_k) */
} pixel;

static void pixel_at(const atr_loss_args *args, int64_t n, int64_t y, int64_t x, pixel *out)
{
    const int64_t classes = args->logits.dims[3];
    double top, sum = 0.0;

    atr_ref_logits_at(&args->logits, n, args->height, args->width, y, x, out->l);
    top = out->l[0];
    for (int64_t k = 1; k < classes; k++)
        top = out->l[k] > top ? out->l[k] : top;
    for (int64_t k = 0; k < classes; k++) {
        out->p[k] = exp(out->l[k] - top);
        sum += out->p[k];
    }
    for (int64_t k = 0; k < classes; k++)
        out->p[k] /= sum;
    out->log_sum = top + log(sum);
}

static double error_of(const pixel *at, int64_t k, int64_t label)
{
    return k == label ? 1.0 - at->p[k] : at->p[k];
}

/* Where errors of class k like this one are counted, and their slope stands. */
static int64_t error_index(const pixel *at, int64_t k, int64_t label)
{
    return (2 * k + (k == label)) * ATR_LOSS_BINS + atr_loss_bin((float)error_of(at, k, label));
}

/* (1 - q)^gamma c with q = exp(-c); its derivative by c is (1 - q)^gamma (1 + gamma q c / (1 - q)). */
static double focused(double c, double gamma, double *slope)
{
    const double q = exp(-c), rest = -expm1(-c), power = pow(rest, gamma);

    *slope = power * (1.0 + gamma * q * (rest > 0.0 ? c / rest : 1.0));
    return power * c;
}

/* Loss of what is a function of c, and its slope. */
static double loss_of_c(const atr_loss_form *form, int64_t label, double c, double *slope)
{
    double loss = 0.0, d;

    *slope = 0.0;
    if (form->parts & ATR_LOSS_PLAIN) {
        loss += form->plain[label] * c;
        *slope += form->plain[label];
    }
    if (form->parts & ATR_LOSS_FOCUSED) {
        loss += form->focus[label] * focused(form->focus_scale[label] * c, form->gamma, &d);
        *slope += form->focus[label] * form->focus_scale[label] * d;
    }
    if (form->parts & ATR_LOSS_HARD && (float)c >= form->hard_from) {
        loss += form->hard[label] * c;
        *slope += form->hard[label];
    }
    return loss;
}

/* Loss of a pixel that has a class. */
static double pixel_loss(const atr_loss_form *form, const pixel *at, int64_t classes, int64_t label)
{
    double slope, loss = loss_of_c(form, label, at->log_sum - at->l[label], &slope);

    for (int64_t k = 0; k < classes && form->parts & ATR_LOSS_EVEN; k++)
        loss += form->even[k] * (at->log_sum - at->l[k]);
    for (int64_t k = 0; k < classes && form->parts & ATR_LOSS_RANKED; k++)
        loss += (double)form->ranked[error_index(at, k, label)] * error_of(at, k, label);
    return loss;
}

/* dL/dp_k of what the form knows by class and by error. */
static double slope_of_p(const atr_loss_form *form, const pixel *at, int64_t classes, int64_t k,
                         int64_t label)
{
    double slope = 0.0;

    if (form->parts & ATR_LOSS_SLOPES)
        slope += k == label ? form->own[k] : form->other[k];
    if (form->parts & ATR_LOSS_RANKED && label < classes) {
        const double ranked = (double)form->ranked[error_index(at, k, label)];
        slope += k == label ? -ranked : ranked;
    }
    return slope;
}

/* `weight` times the gradient of a pixel on its logits, dl [K]. */
static void pixel_gradient(const atr_loss_form *form, const pixel *at, int64_t classes, int64_t label,
                           double weight, double *dl)
{
    double slopes[ATR_REF_CLASSES], mean = 0.0, even = 0.0, of_c = 0.0;
    const bool valid = label < classes;

    if (valid)
        loss_of_c(form, label, at->log_sum - at->l[label], &of_c);
    of_c *= weight;
    for (int64_t k = 0; k < classes; k++) {
        slopes[k] = slope_of_p(form, at, classes, k, label);
        mean += at->p[k] * slopes[k];
        even += valid && form->parts & ATR_LOSS_EVEN ? form->even[k] : 0.0;
    }
    for (int64_t k = 0; k < classes; k++) {
        const double own_even = valid && form->parts & ATR_LOSS_EVEN ? form->even[k] : 0.0;
        dl[k] = of_c * (at->p[k] - (k == label ? 1.0 : 0.0)) +
                weight * (at->p[k] * (slopes[k] - mean) + even * at->p[k] - own_even);
    }
}

static const uint8_t *label_row(const atr_loss_args *args, int64_t row)
{
    return args->labels + row * args->width;
}

/* Whether a pixel without a class is looked at. */
static bool skips(const atr_loss_args *args, int64_t label, bool with_ignored)
{
    return label >= args->logits.dims[3] && !with_ignored;
}

/* Counters of all threads: integers, so that the order of additions does not matter. */
static void count(int64_t *counter)
{
#pragma omp atomic
    ++*counter;
}

/* A pixel says a class whose probability is above 1/2. */
static void vote(const atr_loss_votes *votes, const pixel *at, int64_t classes, int64_t label)
{
    for (int64_t k = 0; k < classes && votes->all != NULL; k++)
        if (at->p[k] > 0.5) {
            count(&votes->all[k]);
            if (k == label)
                count(&votes->hits[k]);
        }
}

static double row_loss(const atr_loss_args *args, int64_t row)
{
    const int64_t classes = args->logits.dims[3];
    const uint8_t *labels = label_row(args, row);
    double loss = 0.0;

    for (int64_t x = 0; x < args->width; x++) {
        pixel at;
        if (skips(args, labels[x], args->form->with_ignored))
            continue;
        pixel_at(args, row / args->height, row % args->height, x, &at);
        vote(&args->votes, &at, classes, labels[x]);
        if (labels[x] < classes)
            loss += pixel_loss(args->form, &at, classes, labels[x]);
    }
    return loss;
}

/* Adds vertical * (transposed horizontal resize of dl of pixel row y) to sums [w,K]. */
static void add_row_gradient(const atr_loss_args *args, int64_t row, double vertical, double *sums)
{
    const int64_t classes = args->logits.dims[3], w = args->logits.dims[2];
    const uint8_t *labels = label_row(args, row);

    for (int64_t x = 0; x < args->width; x++) {
        const atr_bilinear_tap tap = atr_bilinear_corners(x, w, args->width);
        double dl[ATR_REF_CLASSES];
        pixel at;
        if (skips(args, labels[x], args->form->with_ignored))
            continue;
        pixel_at(args, row / args->height, row % args->height, x, &at);
        pixel_gradient(args->form, &at, classes, labels[x], vertical, dl);
        for (int64_t k = 0; k < classes; k++) {
            sums[tap.first * classes + k] += (1.0 - tap.weight) * dl[k];
            sums[tap.second * classes + k] += tap.weight * dl[k];
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
            add_row_gradient(args, n * args->height + y, vertical, sums);
    }
    for (int64_t x = 0; x < w; x++)
        for (int64_t k = 0; k < classes; k++)
            atr_ref_pixel(&args->dlogits, (n * h + iy) * w + x)[k] = (float)sums[x * classes + k];
}

atr_status atr_ref_loss(atr_backend *backend, atr_loss_args *args)
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
        losses[row] = row_loss(args, row);
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

/* Sums of a row of pixels: own and all [K] each. */
static void row_sums(const atr_loss_args *args, int64_t row, double *own, double *all)
{
    const int64_t classes = args->logits.dims[3];
    const atr_loss_sums *sums = args->sums;
    const uint8_t *labels = label_row(args, row);

    memset(own, 0, (size_t)(2 * classes) * sizeof *own);
    for (int64_t x = 0; x < args->width; x++) {
        const int64_t label = labels[x];
        pixel at;
        if (skips(args, label, sums->with_ignored))
            continue;
        pixel_at(args, row / args->height, row % args->height, x, &at);
        for (int64_t k = 0; k < classes; k++)
            all[k] += at.p[k];
        if (label >= classes)
            continue;
        own[label] += at.p[label];
        count(&sums->pixels[label]);
        if (sums->hardness != NULL)
            count(&sums->hardness[atr_loss_level((float)(at.log_sum - at.l[label]), sums->certain) * classes +
                                  label]);
        for (int64_t k = 0; k < classes && sums->errors != NULL; k++)
            count(&sums->errors[error_index(&at, k, label)]);
    }
}

atr_status atr_ref_loss_sums(atr_backend *backend, atr_loss_args *args)
{
    const int64_t rows = args->logits.dims[0] * args->height, classes = args->logits.dims[3];
    double *by_row = args->scratch; /* [N,H,2,K] */
    const atr_status status = atr_ref_check_classes(&args->logits);

    (void)backend;
    if (status != ATR_OK)
        return status;
#pragma omp parallel for schedule(dynamic)
    for (int64_t row = 0; row < rows; row++)
        row_sums(args, row, by_row + row * 2 * classes, by_row + (row * 2 + 1) * classes);
    for (int64_t row = 0; row < rows && args->sums->own != NULL; row++)
        for (int64_t k = 0; k < classes; k++) {
            args->sums->own[k] += by_row[row * 2 * classes + k];
            args->sums->all[k] += by_row[(row * 2 + 1) * classes + k];
        }
    return ATR_OK;
}
