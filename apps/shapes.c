/* Shapes as signed distance functions (negative inside): coverage of a pixel is the distance to the edge, clamped, which gives
 * smooth edges in the picture; the label map takes a pixel when its centre is inside. */
#include "apps/shapes.h"

#include <math.h>

#include "core/rng.h"

const char *const atr_shape_names[ATR_SHAPE_CLASSES] = {"background", "disc", "box",
                                                        "triangle",   "ring", "dot"};

enum { MOST_SHAPES = 3, DOT_PERIOD = 3 };
static const double pi = 3.14159265358979323846;

typedef struct shape {
    int kind; /* class id */
    double x, y, radius, cosine, sine;
    double colour[3], shade; /* RGB in 0..255; brightness lost from top to bottom */
} shape;

/* A stream of numbers for one picture. */
typedef struct dice {
    uint64_t key, next;
} dice;

static double between(dice *d, double least, double most)
{
    return least + (most - least) * atr_rng_unit(d->key, d->next++);
}

/* In units of the shape's radius, at (x,y) in its own turned frame. */
static double distance_disc(double x, double y)
{
    return hypot(x, y) - 1;
}

static double distance_box(double x, double y)
{
    return fmax(fabs(x), fabs(y)) - 0.82;
}

static double distance_triangle(double x, double y)
{
    return fmax(fmax(y, 0.866 * x - 0.5 * y), -0.866 * x - 0.5 * y) - 0.55;
}

static double distance_ring(double x, double y)
{
    return fabs(hypot(x, y) - 0.72) - 0.28;
}

static double (*const distances[ATR_SHAPE_CLASSES])(double x, double y) = {
    NULL, distance_disc, distance_box, distance_triangle, distance_ring, distance_disc};

/* Hue in turns, saturation and value in 0..1 (Smith, SIGGRAPH 1978) to RGB in 0..255. */
static void hsv(double h, double s, double v, double rgb[3])
{
    for (int i = 0; i < 3; i++) {
        const double k = fmod(h * 6 + (i == 0 ? 5 : i == 1 ? 3 : 1), 6);
        rgb[i] = 255 * (v - v * s * fmax(0, fmin(fmin(k, 4 - k), 1)));
    }
}

static shape random_shape(dice *d, int64_t width, int64_t height)
{
    const double size = (double)(width < height ? width : height);
    const double angle = between(d, 0, 2 * pi);
    shape s = {.kind = 1 + (int)between(d, 0, ATR_SHAPE_DOT - 1), .cosine = cos(angle), .sine = sin(angle)};

    s.radius = between(d, 0.18, 0.34) * size;
    s.x = between(d, 0.1, 0.9) * (double)width;
    s.y = between(d, 0.1, 0.9) * (double)height;
    /* Each kind has its own range of hues: a small network learns in minutes. */
    hsv(fmod(0.22 * s.kind + between(d, -0.07, 0.07) + 1, 1), between(d, 0.45, 1), between(d, 0.55, 1),
        s.colour);
    s.shade = between(d, 0, 0.35);
    return s;
}

/* A small disc that lies whole inside the picture, of a hue between those of the others. */
static shape random_dot(dice *d, int64_t width, int64_t height, double rare)
{
    shape s = {.kind = ATR_SHAPE_DOT, .cosine = 1, .sine = 0};

    s.radius = sqrt(DOT_PERIOD * rare * (double)width * (double)height / pi);
    s.x = between(d, s.radius, (double)width - s.radius);
    s.y = between(d, s.radius, (double)height - s.radius);
    hsv(between(d, 0.02, 0.08), between(d, 0.7, 1), between(d, 0.7, 1), s.colour);
    return s;
}

static uint8_t to_byte(double value)
{
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value + 0.5);
}

/* Paints one shape over picture and labels. */
static void paint(const shape *s, const atr_image *picture, uint8_t *ids)
{
    for (int64_t y = 0; y < picture->height; y++)
        for (int64_t x = 0; x < picture->width; x++) {
            const double dx = ((double)x + 0.5 - s->x) / s->radius, dy = ((double)y + 0.5 - s->y) / s->radius;
            if (fabs(dx) > 1.5 || fabs(dy) > 1.5)
                continue;
            const double edge =
                s->radius * distances[s->kind](s->cosine * dx + s->sine * dy, s->cosine * dy - s->sine * dx);
            const double cover = fmin(fmax(0.5 - edge, 0), 1);
            uint8_t *pixel = picture->pixels + (y * picture->width + x) * 3;
            for (int c = 0; c < 3; c++)
                pixel[c] =
                    to_byte(pixel[c] + cover * (s->colour[c] * (1 - s->shade * (dy + 1) / 2) - pixel[c]));
            if (edge < 0)
                ids[y * picture->width + x] = (uint8_t)s->kind;
        }
}

/* A gradient between two muted colours with noise on every sample. */
static void paint_background(dice *d, const atr_image *picture)
{
    const uint64_t noise = atr_mix64(d->key);
    double from[3], to[3];

    hsv(between(d, 0, 1), between(d, 0, 0.35), between(d, 0.25, 0.9), from);
    hsv(between(d, 0, 1), between(d, 0, 0.35), between(d, 0.25, 0.9), to);
    for (int64_t y = 0; y < picture->height; y++)
        for (int64_t x = 0; x < picture->width; x++) {
            const double t = ((double)x / (double)picture->width + (double)y / (double)picture->height) / 2;
            for (int c = 0; c < 3; c++) {
                const int64_t i = (y * picture->width + x) * 3 + c;
                picture->pixels[i] =
                    to_byte(from[c] + t * (to[c] - from[c]) + 24 * (atr_rng_unit(noise, (uint64_t)i) - 0.5));
            }
        }
}

atr_status atr_shapes_draw(uint64_t seed, int64_t index, int64_t width, int64_t height, double rare,
                           atr_image *picture, uint8_t **ids)
{
    atr_status status = ATR_OK;
    dice d = {atr_rng_key(seed, ATR_RNG_SAMPLE, (uint64_t)index, 0), 0};

    *picture = (atr_image){width, height, 3, NULL};
    *ids = NULL;
    if (width < 1 || height < 1 || width > ATR_IMAGE_MAX_PIXELS / height)
        return atr_fail(ATR_ERR_SHAPE, "cannot draw a picture of %lldx%lld pixels", (long long)width,
                        (long long)height);
    ATR_TRY(ATR_NEW(width * height * 3, &picture->pixels));
    ATR_TRY(ATR_NEW(width * height, ids));
    paint_background(&d, picture);
    const int count = 1 + (int)between(&d, 0, MOST_SHAPES);
    for (int i = 0; i < count; i++) {
        const shape s = random_shape(&d, width, height);
        paint(&s, picture, *ids);
    }
    if (rare > 0 && index % DOT_PERIOD == 0) {
        const shape s = random_dot(&d, width, height, rare);
        paint(&s, picture, *ids);
    }
done:
    if (status != ATR_OK) {
        atr_image_free(picture);
        atr_free(*ids);
        *ids = NULL;
    }
    return status;
}
