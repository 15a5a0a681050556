#ifndef ATR_DNN_CPU_KERNELS_IMPL_H
#define ATR_DNN_CPU_KERNELS_IMPL_H

#include "core/graph.h"
#include "dnn/loss.h"

/* The inner loops of our own kernels, once for each instruction level. They run on one thread; whoever calls them shares the
 * work out. Activations that are `void` here are f32 or bf16, all of one call of one type: there is a table for each, and that of
 * bf16 has only the functions that take such. `stride` is always the pixel stride in elements, [C] the channels, which lie next to each other.
 * An activation is the interval it clamps to; its gradient passes strictly inside. */

typedef struct atr_cpu_clamp {
    float low, high; /* -inf, +inf: no activation */
} atr_cpu_clamp;

atr_cpu_clamp atr_cpu_clamp_of(atr_act act);

enum { ATR_CPU_MAX_TAPS = 64 };

/* One tap of a depthwise convolution over a row of target pixels j: it meets source pixel j*step + offset. */
typedef struct atr_cpu_tap {
    const void *row;     /* source row [width,C] */
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
    void *target;                /* weight gradients: dy, only read */
    int64_t target_stride;       /* from one target pixel to the next */
    const float *bias;           /* [C] or NULL */
    const void *residual;        /* NULL: none */
    int64_t residual_stride;
    atr_cpu_clamp clamp;
} atr_cpu_tap_row;

/* What becomes of 32-bit sums in int8 layers (dnn/int8.h), [C] each. */
typedef struct atr_cpu_int8_end {
    const float *scale, *shift, *added, *low, *high;
    const uint8_t *residual_bytes; /* one of the two, or NULL both: none */
    const float *residual;
    int64_t residual_stride;
    float residual_zero;
    uint8_t *bytes; /* one of the two */
    float *floats;
    int64_t stride;
    int32_t zero; /* of bytes */
} atr_cpu_int8_end;

/* y[p] = end(sum over k of x[p,k] w[k]), pixels [pixels] of 16-bit x [pairs*2]; weights of strips of `int8_strip` channels,
 * [pairs][int8_strip][2], `strip_pairs` of them from one strip to the next. x has room for whole blocks of `int8_rows` pixels,
 * which are read. */
typedef struct atr_cpu_int8_product {
    const int16_t *x, *weights;
    int64_t pairs, strip_pairs, pixels, channels;
    int32_t *sums;        /* NULL, or: sums modulo 2^32 instead of y, in whole vectors, */
    int64_t sums_pitch;   /* pixels so far apart */
    atr_cpu_int8_end end; /* of pixel 0 */
} atr_cpu_int8_product;

/* As atr_cpu_patch, of bytes. */
typedef struct atr_cpu_byte_patch {
    const uint8_t *pixels;
    int64_t row, column;
    int64_t first_y, end_y, first_x, end_x;
} atr_cpu_byte_patch;

/* A tile of outputs, of which rows x columns lie inside the map. */
typedef struct atr_cpu_int8_tile {
    int64_t row, column; /* pixels of the map from one pixel of the tile to the next below, beside */
    int64_t rows, columns, channels;
    atr_cpu_int8_end end; /* of the first pixel */
} atr_cpu_int8_tile;

/* Pixels p of a depthwise convolution: end(start + sum over taps of w[t] taps[t][p * step]), taps two by two: weights
 * [pairs][padded C] are w[2t] in the lower and w[2t+1] in the upper 16 bits. Every tap is a pixel of bytes; `start` [padded C] takes out
 * their zero. */
typedef struct atr_cpu_int8_taps {
    const uint8_t *taps[ATR_CPU_MAX_TAPS + 1];
    const int32_t *weights, *start;
    int64_t pairs, channels, padded, pixels, step;
    atr_cpu_int8_end end; /* of pixel 0 */
} atr_cpu_int8_taps;

/* sums[i][k] += sum over rows and pixels of a[i] * b[k]. Pixels of an operand lie `_pixel` elements apart, rows `_row`. */
typedef struct atr_cpu_outer {
    const float *a, *b;
    int64_t a_pixel, b_pixel, a_row, b_row;
    int64_t rows, pixels;
    int64_t a_count, b_count; /* b_count: at most outer_vectors * lanes */
    float *sums;              /* [a_count, pitch], written in whole vectors */
    float *lost; /* the same, what rounding took from them: they are compensated (Kahan); NULL: plain sums */
    int64_t pitch;
} atr_cpu_outer;

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

