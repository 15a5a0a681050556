#include "apps/adopt.h"

#include <stdio.h>
#include <string.h>

#include "apps/recognise.h"

static const char backbone_prefix[] = "backbone.";

/* The classifier is what a change of classes changes. */
static const atr_load_part parts[ATR_ADOPT_PARTS] = {
    [ATR_ADOPT_ALL] = {NULL, NULL},
    [ATR_ADOPT_BODY] = {NULL, "cls_conv."},
    [ATR_ADOPT_BACKBONE] = {backbone_prefix, NULL},
};

static bool has_backbone_prefix(const atr_weights *weights)
{
    for (int64_t i = 0; i < atr_weights_count(weights); i++)
        if (strncmp(atr_weights_name(weights, i), backbone_prefix, sizeof backbone_prefix - 1) == 0)
            return true;
    return false;
}

/* How many tensors of the network are outside the part that --new-head loads. */
static int64_t count_head(const atr_params *params)
{
    const char *const head = parts[ATR_ADOPT_BODY].but;
    int64_t count = 0;

    for (int64_t i = 0; i < atr_params_count(params); i++)
        count += strncmp(atr_params_spec(params, i)->name, head, strlen(head)) == 0;
    return count;
}

/* M01: what the file says it is against what was asked for. */
static atr_status compare_models(const char *path, const atr_model_info *found, const atr_model_info *asked,
                                 atr_adopt_part part, const atr_params *params)
{
    const int64_t head = count_head(params);

    if (strcmp(found->backbone, asked->backbone) != 0 || found->channels != asked->channels)
        return atr_fail(ATR_ERR_USAGE,
                        "M01: %s: %s, %lld classes, %lld channels. Asked: %s, %lld classes, %lld channels. "
                        "Backbone differs: refused.",
                        path, found->backbone, (long long)found->classes, (long long)found->channels,
                        asked->backbone, (long long)asked->classes, (long long)asked->channels);
    if (found->classes != asked->classes && part == ATR_ADOPT_ALL)
        return atr_fail(
            ATR_ERR_USAGE,
            "M01: %s: %s, %lld classes. Asked: %lld classes. Same backbone, head %lld -> %lld: the "
            "head would start fresh (%lld tensors), %lld be loaded; say --new-head.",
            path, found->backbone, (long long)found->classes, (long long)asked->classes,
            (long long)found->classes, (long long)asked->classes, (long long)head,
            (long long)(atr_params_count(params) - head));
    return ATR_OK;
}

/* What would help where single tensors do not fit; "" where nothing would. */
static const char *advice(const atr_load_report *report, atr_adopt_part part, bool named)
{
    int64_t in_backbone = 0;

    for (int64_t i = 0; i < report->issue_count; i++)
        in_backbone += report->issues[i].kind != ATR_LOAD_UNEXPECTED &&
                       strncmp(report->issues[i].name, backbone_prefix, sizeof backbone_prefix - 1) == 0;
    if (part == ATR_ADOPT_BACKBONE || (named && in_backbone > 0))
        return " Backbone differs: refused.";
    return named ? " --backbone-only loads the backbone alone."
                 : " If this is a backbone alone, say --backbone-only.";
}

atr_status atr_adopt(const char *path, atr_weights *weights, atr_adopt_part part, const atr_model_info *asked,
                     atr_params *params, atr_load_report *report)
{
    atr_status status = ATR_OK;
    atr_model_info *found = NULL;
    bool stripped = false;

    *report = (atr_load_report){0};
    ATR_TRY(ATR_NEW(1, &found));
    ATR_TRY(atr_weights_strip_prefix(weights, "module.", &stripped));
    const bool named = has_backbone_prefix(weights);
    const bool added = part == ATR_ADOPT_BACKBONE && !named;
    if (added)
        ATR_TRY(atr_weights_add_prefix(weights, backbone_prefix));
    if (atr_recognise(weights, asked->output_stride, found) == ATR_OK) /* else tensor by tensor */
        ATR_TRY(compare_models(path, found, asked, part, params));
    status = atr_weights_fill_part(weights, &parts[part], params, report);
    if (status == ATR_ERR_NOT_FOUND || status == ATR_ERR_SHAPE)
        status = atr_fail(status, "M01: %s: %s.%s", path, atr_status_message(), advice(report, part, named));
    else
        status = atr_fail_prefix(status, "%s", path);
    if (added && report->unused > 0) /* under the name it has in the file */
        memmove(report->unused_name, report->unused_name + sizeof backbone_prefix - 1,
                sizeof report->unused_name - (sizeof backbone_prefix - 1));

done:
    atr_free(found);
    return status;
}

char *atr_adopt_text(const atr_load_report *report, char *text)
{
    int used = snprintf(text, ATR_ADOPT_TEXT_BYTES, "%lld tensors loaded", (long long)report->loaded);

    if (report->fresh > 0)
        used += snprintf(text + used, ATR_ADOPT_TEXT_BYTES - (size_t)used, ", %lld start fresh (first: %s)",
                         (long long)report->fresh, report->fresh_name);
    if (report->unused > 0)
        snprintf(text + used, ATR_ADOPT_TEXT_BYTES - (size_t)used, ", %lld of the file not used (first: %s)",
                 (long long)report->unused, report->unused_name);
    return text;
}
