#include "io/raster.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

typedef struct point {
    int x, y;
} point;

/* One side of a polygon. */
typedef struct side {
    point from;
    int top, bottom; /* rows */
    float slope;     /* columns per row; 0 where it is horizontal */
} side;

/* Sides through a row: [active_count] in order of index. */
typedef struct sweep {
    const side *sides;
    int64_t count, active_count;
    int64_t *order;          /* [count] sides by first row in the mask, then by index */
    int64_t *active, *spare; /* [count] */
    float *crossings;        /* [2 * count] */
    struct corner *corners;  /* [slots], open addressing */
    int64_t slots;           /* a power of two */
    int first_row, last_row; /* of the polygon; the last one may lie below the mask */
} sweep;

/* The first of the sides that end on a row at a column and go on to the same neighbouring row. */
typedef struct corner {
    int64_t stamp; /* row + 1; other stamps: free */
    int64_t key;   /* column and direction */
    int64_t side;
} corner;

/* Side times row, summed over a polygon: about 10 s of work. */
static const int64_t most_crossings = (int64_t)1 << 30;

/* Halves go away from zero, or towards it. */
static int round_out(double value)
{
    return (int)(value >= 0 ? floor(value + 0.5) : -floor(-value + 0.5));
}

static int round_in(double value)
{
    return (int)(value >= 0 ? ceil(value - 0.5) : -ceil(-value - 0.5));
}

/* The same in float, where 0.5 is added with a rounding of its own. */
static int64_t column_out(float x)
{
    return (int64_t)(x >= 0 ? floorf(x + 0.5F) : -floorf(-x + 0.5F));
}

static int64_t column_in(float x)
{
    return (int64_t)(x >= 0 ? ceilf(x - 0.5F) : -ceilf(-x - 0.5F));
}

/* Columns from..to of a row, both included. */
static void span(atr_mask *mask, int64_t y, int64_t from, int64_t to, uint16_t value)
{
    if (y < 0 || y >= mask->height)
        return;
    from = from < 0 ? 0 : from;
    to = to >= mask->width ? mask->width - 1 : to;
    for (int64_t x = from; x <= to; x++)
        mask->values[y * mask->width + x] = value;
}

void atr_raster_rectangle(atr_mask *mask, const double a[2], const double b[2], uint16_t value)
{
    const int left = (int)fmin(a[0], b[0]), right = (int)fmax(a[0], b[0]);
    const int64_t top = (int)fmin(a[1], b[1]), bottom = (int)fmax(a[1], b[1]);
    const int64_t last = bottom < mask->height ? bottom : mask->height - 1;

    for (int64_t y = top < 0 ? 0 : top; y <= last; y++)
        span(mask, y, left, right, value);
}

/* The upper right quarter of an ellipse, on a grid of half pixels around its centre: from (a, 0 or 1) to (0 or 1, b) in steps of
 * two half pixels up, left or both, each time to the point that lies nearest to x^2/a^2 + y^2/b^2 = 1 (Bresenham). */
typedef struct quarter {
    int64_t a, b;
    int64_t x, y;
} quarter;

static int64_t off_curve(const quarter *q, int64_t x, int64_t y)
{
    const int64_t distance = q->a * q->a * y * y + q->b * q->b * x * x - q->a * q->a * q->b * q->b;

    return distance < 0 ? -distance : distance;
}

static void quarter_step(quarter *q)
{
    int64_t x = q->x, y = q->y + 2, least = off_curve(q, x, y);

    if (q->x > 1) {
        const int64_t both = off_curve(q, q->x - 2, q->y + 2), left = off_curve(q, q->x - 2, q->y);
        if (both < least) {
            x = q->x - 2;
            least = both;
        }
        if (left < least) {
            x = q->x - 2;
            y = q->y;
        }
    }
    q->x = x;
    q->y = y;
}

