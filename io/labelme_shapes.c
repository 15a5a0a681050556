#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/text.h"
#include "io/base64.h"
#include "io/labelme_impl.h"
#include "io/raster.h"

enum {
    LINE_WIDTH = 10,    /* of line and linestrip, pixels */
    POINT_RADIUS = 5,   /* of a point's disc */
    MOST_UNKNOWN = 64,  /* different unknown labels that are told of one file */
    MOST_FAULTS = 64,   /* shapes that are named of one file */
    LABEL_LETTERS = 96, /* of a label in a message */
    FAULT_LETTERS = 512
};

/* One entry of "shapes". */
typedef struct shape {
    const char *label;
    double *xy; /* [count,2] */
    int64_t count;
    const char *mask; /* base64 of a PNG; only of type mask */
    size_t mask_length;
} shape;

typedef atr_status (*draw_function)(atr_mask *mask, const shape *s, uint16_t value);

/* A label that is no class, and how often it occurs. */
typedef struct unknown {
    const char *label;
    int64_t shapes;
} unknown;

/* The work on one file. */
typedef struct painting {
    const atr_source *source;
    const char *subject;
    atr_findings *findings;
    atr_mask *mask;
    unknown unknown[MOST_UNKNOWN];
    int64_t unknown_count;
    int64_t faults; /* shapes that cannot be drawn */
    char fault[MOST_FAULTS][FAULT_LETTERS];
} painting;

static atr_status draw_polygon(atr_mask *mask, const shape *s, uint16_t value)
{
    return atr_raster_polygon(mask, s->xy, s->count, value);
}

/* Two opposite corners, or all four. */
static atr_status draw_rectangle(atr_mask *mask, const shape *s, uint16_t value)
{
    double low[2] = {s->xy[0], s->xy[1]}, high[2] = {s->xy[0], s->xy[1]};

    for (int64_t i = 1; i < s->count; i++)
        for (int axis = 0; axis < 2; axis++) {
            low[axis] = fmin(low[axis], s->xy[2 * i + axis]);
            high[axis] = fmax(high[axis], s->xy[2 * i + axis]);
        }
    atr_raster_rectangle(mask, low, high, value);
    return ATR_OK;
}

static void draw_disc(atr_mask *mask, const double centre[2], double radius, uint16_t value)
{
    const double low[2] = {centre[0] - radius, centre[1] - radius};
    const double high[2] = {centre[0] + radius, centre[1] + radius};

    atr_raster_ellipse(mask, low, high, value);
}

/* Centre and a point of the circle. */
static atr_status draw_circle(atr_mask *mask, const shape *s, uint16_t value)
{
    const double dx = s->xy[0] - s->xy[2], dy = s->xy[1] - s->xy[3];

    draw_disc(mask, s->xy, sqrt(dx * dx + dy * dy), value);
    return ATR_OK;
}

static atr_status draw_lines(atr_mask *mask, const shape *s, uint16_t value)
{
    return atr_raster_lines(mask, s->xy, s->count, LINE_WIDTH, value);
}

static atr_status draw_points(atr_mask *mask, const shape *s, uint16_t value)
{
    for (int64_t i = 0; i < s->count; i++)
        draw_disc(mask, s->xy + 2 * i, POINT_RADIUS, value);
    return ATR_OK;
}

/* Sets the pixels that the stamp has, its upper left corner at (left,top), `width` x `height` of it. */
static void put_stamp(atr_mask *mask, const atr_mask *stamp, int64_t left, int64_t top, int64_t width,
                      int64_t height, uint16_t value)
{
    for (int64_t y = top < 0 ? -top : 0; y < height && top + y < mask->height; y++)
        for (int64_t x = left < 0 ? -left : 0; x < width && left + x < mask->width; x++)
            if (stamp->values[y * stamp->width + x] != 0)
                mask->values[(top + y) * mask->width + left + x] = value;
}

static bool is_whole(const shape *s)
{
    for (int64_t i = 0; i < 2 * s->count; i++)
        if (s->xy[i] != trunc(s->xy[i]))
            return false;
    return true;
}

