/* What a loss is made of, as text and checked. */
#include <math.h>
#include <stdio.h>

#include "core/text.h"
#include "dnn/loss_impl.h"

void atr_loss_defaults(atr_loss_config *out)
{
    *out = (atr_loss_config){
        .factor = {[ATR_LOSS_CE] = 1.0},
        .focal_alpha = 0.5,
        .focal_gamma = 2.0,
        .dice_beta = 1.0,
        .dice_smooth = 1e-5,
        .ohem_threshold = 0.7,
        .ohem_keep = 0.0625,
    };
}

const char *atr_loss_term_name(atr_loss_term term)
{
    return loss_rows[term].name;
}

const char *atr_loss_term_help(atr_loss_term term)
{
    return loss_rows[term].help;
}

static atr_status refuse_name(const char *name, const char *const *names)
{
    const char *const meant = atr_did_you_mean(name, names, ATR_LOSS_TERMS);
    char have[128] = "", shown[64];
    size_t used = 0;

    for (int term = 0; term < ATR_LOSS_TERMS && used < sizeof have; term++)
        used += (size_t)snprintf(have + used, sizeof have - used, "%s%s", term > 0 ? ", " : "", names[term]);
    return atr_fail(ATR_ERR_USAGE, "no loss is called '%s'%s%s%s (have: %s; joined by '+')",
                    atr_printable(name, shown, sizeof shown), meant != NULL ? ": did you mean '" : "",
                    meant != NULL ? meant : "", meant != NULL ? "'?" : "", have);
}

/* "0.5*dice" or "dice". */
static atr_status parse_term(const char *text, double *factor)
{
    const char *const star = strchr(text, '*'), *const name = star != NULL ? star + 1 : text;
    const char *names[ATR_LOSS_TERMS];
    char number[ATR_REAL_TEXT_BYTES] = "1", shown[64];
    double value = 0.0;

    if (star != NULL)
        snprintf(number, sizeof number, "%.*s", (int)(star - text), text);
    if ((star != NULL && (size_t)(star - text) >= sizeof number) || !atr_parse_real(number, &value) ||
        !(value > 0.0))
        return atr_fail(ATR_ERR_USAGE, "loss '%s': before the '*' stands a factor above 0, as in 0.5*dice",
                        atr_printable(text, shown, sizeof shown));
    for (int term = 0; term < ATR_LOSS_TERMS; term++) {
        names[term] = loss_rows[term].name;
        if (strcmp(name, names[term]) != 0)
            continue;
        if (factor[term] > 0.0)
            return atr_fail(ATR_ERR_USAGE, "loss '%s' is named twice: give it a factor, as in 2*%s", name,
                            name);
        factor[term] = value;
        return ATR_OK;
    }
    return refuse_name(name, names);
}

atr_status atr_loss_parse(const char *text, atr_loss_config *out)
{
    double factor[ATR_LOSS_TERMS] = {0.0};
    char *copy = NULL;
    atr_status status = ATR_OK;

    ATR_TRY(atr_strdup(text, &copy));
    for (char *term = copy; term != NULL;) {
        char *const plus = strchr(term, '+');
        if (plus != NULL)
            *plus = '\0';
        ATR_TRY(parse_term(term, factor));
        term = plus != NULL ? plus + 1 : NULL;
    }
    memcpy(out->factor, factor, sizeof factor);

done:
    atr_free(copy);
    return status;
}

char *atr_loss_text(const atr_loss_config *config, char *text)
{
    char number[ATR_REAL_TEXT_BYTES];
    size_t used = 0;

    text[0] = '\0';
    for (int term = 0; term < ATR_LOSS_TERMS; term++)
        if (config->factor[term] > 0.0 && used < ATR_LOSS_TEXT_BYTES)
            used += (size_t)snprintf(
                text + used, ATR_LOSS_TEXT_BYTES - used, "%s%s%s%s", used > 0 ? " + " : "",
                config->factor[term] == 1.0 ? "" : atr_real_text(config->factor[term], number),
                config->factor[term] == 1.0 ? "" : " ", loss_rows[term].name);
    return text;
}

static atr_status check_weights(const atr_loss_config *config)
{
    double sum = 0.0;

    if (config->class_weight_count < 0 || config->class_weight_count > ATR_MAX_CLASSES)
        return atr_fail(ATR_ERR_USAGE, "%lld class weights: there can be at most %d",
                        (long long)config->class_weight_count, ATR_MAX_CLASSES);
    for (int64_t k = 0; k < config->class_weight_count; k++) {
        if (!(config->class_weights[k] >= 0.0f) || !isfinite(config->class_weights[k]))
            return atr_fail(ATR_ERR_USAGE, "class weight %g: must be finite and not negative",
                            (double)config->class_weights[k]);
        sum += (double)config->class_weights[k];
    }
    if (config->class_weight_count > 0 && !(sum > 0.0))
        return atr_fail(ATR_ERR_USAGE, "class weights: all are 0, so there would be nothing to learn");
    return ATR_OK;
}

atr_status atr_loss_check(const atr_loss_config *config)
{
    double sum = 0.0;

    for (int term = 0; term < ATR_LOSS_TERMS; term++) {
        if (!(config->factor[term] >= 0.0) || !isfinite(config->factor[term]))
            return atr_fail(ATR_ERR_USAGE, "factor %g of loss %s: must be finite and not negative",
                            config->factor[term], loss_rows[term].name);
        sum += config->factor[term];
    }
    if (!(sum > 0.0))
        return atr_fail(ATR_ERR_USAGE, "the loss has no term");
    if (!(config->smoothing >= 0.0 && config->smoothing < 1.0))
        return atr_fail(ATR_ERR_USAGE, "label smoothing %g: must be at least 0 and below 1",
                        config->smoothing);
    if (!(config->focal_alpha > 0.0) || !(config->focal_gamma >= 0.0) || !isfinite(config->focal_gamma))
        return atr_fail(ATR_ERR_USAGE, "focal loss with alpha %g, gamma %g: must be above 0, at least 0",
                        config->focal_alpha, config->focal_gamma);
    if (!(config->dice_beta > 0.0) || !(config->dice_smooth > 0.0))
        return atr_fail(ATR_ERR_USAGE, "dice loss with beta %g, smooth %g: must be above 0",
                        config->dice_beta, config->dice_smooth);
    if (!(config->ohem_threshold > 0.0 && config->ohem_threshold <= 1.0) ||
        !(config->ohem_keep >= 0.0 && config->ohem_keep <= 1.0))
        return atr_fail(ATR_ERR_USAGE, "ohem with threshold %g, least share %g: both lie between 0 and 1",
                        config->ohem_threshold, config->ohem_keep);
    return check_weights(config);
}
