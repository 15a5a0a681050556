#include "io/colour_table.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/text.h"

enum { TABLE_LIMIT = 1 << 20, LINE_LETTERS = 512, MOST_ROWS = 4096, COLOURS = 1 << 24, UNSEEN = 0xFFFF };

void atr_colour_table_free(atr_colour_table *table)
{
    atr_free(table->rows);
    *table = (atr_colour_table){0};
}

static bool is_separator(char c)
{
    return c == ',' || c == ';' || isspace((unsigned char)c);
}

/* Takes three numbers 0..255 from the start of `text`; `*end` is what follows them. */
static bool take_colour(const char *text, uint8_t rgb[3], const char **end)
{
    for (int c = 0; c < 3; c++) {
        long value = 0;
        int digits = 0;
        for (; isdigit((unsigned char)*text) && digits < 4; text++, digits++)
            value = value * 10 + (*text - '0');
        if (digits == 0 || value > 255 || (*text != '\0' && !is_separator(*text)))
            return false;
        rgb[c] = (uint8_t)value;
        while (is_separator(*text))
            text++;
    }
    *end = text;
    return true;
}

static void trim(char *text)
{
    size_t length = strlen(text), first = 0;

    while (length > 0 && is_separator(text[length - 1]))
        length--;
    while (first < length && is_separator(text[first]))
        first++;
    memmove(text, text + first, length - first);
    text[length - first] = '\0';
}

/* Start of the last three words of `line`; NULL where it has fewer. */
static char *last_three(char *line)
{
    char *at = line + strlen(line);

    for (int word = 0; word < 3; word++) {
        while (at > line && is_separator(at[-1]))
            at--;
        if (at == line)
            return NULL;
        while (at > line && !is_separator(at[-1]))
            at--;
    }
    return at;
}

static atr_status class_named(const char *path, int64_t line, const atr_class_list *classes, const char *name,
                              int64_t *id)
{
    static const atr_label_rules none = {0};
    const char *nearest = atr_did_you_mean(name, (const char *const *)classes->names, classes->count);
    char shown[128];

    *id = strcmp(name, "ignore") == 0 ? ATR_IGNORE : atr_label_of_name(classes, &none, name);
    if (*id >= 0 || (atr_parse_int(name, id) && *id >= 0 && *id < classes->count))
        return ATR_OK;
    return atr_fail(ATR_ERR_USAGE, "%s, line %lld: '%s' is no class%s%s%s", path, (long long)line,
                    atr_printable(name, shown, sizeof shown), nearest == NULL ? "" : " (did you mean '",
                    nearest == NULL ? "" : nearest, nearest == NULL ? "" : "'?)");
}

static atr_status add_row(const char *path, int64_t line, const atr_class_list *classes, const uint8_t rgb[3],
                          const char *name, atr_colour_table *out)
{
    atr_status status = ATR_OK;
    atr_colour_row row = {{rgb[0], rgb[1], rgb[2]}, -1};

    ATR_TRY(class_named(path, line, classes, name, &row.id));
    for (int64_t i = 0; i < out->count; i++)
        if (memcmp(out->rows[i].rgb, rgb, 3) == 0)
            return atr_fail(ATR_ERR_USAGE, "%s, line %lld: colour %d,%d,%d stands there twice", path,
                            (long long)line, rgb[0], rgb[1], rgb[2]);
    if (out->count == MOST_ROWS)
        return atr_fail(ATR_ERR_USAGE, "%s: more than %d colours", path, MOST_ROWS);
    out->rows[out->count++] = row;

done:
    return status;
}

/* `text` is a scratch copy of one line. */
static atr_status read_line(const char *path, int64_t line, char *text, const atr_class_list *classes,
                            atr_colour_table *out)
{
    const char *end = NULL;
    uint8_t rgb[3];

    trim(text);
    if (text[0] == '\0' || text[0] == '#')
        return ATR_OK;
    if (take_colour(text, rgb, &end) && *end != '\0')
        return add_row(path, line, classes, rgb, end, out);
    char *colour = last_three(text);
    if (colour != NULL && colour > text && take_colour(colour, rgb, &end)) {
        colour[-1] = '\0';
        trim(text);
        return add_row(path, line, classes, rgb, text, out);
    }
    if (line == 1)
        return ATR_OK;
    return atr_fail(ATR_ERR_USAGE, "%s, line %lld: no colour and class, such as '0,255,0 leaf'", path,
                    (long long)line);
}