/* The corners are the first and last pixel. Between pixels they come from dragging, and the size is the mask's own. */
static atr_status draw_mask(atr_mask *mask, const shape *s, uint16_t value)
{
    const int64_t left = (int64_t)rint(s->xy[0]), top = (int64_t)rint(s->xy[1]);
    int64_t width = (int64_t)rint(s->xy[2]) - left + 1, height = (int64_t)rint(s->xy[3]) - top + 1;
    atr_status status = ATR_OK;
    atr_mask stamp = {0};
    void *bytes = NULL;
    size_t size = 0;

    status = atr_fail_prefix(atr_base64_decode(s->mask, s->mask_length, &bytes, &size), "its mask");
    if (status == ATR_OK)
        status = atr_fail_prefix(atr_mask_decode(bytes, size, &stamp), "its mask");
    if (status != ATR_OK)
        goto done;
    if (!is_whole(s)) {
        width = stamp.width;
        height = stamp.height;
    }
    if (width < 1 || height < 1 || width > stamp.width || height > stamp.height)
        status =
            atr_fail(ATR_ERR_DATA, "its mask has %lldx%lld pixels, its corners say %lldx%lld",
                     (long long)stamp.width, (long long)stamp.height, (long long)width, (long long)height);
    else
        put_stamp(mask, &stamp, left, top, width, height, value);

done:
    atr_mask_free(&stamp);
    atr_free(bytes);
    return status;
}

/* What labelme draws, and two habits of programs that write its format: all four corners of a rectangle, and "rotation". */
static const struct shape_type {
    const char *name;
    int64_t least, most; /* points; most 0: any number */
    bool stamped;        /* has a mask of its own */
    draw_function draw;
} shape_types[] = {{"polygon", 3, 0, false, draw_polygon},
                   {"rectangle", 2, 4, false, draw_rectangle},
                   {"circle", 2, 2, false, draw_circle},
                   {"line", 2, 2, false, draw_lines},
                   {"linestrip", 1, 0, false, draw_lines},
                   {"point", 1, 1, false, draw_points},
                   {"points", 1, 0, false, draw_points},
                   {"mask", 2, 2, true, draw_mask},
                   {"oriented_rectangle", 4, 4, false, draw_polygon},
                   {"rotation", 4, 4, false, draw_polygon}};

enum { SHAPE_TYPES = sizeof shape_types / sizeof *shape_types };

/* Files of old versions say no type; their shapes are polygons. */
static atr_status find_type(const json_t *object, const struct shape_type **type)
{
    const json_t *value = json_object_get(object, "shape_type");
    const char *name = value == NULL || json_is_null(value) ? "polygon" : json_string_value(value);
    char shown[LABEL_LETTERS];

    *type = NULL;
    for (int i = 0; name != NULL && i < SHAPE_TYPES; i++)
        if (strcmp(name, shape_types[i].name) == 0)
            *type = &shape_types[i];
    if (*type != NULL)
        return ATR_OK;
    return atr_fail(
        ATR_ERR_DATA,
        "shape_type '%s' is not known (polygon, rectangle, circle, line, linestrip, point, points, "
        "mask, oriented_rectangle are)",
        name == NULL ? "?" : atr_printable(name, shown, sizeof shown));
}

static atr_status read_point(const json_t *pair, int64_t index, double xy[2])
{
    if (!json_is_array(pair) || json_array_size(pair) != 2)
        return atr_fail(ATR_ERR_DATA, "point %lld is not [x, y]", (long long)index + 1);
    for (size_t axis = 0; axis < 2; axis++) {
        const json_t *value = json_array_get(pair, axis);
        if (!json_is_number(value))
            return atr_fail(ATR_ERR_DATA, "point %lld is not two numbers", (long long)index + 1);
        xy[axis] = json_number_value(value);
        if (!(fabs(xy[axis]) <= ATR_RASTER_FAR))
            return atr_fail(ATR_ERR_DATA, "point %lld lies at %.6g, farther than any picture reaches",
                            (long long)index + 1, xy[axis]);
    }
    return ATR_OK;
}

