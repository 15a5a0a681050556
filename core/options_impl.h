#ifndef ATR_CORE_OPTIONS_IMPL_H
#define ATR_CORE_OPTIONS_IMPL_H

#include "core/options.h"

/* One row at work. */
typedef struct option_slot {
    const atr_option *row;
    void *field; /* in the target struct */
    atr_option_origin origin;
    bool set;         /* it had a default or was given */
    int64_t document; /* number of the recipe that gave it last, 0: none */
} option_slot;

struct atr_options {
    const char *program, *usage, *summary;
    option_slot *slots;
    int64_t count, room;
    void **owned; /* every string and list handed to a target */
    int64_t owned_count, owned_room;
    const char **positional;
    int64_t positional_count, positional_room;
    int64_t documents; /* recipes read so far */
    bool help;
};

enum { ATR_OPTION_NAME_BYTES = 64 };

/* A copy of `text` that lives as long as `options`. */
atr_status atr_options_keep(atr_options *options, const char *text, const char **out);

/* Makes the field zero. */
void atr_options_clear(const option_slot *slot);

/* Checks `items` [count] against the row and, unless the present origin is stronger, stores them. */
atr_status atr_options_store(atr_options *options, option_slot *slot, const char *const *items, int64_t count,
                             atr_option_origin origin);

/* Takes `text` as it stands on a command line: a list is split at commas, added to what is there when `append`. */
atr_status atr_options_store_text(atr_options *options, option_slot *slot, const char *text,
                                  atr_option_origin origin, bool append);

/* ATR_ERR_USAGE for a name that is no row: "unknown option --x: did you mean --y?", or without dashes for a recipe. */
atr_status atr_options_unknown(const atr_options *options, const char *name, atr_option_origin origin);

#endif
