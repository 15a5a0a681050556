/* Sums of outer products over pixels: what a weight gradient is made of. Included once per instruction level.
 *
 * A tile of sums stays in registers while pixels go by; both operands are read as they lie, [pixels, channels], so nothing is
 * packed or transposed. Per pixel each vector of b is read once and each element of a is broadcast once: products, not
 * loads, are what it waits for. What a call adds is rounded in its own registers alone where the sums are compensated: the order of calls
 * then hardly matters. */

#include "dnn/cpu/kernels_impl.h"
#include "dnn/cpu/vec_impl.h"

enum {
    OUTER_VECTORS = 3,                /* of b */
    OUTER_ROWS = LANES == 16 ? 8 : 4, /* elements of a: as many as there are registers for */
};

ATR_INLINE void outer_add(const atr_cpu_outer *o, int64_t at, vec term)
{
    vec sum = vec_load(o->sums + at);

    if (o->lost == NULL) {
        vec_store(o->sums + at, sum + term);
        return;
    }
    vec lost = vec_load(o->lost + at);
    vec_add_compensated(&sum, &lost, term);
    vec_store(o->sums + at, sum);
    vec_store(o->lost + at, lost);
}

ATR_INLINE void outer_tile(const atr_cpu_outer *o, int rows, int vectors, int64_t part)
{
    const int64_t a_step = o->a_pixel, b_step = o->b_pixel;
    vec sums[OUTER_ROWS][OUTER_VECTORS];

    for (int i = 0; i < rows; i++)
        for (int v = 0; v < vectors; v++)
            sums[i][v] = vec_zero();
    for (int64_t row = 0; row < o->rows; row++) {
        const float *a = o->a + row * o->a_row, *b = o->b + row * o->b_row;
        for (int64_t p = 0; p < o->pixels; p++, a += a_step, b += b_step) {
            vec right[OUTER_VECTORS];
            for (int v = 0; v < vectors; v++)
                right[v] = vec_load_part(b + v * LANES, v < vectors - 1 ? LANES : part);
            for (int i = 0; i < rows; i++) {
                const vec left = vec_set(a[i]);
                for (int v = 0; v < vectors; v++)
                    sums[i][v] = vec_fma(left, right[v], sums[i][v]);
            }
        }
    }
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < vectors; v++)
            outer_add(o, i * o->pitch + v * LANES, sums[i][v]);
}

/* Whole vectors have code of their own: no masks. */
ATR_INLINE void outer_vectors(const atr_cpu_outer *o, int rows, int vectors)
{
    const int64_t part = o->b_count - (vectors - 1) * LANES;

    if (part == LANES)
        outer_tile(o, rows, vectors, LANES);
    else
        outer_tile(o, rows, vectors, part);
}

ATR_INLINE void outer_rows(const atr_cpu_outer *o, int rows)
{
    if (o->b_count > 2 * LANES)
        outer_vectors(o, rows, 3);
    else if (o->b_count > LANES)
        outer_vectors(o, rows, 2);
    else
        outer_vectors(o, rows, 1);
}

static void outer(const atr_cpu_outer *whole)
{
    atr_cpu_outer o = *whole;

    while (o.a_count > 0) {
        const int rows = o.a_count >= OUTER_ROWS ? OUTER_ROWS : o.a_count >= 4 ? 4 : o.a_count >= 2 ? 2 : 1;
        if (rows == OUTER_ROWS)
            outer_rows(&o, OUTER_ROWS);
        else if (rows == 4)
            outer_rows(&o, 4);
        else if (rows == 2)
            outer_rows(&o, 2);
        else
            outer_rows(&o, 1);
        o.a += rows;
        o.sums += rows * o.pitch;
        if (o.lost != NULL)
            o.lost += rows * o.pitch;
        o.a_count -= rows;
    }
}
