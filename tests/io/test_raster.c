#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "io/raster.h"
#include "tests/support/picture.h"

/* What is expected was drawn by Pillow 13 through labelme 6.3's shape_to_mask, from the same coordinates. */

enum { WIDTH = 24, HEIGHT = 14, MOST_POINTS = 16 };

typedef struct drawing {
    const char *type;
    int64_t count;
    double xy[2 * MOST_POINTS];
    const char *rows[HEIGHT];
} drawing;

static const drawing drawings[] = {
    {"polygon",
     5,
     {2.7, 1.2, 21.9, 2.5, 12, 7, 20, 12.99, 3, 11},
     {"........................", "..#.....................", "..####################..",
      "..##################....", "..################......", "..###############.......",
      "...############.........", "...##########...........", "...############.........",
      "...#############........", "...###############......", "...################.....",
      "...................##...", "........................"}},
    {"polygon",
     4,
     {1, 1, 22, 12, 22, 1, 1, 12},
     {"........................", ".#....................#.", ".###................###.",
      ".#####............#####.", ".#######........#######.", ".#########....#########.",
      ".######################.", ".######################.", ".#########....#########.",
      ".#######........#######.", ".#####............#####.", ".###................###.",
      ".#....................#.", "........................"}},
    {"polygon",
     4,
     {-8, 5, 12, -6, 30, 8, 10, 25},
     {".####################...", "######################..", "#######################.",
      "########################", "########################", "########################",
      "########################", "########################", "########################",
      "########################", "########################", "########################",
      "########################", "########################"}},
    {"polygon",
     3,
     {3, 5, 18.9, 5.9, 9, 5},
     {"........................", "........................", "........................",
      "........................", "........................", "...################.....",
      "........................", "........................", "........................",
      "........................", "........................", "........................",
      "........................", "........................"}},
    {"rectangle",
     2,
     {20.6, 10.2, 4.9, 3.1},
     {"........................", "........................", "........................",
      "....#################...", "....#################...", "....#################...",
      "....#################...", "....#################...", "....#################...",
      "....#################...", "....#################...", "........................",
      "........................", "........................"}},
    {"circle",
     2,
     {11.5, 6.5, 15.2, 9.1},
     {"........................", ".........#####..........", "........#######.........",
      ".......#########........", "......###########.......", "......###########.......",
      "......###########.......", "......###########.......", "......###########.......",
      ".......#########........", "........#######.........", ".........#####..........",
      "........................", "........................"}},
    {"line",
     2,
     {4, 3, 19, 9},
     {"......###...............", ".....#######............", ".....#########..........",
      ".....############.......", "....###############.....", "....##################..",
      "....##################..", "...##################...", "...##################...",
      "......###############...", "........############....", "...........#########....",
      ".............#######....", "................###....."}},
    {"linestrip",
     3,
     {-3, 2, 12, 11, 30, 0},
     {"###...................##", "####................####", "######.............#####",
      "########.........#######", "#########.......########", "###########...##########",
      "########################", "########################", "########################",
      "########################", "..#####################.", "...###################..",
      ".....###############....", ".......#####.#####......"}},
    {"point",
     1,
     {6.4, 7.8},
     {"........................", "........................", "....#####...............",
      "...#######..............", "..#########.............", ".###########............",
      ".###########............", ".###########............", ".###########............",
      ".###########............", "..#########.............", "...#######..............",
      "....#####...............", "........................"}},
};

static void must(atr_status status)
{
    if (status != ATR_OK)
        fail_msg("%s", atr_status_message());
}

static void draw_disc(atr_mask *mask, const double centre[2], double radius)
{
    const double low[2] = {centre[0] - radius, centre[1] - radius};
    const double high[2] = {centre[0] + radius, centre[1] + radius};

    atr_raster_ellipse(mask, low, high, 1);
}

