#ifndef ATR_IO_LABELS_H
#define ATR_IO_LABELS_H

#include <stdbool.h>

#include "io/image.h"

/* What the numbers in a mask mean, and the look at every one of them. Class ids are 0..K-1 with K <= ATR_CLASSES_MOST; pixels that
 * belong to no class carry ATR_IGNORE and count nowhere: in no loss, no metric, no statistics. */

enum {
    ATR_CLASSES_MOST = 254,
    ATR_IGNORE = 255,
    ATR_LABEL_VALUES = 65536, /* a mask's stored values: up to 16 bit */
    ATR_LABEL_ODD = 256       /* in a label map: neither a class nor ignore */
};

typedef struct atr_class_list {
    int64_t count;
    bool named;   /* names come from a file; otherwise they are "0", "1", … */
    char **names; /* [count] */
} atr_class_list;

/* `text` is a number of classes, or a file with one name per line (blank lines and blanks around names do not count, CRLF and
 * a byte order mark are tolerated; a first line "__ignore__", as labelme's lists have it, is no class). ATR_ERR_USAGE: not 1..ATR_CLASSES_MOST classes, a name twice; ATR_ERR_NOT_FOUND. */
atr_status atr_class_list_read(const char *text, atr_class_list *out);
void atr_class_list_free(atr_class_list *classes);

/* "4 'sign'" or "4" into `text` (at least 192 bytes); returns `text`. */
char *atr_class_text(const atr_class_list *classes, int64_t id, char *text);

/* Stored value `from` means class (or ATR_IGNORE) `to`. */
typedef struct atr_label_pair {
    int64_t from, to;
} atr_label_pair;

/* Label `from` means class `to`: a class name, the number of a class, or "ignore". */
typedef struct atr_label_rename {
    const char *from, *to;
} atr_label_rename;

/* How stored values and labels become ids. */
typedef struct atr_label_rules {
    const int64_t *ignore; /* [ignore_count] values that mean ignore; none given: 255 */
    int64_t ignore_count;
    const atr_label_pair *map; /* [map_count], stronger than all else */
    int64_t map_count;
    bool binary_255;                /* 255 is class 1: masks of one object, 0 and 255 */
    const atr_label_rename *rename; /* [rename_count], for formats whose labels are names, and as strong */
    int64_t rename_count;
} atr_label_rules;

/* id[v]: class of stored value v, ATR_IGNORE, or ATR_LABEL_ODD. */
typedef struct atr_label_map {
    uint16_t id[ATR_LABEL_VALUES];
} atr_label_map;

/* ATR_ERR_USAGE: a value out of range, a value both class and ignore, --binary-255 with other than 2 classes. */
atr_status atr_label_map_build(const atr_class_list *classes, const atr_label_rules *rules,
                               atr_label_map *out);

/* The id of a label that is a name, or -1: what `rules` make of it, else labelme's "__ignore__" (ATR_IGNORE) and "_background_"
 * (class 0), else the class of exactly this name. A number in rules->map counts as a label of these digits. */
int64_t atr_label_of_name(const atr_class_list *classes, const atr_label_rules *rules, const char *label);

/* ATR_ERR_USAGE for a right side of a rule that is no class. */
atr_status atr_label_check_renames(const atr_class_list *classes, const atr_label_rules *rules);

/* What was seen in one mask. */
typedef struct atr_label_scan {
    int64_t pixels[256]; /* by id after mapping; [255]: ignored */
    int64_t values;      /* different stored values */
    bool only_0_255;     /* no stored value but 0 and 255 */
    bool has_255;        /* stored */
    int64_t odd_pixels;  /* neither class nor ignore */
    int64_t odd_values;  /* different ones of these */
    int64_t
        odd_between; /* odd pixels whose value lies between larger and smaller ones within 2 pixels: blended edges */
    int64_t worst;            /* the most frequent odd value, -1: none */
    int64_t worst_pixels;     /* how often */
    int64_t worst_x, worst_y; /* its first case, row by row */
} atr_label_scan;

/* Looks at every pixel of `mask` and writes ids [height,width] u8 (odd ones as ATR_IGNORE). */
atr_status atr_label_scan_mask(const atr_label_map *map, const atr_mask *mask, uint8_t *ids,
                               atr_label_scan *out);

/* Whether the odd values look blended (saved as JPEG, resized with interpolation) rather than numbered otherwise. */
bool atr_label_scan_blended(const atr_label_scan *scan);

#endif
