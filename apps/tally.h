#ifndef ATR_APPS_TALLY_H
#define ATR_APPS_TALLY_H

#include <jansson.h>
#include <stdio.h>

#include "core/text.h"
#include "io/checkpoint.h"

/* Pixels of each class, by picture and in total: as a table, as CSV, as JSON. */

typedef struct atr_tally {
    const atr_model_info *info; /* borrowed */
    bool by_picture;            /* remember each one; else only the total */
    int64_t count, room;        /* pictures remembered */
    char **names;               /* [count] */
    int64_t *sizes;             /* [count,2]: width, height */
    int64_t *pixels;            /* [count,classes] */
    int64_t total[ATR_CLASSES_MAX];
    int64_t pictures; /* counted */
    FILE *csv;        /* rows go here as they come; NULL: none */
    char *csv_path, *csv_partial;
} atr_tally;

/* Starts as {0}; then opens `csv` (NULL: none; "-": the standard output) and writes its heading. */
atr_status atr_tally_open(atr_tally *tally, const atr_model_info *info, bool by_picture, const char *csv);

/* Counts one picture: ids [height,width] u8, all below the number of classes. */
atr_status atr_tally_add(atr_tally *tally, const char *name, const uint8_t *ids, int64_t width,
                         int64_t height);

/* Writes the total as CSV rows of no picture and puts the file in its place. */
atr_status atr_tally_finish_csv(atr_tally *tally);

/* One table for each remembered picture and, where there was not just one, one for all: classes that occur, their pixels and
 * their share. */
void atr_tally_table(const atr_tally *tally, atr_text *out);

/* Members "pictures" (objects: picture, width, height, pixels [classes], percent [classes]) and "total" (pixels, percent),
 * "classes" (names). */
atr_status atr_tally_json(const atr_tally *tally, json_t *object);

/* A file's name or a message as a JSON string: such names may hold any bytes, JSON only UTF-8, so others become '?'. */
json_t *atr_tally_name(const char *name);

/* An unfinished CSV file is removed. */
void atr_tally_close(atr_tally *tally);

#endif
