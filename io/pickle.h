#ifndef ATR_IO_PICKLE_H
#define ATR_IO_PICKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

/* Reads Python pickles (binary protocols 2 to 5) as plain data. A pickle is a program for a small stack machine that may name
 * any function and have it called. Here nothing is ever called: a call becomes a value of kind CALL that holds the name and
 * the arguments, and a name that the caller does not allow ends the reading with a message.
 * Everything is bounded by the size of the input; the machine does not recurse. */

enum {
    ATR_PICKLE_MAX_BYTES = 16 << 20, /* a state_dict of 1000 tensors takes 150 kB */
    ATR_PICKLE_MAX_VALUES = 2 << 20
};

typedef enum atr_pickle_kind {
    ATR_PICKLE_NONE,
    ATR_PICKLE_BOOL,
    ATR_PICKLE_INT,
    ATR_PICKLE_FLOAT,
    ATR_PICKLE_TEXT, /* UTF-8, not checked */
    ATR_PICKLE_BYTES,
    ATR_PICKLE_TUPLE,
    ATR_PICKLE_LIST,
    ATR_PICKLE_DICT,   /* items: key, value, key, value … */
    ATR_PICKLE_GLOBAL, /* text: "module.name" */
    ATR_PICKLE_PERSID, /* items[0]: the persistent id */
    ATR_PICKLE_CALL,   /* callee(args…); items: pairs stored into the result, as for OrderedDict */
    ATR_PICKLE_OTHER   /* sets, integers over 64 bits */
} atr_pickle_kind;

typedef struct atr_pickle_value atr_pickle_value;
struct atr_pickle_value {
    atr_pickle_kind kind;
    int64_t count, capacity;  /* of items */
    atr_pickle_value **items; /* values may be shared, and may contain themselves: do not recurse unbounded */
    union {
        int64_t integer; /* BOOL (0, 1) and INT */
        double real;
        struct {
            const char *text; /* TEXT, BYTES and GLOBAL; not closed by a zero except GLOBAL */
            size_t length;
        };
        struct {
            const atr_pickle_value *callee, *args; /* a GLOBAL and a TUPLE */
        };
    };
};

typedef struct atr_pickle atr_pickle;

/* Whether a pickle may name the global "module.name". */
typedef bool (*atr_pickle_allow)(const char *global);

/* Reads one pickle from the front of `bytes`, which must outlive the result (texts point into them). `*used` (may be NULL) is
 * its length: pickles may follow each other. ATR_ERR_DATA names the byte and the fault. */
atr_status atr_pickle_read(const void *bytes, size_t size, atr_pickle_allow allow, size_t *used,
                           atr_pickle **out);
void atr_pickle_destroy(atr_pickle *pickle);

const atr_pickle_value *atr_pickle_root(const atr_pickle *pickle);

/* All persistent ids in the order of the stream, wherever they stand. */
int64_t atr_pickle_persid_count(const atr_pickle *pickle);
const atr_pickle_value *atr_pickle_persid(const atr_pickle *pickle, int64_t index);

/* Whether `v` is TEXT equal to `text`. */
bool atr_pickle_is_text(const atr_pickle_value *v, const char *text);

#endif
