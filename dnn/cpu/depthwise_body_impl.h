/* Depthwise convolution, forward and data gradient (one sweep for both: see atr_cpu_tap_row), and weight gradient.
 * Included once per instruction level and type of element; weights and their gradients are f32. */

#include "dnn/cpu/kernels_impl.h"
#include "dnn/cpu/element_impl.h"

enum {
    DEPTHWISE_PIXELS = 4,  /* target pixels side by side: a weight is read once for all */
    DEPTHWISE_VECTORS = 2, /* vectors of channels side by side */
    DEPTHWISE_TAPS = 3     /* taps of a weight gradient side by side */
};

/* The targets j in [first, end) whose source pixel j*step + offset lies in [0, width). */
ATR_INLINE void tap_range(const atr_cpu_tap_row *row, int64_t offset, int64_t *first, int64_t *end)
{
    *first = offset >= 0 ? 0 : (-offset + row->step - 1) / row->step;
    *end = offset >= row->width ? 0 : (row->width - 1 - offset) / row->step + 1;
    if (*end > row->count)
        *end = row->count;
    if (*first > *end)
        *first = *end;
}

/* `pixels` targets from j on, `vectors` vectors of channels from c on; the last vector has `part` channels.
 * from[t] is what tap t meets at target j; `ahead` (or NULL) are the source pixels that the next block is the first to read. */
ATR_INLINE void depthwise_block(const atr_cpu_tap_row *row, const elem *const *from,
                                const float *const *weights, int taps, const elem *ahead, int64_t j,
                                int64_t c, int pixels, int vectors, int64_t part)
{
    const vec low = vec_set(row->clamp.low), high = vec_set(row->clamp.high);
    const int64_t step = row->step * row->stride;
    vec sums[DEPTHWISE_PIXELS][DEPTHWISE_VECTORS];

    for (int p = 0; p < pixels && ahead != NULL; p++)
        for (int v = 0; v < vectors; v++)
            __builtin_prefetch(ahead + c + p * step + v * LANES);
    for (int p = 0; p < pixels; p++)
        for (int v = 0; v < vectors; v++)
            sums[p][v] = row->bias != NULL ? vec_load_part(row->bias + c + v * LANES, part) : vec_zero();
    for (int t = 0; t < taps; t++) {
        const elem *x = from[t] + c;
        const float *w = weights[t] + c;
        vec weight[DEPTHWISE_VECTORS];
        for (int v = 0; v < vectors; v++)
            weight[v] = vec_load_part(w + v * LANES, part);
        for (int p = 0; p < pixels; p++)
            for (int v = 0; v < vectors; v++)
                sums[p][v] = vec_fma(elem_load_part(x + p * step + v * LANES, part), weight[v], sums[p][v]);
    }
    for (int p = 0; p < pixels; p++)
        for (int v = 0; v < vectors; v++) {
            const int64_t at = c + v * LANES;
            if (row->residual != NULL)
                sums[p][v] =
                    sums[p][v] +
                    elem_load_part((const elem *)row->residual + (j + p) * row->residual_stride + at, part);
            elem_store_part((elem *)row->target + (j + p) * row->target_stride + at,
                            vec_act(sums[p][v], low, high), part);
        }
}

/* All channels of `pixels` targets from j on; every tap given meets a source pixel for each of them. */
ATR_INLINE void depthwise_pixels(const atr_cpu_tap_row *row, const elem *const *from,
                                 const float *const *weights, int taps, const elem *ahead, int64_t j,
                                 int pixels)
{
    const int64_t channels = row->channels;
    int64_t c = 0;

    for (; c + DEPTHWISE_VECTORS * LANES <= channels; c += DEPTHWISE_VECTORS * LANES)
        depthwise_block(row, from, weights, taps, ahead, j, c, pixels, DEPTHWISE_VECTORS, LANES);
    for (; c + LANES <= channels; c += LANES)
        depthwise_block(row, from, weights, taps, ahead, j, c, pixels, 1, LANES);
    if (c < channels)
        depthwise_block(row, from, weights, taps, ahead, j, c, pixels, 1, channels - c);
}

/* Near an end of the row some taps meet nothing. */
static void depthwise_edge(const atr_cpu_tap_row *row, int64_t j)
{
    const elem *from[ATR_CPU_MAX_TAPS];
    const float *weights[ATR_CPU_MAX_TAPS];
    int taps = 0;

    for (int t = 0; t < row->tap_count; t++) {
        const int64_t at = j * row->step + row->taps[t].offset;
        if (at < 0 || at >= row->width)
            continue;
        from[taps] = (const elem *)row->taps[t].row + at * row->stride;
        weights[taps++] = row->taps[t].weight;
    }
    depthwise_pixels(row, from, weights, taps, NULL, j, 1);
}

