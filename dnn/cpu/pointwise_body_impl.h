/* Maps of one element, and dropout's mask. Included once per instruction level and type of element. */

#include <string.h>

#include "core/rng.h"
#include "dnn/cpu/kernels_impl.h"
#include "dnn/cpu/element_impl.h"

/* Tensors without gaps between their pixels are one long pixel. */
ATR_INLINE void join_pixels(bool no_gaps, int64_t *pixels, int64_t *channels)
{
    if (no_gaps) {
        *channels *= *pixels;
        *pixels = *pixels > 0;
    }
}

static void clamp(const void *from, int64_t x_stride, void *onto, int64_t y_stride, int64_t pixels,
                  int64_t channels, atr_cpu_clamp to)
{
    const vec low = vec_set(to.low), high = vec_set(to.high);
    const elem *x = from;
    elem *y = onto;

    join_pixels(x_stride == channels && y_stride == channels, &pixels, &channels);
    for (int64_t p = 0; p < pixels; p++, x += x_stride, y += y_stride) {
        int64_t c = 0;
        for (; c + LANES <= channels; c += LANES)
            elem_store(y + c, vec_act(elem_load(x + c), low, high));
        if (c < channels)
            elem_store_part(y + c, vec_act(elem_load_part(x + c, channels - c), low, high), channels - c);
    }
}

static void clamp_gradient(const void *from_y, int64_t y_stride, const void *from_dy, int64_t dy_stride,
                           void *onto, int64_t dx_stride, int64_t pixels, int64_t channels, atr_cpu_clamp to)
{
    const vec low = vec_set(to.low), high = vec_set(to.high);
    const elem *y = from_y, *dy = from_dy;
    elem *dx = onto;

    join_pixels(y_stride == channels && dy_stride == channels && dx_stride == channels, &pixels, &channels);
    for (int64_t p = 0; p < pixels; p++, y += y_stride, dy += dy_stride, dx += dx_stride)
        for (int64_t c = 0; c < channels; c += LANES) {
            const int64_t part = channels - c;
            elem_store_part(
                dx + c,
                vec_keep_between(elem_load_part(dy + c, part), elem_load_part(y + c, part), low, high), part);
        }
}

static void add(const void *from_a, int64_t a_stride, const void *from_b, int64_t b_stride, void *to,
                int64_t y_stride, int64_t pixels, int64_t channels)
{
    const elem *a = from_a, *b = from_b;
    elem *y = to;

    join_pixels(a_stride == channels && b_stride == channels && y_stride == channels, &pixels, &channels);
    for (int64_t p = 0; p < pixels; p++, a += a_stride, b += b_stride, y += y_stride)
        for (int64_t c = 0; c < channels; c += LANES) {
            const int64_t part = channels - c;
            elem_store_part(y + c, elem_load_part(a + c, part) + elem_load_part(b + c, part), part);
        }
}

enum { DROPOUT_WORDS = 64, DROPOUT_LANES = 8, DROPOUT_PER_WORD = 4 };

typedef uint64_t dropout_words __attribute__((vector_size(DROPOUT_LANES * sizeof(uint64_t))));

/* Numbers first .. first+DROPOUT_WORDS-1 of stream `key`, as atr_rng_u64() gives them. */
static void draw_words(uint64_t key, uint64_t first, uint64_t *words)
{
    const uint64_t step = 0x9E3779B97F4A7C15u;
    dropout_words x;

    for (uint64_t i = 0; i < DROPOUT_LANES; i++)
        x[i] = key + (first + i) * step;
    for (int i = 0; i < DROPOUT_WORDS; i += DROPOUT_LANES, x += step * DROPOUT_LANES) {
        dropout_words z = x;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        z = z ^ (z >> 31);
        memcpy(words + i, &z, sizeof z);
    }
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "a word's low 16 bits come first in memory");

/* to = kept ? from * scale : 0 for `count` elements whose 16-bit parts lie at `parts`. */
static void drop_run(const elem *from, elem *to, int64_t count, const uint16_t *parts, uint32_t threshold,
                     float scale)
{
    typedef uint16_t part_vec __attribute__((vector_size(LANES * sizeof(uint16_t))));
    const vec by = vec_set(scale);
    const ivec limit = (ivec){0} + (int32_t)threshold;

    for (int64_t i = 0; i < count; i += LANES) {
        part_vec drawn;
        memcpy(&drawn, parts + i, sizeof drawn);
        const ivec kept = __builtin_convertvector(drawn, ivec) >= limit;
        const vec x = elem_load_part(from + i, count - i) * by;
        elem_store_part(to + i, (vec)((ivec)x & kept), count - i);
    }
}

/* Elements `element` .. of the sample: see dnn/dropout.h. */
static void drop(const elem *from, elem *to, int64_t count, const atr_cpu_dropout *how, int64_t element)
{
    enum { PARTS = DROPOUT_WORDS * DROPOUT_PER_WORD };
    uint64_t words[DROPOUT_WORDS + LANES]; /* some more, so that a whole vector can be read at the end */
    uint16_t parts[PARTS + LANES];

    memset(words + DROPOUT_WORDS, 0, sizeof words - DROPOUT_WORDS * sizeof words[0]);
    while (count > 0) {
        const int64_t lead = element % DROPOUT_PER_WORD;
        const int64_t run = count < PARTS - lead ? count : PARTS - lead;
        draw_words(how->key, (uint64_t)(element / DROPOUT_PER_WORD), words);
        memcpy(parts, (const char *)words + (size_t)lead * sizeof parts[0], sizeof parts);
        drop_run(from, to, run, parts, how->threshold, how->scale);
        from += run;
        to += run;
        element += run;
        count -= run;
    }
}

static void dropout(const void *from_pixels, int64_t from_stride, void *to_pixels, int64_t to_stride,
                    int64_t pixels, int64_t channels, const atr_cpu_dropout *how, int64_t element)
{
    const elem *from = from_pixels;
    elem *to = to_pixels;

    join_pixels(from_stride == channels && to_stride == channels, &pixels, &channels);
    for (int64_t p = 0; p < pixels; p++, from += from_stride, to += to_stride, element += channels)
        drop(from, to, channels, how, element);
}
