#ifndef ATR_APPS_INPUTS_H
#define ATR_APPS_INPUTS_H

#include "core/mem.h"

/* The pictures that a command line names: files as they are, folders by the picture files in them (by suffix, sorted by name,
 * hidden ones left out). */
typedef struct atr_inputs {
    int64_t count;
    char **paths; /* owned */
    char **stems; /* name without folder and suffix: what outputs are called; owned */
} atr_inputs;

/* ATR_ERR_NOT_FOUND names the argument that is neither file nor folder, or the folder without pictures.
 * Free with atr_inputs_free(). */
atr_status atr_inputs_collect(const char *const *arguments, int64_t count, atr_inputs *out);
void atr_inputs_free(atr_inputs *inputs);

/* Each input becomes FOLDER/STEM + suffix for each of `suffixes` (NULL at the end). ATR_ERR_USAGE where two outputs would have one
 * name, or an output would overwrite an input. */
atr_status atr_inputs_check_outputs(const atr_inputs *inputs, const char *folder,
                                    const char *const *suffixes);

#endif
