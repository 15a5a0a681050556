#ifndef ATR_DNN_CPU_KERNELS_IMPL_H
#define ATR_DNN_CPU_KERNELS_IMPL_H

#include "core/graph.h"

/* The inner loops of our own kernels, once for each instruction level. They run on one thread; whoever calls them shares the
 * work out. `stride` is always the pixel stride in elements, [C] the channels, which lie next to each other.
 * An activation is the interval it clamps to; its gradient passes strictly inside. */

typedef struct atr_cpu_clamp {
    float low, high; /* -inf, +inf: no activation */
} atr_cpu_clamp;

atr_cpu_clamp atr_cpu_clamp_of(atr_act act);

enum { ATR_CPU_MAX_TAPS = 64 };

/* One tap of a depthwise convolution over a row of target pixels j: it meets source pixel j*step + offset. */
typedef struct atr_cpu_tap {
    const float *row;    /* source row [width,C] */
    int64_t offset;      /* in source pixels */
    const float *weight; /* [C] */
    float *gradient;     /* [C], weight gradients only: added to */
} atr_cpu_tap;

/* target[j] = clamp(bias + sum over taps of weight * row[j*step + offset] + residual[j]), taps outside the row left out. */
typedef struct atr_cpu_tap_row {
    atr_cpu_tap taps[ATR_CPU_MAX_TAPS];
    int tap_count;
    int64_t step, width, stride; /* of the source */
    int64_t channels, count;     /* target pixels */
    float *target;               /* weight gradients: dy, only read */
    int64_t target_stride;       /* from one target pixel to the next */
    const float *bias;           /* [C] or NULL */
    const float *residual;       /* NULL: none */
    int64_t residual_stride;
    atr_cpu_clamp clamp;
} atr_cpu_tap_row;

/* What batch norm needs per channel, [C] each: z = (x - mean) * scale + shift, y = clamp(z). */
typedef struct atr_cpu_affine {
    const float *mean, *scale, *shift;
    atr_cpu_clamp clamp;
} atr_cpu_affine;

/* Sums over pixels per channel, in double, [C] each; tiles are added. */
typedef struct atr_cpu_moments {
    double *sum;     /* of tiles' sums */
    double *squares; /* of (sum of a tile)^2 / pixels of the tile */
    double *m2;      /* of squared deviations from the tile's mean */
} atr_cpu_moments;

typedef struct atr_cpu_kernels {
    void (*depthwise)(const atr_cpu_tap_row *row);
    void (*depthwise_weight_gradient)(const atr_cpu_tap_row *row);

    /* One tile of pixels; `work` is [2*C]. */
    void (*moments)(const float *x, int64_t stride, int64_t pixels, int64_t channels, float *work,
                    atr_cpu_moments *moments);
    /* sums[c] += sum over pixels; `work` is [C]. */
    void (*column_sums)(const float *x, int64_t stride, int64_t pixels, int64_t channels, float *work,
                        double *sums);
    void (*normalise)(const float *x, int64_t x_stride, float *y, int64_t y_stride, int64_t pixels,
                      int64_t channels, const atr_cpu_affine *affine);
    /* sums += of dz = dy where the activation lets it pass; products += of dz (x - mean). One tile; `work` is [2*C]. */
    void (*norm_sums)(const float *x, int64_t x_stride, const float *dy, int64_t dy_stride, int64_t pixels,
                      int64_t channels, const atr_cpu_affine *affine, float *work, double *sums,
                      double *products);
    /* dx = scale dz + slope (x - mean) + offset */
    void (*norm_gradient)(const float *x, int64_t x_stride, const float *dy, int64_t dy_stride, float *dx,
                          int64_t dx_stride, int64_t pixels, int64_t channels, const atr_cpu_affine *affine,
                          const float *slope, const float *offset);
} atr_cpu_kernels;

extern const atr_cpu_kernels atr_cpu_kernels_portable;
#if defined(__x86_64__)
extern const atr_cpu_kernels atr_cpu_kernels_avx2, atr_cpu_kernels_avx512;
#endif

#endif