/* The two rows at half-pixel height +-y from the centre, `half` half pixels wide to both sides. */
static void ellipse_rows(atr_mask *mask, const int64_t corner_at[2], const quarter *q, int64_t half,
                         int64_t y, uint16_t value)
{
    const int64_t left = corner_at[0] + (q->a - half) / 2, right = corner_at[0] + (q->a + half) / 2;

    span(mask, corner_at[1] + (q->b + y) / 2, left, right, value);
    span(mask, corner_at[1] + (q->b - y) / 2, left, right, value);
}

/* Ellipses whose squares would not fit into 64 bits, row by row of the mask from the equation. */
static void large_ellipse(atr_mask *mask, const int64_t corner_at[2], const quarter *q, uint16_t value)
{
    const double a = (double)q->a, b = (double)q->b, odd = (double)(q->a % 2);

    for (int64_t row = 0; row < mask->height; row++) {
        const double y = (2.0 * (double)(row - corner_at[1]) - b) / b;
        if (fabs(y) > 1)
            continue;
        const int64_t half = (int64_t)(2 * rint((a * sqrt(1 - y * y) - odd) / 2) + odd);
        span(mask, row, corner_at[0] + (q->a - half) / 2, corner_at[0] + (q->a + half) / 2, value);
    }
}

void atr_raster_ellipse(atr_mask *mask, const double low[2], const double high[2], uint16_t value)
{
    enum { LARGE = 40000 };
    const int64_t corner_at[2] = {(int64_t)low[0], (int64_t)low[1]};
    quarter q = {.a = (int64_t)high[0] - corner_at[0], .b = (int64_t)high[1] - corner_at[1]};

    if (q.a + q.b <= 0)
        return;
    if (q.a > LARGE || q.b > LARGE) {
        large_ellipse(mask, corner_at, &q, value);
        return;
    }
    q.x = q.a;
    q.y = q.b % 2;
    for (int64_t y = -1; q.y > y && q.y <= q.b;) {
        y = q.y;
        ellipse_rows(mask, corner_at, &q, q.x, y, value); /* the first point of a row is its widest */
        while (q.y == y && (q.x != q.a % 2 || q.y != q.b))
            quarter_step(&q);
    }
}

static side make_side(point from, point to)
{
    side s = {.from = from, .top = from.y < to.y ? from.y : to.y, .bottom = from.y < to.y ? to.y : from.y};

    if (from.y != to.y)
        s.slope = (float)(to.x - from.x) / (float)(to.y - from.y);
    return s;
}

/* Column where a side crosses a row. */
static float column_at(const side *s, int row)
{
    return (float)(row - s->from.y) * s->slope + (float)s->from.x;
}

static bool slants_and_ends(const side *s, int row)
{
    return (row == s->top || row == s->bottom) && s->slope != 0;
}

/* The place in the row's table of corners for a side that ends on the row: taken or free. */
static corner *corner_at(const sweep *w, const side *s, int row, float crossing)
{
    const int64_t key = 2 * (int64_t)lroundf(crossing) + (row == s->bottom);
    const uint64_t hash = (uint64_t)key * 0x9E3779B97F4A7C15u;
    int64_t i = (int64_t)(hash >> 32) & (w->slots - 1);

    while (w->corners[i].stamp == row + 1 && w->corners[i].key != key)
        i = (i + 1) & (w->slots - 1);
    w->corners[i].key = key;
    return &w->corners[i];
}

/* Two flat sides that meet in a point would leave a gap beside it, since a row shows of each only where it crosses the middle:
 * the crossing moves to one pixel beside the nearer of the two crossings one row further inside. */
static float join_corner(const side *s, const side *other, int row, float crossing)
{
    const int inside = row == s->bottom ? row - 1 : row + 1;
    const float mine = column_at(s, inside), its = column_at(other, inside);
    if (crossing > mine + 1 && crossing > its + 1)
        return roundf(mine > its ? mine : its) + 1;
    if (crossing < mine - 1 && crossing < its - 1)
        return roundf(mine < its ? mine : its) - 1;
    return crossing;
}

/* Where the active sides cross a row, unsorted; returns how many. A side that ends on a row above the last one counts twice
 * there, so that the next side may begin on it. */
