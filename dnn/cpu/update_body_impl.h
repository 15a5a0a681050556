/* Optimisers' passes over flat blocks, and the sum of squares. Included once per instruction level. */

#include "dnn/cpu/kernels_impl.h"
#include "dnn/cpu/vec_impl.h"

static void sgd(const atr_cpu_update *u, int64_t first, int64_t end)
{
    const vec scale = vec_set(u->scale), decay = vec_set(u->weight_decay), lr = vec_set(-u->lr);
    const vec momentum = vec_set(u->momentum);

    for (int64_t i = first; i < end; i += LANES) {
        const int64_t part = end - i;
        const vec p = vec_load_part(u->values + i, part);
        const vec g = vec_fma(decay, p, scale * vec_load_part(u->gradients + i, part));
        const vec m = vec_fma(momentum, vec_load_part(u->m + i, part), g);
        vec_store_part(u->m + i, m, part);
        vec_store_part(u->values + i, vec_fma(lr, u->nesterov ? vec_fma(momentum, m, g) : m, p), part);
    }
}

static void adam(const atr_cpu_update *u, int64_t first, int64_t end)
{
    const vec scale = vec_set(u->scale), decay = vec_set(u->weight_decay), eps = vec_set(u->eps);
    const vec b1 = vec_set(u->momentum), rest1 = vec_set(u->rest1), b2 = vec_set(u->beta2);
    const vec rest2 = vec_set(u->rest2), lr = vec_set(-u->lr), unbias2 = vec_set(u->unbias2);
    const vec shrink = vec_set(-u->shrink);

    for (int64_t i = first; i < end; i += LANES) {
        const int64_t part = end - i;
        const vec p = vec_load_part(u->values + i, part);
        const vec g = vec_fma(decay, p, scale * vec_load_part(u->gradients + i, part));
        const vec m = vec_fma(b1, vec_load_part(u->m + i, part), rest1 * g);
        const vec v = vec_fma(b2, vec_load_part(u->v + i, part), rest2 * g * g);
        vec_store_part(u->m + i, m, part);
        vec_store_part(u->v + i, v, part);
        const vec kept = vec_fma(shrink, p, p);
        vec_store_part(u->values + i, vec_fma(lr, m / (vec_sqrt(v * unbias2) + eps), kept), part);
    }
}

static void accumulate(float *to, const float *from, int64_t first, int64_t end)
{
    for (int64_t i = first; i < end; i += LANES) {
        const int64_t part = end - i;
        vec_store_part(to + i, vec_load_part(to + i, part) + vec_load_part(from + i, part), part);
    }
}

static void average(float *mean, const float *values, int64_t first, int64_t end, float weight)
{
    const vec w = vec_set(weight);

    for (int64_t i = first; i < end; i += LANES) {
        const int64_t part = end - i;
        const vec old = vec_load_part(mean + i, part);
        vec_store_part(mean + i, vec_fma(w, vec_load_part(values + i, part) - old, old), part);
    }
}

/* Sixteen sums side by side, whatever the width of vectors. */
static double sum_squares(const float *values, int64_t count)
{
    enum { SUMS = 16 };
    double sums[SUMS] = {0.0};
    int64_t i = 0;

    for (; i + SUMS <= count; i += SUMS)
        for (int k = 0; k < SUMS; k++)
            sums[k] += (double)values[i + k] * (double)values[i + k];
    for (int k = 0; i < count; i++, k++)
        sums[k] += (double)values[i] * (double)values[i];
    for (int k = 1; k < SUMS; k++)
        sums[0] += sums[k];
    return sums[0];
}
