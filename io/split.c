#include "io/split.h"

#include <math.h>
#include <regex.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/rng.h"
#include "core/text.h"

enum { GROUP_BYTES = 4096 };

struct atr_split_rule {
    double below[ATR_SPLITS]; /* running sums of the shares, the last is 1 */
    uint64_t key;
    bool grouped;
    regex_t group;
};

static const char *const names[ATR_SPLITS] = {"train", "val", "test"};

const char *atr_split_name(atr_split split)
{
    return names[split];
}

atr_status atr_split_parse(const char *text, atr_split *out)
{
    for (int i = 0; i < ATR_SPLITS; i++)
        if (strcmp(text, names[i]) == 0) {
            *out = (atr_split)i;
            return ATR_OK;
        }
    return atr_fail(ATR_ERR_USAGE, "'%s' is no split; there are train, val and test", text);
}

static atr_status parse_shares(const char *text, double *below)
{
    double share[ATR_SPLITS] = {0}, total = 0;
    char part[64];
    int count = 0;
    const char *at = text;

    for (bool more = true; more; count++) {
        const size_t length = strcspn(at, ":");
        if (count == ATR_SPLITS || length >= sizeof part)
            return atr_fail(ATR_ERR_USAGE, "--split %s: give train:val or train:val:test, such as 0.9:0.1",
                            text);
        memcpy(part, at, length);
        part[length] = '\0';
        if (!atr_parse_real(part, &share[count]) || share[count] < 0)
            return atr_fail(ATR_ERR_USAGE, "--split %s: '%s' is not a share (a number, 0 or more)", text,
                            part);
        total += share[count];
        more = at[length] == ':';
        at += length + (more ? 1 : 0);
    }
    if (count < 2 || share[ATR_SPLIT_TRAIN] <= 0)
        return atr_fail(ATR_ERR_USAGE, "--split %s: give train:val or train:val:test, such as 0.9:0.1", text);
    if (!isfinite(total))
        return atr_fail(ATR_ERR_USAGE, "--split %s: the sum of these shares is no number", text);
    double sum = 0;
    for (int i = 0; i < ATR_SPLITS; i++) {
        sum += share[i];
        below[i] = sum / total;
    }
    return ATR_OK;
}

atr_status atr_split_rule_create(const char *shares, const char *group_regex, uint64_t seed,
                                 atr_split_rule **out)
{
    atr_status status = ATR_OK;
    atr_split_rule *rule = NULL;
    char reason[256];

    *out = NULL;
    ATR_TRY(ATR_NEW(1, &rule));
    ATR_TRY(parse_shares(shares, rule->below));
    rule->key = atr_rng_key(seed, ATR_RNG_SHUFFLE, 0, atr_fnv1a64("split by name"));
    if (group_regex != NULL) {
        const int fault = regcomp(&rule->group, group_regex, REG_EXTENDED);
        if (fault != 0) {
            regerror(fault, &rule->group, reason, sizeof reason);
            status = atr_fail(ATR_ERR_USAGE, "--group-regex '%s': %s", group_regex, reason);
            goto done;
        }
        rule->grouped = true;
    }
    *out = rule;
    rule = NULL;

done:
    atr_split_rule_destroy(rule);
    return status;
}

void atr_split_rule_destroy(atr_split_rule *rule)
{
    if (rule == NULL)
        return;
    if (rule->grouped)
        regfree(&rule->group);
    atr_free(rule);
}

/* The group's name into `group`, or `name` itself. */
static const char *group_of(const atr_split_rule *rule, const char *name, char *group)
{
    regmatch_t match[2];

    if (!rule->grouped || regexec(&rule->group, name, 2, match, 0) != 0)
        return name;
    const regmatch_t part = match[1].rm_so >= 0 ? match[1] : match[0];
    snprintf(group, GROUP_BYTES, "%.*s", (int)(part.rm_eo - part.rm_so), name + part.rm_so);
    return group;
}

atr_split atr_split_of(const atr_split_rule *rule, const char *name)
{
    char group[GROUP_BYTES];
    const double draw = atr_rng_unit(rule->key ^ atr_fnv1a64(group_of(rule, name, group)), 0);

    for (int i = 0; i < ATR_SPLITS - 1; i++)
        if (draw < rule->below[i])
            return (atr_split)i;
    /* The last share that is not empty: rounding must not invent a test part. */
    return rule->below[ATR_SPLIT_VAL] < 1 ? ATR_SPLIT_TEST : ATR_SPLIT_VAL;
}