/* Which elements dropout keeps, and what they are multiplied by: see dnn/dropout.h. */
typedef struct atr_cpu_dropout {
    uint64_t key;
    uint32_t threshold;
    float scale;
} atr_cpu_dropout;

/* Where a column of an enlarged or reduced row reads: (1 - weight) [first] + weight [second]. */
typedef struct atr_cpu_column {
    int64_t first, second;
    float weight;
} atr_cpu_column;

/* A row of pixels with class scores, interpolated from a row of logits [width,padded]; classes are padded to whole vectors. */
typedef struct atr_cpu_class_row {
    const float *logits;
    int64_t classes, padded;
    const atr_cpu_column *columns; /* [count] */
    int64_t count;
} atr_cpu_class_row;

/* A form (dnn/loss.h) for the inner loops: what is read by class in f32, padded to whole vectors with zeros. */
typedef struct atr_cpu_loss_terms {
    const atr_loss_form *form;
    const float *even, *other, *own_rest; /* [padded]; own_rest = own - other */
    float even_sum;                       /* of even */
    bool by_class;                        /* dL/dp_k is not 0 everywhere */
} atr_cpu_loss_terms;

/* What is wanted of a row of probabilities; each may be NULL. */
typedef struct atr_cpu_votes {
    uint8_t *ids;         /* [count] */
    float *confidence;    /* [count] */
    float *probabilities; /* [K,count], planes `plane` elements apart */
    int64_t plane;
} atr_cpu_votes;

/* atr_update_args in f32, with what does not depend on the element worked out in double first. */
typedef struct atr_cpu_update {
    float *values, *m, *v;
    const float *gradients;
    float lr; /* Adam: over 1 - beta1^t */
    float scale, weight_decay, momentum, beta2, eps;
    float rest1, rest2; /* 1 - beta */
    float unbias2;      /* 1 / (1 - beta2^t) */
    float shrink;       /* AdamW: lr weight decay */
    bool nesterov;
} atr_cpu_update;

/* Minimal filtering (dnn/cpu/winograd.c): outputs along a side of the largest tile, and the points of that one: 0, +-A, +-B and
 * infinity. Both are exact in f32, and these two keep the error of a tile of 4 at that of a plain sum. */
enum { ATR_CPU_TILE_MOST = 4 };
#define ATR_CPU_POINT_A 0.75f
#define ATR_CPU_POINT_B 1.5f

/* A square of pixels of a map: its first one, which may lie outside, and which of its rows and columns lie inside. */
typedef struct atr_cpu_patch {
    float *pixels;
    int64_t row, column; /* elements from one pixel to the next below, beside */
    int64_t first_y, end_y, first_x, end_x;
} atr_cpu_patch;

/* What comes behind the sums of a tile of outputs: clamp(sum + bias + residual). */
typedef struct atr_cpu_finish {
    const float *bias;     /* [C] or NULL */
    const float *residual; /* of the tile's first pixel, or NULL */
    int64_t residual_row, residual_column;
    atr_cpu_clamp clamp;
} atr_cpu_finish;

/* 3x3 weights of one strip of outputs and all inputs, and their points: taps of input i and output o begin at i in_step + o out_step; point number p of
 * them lies at p plane + i pitch + o. */
typedef struct atr_cpu_filter {
    const double (*g)[3]; /* winograd.c's G */
    int64_t inputs, outputs;
    const float *weights;
    int64_t in_step, out_step;
    bool turned; /* taps in reverse */
    float *points;
    int64_t plane, pitch;
} atr_cpu_filter;

/* A 1x1 convolution with what is behind it: to[p][o] = clamp(bias[o] + sum over i of from[p][i] weights[i][o] + residual[p][o]). */
typedef struct atr_cpu_layer {
    const float *from; /* pixels `from_stride` elements apart */
    int64_t from_stride, pixels, in, out;
    const float *weights, *bias; /* [strips][in][strip], [strips * strip]: filled up with zeros */
    const float *residual;       /* NULL: none */
    int64_t residual_stride;
    float *to;
    int64_t to_stride;
    atr_cpu_clamp clamp;
} atr_cpu_layer;