static void draw(atr_mask *mask, const char *type, const double *xy, int64_t count)
{
    if (strcmp(type, "polygon") == 0) {
        must(atr_raster_polygon(mask, xy, count, 1));
    } else if (strcmp(type, "rectangle") == 0) {
        atr_raster_rectangle(mask, xy, xy + 2, 1);
    } else if (strcmp(type, "circle") == 0) {
        const double dx = xy[0] - xy[2], dy = xy[1] - xy[3];
        draw_disc(mask, xy, __builtin_sqrt(dx * dx + dy * dy));
    } else if (strcmp(type, "point") == 0) {
        draw_disc(mask, xy, 5);
    } else {
        must(atr_raster_lines(mask, xy, count, 10, 1));
    }
}

static atr_mask make_mask(int64_t width, int64_t height)
{
    atr_mask mask = {width, height, NULL};

    must(ATR_NEW(width * height, &mask.values));
    return mask;
}

static void each_shape_has_the_pixels_of_pillow(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof drawings / sizeof *drawings; i++) {
        const drawing *d = &drawings[i];
        atr_mask mask = make_mask(WIDTH, HEIGHT);
        char row[WIDTH + 1] = "";

        draw(&mask, d->type, d->xy, d->count);
        for (int y = 0; y < HEIGHT; y++) {
            for (int x = 0; x < WIDTH; x++)
                row[x] = mask.values[y * WIDTH + x] != 0 ? '#' : '.';
            if (strcmp(row, d->rows[y]) != 0)
                fail_msg("drawing %zu (%s), row %d: %s instead of %s", i, d->type, y, row, d->rows[y]);
        }
        atr_mask_free(&mask);
    }
}

/* A generator that is easily written in any language. */
static int64_t next_below(uint64_t *state, int64_t n)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (int64_t)((*state >> 33) % (uint64_t)n);
}

static double coordinate(uint64_t *state, int64_t style, int64_t size)
{
    if (style == 0)
        return (double)next_below(state, size * 16) / 16.0;
    if (style == 1)
        return (double)next_below(state, size + 1);
    if (style == 2)
        return (double)next_below(state, size * 48) / 16.0 - (double)size;
    const double whole = (double)next_below(state, 5);
    return whole + (double)next_below(state, 4) / 4.0;
}

static uint64_t hash_on(uint64_t hash, const atr_mask *mask, int64_t *set)
{
    for (int64_t i = 0; i < mask->width * mask->height; i++) {
        hash = (hash ^ (mask->values[i] != 0)) * UINT64_C(1099511628211);
        *set += mask->values[i] != 0;
    }
    return hash;
}

static const struct golden {
    const char *type;
    int64_t least, most; /* points */
    int64_t set;         /* pixels of all shapes */
    uint64_t hash;       /* FNV-1a of all masks, a byte 0 or 1 for each pixel */
} goldens[] = {
    {"polygon", 3, 14, 39702, UINT64_C(0xecded292560aeb51)},
    {"rectangle", 2, 2, 23355, UINT64_C(0x624ed743f19cd854)},
    {"circle", 2, 2, 73489, UINT64_C(0x8fb29d8bf56f97c4)},
    {"line", 2, 2, 26445, UINT64_C(0x9f9afef617df1618)},
    {"linestrip", 1, 6, 46456, UINT64_C(0xe5b01c7a3031bc8f)},
    {"point", 1, 1, 19118, UINT64_C(0xb555d1f35f736189)},
};

/* 400 shapes of each type on canvases of 1x1 to 40x40: whole, halved and outlying coordinates, crossing and doubled sides. */
static void random_shapes_have_the_pixels_of_pillow(void **state)
{
    (void)state;
    for (size_t g = 0; g < sizeof goldens / sizeof *goldens; g++) {
        const struct golden *golden = &goldens[g];
        uint64_t random = strlen(golden->type), hash = picture_hash(NULL, 0);
        int64_t set = 0;

        for (int i = 0; i < 400; i++) {
            const int64_t width = 1 + next_below(&random, 40), height = 1 + next_below(&random, 40);
            const int64_t style = next_below(&random, 4), range = golden->most - golden->least + 1;
            const int64_t count = golden->least + (range > 1 ? next_below(&random, range) : 0);
            atr_mask mask = make_mask(width, height);
            double xy[2 * MOST_POINTS];
            for (int64_t k = 0; k < count; k++) {
                xy[2 * k] = coordinate(&random, style, width);
                xy[2 * k + 1] = coordinate(&random, style, height);
            }
            draw(&mask, golden->type, xy, count);
            hash = hash_on(hash, &mask, &set);
            atr_mask_free(&mask);
        }
        if (set != golden->set || hash != golden->hash)
            fail_msg("%s: %lld pixels, hash %016llx", golden->type, (long long)set, (unsigned long long)hash);
    }
}

