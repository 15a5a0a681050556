#ifndef ATR_IO_COLOUR_TABLE_H
#define ATR_IO_COLOUR_TABLE_H

#include "io/labels.h"

/* Masks whose labels are colours: a table says which class each colour is. A class may have several. */

typedef struct atr_colour_row {
    uint8_t rgb[3];
    int64_t id; /* class, or ATR_IGNORE */
} atr_colour_row;

typedef struct atr_colour_table {
    int64_t count;
    atr_colour_row *rows; /* [count] */
    int64_t
        tolerance; /* largest distance (Euclidean, in 8-bit R, G, B) at which a colour still counts as the nearest one of
                             the table; 0: exact colours only */
} atr_colour_table;

/* Reads a text file with a colour and a class on each line, in this order or the other, with commas, semicolons, blanks or tabs between:
 * "0,255,0 leaf", "leaf 0 255 0". Names with blanks are those of the list; a number behind the colour is a class of this number; "ignore" and "__ignore__"
 * mean ignore. Lines that are empty or begin with '#' do not count, nor does a first line without a colour (the heading of a
 * CSV file). ATR_ERR_USAGE names the line. Free with atr_colour_table_free(). */
atr_status atr_colour_table_read(const char *path, const atr_class_list *classes, atr_colour_table *out);
void atr_colour_table_free(atr_colour_table *table);

/* A colour that is in no class. */
typedef struct atr_colour_odd {
    int64_t pixels; /* of all such colours */
    int64_t colours;
    uint8_t worst[3];                       /* the most frequent of them */
    int64_t worst_pixels, worst_x, worst_y; /* and its first case */
    int64_t nearest;                        /* row of the table */
    double distance;                        /* to it */
} atr_colour_odd;

/* Ids of an RGB picture in `out` (values [height,width], owned by the caller: atr_mask_free); pixels of unknown colours are
 * ATR_IGNORE and described in `*odd`. */
atr_status atr_colour_table_apply(const atr_colour_table *table, const atr_image *rgb, atr_mask *out,
                                  atr_colour_odd *odd);

#endif