atr_status atr_colour_table_read(const char *path, const atr_class_list *classes, atr_colour_table *out)
{
    atr_status status = ATR_OK;
    char *bytes = NULL, text[LINE_LETTERS];
    size_t size = 0, start = 0;

    *out = (atr_colour_table){0};
    ATR_TRY(ATR_NEW(MOST_ROWS, &out->rows));
    ATR_TRY(atr_file_read(path, TABLE_LIMIT, (void **)&bytes, &size));
    if (size >= 3 && memcmp(bytes, "\xEF\xBB\xBF", 3) == 0)
        start = 3;
    for (int64_t line = 1; start < size; line++) {
        const char *end = memchr(bytes + start, '\n', size - start);
        const size_t length = end == NULL ? size - start : (size_t)(end - (bytes + start));
        if (length >= sizeof text || memchr(bytes + start, '\0', length) != NULL) {
            status = atr_fail(ATR_ERR_USAGE, "%s, line %lld: not a table of colours and classes", path,
                              (long long)line);
            goto done;
        }
        memcpy(text, bytes + start, length);
        text[length] = '\0';
        ATR_TRY(read_line(path, line, text, classes, out));
        start += length + 1;
    }
    if (out->count == 0)
        status = atr_fail(ATR_ERR_USAGE, "%s: no colours; write lines such as '0,255,0 leaf'", path);

done:
    atr_free(bytes);
    if (status != ATR_OK)
        atr_colour_table_free(out);
    return status;
}

/* The row nearest to a colour; the first of several. */
static int64_t nearest_row(const atr_colour_table *table, const uint8_t rgb[3], double *distance)
{
    int64_t best = 0;
    int least = 3 * 256 * 256;

    for (int64_t i = 0; i < table->count; i++) {
        int square = 0;
        for (int c = 0; c < 3; c++)
            square += (rgb[c] - table->rows[i].rgb[c]) * (rgb[c] - table->rows[i].rgb[c]);
        if (square < least) {
            least = square;
            best = i;
        }
    }
    *distance = sqrt(least);
    return best;
}

/* Id of a colour, ATR_LABEL_ODD where it is in no class. */
static uint16_t id_of(const atr_colour_table *table, const uint8_t rgb[3])
{
    double distance = 0;
    const int64_t row = nearest_row(table, rgb, &distance);

    return distance <= (double)table->tolerance ? (uint16_t)table->rows[row].id : ATR_LABEL_ODD;
}

static uint32_t colour_at(const atr_image *rgb, int64_t i)
{
    return (uint32_t)rgb->pixels[3 * i] << 16 | (uint32_t)rgb->pixels[3 * i + 1] << 8 |
           rgb->pixels[3 * i + 2];
}

/* Which unknown colour is the most frequent; only where there is one. Takes its pixels' counts [COLOURS]. */
static atr_status describe_odd(const atr_colour_table *table, const atr_image *rgb, const uint16_t *ids,
                               atr_colour_odd *odd)
{
    const int64_t count = rgb->width * rgb->height;
    atr_status status = ATR_OK;
    uint32_t *pixels = NULL; /* by colour */
    uint32_t worst = 0;

    ATR_TRY(ATR_NEW(COLOURS, &pixels));
    for (int64_t i = 0; i < count; i++) {
        const uint32_t colour = colour_at(rgb, i);
        if (ids[colour] != ATR_LABEL_ODD)
            continue;
        odd->pixels++;
        odd->colours += pixels[colour]++ == 0;
        if (pixels[colour] > pixels[worst])
            worst = colour;
    }
    for (int64_t i = count - 1; i >= 0; i--)
        if (colour_at(rgb, i) == worst) {
            odd->worst_x = i % rgb->width;
            odd->worst_y = i / rgb->width;
        }
    odd->worst_pixels = pixels[worst];
    for (int c = 0; c < 3; c++)
        odd->worst[c] = (uint8_t)(worst >> (16 - 8 * c));
    odd->nearest = nearest_row(table, odd->worst, &odd->distance);

done:
    atr_free(pixels);
    return status;
}

/* A table of all colours, filled as they occur, so that each is looked up once. */
atr_status atr_colour_table_apply(const atr_colour_table *table, const atr_image *rgb, atr_mask *out,
                                  atr_colour_odd *odd)
{
    const int64_t count = rgb->width * rgb->height;
    atr_status status = ATR_OK;
    uint16_t *ids = NULL; /* [COLOURS] */
    bool strange = false;

    *odd = (atr_colour_odd){0};
    *out = (atr_mask){rgb->width, rgb->height, NULL};
    ATR_TRY(ATR_NEW(count, &out->values));
    ATR_TRY(ATR_NEW(COLOURS, &ids));
    memset(ids, 0xFF, COLOURS * sizeof *ids);
    for (int64_t i = 0; i < count; i++) {
        const uint32_t colour = colour_at(rgb, i);
        if (ids[colour] == UNSEEN)
            ids[colour] = id_of(table, rgb->pixels + 3 * i);
        strange |= ids[colour] == ATR_LABEL_ODD;
        out->values[i] = ids[colour] == ATR_LABEL_ODD ? ATR_IGNORE : ids[colour];
    }
    if (strange)
        ATR_TRY(describe_odd(table, rgb, ids, odd));

done:
    atr_free(ids);
    if (status != ATR_OK)
        atr_mask_free(out);
    return status;
}
