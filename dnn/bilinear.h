#ifndef ATR_DNN_BILINEAR_H
#define ATR_DNN_BILINEAR_H

#include <stdint.h>

/* Bilinear interpolation along one axis: output position o reads (1 - weight) in[first] + weight in[second].
 * Positions are quotients of integers, so no coordinate is off by rounding however large the picture. */
typedef struct atr_bilinear_tap {
    int64_t first, second; /* second == first at the far edge, where weight is 0 */
    double weight;         /* of `second`, in [0,1) */
} atr_bilinear_tap;

/* align_corners: the corners of input and output coincide, position = o (in-1)/(out-1); one output reads input 0. */
static inline atr_bilinear_tap atr_bilinear_corners(int64_t o, int64_t in, int64_t out)
{
    atr_bilinear_tap tap = {0, 0, 0.0};

    if (out > 1) {
        tap.first = o * (in - 1) / (out - 1);
        tap.weight = (double)(o * (in - 1) % (out - 1)) / (double)(out - 1);
    }
    tap.second = tap.first + 1 < in ? tap.first + 1 : tap.first;
    return tap;
}

/* Half-pixel centres, edges repeated: position = (o + 1/2) in/out - 1/2, as OpenCV's INTER_LINEAR. */
static inline atr_bilinear_tap atr_bilinear_centres(int64_t o, int64_t in, int64_t out)
{
    const int64_t numerator = (2 * o + 1) * in - out; /* of position, over 2 out */
    atr_bilinear_tap tap = {0, 0, 0.0};

    if (numerator > 0) {
        tap.first = numerator / (2 * out);
        tap.weight = (double)(numerator % (2 * out)) / (double)(2 * out);
    }
    tap.second = tap.first + 1;
    if (tap.second >= in) {
        tap.first = tap.second = in - 1;
        tap.weight = 0.0;
    }
    return tap;
}

#endif