static atr_status check_count(const struct shape_type *type, int64_t count)
{
    const bool fits =
        count >= type->least && (type->most == 0 || count <= type->most) && !(type->most == 4 && count == 3);

    if (fits)
        return ATR_OK;
    return atr_fail(ATR_ERR_DATA, "a %s has %lld point%s%s, not %lld", type->name, (long long)type->least,
                    type->least == 1 ? "" : "s", type->most == 0 ? " or more" : "", (long long)count);
}

/* The parts of a shape that its type needs; out->xy is owned (atr_free). */
static atr_status read_shape(const json_t *object, const struct shape_type **type, shape *out)
{
    const json_t *points = json_object_get(object, "points"), *mask = json_object_get(object, "mask");
    atr_status status = ATR_OK;

    out->label = json_string_value(json_object_get(object, "label"));
    if (out->label == NULL)
        return atr_fail(ATR_ERR_DATA, "it has no label");
    ATR_TRY(find_type(object, type));
    if (!json_is_array(points))
        return atr_fail(ATR_ERR_DATA, "it has no list of points");
    out->count = (int64_t)json_array_size(points);
    ATR_TRY(check_count(*type, out->count));
    ATR_TRY(ATR_NEW(2 * out->count, &out->xy));
    for (int64_t i = 0; i < out->count; i++)
        ATR_TRY(read_point(json_array_get(points, (size_t)i), i, out->xy + 2 * i));
    if ((*type)->stamped && !json_is_string(mask))
        return atr_fail(ATR_ERR_DATA, "a mask shape has its pixels in 'mask', and there is none");
    out->mask = json_string_value(mask);
    out->mask_length = json_string_length(mask);

done:
    return status;
}

/* Remembers a label that is no class. */
static void note_unknown(painting *p, const char *label)
{
    int64_t i = 0;

    while (i < p->unknown_count && strcmp(p->unknown[i].label, label) != 0)
        i++;
    if (i == MOST_UNKNOWN)
        return;
    if (i == p->unknown_count)
        p->unknown[p->unknown_count++].label = label;
    p->unknown[i].shapes++;
}

/* Remembers why shape `index` cannot be drawn, with this thread's message. */
static void note_fault(painting *p, int64_t index, const char *label)
{
    char shown[LABEL_LETTERS];

    if (p->faults < MOST_FAULTS)
        snprintf(p->fault[p->faults], FAULT_LETTERS, "shape %lld%s%s%s: %s", (long long)index + 1,
                 label == NULL ? "" : " ('", label == NULL ? "" : atr_printable(label, shown, sizeof shown),
                 label == NULL ? "" : "')", atr_status_message());
    p->faults++;
}

/* Whether the name of class 0 stands for what no shape covers. Any other name is that of an object, in a list where the background
 * was forgotten. */
static bool is_background_name(const char *name)
{
    static const char *const usual[] = {"_background_", "__background__", "background", "bg"};

    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        if (strcasecmp(name, usual[i]) == 0)
            return true;
    return false;
}

/* An object in a list without background: its name is that of class 0, and nobody said that this is meant. */
static bool is_lost(const atr_source_config *config, const char *label)
{
    if (strcmp(label, config->classes->names[0]) != 0 || is_background_name(label))
        return false;
    for (int64_t i = 0; i < config->rules->rename_count; i++)
        if (strcmp(config->rules->rename[i].from, label) == 0)
            return false;
    return true;
}

static atr_status draw_one(painting *p, const json_t *object, int64_t index)
{
    const atr_source_config *config = p->source->config;
    const struct shape_type *type = NULL;
    atr_status status = ATR_OK;
    shape s = {0};

    status =
        json_is_object(object) ? read_shape(object, &type, &s) : atr_fail(ATR_ERR_DATA, "it is no object");
    const int64_t id = s.label == NULL ? -1 : atr_label_of_name(config->classes, config->rules, s.label);
    if (s.label != NULL && (id < 0 || is_lost(config, s.label)))
        note_unknown(p, s.label);
    if (status == ATR_OK && id >= 0 && p->mask->values != NULL)
        status = type->draw(p->mask, &s, (uint16_t)id);
    if (status != ATR_OK && status != ATR_ERR_MEMORY) {
        note_fault(p, index, s.label);
        status = ATR_OK;
    }
    atr_free(s.xy);
    return status;
}

