#ifndef ATR_TESTS_SUPPORT_WEIGHTS_JSON_H
#define ATR_TESTS_SUPPORT_WEIGHTS_JSON_H

#include "io/weights.h"

/* The importer files of the shared data and what their JSON says of each tensor: name, type, shape, first values, sum. */

/* Path of shared parity file NAME, or NULL (with the reason printed) where there is none: the test skips. */
const char *weights_json_path(const char *name);

/* Reads SHARED/parity/NAME.json and the weight file it names, and compares them tensor by tensor; ends the test on the first
 * difference. Returns the number of tensors, or -1 where the files are absent. */
int64_t weights_json_check(const char *name);

/* Value `i` of a tensor as a number. */
double weights_number(const atr_tensor *tensor, int64_t i);

/* 1 in four damaged copies is cut short, the others have 1 to 8 flipped bits. `round` numbers them. Returns the new size. */
size_t weights_damage(uint8_t *bytes, size_t size, int64_t round);

#endif
