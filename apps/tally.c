#include "apps/tally.h"

#include <errno.h>
#include <string.h>

#include "io/path.h"

/* A CSV field after RFC 4180: quoted where it holds what has a meaning there. */
static void print_field(FILE *file, const char *text)
{
    if (strpbrk(text, ",\"\r\n") == NULL) {
        fputs(text, file);
        return;
    }
    fputc('"', file);
    for (; *text != '\0'; text++) {
        if (*text == '"')
            fputc('"', file);
        fputc(*text, file);
    }
    fputc('"', file);
}

static double percent(int64_t pixels, int64_t all)
{
    return all > 0 ? 100.0 * (double)pixels / (double)all : 0;
}

static int64_t sum_of(const int64_t *pixels, int64_t classes)
{
    int64_t sum = 0;

    for (int64_t k = 0; k < classes; k++)
        sum += pixels[k];
    return sum;
}

/* Rows of one picture, or of all where `name` is "" (no picture is called so). */
static atr_status print_rows(const atr_tally *t, const char *name, int64_t width, int64_t height,
                             const int64_t *pixels)
{
    const int64_t all = sum_of(pixels, t->info->classes);

    for (int64_t k = 0; k < t->info->classes; k++) {
        print_field(t->csv, name);
        if (width > 0)
            fprintf(t->csv, ",%lld,%lld,%lld,", (long long)width, (long long)height, (long long)k);
        else
            fprintf(t->csv, ",,,%lld,", (long long)k);
        print_field(t->csv, t->info->class_names[k]);
        fprintf(t->csv, ",%lld,%.6f\n", (long long)pixels[k], percent(pixels[k], all));
    }
    return ferror(t->csv) ? atr_fail(ATR_ERR_IO, "cannot write %s: %s", t->csv_path, strerror(errno))
                          : ATR_OK;
}

atr_status atr_tally_open(atr_tally *tally, const atr_model_info *info, bool by_picture, const char *csv)
{
    atr_status status = ATR_OK;

    *tally = (atr_tally){.info = info, .by_picture = by_picture};
    if (csv == NULL)
        return ATR_OK;
    ATR_TRY(atr_strdup(csv, &tally->csv_path));
    if (strcmp(csv, "-") == 0) {
        tally->csv = stdout;
    } else {
        ATR_TRY(atr_path_partial(csv, &tally->csv_partial));
        tally->csv = fopen(tally->csv_partial, "we");
        if (tally->csv == NULL) {
            status = atr_fail(ATR_ERR_IO, "cannot write %s: %s", csv, strerror(errno));
            goto done;
        }
    }
    fputs("picture,width,height,class,name,pixels,percent\n", tally->csv);
done:
    return status;
}

static atr_status remember(atr_tally *t, const char *name, int64_t width, int64_t height,
                           const int64_t *pixels)
{
    atr_status status = ATR_OK;
    const int64_t classes = t->info->classes;

    if (t->count == t->room) {
        const int64_t room = t->room == 0 ? 64 : 2 * t->room;
        ATR_TRY(atr_grow(t->count, room, sizeof *t->names, (void **)&t->names));
        ATR_TRY(atr_grow(2 * t->count, 2 * room, sizeof *t->sizes, (void **)&t->sizes));
        ATR_TRY(atr_grow(classes * t->count, classes * room, sizeof *t->pixels, (void **)&t->pixels));
        t->room = room;
    }
    ATR_TRY(atr_strdup(name, &t->names[t->count]));
    t->sizes[2 * t->count] = width;
    t->sizes[2 * t->count + 1] = height;
    memcpy(t->pixels + classes * t->count, pixels, (size_t)classes * sizeof *pixels);
    t->count++;
done:
    return status;
}

atr_status atr_tally_add(atr_tally *tally, const char *name, const uint8_t *ids, int64_t width,
                         int64_t height)
{
    atr_status status = ATR_OK;
    int64_t pixels[256] = {0};

    for (int64_t p = 0; p < width * height; p++)
        pixels[ids[p]]++;
    for (int64_t k = 0; k < tally->info->classes; k++)
        tally->total[k] += pixels[k];
    tally->pictures++;
    if (tally->by_picture)
        ATR_TRY(remember(tally, name, width, height, pixels));
    if (tally->csv != NULL)
        ATR_TRY(print_rows(tally, name, width, height, pixels));
done:
    return status;
}

atr_status atr_tally_finish_csv(atr_tally *tally)
{
    atr_status status = ATR_OK;
    FILE *file = tally->csv;

    if (file == NULL)
        return ATR_OK;
    ATR_TRY(print_rows(tally, "", 0, 0, tally->total));
    tally->csv = NULL;
    if (tally->csv_partial == NULL) /* the standard output is checked when the program ends */
        return ATR_OK;
    if (fclose(file) != 0) {
        status = atr_fail(ATR_ERR_IO, "cannot write %s: %s", tally->csv_path, strerror(errno));
        goto done;
    }
    ATR_TRY(atr_path_replace(tally->csv_partial, tally->csv_path));
    atr_free(tally->csv_partial);
    tally->csv_partial = NULL;
done:
    return status;
}

