#ifndef ATR_IO_WEIGHTS_H
#define ATR_IO_WEIGHTS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/params.h"

/* Named tensors read from a weight file, in memory, in the order of the file: what PyTorch calls a state_dict.
 * Read PyTorch `.pth` (zip since 1.6, and the form before), `.safetensors` and our own checkpoints.
 * The readers trust nothing and execute nothing: any damage, lie or absurd size is a message. */

typedef struct atr_weights atr_weights;

/* Reads `path`; the form is told by the first bytes, never by the name. Names are kept as they stand in the file
 * (`module.` of DDP included); bool is read as u8. Wrapped dictionaries ({'state_dict': …, 'epoch': 3}) are opened, and
 * the scalars beside the tensors become metadata. Views of shared storages are gathered by stride and offset.
 * ATR_ERR_NOT_FOUND, ATR_ERR_IO, ATR_ERR_DATA, ATR_ERR_UNSUPPORTED; messages start with the file's name. */
atr_status atr_weights_read(const char *path, atr_weights **out);

/* The same from `size` bytes in memory (not an HDF5 checkpoint); they may be freed afterwards. */
atr_status atr_weights_parse(const void *bytes, size_t size, atr_weights **out);

void atr_weights_destroy(atr_weights *weights);

int64_t atr_weights_count(const atr_weights *weights);
const char *atr_weights_name(const atr_weights *weights, int64_t index);
/* A contiguous view in C order, borrowed; data is NULL for a tensor without elements. */
const atr_tensor *atr_weights_tensor(const atr_weights *weights, int64_t index);
/* Index of `name`, or -1. */
int64_t atr_weights_find(const atr_weights *weights, const char *name);

/* Scalars and strings found beside the tensors ("epoch" -> "3"), as text. Borrowed. */
int64_t atr_weights_meta_count(const atr_weights *weights);
const char *atr_weights_meta_key(const atr_weights *weights, int64_t index);
const char *atr_weights_meta_value(const atr_weights *weights, int64_t index);

/* "pth", "pth (before 1.6)", "safetensors" or "checkpoint". */
const char *atr_weights_format(const atr_weights *weights);

/* Takes `prefix` off all names if every name starts with it (DDP's "module."), and says whether it did. */
atr_status atr_weights_strip_prefix(atr_weights *weights, const char *prefix, bool *stripped);

/* Puts `prefix` before all names. ATR_ERR_DATA: a name gets too long. */
atr_status atr_weights_add_prefix(atr_weights *weights, const char *prefix);

/* What filling a network from a file found. */
typedef enum atr_load_kind {
    ATR_LOAD_MISSING,    /* the network has it, the file has not */
    ATR_LOAD_UNEXPECTED, /* the file has it, the network has not */
    ATR_LOAD_SHAPE       /* both have it, in different shapes */
} atr_load_kind;

typedef struct atr_load_issue {
    atr_load_kind kind;
    char name[ATR_NAME_BYTES];
    int file_rank, rank; /* of the file's tensor and of the network's */
    int64_t file_dims[ATR_MAX_RANK], dims[ATR_MAX_RANK];
} atr_load_issue;

typedef struct atr_load_report {
    int64_t loaded;                          /* tensors taken */
    int64_t missing, unexpected, mismatched; /* counts of the issues by kind */
    int64_t fresh;                           /* entries of the network that keep their values */
    int64_t unused;                          /* tensors of the file that were not taken */
    char fresh_name[ATR_NAME_BYTES], unused_name[ATR_NAME_BYTES]; /* the first of each */
    int64_t non_finite;                   /* loaded tensors that hold NaN or infinity */
    char non_finite_name[ATR_NAME_BYTES]; /* the first of them */
    int64_t issue_count;
    atr_load_issue *issues; /* [issue_count], owned (atr_load_report_free) */
} atr_load_report;

typedef enum atr_load_mode {
    ATR_LOAD_STRICT, /* any issue is an error, and nothing is changed */
    ATR_LOAD_PARTIAL /* what fits by name and shape is loaded, the rest is left as it is */
} atr_load_mode;

/* Copies tensors into `params` (on the host) by name and shape, converting floats to f32 and integers to i64, and touches
 * `params`. A file without `num_batches_tracked` (PyTorch before 0.4.1) is no issue: the counters stay.
 * `report` may be NULL. Strict: ATR_ERR_NOT_FOUND or ATR_ERR_SHAPE names the first issues; the report is filled even then.
 * ATR_ERR_DATA: an integer tensor where floats are wanted, or the reverse. */
atr_status atr_weights_fill(const atr_weights *weights, atr_load_mode mode, atr_params *params,
                            atr_load_report *report);

/* A part of a network: the entries whose names begin with `only` (NULL: with anything) and not with `but` (NULL: no such). */
typedef struct atr_load_part {
    const char *only, *but;
} atr_load_part;

/* Fills that part alone, and all of it: an entry of the part that is missing in the file or has another shape there is an error as with
 * ATR_LOAD_STRICT, and nothing is changed; entries outside the part keep their values, and what else the file holds is left. */
atr_status atr_weights_fill_part(const atr_weights *weights, const atr_load_part *part, atr_params *params,
                                 atr_load_report *report);
void atr_load_report_free(atr_load_report *report);

#endif
