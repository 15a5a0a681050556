/* Weights of 3x3 convolutions into points and gradients out of points (dnn/cpu/winograd.c says how): G w G' and G' s G, for
 * outputs side by side, in double. Included once per instruction level; all levels round alike. */

#include "dnn/cpu/kernels_impl.h"
#include "dnn/cpu/vec_impl.h"

enum { FILTER_SIDE = 3, FILTER_TAPS = FILTER_SIDE * FILTER_SIDE, FILTER_LANES = LANES / 2 };

typedef double filter_vec __attribute__((vector_size(FILTER_LANES * sizeof(double))));
typedef float filter_half __attribute__((vector_size(FILTER_LANES * sizeof(float))));
typedef float filter_half_at
    __attribute__((vector_size(FILTER_LANES * sizeof(float)), aligned(sizeof(float)), may_alias));

/* G with each element in all lanes. */
typedef struct filter_matrix {
    filter_vec g[ATR_CPU_TILE_MOST + 2][FILTER_SIDE];
} filter_matrix;

ATR_INLINE filter_matrix filter_spread(int points, const double (*g)[FILTER_SIDE])
{
    filter_matrix matrix;

    for (int i = 0; i < points; i++)
        for (int k = 0; k < FILTER_SIDE; k++)
            matrix.g[i][k] = g[i][k] - (filter_vec){0.0};
    return matrix;
}

/* Taps of `count` outputs, `step` apart, 0 in the lanes beyond. */
ATR_INLINE void filter_load(const float *weights, int64_t step, int64_t count, bool turned, filter_vec *taps)
{
    for (int t = 0; t < FILTER_TAPS; t++) {
        const float *w = weights + (turned ? FILTER_TAPS - 1 - t : t);
        filter_vec all = {0.0};
        for (int64_t o = 0; o < FILTER_LANES; o++)
            all[o] = o < count ? (double)w[o * step] : 0.0;
        taps[t] = all;
    }
}

ATR_INLINE void filter_points_of(int points, const filter_matrix *m, const filter_vec *taps, float *to,
                                 int64_t plane)
{
    for (int i = 0; i < points; i++) {
        const filter_vec *g = m->g[i];
        filter_vec half[FILTER_SIDE];
        for (int kx = 0; kx < FILTER_SIDE; kx++)
            half[kx] = g[0] * taps[kx] + g[1] * taps[FILTER_SIDE + kx] + g[2] * taps[2 * FILTER_SIDE + kx];
        for (int j = 0; j < points; j++) {
            const filter_vec *right = m->g[j];
            const filter_vec point = right[0] * half[0] + right[1] * half[1] + right[2] * half[2];
            *(filter_half_at *)(to + (i * points + j) * plane) = __builtin_convertvector(point, filter_half);
        }
    }
}

ATR_INLINE void filter_points_by(int points, const atr_cpu_filter *f)
{
    enum { STRIP = PRODUCT_VECTORS * LANES };
    const filter_matrix m = filter_spread(points, f->g);

    for (int64_t i = 0; i < f->inputs; i++)
        for (int64_t o = 0; o < STRIP; o += FILTER_LANES) {
            filter_vec taps[FILTER_TAPS];
            filter_load(f->weights + i * f->in_step + o * f->out_step, f->out_step, f->outputs - o, f->turned,
                        taps);
            filter_points_of(points, &m, taps, f->points + i * STRIP + o, f->plane);
        }
}

static void filter_points(int points, const atr_cpu_filter *filter)
{
    if (points == 4)
        filter_points_by(4, filter);
    else if (points == 5)
        filter_points_by(5, filter);
    else
        filter_points_by(6, filter);
}

ATR_INLINE void filter_sums_of(int points, const filter_matrix *m, const float *from, int64_t plane,
                               filter_vec *taps)
{
    for (int t = 0; t < FILTER_TAPS; t++)
        taps[t] = (filter_vec){0.0};
    for (int j = 0; j < points; j++) {
        filter_vec half[FILTER_SIDE] = {{0.0}};
        for (int i = 0; i < points; i++) {
            const filter_half point = *(const filter_half_at *)(from + (i * points + j) * plane);
            const filter_vec s = __builtin_convertvector(point, filter_vec);
            for (int ky = 0; ky < FILTER_SIDE; ky++)
                half[ky] += m->g[i][ky] * s;
        }
        for (int ky = 0; ky < FILTER_SIDE; ky++)
            for (int kx = 0; kx < FILTER_SIDE; kx++)
                taps[ky * FILTER_SIDE + kx] += m->g[j][kx] * half[ky];
    }
}

ATR_INLINE void filter_gradient_by(int points, const atr_cpu_filter *f, float *gradient)
{
    const filter_matrix m = filter_spread(points, f->g);

    for (int64_t i = 0; i < f->inputs; i++)
        for (int64_t o = 0; o < f->outputs; o += FILTER_LANES) {
            float *const to = gradient + i * f->in_step + o * f->out_step;
            filter_vec taps[FILTER_TAPS];
            filter_sums_of(points, &m, f->points + i * f->pitch + o, f->plane, taps);
            for (int64_t lane = 0; lane < FILTER_LANES && o + lane < f->outputs; lane++)
                for (int t = 0; t < FILTER_TAPS; t++)
                    to[lane * f->out_step + t] = (float)taps[t][lane];
        }
}

static void filter_gradient(int points, const atr_cpu_filter *filter, float *gradient)
{
    if (points == 4)
        filter_gradient_by(4, filter, gradient);
    else if (points == 5)
        filter_gradient_by(5, filter, gradient);
    else
        filter_gradient_by(6, filter, gradient);
}
