#ifndef ATR_APPS_ADOPT_H
#define ATR_APPS_ADOPT_H

#include "io/checkpoint.h"

/* Weights of a file for a network that differs from the file's in its classes, or in all but its backbone: what must fit, what may
 * start fresh, and what is said about it (M01). */

typedef enum atr_adopt_part {
    ATR_ADOPT_ALL,  /* every tensor of the network comes from the file */
    ATR_ADOPT_BODY, /* all but the classifier (--new-head) */
    ATR_ADOPT_BACKBONE, /* the backbone alone (--backbone-only); a file of a backbone alone will do, with names that begin
                           with "backbone." or without */
    ATR_ADOPT_PARTS
} atr_adopt_part;

/* Copies the part's tensors from `weights` (read from `path`) into `params`, which hold fresh values; those outside the part
 * keep them. `asked` describes the network. Names of DDP ("module.") are understood, and `weights` may come out with its names
 * changed. `report` says what was loaded, left fresh and not used; free it with atr_load_report_free(), also after a failure.
 * ATR_ERR_USAGE: M01, another backbone, another number of channels or of classes, with the option that helps; ATR_ERR_NOT_FOUND,
 * ATR_ERR_SHAPE: M01, single tensors; ATR_ERR_DATA. */
atr_status atr_adopt(const char *path, atr_weights *weights, atr_adopt_part part, const atr_model_info *asked,
                     atr_params *params, atr_load_report *report);

/* "369 tensors loaded, 2 start fresh (first: cls_conv.weight), 2 of the file not used (first: …)" into `text`; returns it. */
enum { ATR_ADOPT_TEXT_BYTES = 512 };
char *atr_adopt_text(const atr_load_report *report, char *text);

#endif
