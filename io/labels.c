#include "io/labels.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "core/text.h"

enum { CLASS_FILE_LIMIT = 1 << 20, NEAR = 2 };

/* labelme's names for pixels that count nowhere and for class 0. */
#define IGNORE_LABEL     "__ignore__"
#define BACKGROUND_LABEL "_background_"

void atr_class_list_free(atr_class_list *classes)
{
    for (int64_t i = 0; classes->names != NULL && i < classes->count; i++)
        atr_free(classes->names[i]);
    atr_free(classes->names);
    *classes = (atr_class_list){0};
}

static atr_status add_class(atr_class_list *classes, const char *source, const char *name, int length)
{
    atr_status status = ATR_OK;

    if (classes->count == ATR_CLASSES_MOST)
        return atr_fail(ATR_ERR_USAGE, "%s: more than %d classes (255 means ignore, 254 is never used)",
                        source, ATR_CLASSES_MOST);
    ATR_TRY(atr_format(&classes->names[classes->count], "%.*s", length, name));
    for (int64_t i = 0; i < classes->count; i++)
        if (strcmp(classes->names[i], classes->names[classes->count]) == 0)
            status = atr_fail(ATR_ERR_USAGE, "%s: class '%.*s' stands there twice", source, length, name);
    classes->count++;

done:
    return status;
}

static atr_status read_class_file(const char *path, atr_class_list *out)
{
    atr_status status = ATR_OK;
    char *bytes = NULL;
    size_t size = 0, start = 0;

    ATR_TRY(atr_file_read(path, CLASS_FILE_LIMIT, (void **)&bytes, &size));
    if (size >= 3 && memcmp(bytes, "\xEF\xBB\xBF", 3) == 0)
        start = 3; /* the byte order mark that Windows editors leave */
    while (start < size) {
        size_t end = start;
        while (end < size && bytes[end] != '\n')
            end++;
        size_t first = start, last = end;
        while (first < last && isspace((unsigned char)bytes[first]))
            first++;
        while (last > first && isspace((unsigned char)bytes[last - 1]))
            last--;
        if (memchr(bytes + first, '\0', last - first) != NULL) {
            status = atr_fail(ATR_ERR_USAGE, "%s: not a text file with one class name per line", path);
            goto done;
        }
        if (last - first == strlen(IGNORE_LABEL) && memcmp(bytes + first, IGNORE_LABEL, last - first) == 0) {
            if (out->count > 0) {
                status = atr_fail(ATR_ERR_USAGE, "%s: %s is no class and belongs in the first line", path,
                                  IGNORE_LABEL);
                goto done;
            }
        } else if (last > first) {
            ATR_TRY(add_class(out, path, bytes + first, (int)(last - first)));
        }
        start = end + 1;
    }
    if (out->count == 0)
        status = atr_fail(ATR_ERR_USAGE, "%s: no class names; write one per line, background first", path);

done:
    atr_free(bytes);
    return status;
}

atr_status atr_class_list_read(const char *text, atr_class_list *out)
{
    atr_status status = ATR_OK;
    int64_t count = 0;
    char name[16];

    *out = (atr_class_list){0};
    ATR_TRY(ATR_NEW(ATR_CLASSES_MOST, &out->names));
    if (!atr_parse_int(text, &count)) {
        out->named = true;
        ATR_TRY(read_class_file(text, out));
        goto done;
    }
    if (count < 1 || count > ATR_CLASSES_MOST) {
        status = atr_fail(ATR_ERR_USAGE, "--classes %s: 1 to %d classes are possible (background counts)",
                          text, ATR_CLASSES_MOST);
        goto done;
    }
    for (int i = 0; i < count; i++)
        ATR_TRY(add_class(out, "--classes", name, snprintf(name, sizeof name, "%d", i)));

done:
    if (status != ATR_OK)
        atr_class_list_free(out);
    return status;
}

char *atr_class_text(const atr_class_list *classes, int64_t id, char *text)
{
    char name[128];

    if (classes->named)
        snprintf(text, 192, "%lld '%s'", (long long)id, atr_printable(classes->names[id], name, sizeof name));
    else
        snprintf(text, 192, "%lld", (long long)id);
    return text;
}

