#include "core/progress.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/text.h"

enum { LEAST_BAR = 10, MOST_BAR = 40, PART_BYTES = 512 };

char *atr_duration_text(double seconds, char *text)
{
    if (!(seconds >= 0 && seconds < 1e12)) {
        memcpy(text, "?", 2);
        return text;
    }
    const long long whole = llround(seconds);
    if (whole >= 3600)
        snprintf(text, 24, "%lld:%02lld:%02lld", whole / 3600, whole / 60 % 60, whole % 60);
    else
        snprintf(text, 24, "%lld:%02lld", whole / 60, whole % 60);
    return text;
}

/* Three digits at most, or as many as a whole number has. */
static void rate_text(const atr_progress *p, double rate, char *text, size_t bytes)
{
    const double shown = p->rate_unit != NULL ? rate * p->rate_each : rate;
    const int decimals = shown >= 99.95 ? 0 : shown >= 9.995 ? 1 : shown >= 0.0995 ? 2 : 4;

    snprintf(text, bytes, ", %.*f%s%s/s", decimals, shown, p->rate_unit != NULL ? " " : "",
             p->rate_unit != NULL ? p->rate_unit : "");
}

/* What stands right of the bar: " 51% 188/367 images, 12.4/s, 0:14 left, loss 0.4312". */
static void describe(const atr_progress *p, char *text, size_t bytes)
{
    char speed[64] = "", time[64] = "", duration[24];
    const char *unit = p->unit != NULL ? p->unit : "items";
    const double rate = p->seconds > 0 ? (double)(p->done - p->first) / p->seconds : 0;
    const char *comma = p->extra != NULL && *p->extra != '\0' ? ", " : "";
    const char *extra = p->extra != NULL ? p->extra : "";

    if (rate > 0)
        rate_text(p, rate, speed, sizeof speed);
    if (p->total > 0 && p->done < p->total && rate > 0)
        snprintf(time, sizeof time, ", %s left",
                 atr_duration_text((double)(p->total - p->done) / rate, duration));
    else if (p->total <= 0 || p->done >= p->total)
        snprintf(time, sizeof time, ", %s", atr_duration_text(p->seconds, duration));
    if (p->total > 0) {
        const int percent = p->done >= p->total ? 100
                            : p->done <= 0      ? 0
                                                : (int)(100.0 * (double)p->done / (double)p->total);
        snprintf(text, bytes, "%3d%% %lld/%lld %s%s%s%s%s", percent, (long long)p->done, (long long)p->total,
                 unit, speed, time, comma, extra);
    } else {
        snprintf(text, bytes, "%lld %s%s%s%s%s", (long long)p->done, unit, speed, time, comma, extra);
    }
}

/* "[=====>    ] " of `width` inner columns into `text`. */
static void draw_bar(const atr_progress *p, int width, char *text)
{
    const double part = fmin(fmax((double)p->done / (double)p->total, 0), 1);
    const int filled = (int)(part * width);

    text[0] = '[';
    memset(text + 1, ' ', (size_t)width);
    memset(text + 1, '=', (size_t)filled);
    if (filled < width)
        text[1 + filled] = '>';
    memcpy(text + 1 + width, "] ", 3);
}

/* Takes fields off the end of `text`, each with the comma before it, until it is no wider than `columns` or has but one. */
static void shorten(char *text, int64_t columns)
{
    for (char *comma; atr_text_width(text) > columns && (comma = strrchr(text, ',')) != NULL;)
        *comma = '\0';
}

/* Ends `line` after `columns` letters, and makes blanks of control characters. */
static void tidy(char *line, int64_t columns)
{
    int64_t letters = 0;

    for (char *c = line; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7F)
            *c = ' ';
        letters += ((unsigned char)*c & 0xC0) != 0x80;
        if (columns > 0 && letters > columns) {
            *c = '\0';
            return;
        }
    }
}

char *atr_progress_line(const atr_progress *progress, int columns, char *line, size_t bytes)
{
    char rest[PART_BYTES], bar[MOST_BAR + 8] = "";
    const char *label = progress->label != NULL ? progress->label : "";
    const char *gap = *label != '\0' ? " " : "";

    describe(progress, rest, sizeof rest);
    if (columns > 0)
        shorten(rest, columns - atr_text_width(label) - (int64_t)strlen(gap));
    const int64_t left = columns - atr_text_width(label) - (int64_t)strlen(gap) - atr_text_width(rest) - 3;
    if (columns > 0 && progress->total > 0 && left >= LEAST_BAR)
        draw_bar(progress, left < MOST_BAR ? (int)left : MOST_BAR, bar);
    snprintf(line, bytes, "%s%s%s%s", label, gap, bar, rest);
    tidy(line, columns);
    return line;
}