static int64_t count_set(const atr_mask *mask)
{
    int64_t set = 0;

    for (int64_t i = 0; i < mask->width * mask->height; i++)
        set += mask->values[i] != 0;
    return set;
}

static void a_circle_larger_than_any_picture_covers_it(void **state)
{
    (void)state;
    atr_mask mask = make_mask(40, 30);

    draw_disc(&mask, (const double[2]){20, 15}, 9e7);
    assert_int_equal(count_set(&mask), 40 * 30);
    memset(mask.values, 0, 40 * 30 * sizeof *mask.values);
    draw_disc(&mask, (const double[2]){20 + 9e7, 15}, 9e7); /* its left edge runs down column 20 */
    assert_int_equal(count_set(&mask), 20 * 30);
    assert_int_equal(mask.values[15 * 40 + 20], 1);
    assert_int_equal(mask.values[15 * 40 + 19], 0);
    atr_mask_free(&mask);
}

/* The same left edge, drawn by either way of drawing: not a pixel apart in any row. */
static void large_circles_go_on_where_small_ones_end(void **state)
{
    (void)state;
    const double radii[2] = {19999, 20001};
    atr_mask masks[2];

    for (int i = 0; i < 2; i++) {
        masks[i] = make_mask(64, 2000);
        draw_disc(&masks[i], (const double[2]){10 + radii[i], 1000}, radii[i]);
    }
    for (int64_t y = 0; y < 2000; y++) {
        int64_t left[2] = {0, 0};
        for (int i = 0; i < 2; i++)
            while (masks[i].values[y * 64 + left[i]] == 0)
                left[i]++;
        assert_true(left[0] - left[1] >= -1 && left[0] - left[1] <= 1);
    }
    assert_int_equal(masks[0].values[1000 * 64 + 10], 1);
    assert_int_equal(masks[1].values[1000 * 64 + 9], 0);
    atr_mask_free(&masks[0]);
    atr_mask_free(&masks[1]);
}

/* A million points are drawn at once where they lie close, and refused where every row would meet each of them. */
static void a_million_points_are_no_trap(void **state)
{
    (void)state;
    const int64_t count = 1000000;
    double *xy = malloc((size_t)count * 2 * sizeof *xy);
    atr_mask mask = make_mask(2000, 1500);

    assert_non_null(xy);
    for (int64_t i = 0; i < count; i++) { /* all corners on two rows, at columns that never repeat */
        xy[2 * i] = (double)(i * 97 % 1000003) - 400000;
        xy[2 * i + 1] = (double)(700 + i % 2);
    }
    must(atr_raster_polygon(&mask, xy, count, 1));
    const int64_t set = count_set(&mask);
    assert_true(set > 1000 && set <= 2 * 2000);
    memset(mask.values + 700 * 2000, 0, 2 * 2000 * sizeof *mask.values);
    assert_int_equal(count_set(&mask), 0);
    for (int64_t i = 0; i < count; i++)
        xy[2 * i + 1] = i % 2 == 0 ? -9e7 : 9e7;
    assert_int_equal(atr_raster_polygon(&mask, xy, count, 1), ATR_ERR_DATA);
    assert_non_null(strstr(atr_status_message(), "too much to draw"));
    atr_mask_free(&mask);
    free(xy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_shape_has_the_pixels_of_pillow),
        cmocka_unit_test(random_shapes_have_the_pixels_of_pillow),
        cmocka_unit_test(a_circle_larger_than_any_picture_covers_it),
        cmocka_unit_test(large_circles_go_on_where_small_ones_end),
        cmocka_unit_test(a_million_points_are_no_trap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