static void print_table(const atr_tally *t, const char *title, const int64_t *pixels, atr_text *out)
{
    const int64_t all = sum_of(pixels, t->info->classes);
    int64_t wide = 5;

    for (int64_t k = 0; k < t->info->classes; k++) {
        const int64_t width = 4 + atr_text_width(t->info->class_names[k]);
        wide = pixels[k] > 0 && width > wide ? width : wide;
    }
    atr_text_append(out, "%s\n  class%*s %12s %9s\n", title, (int)(wide - 5), "", "pixels", "share");
    for (int64_t k = 0; k < t->info->classes; k++) {
        const char *name = t->info->class_names[k];
        if (pixels[k] > 0)
            atr_text_append(out, "  %3lld %s%*s %12lld %7.2f %%\n", (long long)k, name,
                            (int)(wide - 4 - atr_text_width(name)), "", (long long)pixels[k],
                            percent(pixels[k], all));
    }
}

void atr_tally_table(const atr_tally *tally, atr_text *out)
{
    char title[64];
    atr_text line = {0};

    for (int64_t i = 0; i < tally->count; i++) {
        line.used = 0;
        atr_text_append(&line, "%s  %lldx%lld", tally->names[i], (long long)tally->sizes[2 * i],
                        (long long)tally->sizes[2 * i + 1]);
        if (line.status == ATR_OK)
            print_table(tally, line.bytes, tally->pixels + i * tally->info->classes, out);
    }
    atr_free(line.bytes);
    if (tally->count == 1 && tally->pictures == 1)
        return;
    snprintf(title, sizeof title, "total of %lld", (long long)tally->pictures);
    print_table(tally, title, tally->total, out);
}

/* Members "pixels" and "percent". */
static int put_counts(json_t *object, const int64_t *pixels, int64_t classes)
{
    json_t *counts = json_array(), *shares = json_array();
    const int64_t all = sum_of(pixels, classes);
    int failed = 0;

    for (int64_t k = 0; k < classes; k++) {
        failed |= json_array_append_new(counts, json_integer(pixels[k]));
        failed |= json_array_append_new(shares, json_real(percent(pixels[k], all)));
    }
    failed |= json_object_set_new(object, "pixels", counts);
    return failed | json_object_set_new(object, "percent", shares);
}

json_t *atr_tally_name(const char *name)
{
    char plain[4096];
    json_t *text = json_string(name);

    if (text != NULL)
        return text;
    snprintf(plain, sizeof plain, "%s", name);
    for (char *c = plain; *c != '\0'; c++)
        if ((unsigned char)*c >= 0x80)
            *c = '?';
    return json_string(plain);
}

atr_status atr_tally_json(const atr_tally *tally, json_t *object)
{
    const int64_t classes = tally->info->classes;
    json_t *pictures = json_array(), *total = json_object(), *names = json_array();
    int failed = 0;

    for (int64_t i = 0; i < tally->count; i++) {
        json_t *one = json_object();
        failed |= json_object_set_new(one, "picture", atr_tally_name(tally->names[i]));
        failed |= json_object_set_new(one, "width", json_integer(tally->sizes[2 * i]));
        failed |= json_object_set_new(one, "height", json_integer(tally->sizes[2 * i + 1]));
        failed |= put_counts(one, tally->pixels + i * classes, classes);
        failed |= json_array_append_new(pictures, one);
    }
    for (int64_t k = 0; k < classes; k++)
        failed |= json_array_append_new(names, atr_tally_name(tally->info->class_names[k]));
    failed |= put_counts(total, tally->total, classes);
    failed |= json_object_set_new(object, "classes", names);
    failed |= json_object_set_new(object, "pictures", pictures);
    failed |= json_object_set_new(object, "total", total);
    return failed ? atr_fail(ATR_ERR_MEMORY, "no memory for the counts as JSON") : ATR_OK;
}

void atr_tally_close(atr_tally *tally)
{
    if (tally->csv != NULL && tally->csv != stdout)
        fclose(tally->csv);
    if (tally->csv_partial != NULL)
        remove(tally->csv_partial);
    for (int64_t i = 0; i < tally->count; i++)
        atr_free(tally->names[i]);
    atr_free(tally->names);
    atr_free(tally->sizes);
    atr_free(tally->pixels);
    atr_free(tally->csv_path);
    atr_free(tally->csv_partial);
    *tally = (atr_tally){0};
}
