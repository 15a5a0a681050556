#include "core/text.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { WORD_LETTERS = 63 };

bool atr_parse_int(const char *text, int64_t *out)
{
    const char *digits = *text == '-' || *text == '+' ? text + 1 : text;

    if (*digits == '\0' || strspn(digits, "0123456789") != strlen(digits))
        return false;
    errno = 0;
    const long long value = strtoll(text, NULL, 10);
    if (errno != 0)
        return false;
    *out = value;
    return true;
}

bool atr_parse_real(const char *text, double *out)
{
    char *end = NULL;

    /* strtod() alone would also take blanks, hexadecimal, "inf" and "nan". */
    if (*text == '\0' || strspn(text, "0123456789+-.eE") != strlen(text))
        return false;
    const double value = strtod(text, &end);
    if (*end != '\0' || !isfinite(value))
        return false;
    *out = value;
    return true;
}

char *atr_real_text(double value, char *text)
{
    if (value == rint(value) && fabs(value) < 1e15) { /* 1000 rather than 1e+03 */
        snprintf(text, ATR_REAL_TEXT_BYTES, "%.0f", value);
        return text;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, ATR_REAL_TEXT_BYTES, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    return text;
}

char *atr_printable(const char *text, char *out, size_t bytes)
{
    size_t used = 0;

    for (; *text != '\0' && used + 1 < bytes; text++) {
        const unsigned char c = (unsigned char)*text;
        out[used++] = (char)(c < 0x20 || c == 0x7F ? '?' : c);
    }
    if (*text != '\0' && bytes >= 4) { /* cut between letters, not inside one */
        used = bytes - 4;
        while (used > 0 && ((unsigned char)out[used] & 0xC0) == 0x80)
            used--;
        memcpy(out + used, "...", 3);
        used += 3;
    }
    out[used] = '\0';
    return out;
}

bool atr_first_line(const char *path, char *line, size_t bytes)
{
    FILE *file = fopen(path, "re");
    const bool found = file != NULL && fgets(line, (int)bytes, file) != NULL;

    if (!found)
        line[0] = '\0';
    if (file != NULL)
        fclose(file);
    return found;
}

int64_t atr_text_width(const char *text)
{
    int64_t letters = 0;

    for (; *text != '\0'; text++)
        letters += ((unsigned char)*text & 0xC0) != 0x80;
    return letters;
}

/* Optimal string alignment: the Wagner-Fischer table with three rows kept, the oldest one for swaps of neighbours. */
int atr_edit_distance(const char *a, const char *b)
{
    int rows[3][WORD_LETTERS + 1];
    int *before = rows[0], *last = rows[1], *now = rows[2];
    const int m = (int)strnlen(a, WORD_LETTERS + 1), n = (int)strnlen(b, WORD_LETTERS + 1);

    if (m > WORD_LETTERS || n > WORD_LETTERS)
        return WORD_LETTERS + 1;
    for (int j = 0; j <= n; j++)
        last[j] = before[j] = j;
    for (int i = 1; i <= m; i++) {
        now[0] = i;
        for (int j = 1; j <= n; j++) {
            const int x = tolower((unsigned char)a[i - 1]), y = tolower((unsigned char)b[j - 1]);
            int best = last[j - 1] + (x != y);
            best = last[j] + 1 < best ? last[j] + 1 : best;
            best = now[j - 1] + 1 < best ? now[j - 1] + 1 : best;
            if (i > 1 && j > 1 && x == tolower((unsigned char)b[j - 2]) &&
                y == tolower((unsigned char)a[i - 2]) && before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            now[j] = best;
        }
        int *const oldest = before;
        before = last;
        last = now;
        now = oldest;
    }
    return last[n];
}

/* Whether `word` is the beginning of `name`, or its last part ("flip" of "augment-flip"). */
static bool is_part(const char *word, const char *name)
{
    const size_t w = strlen(word), n = strlen(name);

    return w >= 2 && w < n &&
           (strncasecmp(word, name, w) == 0 ||
            (name[n - w - 1] == '-' && strcasecmp(word, name + n - w) == 0));
}

/* Scores are doubled distances, so that a part of a name (1) comes before a slip (2 or more). */
const char *atr_did_you_mean(const char *word, const char *const *names, int64_t count)
{
    const int length = (int)strnlen(word, WORD_LETTERS + 1);
    const int most = length <= 2 ? 1 : length / 3 + 1; /* as far as slips of the fingers go */
    const char *nearest = NULL;
    int least = 2 * most + 1;

    for (int64_t i = 0; i < count; i++) {
        const int distance = atr_edit_distance(word, names[i]);
        const int score = distance > 0 && is_part(word, names[i]) ? 1 : 2 * distance;
        if (score < least && (score == 1 || distance < length)) {
            least = score;
            nearest = names[i];
        }
    }
    return nearest;
}

/* Makes room for `more` bytes and a closing zero. */
static bool reserve(atr_text *text, int64_t more)
{
    if (text->status != ATR_OK)
        return false;
    if (text->used + more + 1 <= text->room)
        return true;
    const int64_t room = 2 * (text->used + more + 1) + 256;
    text->status = atr_grow(text->room, room, 1, (void **)&text->bytes);
    if (text->status != ATR_OK)
        return false;
    text->room = room;
    return true;
}

void atr_text_append(atr_text *text, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    const int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0 || !reserve(text, length))
        return;
    va_start(args, format);
    vsnprintf(text->bytes + text->used, (size_t)length + 1, format, args);
    va_end(args);
    text->used += length;
}

void atr_text_append_bytes(atr_text *text, const char *bytes, int64_t count)
{
    if (!reserve(text, count))
        return;
    memcpy(text->bytes + text->used, bytes, (size_t)count);
    text->used += count;
    text->bytes[text->used] = '\0';
}

atr_status atr_text_take(atr_text *text, char **out)
{
    const bool whole = reserve(text, 0);
    const atr_status status = text->status;

    *out = whole ? text->bytes : NULL;
    if (!whole)
        atr_free(text->bytes);
    *text = (atr_text){0};
    return status;
}