/* The class whose name the label is but for blanks around it, or NULL. */
static const char *without_blanks(const atr_class_list *classes, const char *label)
{
    size_t length = 0;

    while (isspace((unsigned char)*label))
        label++;
    length = strlen(label);
    while (length > 0 && isspace((unsigned char)label[length - 1]))
        length--;
    for (int64_t i = 0; i < classes->count; i++)
        if (strlen(classes->names[i]) == length && strncmp(classes->names[i], label, length) == 0)
            return classes->names[i];
    return NULL;
}

/* L07 for one label. */
static atr_status unknown_fault(const painting *p, const unknown *u)
{
    const atr_class_list *classes = p->source->config->classes;
    const char *file = p->source->config->classes_file;
    const char *blank = without_blanks(classes, u->label);
    const char *near = blank != NULL
                           ? blank
                           : atr_did_you_mean(u->label, (const char *const *)classes->names, classes->count);
    char label[LABEL_LETTERS], meant[LABEL_LETTERS], hint[3 * LABEL_LETTERS] = "";

    atr_printable(u->label, label, sizeof label);
    if (strcmp(u->label, classes->names[0]) == 0)
        return atr_findings_add(
            p->findings, "L07", ATR_ERROR, p->subject,
            "label '%s' (%lld shape%s) is class 0 of %s, which pixels outside of all shapes get too.\nThe "
            "object "
            "would vanish in the background. Write _background_ into the first line of %s; a shape that "
            "cuts a hole into others has that label too. If it is meant: pack --map 'LABEL=_background_'.",
            label, (long long)u->shapes, u->shapes == 1 ? "" : "s", file, file);
    if (near != NULL)
        snprintf(hint, sizeof hint, blank != NULL ? " (blanks around '%s'?)" : " (did you mean '%s'?)",
                 atr_printable(near, meant, sizeof meant));
    return atr_findings_add(
        p->findings, "L07", ATR_ERROR, p->subject,
        "label '%s' (%lld shape%s) is not in %s%s.\nNumbers are never given per file, because then one label "
        "would have different numbers in different images. Correct the label, add it to %s, or say what it "
        "means: pack --map 'LABEL=CLASS' or 'LABEL=ignore'.",
        label, (long long)u->shapes, u->shapes == 1 ? "" : "s", file, hint, file);
}

/* F01 for the shapes that cannot be drawn. */
static atr_status shapes_fault(const painting *p, int64_t shapes)
{
    atr_status status = ATR_OK;

    ATR_TRY(atr_findings_add(p->findings, "F01", ATR_ERROR, p->subject,
                             "%lld of %lld shapes cannot be drawn (%s).\nWithout them their objects would "
                             "count as background. Repair or remove them in labelme.",
                             (long long)p->faults, (long long)shapes, p->fault[0]));
    for (int64_t i = 1; i < p->faults && i < MOST_FAULTS; i++)
        ATR_TRY(atr_findings_item(p->findings, "%s", p->fault[i]));

done:
    return status;
}

atr_status atr_labelme_draw(const atr_source *source, const char *subject, const json_t *root,
                            atr_findings *findings, atr_mask *mask, bool *good)
{
    const json_t *shapes = json_object_get(root, "shapes");
    const int64_t count = (int64_t)json_array_size(shapes);
    atr_status status = ATR_OK;
    painting *p = NULL;

    *good = false;
    ATR_TRY(ATR_NEW(1, &p));
    *p = (painting){.source = source, .subject = subject, .findings = findings, .mask = mask};
    for (int64_t i = 0; i < count; i++)
        ATR_TRY(draw_one(p, json_array_get(shapes, (size_t)i), i));
    for (int64_t i = 0; i < p->unknown_count; i++)
        ATR_TRY(unknown_fault(p, &p->unknown[i]));
    if (p->faults > 0)
        ATR_TRY(shapes_fault(p, count));
    *good = p->unknown_count == 0 && p->faults == 0;

done:
    atr_free(p);
    return status;
}