static atr_status apply_ignore(const atr_class_list *classes, const atr_label_rules *rules,
                               atr_label_map *out)
{
    if (rules->ignore_count == 0 && !rules->binary_255)
        out->id[ATR_IGNORE] = ATR_IGNORE;
    for (int64_t i = 0; i < rules->ignore_count; i++) {
        const int64_t value = rules->ignore[i];
        if (value < 0 || value >= ATR_LABEL_VALUES)
            return atr_fail(ATR_ERR_USAGE, "--ignore %lld: stored values are 0..%d", (long long)value,
                            ATR_LABEL_VALUES - 1);
        if (value < classes->count)
            return atr_fail(
                ATR_ERR_USAGE,
                "--ignore %lld: with %lld classes this value is a class (0..%lld); give fewer classes, "
                "or --map %lld=ignore",
                (long long)value, (long long)classes->count, (long long)classes->count - 1, (long long)value);
        if (value == ATR_IGNORE && rules->binary_255)
            return atr_fail(ATR_ERR_USAGE, "--binary-255 and --ignore 255 exclude each other");
        out->id[value] = ATR_IGNORE;
    }
    return ATR_OK;
}

atr_status atr_label_map_build(const atr_class_list *classes, const atr_label_rules *rules,
                               atr_label_map *out)
{
    for (int64_t v = 0; v < ATR_LABEL_VALUES; v++)
        out->id[v] = v < classes->count ? (uint16_t)v : ATR_LABEL_ODD;
    const atr_status status = apply_ignore(classes, rules, out);
    if (status != ATR_OK)
        return status;
    if (rules->binary_255) {
        if (classes->count != 2)
            return atr_fail(
                ATR_ERR_USAGE,
                "--binary-255 makes 255 class 1 and is for 2 classes, not %lld; use --map 255=CLASS",
                (long long)classes->count);
        out->id[ATR_IGNORE] = 1;
    }
    for (int64_t i = 0; i < rules->map_count; i++) {
        const atr_label_pair pair = rules->map[i];
        if (pair.from < 0 || pair.from >= ATR_LABEL_VALUES || pair.to < 0 ||
            (pair.to >= classes->count && pair.to != ATR_IGNORE))
            return atr_fail(
                ATR_ERR_USAGE,
                "--map %lld=%lld: the right side is a class (0..%lld) or ignore, the left a stored value",
                (long long)pair.from, (long long)pair.to, (long long)classes->count - 1);
        out->id[pair.from] = (uint16_t)pair.to;
    }
    return ATR_OK;
}

static int64_t class_of(const atr_class_list *classes, const char *name)
{
    for (int64_t i = 0; i < classes->count; i++)
        if (strcmp(classes->names[i], name) == 0)
            return i;
    if (strcmp(name, BACKGROUND_LABEL) == 0)
        return 0;
    return strcmp(name, IGNORE_LABEL) == 0 ? ATR_IGNORE : -1;
}

/* The right side of a rule. */
static int64_t rule_target(const atr_class_list *classes, const char *text)
{
    const int64_t id = class_of(classes, text);
    int64_t number = 0;

    if (id >= 0)
        return id;
    if (strcmp(text, "ignore") == 0)
        return ATR_IGNORE;
    return atr_parse_int(text, &number) && number >= 0 && number < classes->count ? number : -1;
}

int64_t atr_label_of_name(const atr_class_list *classes, const atr_label_rules *rules, const char *label)
{
    char digits[32];

    for (int64_t i = 0; i < rules->rename_count; i++)
        if (strcmp(rules->rename[i].from, label) == 0)
            return rule_target(classes, rules->rename[i].to);
    for (int64_t i = 0; i < rules->map_count; i++) {
        snprintf(digits, sizeof digits, "%lld", (long long)rules->map[i].from);
        if (strcmp(digits, label) == 0)
            return rules->map[i].to;
    }
    return class_of(classes, label);
}

