#ifndef ATR_IO_FINDINGS_H
#define ATR_IO_FINDINGS_H

#include "core/mem.h"

/* What a long look at a data set brought up: every fault and doubt of one run, gathered so that the user sees all at once.
 * A code such as L02 names the kind in the manual; the first line of a message is short, what follows explains what the fault
 * would have caused and what repairs it. Not thread-safe. */

typedef enum atr_severity {
    ATR_WARNING, /* said, and the work goes on */
    ATR_ERROR    /* nothing is written */
} atr_severity;

typedef struct atr_finding {
    char code[4]; /* "L02" */
    atr_severity severity;
    char *subject;      /* the file, "" where the data set as a whole is meant */
    char *message;      /* first line, then details after '\n' */
    int64_t item_count; /* further files or lines the finding is about */
    char **items;       /* [item_count] */
} atr_finding;

typedef struct atr_findings atr_findings;

atr_status atr_findings_create(atr_findings **out);
void atr_findings_destroy(atr_findings *findings);

/* Adds one; `subject` may be "". */
atr_status atr_findings_add(atr_findings *findings, const char *code, atr_severity severity,
                            const char *subject, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* Adds F01: the file at `path`, called `subject`, cannot be read for the reason that is waiting in the status message. Running out
 * of memory is no fault of the file: ATR_ERR_MEMORY goes back as it came. */
atr_status atr_findings_unreadable(atr_findings *findings, const char *path, const char *subject,
                                   atr_status status);

/* Adds a line to the list of the finding added last. */
atr_status atr_findings_item(atr_findings *findings, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Moves all findings of `from` behind those of `findings`. */
atr_status atr_findings_move(atr_findings *findings, atr_findings *from);

/* Forgets the findings of a code that a better one explains. */
void atr_findings_drop(atr_findings *findings, const char *code);

/* Warnings become errors. */
void atr_findings_be_strict(atr_findings *findings);

int64_t atr_findings_count(const atr_findings *findings);
const atr_finding *atr_findings_at(const atr_findings *findings, int64_t index);
/* How many findings of a severity there are; of a code. */
int64_t atr_findings_of_severity(const atr_findings *findings, atr_severity severity);
int64_t atr_findings_of_code(const atr_findings *findings, const char *code);

/* For a terminal: errors after warnings, at most `most` findings of each code and `most` items of each finding, the rest
 * counted with a pointer to `report` (the path of the full report). "" where there is none. `*text`: atr_free. */
atr_status atr_findings_text(const atr_findings *findings, int64_t most, const char *report, char **text);

/* All of them as JSON: {"findings": [{code, severity, file, message, details, items}], "errors": n, "warnings": n}. */
atr_status atr_findings_write(const atr_findings *findings, const char *path);

#endif
