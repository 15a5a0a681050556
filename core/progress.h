#ifndef ATR_CORE_PROGRESS_H
#define ATR_CORE_PROGRESS_H

#include <stddef.h>
#include <stdint.h>

/* How far a long piece of work is. Only the text is made here; the program prints it: after '\r' on a terminal, as a line
 * from time to time in a log. */
typedef struct atr_progress {
    const char *label;   /* "epoch 3/25"; NULL: none */
    const char *unit;    /* what is counted, "images"; NULL: "items" */
    int64_t done, total; /* total 0: not known */
    int64_t first;  /* done when the clock started (resumed work), not counted in rate and remaining time */
    double seconds; /* since the clock started */
    const char *extra; /* "loss 0.4312, lr 0.007"; NULL: none */
    /* Speed in something else than what is counted: "12.4 images/s" where each step is `rate_each` images. NULL: "12.4/s". */
    const char *rate_unit;
    double rate_each;
} atr_progress;

/* "epoch 3/25 [=====>    ]  51% 188/367 images, 12.4/s, 0:14 left, loss 0.4312" into `line` of `bytes`; returns `line`. The bar
 * fills what the rest leaves of `columns`. Where even the text is too long, what follows its last commas is left out, for half a number
 * misleads, and the rest cut at `columns` (UTF-8 letters stay whole). 0 columns: no bar and no cut, for a log. No
 * control characters. */
char *atr_progress_line(const atr_progress *progress, int columns, char *line, size_t bytes);

/* 75 -> "1:15", 3723 -> "1:02:03"; into `text` of at least 24 bytes; returns `text`. "?" for what is no duration. */
char *atr_duration_text(double seconds, char *text);

#endif
