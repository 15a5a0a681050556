#include <math.h>

#include "dnn/bilinear.h"
#include "dnn/ref/ref_impl.h"

/* From class scores to a label map (see atr_segment_args). With the half-pixel taps of an output pixel on the box:
 *     p = (1-u) ((1-v) q[y0,x0] + v q[y0,x1]) + u ((1-v) q[y1,x0] + v q[y1,x1]),   q = softmax(resize(logits))
 *     id = the first k with the largest p_k */

size_t atr_ref_segment_scratch(const atr_segment_args *args)
{
    (void)args;
    return 0;
}

/* p += weight * softmax of the enlarged logits at (y, x) of the box. */
static void add_softmax(const atr_segment_args *args, int64_t y, int64_t x, double weight, double *p)
{
    const int64_t classes = args->logits.dims[3];
    double l[ATR_REF_CLASSES], sum = 0.0;

    if (weight == 0.0)
        return;
    atr_ref_logits_at(&args->logits, 0, args->height, args->width, args->box_y + y, args->box_x + x, l);
    double top = l[0];
    for (int64_t k = 1; k < classes; k++)
        top = l[k] > top ? l[k] : top;
    for (int64_t k = 0; k < classes; k++) {
        l[k] = exp(l[k] - top);
        sum += l[k];
    }
    for (int64_t k = 0; k < classes; k++)
        p[k] += weight * l[k] / sum;
}

static void segment_pixel(const atr_segment_args *args, atr_bilinear_tap v, atr_bilinear_tap h, int64_t at)
{
    const int64_t classes = args->logits.dims[3];
    double p[ATR_REF_CLASSES] = {0.0};
    int64_t best = 0;

    add_softmax(args, v.first, h.first, (1.0 - v.weight) * (1.0 - h.weight), p);
    add_softmax(args, v.first, h.second, (1.0 - v.weight) * h.weight, p);
    add_softmax(args, v.second, h.first, v.weight * (1.0 - h.weight), p);
    add_softmax(args, v.second, h.second, v.weight * h.weight, p);
    for (int64_t k = 1; k < classes; k++)
        if (p[k] > p[best])
            best = k;
    if (args->ids != NULL)
        args->ids[at] = (uint8_t)best;
    if (args->confidence != NULL)
        args->confidence[at] = (float)p[best];
    for (int64_t k = 0; args->probabilities != NULL && k < classes; k++)
        args->probabilities[k * args->out_h * args->out_w + at] = (float)p[k];
}

atr_status atr_ref_segment(atr_backend *backend, const atr_segment_args *args)
{
    const atr_status status = atr_ref_check_classes(&args->logits);

    (void)backend;
    if (status != ATR_OK)
        return status;
#pragma omp parallel for schedule(dynamic)
    for (int64_t y = 0; y < args->out_h; y++) {
        const atr_bilinear_tap v = atr_bilinear_centres(y, args->box_h, args->out_h);
        for (int64_t x = 0; x < args->out_w; x++)
            segment_pixel(args, v, atr_bilinear_centres(x, args->box_w, args->out_w), y * args->out_w + x);
    }
    return ATR_OK;
}
