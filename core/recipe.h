#ifndef ATR_CORE_RECIPE_H
#define ATR_CORE_RECIPE_H

#include "core/options.h"

/* Options in YAML. Nested maps are joined by '-', so these two say the same as `--augment-flip 0.5 --ignore 255,11`:
 *
 *     augment:            augment-flip: 0.5
 *       flip: 0.5         ignore: [255, 11]
 *     ignore: [255, 11]
 *
 * Scalars obey the rules and bounds of the command line. `null` leaves an option as it is. A file is at most
 * ATR_RECIPE_MAX_BYTES long and ATR_RECIPE_MAX_DEPTH maps deep and has one document; anchors, aliases and tags are
 * refused, and so is a key that is given twice. Reading costs time and memory in proportion to the file. */

enum { ATR_RECIPE_MAX_BYTES = 1 << 20, ATR_RECIPE_MAX_DEPTH = 8 };

/* Reads a recipe file into `options` with origin ATR_FROM_RECIPE: what the command line gave stays, what an earlier recipe
 * gave is replaced. ATR_ERR_NOT_FOUND or ATR_ERR_IO for the file; ATR_ERR_USAGE "recipe.yaml:12: ..." for its content. Options
 * above the faulty line may be set already. */
atr_status atr_options_read_yaml(atr_options *options, const char *path);

/* The same from `bytes` of memory; `name` stands for the file in messages. */
atr_status atr_options_parse_yaml(atr_options *options, const char *name, const void *text, size_t bytes);

/* All options as used (but those of one run only) as YAML; read back they give the same values exactly. To be freed
 * with atr_free(). ATR_ERR_USAGE when a string is not UTF-8, which YAML cannot hold. */
atr_status atr_options_yaml(const atr_options *options, char **out);

/* atr_options_yaml() into a file; an old file stays until the new one is complete. */
atr_status atr_options_write_yaml(const atr_options *options, const char *path);

#endif
