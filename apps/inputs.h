#ifndef ATR_APPS_INPUTS_H
#define ATR_APPS_INPUTS_H

#include <stdbool.h>

#include "core/mem.h"

/* The pictures that a command line names: files as they are, folders by the picture files in them (by suffix, sorted by name,
 * hidden ones left out), patterns such as "shot-*.png" by what they match (for names that the shell did not expand). */
typedef struct atr_inputs {
    int64_t count;
    char **paths; /* owned */
    char **
        stems; /* what outputs are called: the name without suffix and without folder, but for folders below the named one
                     ("day/cam1/0001"); owned */
} atr_inputs;

typedef struct atr_inputs_rules {
    bool recursive; /* also the folders in a named folder; links to folders are not followed */
    const char
        *skip; /* a folder that is left out, as a rule the one for the results; may be NULL or not exist */
} atr_inputs_rules;

/* ATR_ERR_NOT_FOUND names the argument that is neither file nor folder, the pattern that matches nothing, or the folder without
 * pictures. Free with atr_inputs_free(). */
atr_status atr_inputs_collect(const char *const *arguments, int64_t count, const atr_inputs_rules *rules,
                              atr_inputs *out);
void atr_inputs_free(atr_inputs *inputs);

/* Each input becomes FOLDER/STEM + suffix for each of `suffixes` (NULL at the end). ATR_ERR_USAGE where two outputs would have one
 * name, or an output would overwrite an input. */
atr_status atr_inputs_check_outputs(const atr_inputs *inputs, const char *folder,
                                    const char *const *suffixes);

#endif