typedef struct atr_cpu_kernels {
    int lanes; /* floats in a vector */
    int outer_rows,
        outer_vectors; /* the tile of sums that outer() keeps in registers: a_count, vectors of b */
    int strip;         /* columns of b that product() and layer() take at once */

    void (*depthwise)(const atr_cpu_tap_row *row);
    void (*depthwise_weight_gradient)(const atr_cpu_tap_row *row);
    void (*outer)(const atr_cpu_outer *outer);

    /* Tiles of m x m outputs (m = 2, 3, 4) and (m+2) x (m+2) points, [plane] elements from one point to the next:
     * inputs to points, points to outputs, and the transpose of the latter. */
    void (*tile_input)(int m, const atr_cpu_patch *tile, int64_t channels, float *to, int64_t plane);
    void (*tile_output)(int m, const float *from, int64_t plane, int64_t channels, const atr_cpu_patch *tile,
                        const atr_cpu_finish *finish);
    void (*tile_spread)(int m, const atr_cpu_patch *tile, int64_t channels, float *to, int64_t plane);
    /* Weights to points, `points` (4, 5, 6) along a side; outputs beyond those there are are filled up to a strip with zeros. */
    void (*filter_points)(int points, const atr_cpu_filter *filter);
    /* The transpose: sums of points to the gradient of the weights, which lies as weights do. */
    void (*filter_gradient)(int points, const atr_cpu_filter *filter, float *gradient);
    /* to[i] = sum over k of a[i][k] * b[k], b [depth, strip] without gaps; `add`: on top of what is there. An element's bits do
     * not depend on how many rows there are. `next`: where the next strip will be read, or any other address. */
    void (*product)(const float *a, int64_t a_row, int64_t rows, int64_t depth, const float *b,
                    const float *next, float *to, int64_t to_row, bool add);

    /* Each number is one chain of sums, in the order of `in`: its bits depend on nothing else. */
    void (*layer)(const atr_cpu_layer *layer);

    /* One tile of pixels; `work` is [2*C]. */
    void (*moments)(const void *x, int64_t stride, int64_t pixels, int64_t channels, float *work,
                    atr_cpu_moments *moments);
    /* sums[c] += sum over pixels; `work` is [C]. */
    void (*column_sums)(const void *x, int64_t stride, int64_t pixels, int64_t channels, float *work,
                        double *sums);
    void (*normalise)(const void *x, int64_t x_stride, void *y, int64_t y_stride, int64_t pixels,
                      int64_t channels, const atr_cpu_affine *affine);
    /* sums += of dz = dy where the activation lets it pass; products += of dz (x - mean). One tile; `work` is [2*C]. */
    void (*norm_sums)(const void *x, int64_t x_stride, const void *dy, int64_t dy_stride, int64_t pixels,
                      int64_t channels, const atr_cpu_affine *affine, float *work, double *sums,
                      double *products);
    /* dx = scale dz + (slope (x - mean) + offset[C..2C-1]) + offset[0..C-1] */
    void (*norm_gradient)(const void *x, int64_t x_stride, const void *dy, int64_t dy_stride, void *dx,
                          int64_t dx_stride, int64_t pixels, int64_t channels, const atr_cpu_affine *affine,
                          const float *slope, const float *offset);

    void (*clamp)(const void *x, int64_t x_stride, void *y, int64_t y_stride, int64_t pixels,
                  int64_t channels, atr_cpu_clamp to);
    /* dx = dy where y is strictly inside the interval, else 0 */
    void (*clamp_gradient)(const void *y, int64_t y_stride, const void *dy, int64_t dy_stride, void *dx,
                           int64_t dx_stride, int64_t pixels, int64_t channels, atr_cpu_clamp to);
    void (*add)(const void *a, int64_t a_stride, const void *b, int64_t b_stride, void *y, int64_t y_stride,
                int64_t pixels, int64_t channels);
    /* Pixels whose first element is number `element` of its sample. */
    void (*dropout)(const void *from, int64_t from_stride, void *to, int64_t to_stride, int64_t pixels,
                    int64_t channels, const atr_cpu_dropout *how, int64_t element);

    /* A row of `count` pixels between two rows: (1 - weight) upper + weight lower, at `columns`. */
    void (*interpolate)(const float *upper, const float *lower, int64_t stride, float weight,
                        const atr_cpu_column *columns, int64_t count, int64_t channels, float *to,
                        int64_t to_stride);
    /* The same without columns: pixel by pixel. */
    void (*blend_rows)(const float *upper, const float *lower, int64_t stride, float weight, int64_t pixels,
                       int64_t channels, float *to, int64_t to_stride);
    /* to[p] = sum over terms of weights[i] * from[i][p] */
    void (*weighted_sum)(const float *const *from, const float *weights, int64_t terms, int64_t stride,
                         int64_t pixels, int64_t channels, float *to, int64_t to_stride);

    /* Cross-entropy of a row, weighted by class; gradient [width,padded] is added to, or NULL; votes are added to. Pixels
     * without a class vote too where `ignored` says so. */
    double (*loss_row)(const atr_cpu_class_row *row, const uint8_t *labels, const double *weights,
                       float *gradient, const atr_loss_votes *votes, bool ignored);
    /* The same for any form. */
    double (*loss_terms_row)(const atr_cpu_class_row *row, const uint8_t *labels,
                             const atr_cpu_loss_terms *terms, float *gradient, const atr_loss_votes *votes);
    /* First pass of a loss: adds to `own` and `all` [K] (of this row's task) and to the counters of `sums`. */
    void (*loss_sums_row)(const atr_cpu_class_row *row, const uint8_t *labels, const atr_loss_sums *sums,
                          double *own, double *all);
    /* Probabilities [count,padded]. */
    void (*softmax_row)(const atr_cpu_class_row *row, float *to);
    /* Labels of a row, straight from its logits. */
    void (*label_row)(const atr_cpu_class_row *row, uint8_t *ids);
    /* Label map of a row between two rows of probabilities [width,padded]; row->logits is not read. */
    void (*vote_row)(const float *upper, const float *lower, float weight, const atr_cpu_class_row *row,
                     const atr_cpu_votes *votes);

    /* Elements first .. end-1. */
    void (*sgd)(const atr_cpu_update *update, int64_t first, int64_t end);
    void (*adam)(const atr_cpu_update *update, int64_t first, int64_t end);
    void (*accumulate)(float *to, const float *from, int64_t first, int64_t end);
    void (*average)(float *mean, const float *values, int64_t first, int64_t end, float weight);
    double (*sum_squares)(const float *values, int64_t count);

    /* int8: strip and rows are the blocks of int8_product. */
    int int8_strip, int8_rows;
    void (*int8_product)(const atr_cpu_int8_product *product);
    void (*int8_taps)(const atr_cpu_int8_taps *taps);
    /* Minimal filtering in integers: pixels without their zero to points, points to outputs; as tile_input() and tile_output(). */
    void (*int8_tile_input)(int m, const atr_cpu_byte_patch *tile, int64_t channels, int16_t zero,
                            int16_t *to, int64_t plane);
    void (*int8_tile_output)(int m, const int32_t *from, int64_t plane, const atr_cpu_int8_tile *tile);
    void (*widen_bytes)(const uint8_t *from, int64_t count, int16_t zero, int16_t *to); /* from - zero */
    /* bytes = clamp(from * inverse[c]) + zero */
    void (*quantise)(const float *from, int64_t from_stride, uint8_t *to, int64_t to_stride, int64_t pixels,
                     int64_t channels, const float *inverse, int32_t zero);
} atr_cpu_kernels;

extern const atr_cpu_kernels atr_cpu_kernels_portable, atr_cpu_kernels_portable_bf16;
#if defined(__x86_64__)
extern const atr_cpu_kernels atr_cpu_kernels_avx2, atr_cpu_kernels_avx2_bf16;
extern const atr_cpu_kernels atr_cpu_kernels_avx512, atr_cpu_kernels_avx512_bf16;
#endif

#endif