atr_status atr_label_check_renames(const atr_class_list *classes, const atr_label_rules *rules)
{
    for (int64_t i = 0; i < rules->rename_count; i++)
        if (rule_target(classes, rules->rename[i].to) < 0)
            return atr_fail(ATR_ERR_USAGE, "--map '%s=%s': the right side is a class or ignore",
                            rules->rename[i].from, rules->rename[i].to);
    for (int64_t i = 0; i < rules->map_count; i++)
        if (rules->map[i].to != ATR_IGNORE && (rules->map[i].to < 0 || rules->map[i].to >= classes->count))
            return atr_fail(ATR_ERR_USAGE, "--map %lld=%lld: the right side is a class (0..%lld) or ignore",
                            (long long)rules->map[i].from, (long long)rules->map[i].to,
                            (long long)classes->count - 1);
    return ATR_OK;
}

/* Whether the value at (x,y) lies strictly between the smallest and the largest within NEAR pixels. */
static bool is_between(const atr_mask *mask, int64_t x, int64_t y)
{
    const uint16_t value = mask->values[y * mask->width + x];
    const int64_t left = x < NEAR ? 0 : x - NEAR, right = x + NEAR < mask->width ? x + NEAR : mask->width - 1;
    const int64_t top = y < NEAR ? 0 : y - NEAR;
    const int64_t bottom = y + NEAR < mask->height ? y + NEAR : mask->height - 1;
    bool lower = false, higher = false;

    for (int64_t v = top; v <= bottom; v++)
        for (int64_t u = left; u <= right; u++) {
            lower |= mask->values[v * mask->width + u] < value;
            higher |= mask->values[v * mask->width + u] > value;
        }
    return lower && higher;
}

/* Second look, only where the first one found odd values: where they are. */
static void locate_odd(const atr_label_map *map, const atr_mask *mask, atr_label_scan *out)
{
    bool found = false;

    for (int64_t y = 0; y < mask->height; y++)
        for (int64_t x = 0; x < mask->width; x++) {
            const uint16_t value = mask->values[y * mask->width + x];
            if (map->id[value] != ATR_LABEL_ODD)
                continue;
            out->odd_between += is_between(mask, x, y);
            if (value == out->worst && !found) {
                out->worst_x = x;
                out->worst_y = y;
                found = true;
            }
        }
}

static void summarise(const atr_label_map *map, const int64_t *pixels, atr_label_scan *out)
{
    out->worst = -1;
    out->only_0_255 = true;
    out->has_255 = pixels[ATR_IGNORE] > 0;
    for (int64_t v = 0; v < ATR_LABEL_VALUES; v++) {
        if (pixels[v] == 0)
            continue;
        out->values++;
        out->only_0_255 &= v == 0 || v == ATR_IGNORE;
        if (map->id[v] != ATR_LABEL_ODD) {
            out->pixels[map->id[v]] += pixels[v];
            continue;
        }
        out->odd_values++;
        out->odd_pixels += pixels[v];
        if (pixels[v] > out->worst_pixels) {
            out->worst = v;
            out->worst_pixels = pixels[v];
        }
    }
}

atr_status atr_label_scan_mask(const atr_label_map *map, const atr_mask *mask, uint8_t *ids,
                               atr_label_scan *out)
{
    const int64_t count = mask->width * mask->height;
    int64_t *pixels = NULL; /* by stored value */
    const atr_status status = ATR_NEW(ATR_LABEL_VALUES, &pixels);

    *out = (atr_label_scan){0};
    if (status != ATR_OK)
        return status;
    for (int64_t i = 0; i < count; i++) {
        const uint16_t value = mask->values[i], id = map->id[value];
        pixels[value]++;
        ids[i] = id == ATR_LABEL_ODD ? ATR_IGNORE : (uint8_t)id;
    }
    summarise(map, pixels, out);
    if (out->odd_pixels > 0)
        locate_odd(map, mask, out);
    atr_free(pixels);
    return ATR_OK;
}

/* Another numbering has whole regions of an odd value; blending has many values, and nearly all of them on edges. */
bool atr_label_scan_blended(const atr_label_scan *scan)
{
    return scan->odd_values >= 3 && (double)scan->odd_between >= 0.8 * (double)scan->odd_pixels;
}
