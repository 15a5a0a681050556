#ifndef ATR_IO_SPLIT_H
#define ATR_IO_SPLIT_H

#include "core/mem.h"

/* Which part of a data set a sample belongs to. */

enum { ATR_SPLITS = 3 };

typedef enum atr_split { ATR_SPLIT_TRAIN, ATR_SPLIT_VAL, ATR_SPLIT_TEST } atr_split;

/* "train", "val", "test". */
const char *atr_split_name(atr_split split);

/* ATR_ERR_USAGE names the three. */
atr_status atr_split_parse(const char *text, atr_split *out);

/* A split drawn by name: the share a sample falls into depends on its name (and the seed) alone, so adding or removing files
 * moves no other sample; samples of one group stay together. */
typedef struct atr_split_rule atr_split_rule;

/* shares: "0.9:0.1" (train:val) or "8:1:1" (train:val:test), not negative, any sum. group_regex: NULL, or a POSIX extended
 * regular expression; its first parenthesis (the whole match where it has none) in the name is the group, and a name that does
 * not match is its own. ATR_ERR_USAGE. */
atr_status atr_split_rule_create(const char *shares, const char *group_regex, uint64_t seed,
                                 atr_split_rule **out);
void atr_split_rule_destroy(atr_split_rule *rule);

atr_split atr_split_of(const atr_split_rule *rule, const char *name);

#endif