static void depthwise(const atr_cpu_tap_row *row)
{
    const elem *from[ATR_CPU_MAX_TAPS];
    const float *weights[ATR_CPU_MAX_TAPS];
    const int64_t block = DEPTHWISE_PIXELS * row->step * row->stride;
    int64_t first = 0, end = row->count, j = 0;
    int leader = -1; /* the tap that sees a source pixel first: the lowest row's rightmost */

    for (int t = 0; t < row->tap_count; t++) {
        int64_t tap_first, tap_end;
        tap_range(row, row->taps[t].offset, &tap_first, &tap_end);
        first = tap_first > first ? tap_first : first;
        end = tap_end < end ? tap_end : end;
        const char *const at = row->taps[t].row, *const most = leader < 0 ? NULL : row->taps[leader].row;
        if (leader < 0 || at > most || (at == most && row->taps[t].offset > row->taps[leader].offset))
            leader = t;
    }
    for (; j < first && j < row->count; j++)
        depthwise_edge(row, j);
    for (int t = 0; t < row->tap_count; t++) {
        from[t] = (const elem *)row->taps[t].row + (j * row->step + row->taps[t].offset) * row->stride;
        weights[t] = row->taps[t].weight;
    }
    for (; j + DEPTHWISE_PIXELS <= end; j += DEPTHWISE_PIXELS) {
        const elem *ahead = leader < 0 ? NULL : from[leader] + block;
        depthwise_pixels(row, from, weights, row->tap_count, ahead, j, DEPTHWISE_PIXELS);
        for (int t = 0; t < row->tap_count; t++)
            from[t] += block;
    }
    for (; j < row->count; j++)
        depthwise_edge(row, j);
}

/* sums[t][v] += sum of dy * x over targets first .. end-1, where each of the `taps` taps meets a source pixel. */
ATR_INLINE void weight_gradient_sums(const atr_cpu_tap_row *row, const atr_cpu_tap *tap, int taps, int64_t c,
                                     int vectors, int64_t part, int64_t first, int64_t end,
                                     vec sums[][DEPTHWISE_VECTORS])
{
    for (int64_t j = first; j < end; j++) {
        const elem *dy = (const elem *)row->target + j * row->target_stride + c;
        vec gradient[DEPTHWISE_VECTORS];
        for (int v = 0; v < vectors; v++)
            gradient[v] = elem_load_part(dy + v * LANES, part);
        for (int t = 0; t < taps; t++) {
            const elem *x = (const elem *)tap[t].row + (j * row->step + tap[t].offset) * row->stride + c;
            for (int v = 0; v < vectors; v++)
                sums[t][v] = vec_fma(gradient[v], elem_load_part(x + v * LANES, part), sums[t][v]);
        }
    }
}

/* gradient[t] += sum over targets of dy * x, for `taps` neighbouring taps and some channels. The sum of one row is taken in
 * registers before it is added: two short chains of additions instead of a long one. Targets that all taps meet come first,
 * together; then what is left of each tap near the ends. */
ATR_INLINE void weight_gradient_block(const atr_cpu_tap_row *row, const atr_cpu_tap *tap, int taps, int64_t c,
                                      int vectors, int64_t part)
{
    vec sums[DEPTHWISE_TAPS][DEPTHWISE_VECTORS];
    int64_t tap_first[DEPTHWISE_TAPS], tap_end[DEPTHWISE_TAPS];
    int64_t first = 0, end = row->count;

    for (int t = 0; t < taps; t++) {
        tap_range(row, tap[t].offset, &tap_first[t], &tap_end[t]);
        first = tap_first[t] > first ? tap_first[t] : first;
        end = tap_end[t] < end ? tap_end[t] : end;
        for (int v = 0; v < vectors; v++)
            sums[t][v] = vec_zero();
    }
    end = end > first ? end : first;
    weight_gradient_sums(row, tap, taps, c, vectors, part, first, end, sums);
    for (int t = 0; t < taps; t++) {
        const int64_t left = tap_end[t] < first ? tap_end[t] : first;
        const int64_t right = tap_first[t] > end ? tap_first[t] : end;
        weight_gradient_sums(row, tap + t, 1, c, vectors, part, tap_first[t], left, sums + t);
        weight_gradient_sums(row, tap + t, 1, c, vectors, part, right, tap_end[t], sums + t);
        for (int v = 0; v < vectors; v++) {
            float *to = tap[t].gradient + c + v * LANES;
            vec_store_part(to, vec_load_part(to, part) + sums[t][v], part);
        }
    }
}

ATR_INLINE void weight_gradient_taps(const atr_cpu_tap_row *row, const atr_cpu_tap *tap, int taps)
{
    const int64_t channels = row->channels;
    int64_t c = 0;

    for (; c + DEPTHWISE_VECTORS * LANES <= channels; c += DEPTHWISE_VECTORS * LANES)
        weight_gradient_block(row, tap, taps, c, DEPTHWISE_VECTORS, LANES);
    for (; c + LANES <= channels; c += LANES)
        weight_gradient_block(row, tap, taps, c, 1, LANES);
    if (c < channels)
        weight_gradient_block(row, tap, taps, c, 1, channels - c);
}

static void depthwise_weight_gradient(const atr_cpu_tap_row *row)
{
    int t = 0;

    for (; t + DEPTHWISE_TAPS <= row->tap_count; t += DEPTHWISE_TAPS)
        weight_gradient_taps(row, &row->taps[t], DEPTHWISE_TAPS);
    for (; t < row->tap_count; t++)
        weight_gradient_taps(row, &row->taps[t], 1);
}
