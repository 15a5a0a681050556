#ifndef ATR_CORE_TEXT_H
#define ATR_CORE_TEXT_H

#include <stdbool.h>

#include "core/mem.h"

/* Whole-text number parsing: no blanks, no rest, nothing out of range. Real numbers are finite. False: `*out` is untouched. */
bool atr_parse_int(const char *text, int64_t *out);
bool atr_parse_real(const char *text, double *out);

/* The shortest decimal text from which atr_parse_real() makes the same double, into `text` (at least
 * ATR_REAL_TEXT_BYTES); returns `text`. */
enum { ATR_REAL_TEXT_BYTES = 32 };
char *atr_real_text(double value, char *text);

/* The smallest number of letters inserted, removed, replaced or swapped with their neighbour that turns `a` into `b`, without
 * regard to upper and lower case; words longer than 63 letters count as far apart (64). */
int atr_edit_distance(const char *a, const char *b);

/* Which of `names` [count] a user who wrote `word` probably meant; NULL when none is near. Borrowed from `names`. */
const char *atr_did_you_mean(const char *word, const char *const *names, int64_t count);

/* `text` fit for a message into `out` of `bytes`: control characters as '?', too much cut off with "..."; returns `out`. */
char *atr_printable(const char *text, char *out, size_t bytes);

/* The first line of a small file, as in /proc and /sys, into `line` [bytes]; without one "" and false. */
bool atr_first_line(const char *path, char *line, size_t bytes);

/* Letters (UTF-8) of `text`: the columns it takes on a terminal, wide scripts aside. */
int64_t atr_text_width(const char *text);

/* Text that grows. Starts as {0}; after a failed allocation further text is dropped and `status` says so, so that many
 * appends need one check. `bytes` is NULL or ends with a zero; free with atr_free(). */
typedef struct atr_text {
    char *bytes;
    int64_t used, room;
    atr_status status;
} atr_text;

void atr_text_append(atr_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void atr_text_append_bytes(atr_text *text, const char *bytes, int64_t count);
/* Hands the string (never NULL on success) to `*out` and empties `text`; on failure frees it and returns its status. */
atr_status atr_text_take(atr_text *text, char **out);

#endif