static int64_t cross(sweep *w, int row)
{
    int64_t found = 0;

    for (int64_t i = 0; i < w->active_count; i++) {
        const side *s = &w->sides[w->active[i]];
        const float crossing = column_at(s, row);
        corner *c = slants_and_ends(s, row) ? corner_at(w, s, row, crossing) : NULL;
        w->crossings[found++] = crossing;
        if (row == s->bottom && row < w->last_row)
            w->crossings[found++] = crossing;
        else if (c != NULL && c->stamp == row + 1)
            w->crossings[found - 1] = join_corner(s, &w->sides[c->side], row, crossing);
        if (c != NULL && c->stamp != row + 1) {
            c->stamp = row + 1;
            c->side = w->active[i];
        }
    }
    return found;
}

static int by_value(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

/* Few crossings, the usual case, by insertion. */
static void sort_crossings(float *values, int64_t count)
{
    if (count > 32) {
        qsort(values, (size_t)count, sizeof *values, by_value);
        return;
    }
    for (int64_t i = 1; i < count; i++) {
        const float value = values[i];
        int64_t at = i;
        for (; at > 0 && values[at - 1] > value; at--)
            values[at] = values[at - 1];
        values[at] = value;
    }
}

static int first_row(const side *s)
{
    return s->top < 0 ? 0 : s->top;
}

/* Brings the active sides to `row`: those that ended go, those of order[*next..] that begin come. Both are in order of index. */
static void advance(sweep *w, int row, int64_t *next)
{
    int64_t used = 0, old = 0;

    while (old < w->active_count || (*next < w->count && first_row(&w->sides[w->order[*next]]) == row)) {
        const bool begins = *next < w->count && first_row(&w->sides[w->order[*next]]) == row;
        if (begins && (old == w->active_count || w->order[*next] < w->active[old]))
            w->spare[used++] = w->order[(*next)++];
        else if (w->sides[w->active[old++]].bottom >= row)
            w->spare[used++] = w->active[old - 1];
    }
    int64_t *const swapped = w->active;
    w->active = w->spare;
    w->spare = swapped;
    w->active_count = used;
}

/* By counting how many sides begin on each of `rows` rows from w->first_row on. */
static atr_status order_sides(sweep *w, int64_t rows)
{
    atr_status status = ATR_OK;
    int64_t *place = NULL; /* [rows + 1] where the next side of a row goes */

    ATR_TRY(ATR_NEW(rows + 1, &place));
    for (int64_t i = 0; i < w->count; i++)
        place[first_row(&w->sides[i]) - w->first_row + 1]++;
    for (int64_t y = 0; y < rows; y++)
        place[y + 1] += place[y];
    for (int64_t i = 0; i < w->count; i++)
        w->order[place[first_row(&w->sides[i]) - w->first_row]++] = i;

done:
    atr_free(place);
    return status;
}

static atr_status open_sweep(sweep *w, int64_t rows)
{
    atr_status status = ATR_OK;

    for (w->slots = 2; w->slots < 2 * w->count; w->slots *= 2)
        ;
    ATR_TRY(ATR_NEW(w->count, &w->order));
    ATR_TRY(ATR_NEW(w->count, &w->active));
    ATR_TRY(ATR_NEW(w->count, &w->spare));
    ATR_TRY(ATR_NEW(2 * w->count, &w->crossings));
    ATR_TRY(ATR_NEW(w->slots, &w->corners));
    ATR_TRY(order_sides(w, rows));

done:
    return status;
}

static void close_sweep(sweep *w)
{
    atr_free(w->order);
    atr_free(w->active);
    atr_free(w->spare);
    atr_free(w->crossings);
    atr_free(w->corners);
}

/* Fills between the crossings of each row, first and second, third and fourth and so on. sides [count], none horizontal and
 * none outside of the mask's rows. */
static atr_status fill(atr_mask *mask, const side *sides, int64_t count, int last_row, uint16_t value)
{
    sweep w = {.sides = sides, .count = count, .first_row = (int)mask->height, .last_row = last_row};
    atr_status status = ATR_OK;
    int64_t next = 0, work = 0;

    if (count == 0)
        return ATR_OK;
    for (int64_t i = 0; i < count; i++) {
        const int64_t end = sides[i].bottom < mask->height ? sides[i].bottom + 1 : mask->height;
        work += end - first_row(&sides[i]);
        w.first_row = first_row(&sides[i]) < w.first_row ? first_row(&sides[i]) : w.first_row;
    }
    if (work > most_crossings)
        return atr_fail(ATR_ERR_DATA, "%lld sides that cross %lld rows: too much to draw", (long long)count,
                        (long long)work);
    ATR_TRY(open_sweep(&w, mask->height - w.first_row));
    for (int row = w.first_row; row < mask->height && (next < count || w.active_count > 0); row++) {
        advance(&w, row, &next);
        const int64_t found = cross(&w, row);
        sort_crossings(w.crossings, found);
        for (int64_t i = 1; i < found; i += 2)
            span(mask, row, column_out(w.crossings[i - 1]), column_in(w.crossings[i]), value);
    }

done:
    close_sweep(&w);
    return status;
}

/* The sides from each of points [count] to the next one, and from the last to the first where `closed`. Horizontal sides are
 * drawn as they are, sides beside the mask left out. `sides` [count] is scratch memory. */
static atr_status fill_points(atr_mask *mask, const point *points, int64_t count, bool closed, side *sides,
                              uint16_t value)
{
    int64_t used = 0;
    int last_row = 0;

    for (int64_t i = 0; i < count - !closed; i++) {
        const point from = points[i], to = points[i + 1 < count ? i + 1 : 0];
        const side s = make_side(from, to);
        last_row = s.bottom > last_row ? s.bottom : last_row;
        if (s.top == s.bottom)
            span(mask, s.top, from.x < to.x ? from.x : to.x, from.x < to.x ? to.x : from.x, value);
        else if (s.bottom >= 0 && s.top < mask->height)
            sides[used++] = s;
    }
    if (last_row > mask->height)
        last_row = (int)mask->height;
    return fill(mask, sides, used, last_row, value);
}

atr_status atr_raster_polygon(atr_mask *mask, const double *xy, int64_t count, uint16_t value)
{
    atr_status status = ATR_OK;
    point *points = NULL;
    side *sides = NULL;

    if (count < 1)
        return ATR_OK;
    ATR_TRY(ATR_NEW(count, &points));
    ATR_TRY(ATR_NEW(count, &sides));
    for (int64_t i = 0; i < count; i++)
        points[i] = (point){(int)xy[2 * i], (int)xy[2 * i + 1]};
    const bool closed = points[0].x != points[count - 1].x || points[0].y != points[count - 1].y;
    ATR_TRY(fill_points(mask, points, count, closed, sides, value));

done:
    atr_free(sides);
    atr_free(points);
    return status;
}

/* A line of some width is the polygon of its ends moved to both sides, by whole pixels. */
static atr_status wide_line(atr_mask *mask, point from, point to, int width, uint16_t value)
{
    const int dx = to.x - from.x, dy = to.y - from.y;
    const double length = hypot(dx, dy), half = (width - 1) / 2.0;
    side sides[4];

    if (dx == 0 && dy == 0) {
        span(mask, from.y, from.x, from.x, value);
        return ATR_OK;
    }
    const double more = round_out(half) / length, less = round_in(half) / length;
    const point back = {round_in(less * dy), round_in(more * dx)};
    const point ahead = {round_in(more * dy), round_in(less * dx)};
    const point corners[4] = {{from.x - back.x, from.y + back.y},
                              {to.x - back.x, to.y + back.y},
                              {to.x + ahead.x, to.y - ahead.y},
                              {from.x + ahead.x, from.y - ahead.y}};
    return fill_points(mask, corners, 4, true, sides, value);
}

atr_status atr_raster_lines(atr_mask *mask, const double *xy, int64_t count, int width, uint16_t value)
{
    atr_status status = ATR_OK;

    for (int64_t i = 0; i + 1 < count; i++) {
        const double *p = xy + 2 * i;
        ATR_TRY(wide_line(mask, (point){(int)p[0], (int)p[1]}, (point){(int)p[2], (int)p[3]}, width, value));
    }

done:
    return status;
}
