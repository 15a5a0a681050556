#include "apps/loss_options.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/text.h"
#include "dnn/class_weights.h"
#include "io/image.h"

#define FIELD(member) .offset = offsetof(atr_loss_options, member)
#define MANY          1e6

/* clang-format off */
const atr_option atr_loss_rows[] = {
    {.name = "loss", .kind = ATR_OPTION_STRING, FIELD(loss), .value = "ce", .argument = "TERM[+TERM]",
     .group = "Loss",
     .help = "ce, focal, dice, ohem, lovasz, or a sum of them such as ce+dice or ce+0.5*lovasz"},
    {.name = "class-weights", .kind = ATR_OPTION_LIST, FIELD(class_weights), .argument = "HOW",
     .help = "weight of each class in ce, focal and ohem: inverse, sqrt, median or enet (by the pixels of train), "
             "numbers W,W,..., or a FILE with a line for each class; all 1 unless given"},
    {.name = "label-smoothing", .kind = ATR_OPTION_REAL, FIELD(smoothing), .value = "0", .least = 0,
     .most = 0.999999,
     .help = "ce: this share of a label is spread evenly over all classes"},
    {.name = "focal-alpha", .kind = ATR_OPTION_REAL, FIELD(focal_alpha), .value = "0.5", .least = 1e-12, .most = MANY,
     .help = "focal: factor"},
    {.name = "focal-gamma", .kind = ATR_OPTION_REAL, FIELD(focal_gamma), .value = "2", .least = 0, .most = 100,
     .help = "focal: how strongly easy pixels fade, 0: not"},
    {.name = "dice-beta", .kind = ATR_OPTION_REAL, FIELD(dice_beta), .value = "1", .least = 1e-6, .most = MANY,
     .help = "dice: above 1 misses cost more than false alarms"},
    {.name = "dice-smooth", .kind = ATR_OPTION_REAL, FIELD(dice_smooth), .value = "1e-5", .least = 1e-12, .most = MANY,
     .help = "dice: added above and below, in pixels"},
    {.name = "ohem-threshold", .kind = ATR_OPTION_REAL, FIELD(ohem_threshold), .value = "0.7", .least = 1e-6,
     .most = 1,
     .help = "ohem: pixels whose own class has a lower probability are kept"},
    {.name = "ohem-keep", .kind = ATR_OPTION_REAL, FIELD(ohem_keep), .value = "0.0625", .least = 0, .most = 1,
     .help = "ohem: least share of pixels that are kept, the hardest ones"},
    {.name = NULL},
};
/* clang-format on */

/* A number that is set for a term which is not part of the loss would silently do nothing. */
static atr_status check_used(const atr_options *parsed, const atr_loss_config *config)
{
    static const struct {
        const char *option;
        atr_loss_term term;
    } uses[] = {
        {"label-smoothing", ATR_LOSS_CE}, {"focal-alpha", ATR_LOSS_FOCAL}, {"focal-gamma", ATR_LOSS_FOCAL},
        {"dice-beta", ATR_LOSS_DICE},     {"dice-smooth", ATR_LOSS_DICE},  {"ohem-threshold", ATR_LOSS_OHEM},
        {"ohem-keep", ATR_LOSS_OHEM},
    };

    for (size_t i = 0; i < sizeof uses / sizeof uses[0]; i++)
        if (atr_options_origin(parsed, uses[i].option) == ATR_FROM_COMMAND_LINE &&
            !(config->factor[uses[i].term] > 0.0))
            return atr_fail(ATR_ERR_USAGE, "--%s belongs to the loss '%s', which --loss does not name",
                            uses[i].option, atr_loss_term_name(uses[i].term));
    return ATR_OK;
}

atr_status atr_loss_config_from(const atr_options *parsed, const atr_loss_options *options, bool reference,
                                atr_loss_config *out)
{
    atr_status status = ATR_OK;

    *out = (atr_loss_config){
        .smoothing = options->smoothing,
        .focal_alpha = options->focal_alpha,
        .focal_gamma = options->focal_gamma,
        .dice_beta = options->dice_beta,
        .dice_smooth = options->dice_smooth,
        .ohem_threshold = options->ohem_threshold,
        .ohem_keep = options->ohem_keep,
        .reference = reference,
    };
    ATR_TRY(atr_loss_parse(options->loss, out));
    ATR_TRY(check_used(parsed, out));
    status = atr_loss_check(out);

done:
    return status;
}

/* ---- class weights ------------------------------------------------------------------------------------------------------ */

static bool find_weighing(const char *name, atr_weighing *out)
{
    for (int i = 0; i < ATR_WEIGHINGS; i++)
        if (strcmp(name, atr_weighing_names[i]) == 0) {
            *out = (atr_weighing)i;
            return true;
        }
    return false;
}

static atr_status weigh_by_counts(atr_weighing weighing, const atr_dataset *dataset, atr_loss_config *out)
{
    const atr_dataset_stats *const stats = atr_dataset_statistics(dataset);
    const int64_t classes = atr_dataset_classes(dataset)->count;
    int64_t pixels = 0;

    for (int64_t k = 0; k < classes; k++)
        pixels += stats->pixels[ATR_SPLIT_TRAIN][k];
    if (pixels == 0)
        return atr_fail(ATR_ERR_DATA, "--class-weights %s: train of %s has no pixel with a class",
                        atr_weighing_names[weighing], atr_dataset_path(dataset));
    out->class_weight_count = classes;
    atr_class_weights(weighing, classes, stats->pixels[ATR_SPLIT_TRAIN], stats->area[ATR_SPLIT_TRAIN],
                      out->class_weights);
    return ATR_OK;
}

static atr_status weigh_by_numbers(const atr_list *list, int64_t classes, atr_loss_config *out)
{
    if (list->count != classes)
        return atr_fail(ATR_ERR_USAGE, "--class-weights: %lld numbers for %lld classes",
                        (long long)list->count, (long long)classes);
    for (int64_t k = 0; k < classes; k++) {
        double weight = 0.0;
        if (!atr_parse_real(list->items[k], &weight))
            return atr_fail(ATR_ERR_USAGE, "--class-weights: '%.40s' is no number", list->items[k]);
        out->class_weights[k] = (float)weight;
    }
    out->class_weight_count = classes;
    return ATR_OK;
}

/* Blanks around `text` go; what is left, in place. */
static char *trim(char *text)
{
    size_t length;

    text += strspn(text, " \t\r");
    length = strlen(text);
    while (length > 0 && strchr(" \t\r", text[length - 1]) != NULL)
        text[--length] = '\0';
    return text;
}

/* "NAME WEIGHT" or "WEIGHT", of class number `next` then. `*seen` [classes] marks the classes that have theirs. */
static atr_status read_line(char *line, const atr_class_list *classes, int64_t next, bool *seen,
                            atr_loss_config *out)
{
    char *number = line + strlen(line), shown[64];
    double weight = 0.0;
    int64_t k = 0;
    bool named;

    while (number > line && strchr(" \t:=,", number[-1]) == NULL)
        number--;
    if (!atr_parse_real(number, &weight))
        return atr_fail(ATR_ERR_DATA, "'%s' ends with no number", atr_printable(line, shown, sizeof shown));
    named = number > line;
    while (number > line && strchr(" \t:=,", number[-1]) != NULL)
        *--number = '\0';
    if (!named)
        k = next;
    else
        while (k < classes->count && strcmp(line, classes->names[k]) != 0)
            k++;
    if (k >= classes->count)
        return !named ? atr_fail(ATR_ERR_DATA, "more weights than the %lld classes", (long long)k)
                      : atr_fail(ATR_ERR_DATA, "no class is called '%s'",
                                 atr_printable(line, shown, sizeof shown));
    if (seen[k])
        return atr_fail(ATR_ERR_DATA, "class '%s' has two weights", classes->names[k]);
    seen[k] = true;
    out->class_weights[k] = (float)weight;
    return ATR_OK;
}

static atr_status read_lines(char *text, const atr_class_list *classes, atr_loss_config *out)
{
    bool seen[ATR_MAX_CLASSES] = {false};
    int64_t count = 0;
    atr_status status = ATR_OK;

    for (char *line = text; line != NULL;) {
        char *const end = strchr(line, '\n');
        if (end != NULL)
            *end = '\0';
        line[strcspn(line, "#")] = '\0';
        char *const content = trim(line);
        if (content[0] != '\0')
            ATR_TRY(read_line(content, classes, count++, seen, out));
        line = end != NULL ? end + 1 : NULL;
    }
    for (int64_t k = 0; k < classes->count; k++)
        if (!seen[k]) {
            status = atr_fail(ATR_ERR_DATA, "class '%s' has no weight", classes->names[k]);
            goto done;
        }
    out->class_weight_count = classes->count;

done:
    return status;
}

static atr_status weigh_by_file(const char *path, const atr_class_list *classes, atr_loss_config *out)
{
    enum { MOST = 1 << 20 };
    void *bytes = NULL;
    size_t size = 0;
    atr_status status = atr_file_read(path, MOST, &bytes, &size);

    if (status == ATR_ERR_NOT_FOUND)
        status = atr_fail(
            ATR_ERR_USAGE,
            "--class-weights %.200s: neither inverse, sqrt, median or enet, nor numbers, nor a file", path);
    ATR_TRY(status);
    status = read_lines(bytes, classes, out);
    if (status != ATR_OK)
        status = atr_fail_prefix(status, "--class-weights: %s", path);

done:
    atr_free(bytes);
    return status;
}

atr_status atr_loss_weigh(const atr_loss_options *options, const atr_dataset *dataset, atr_loss_config *out)
{
    const atr_list *const list = &options->class_weights;
    const atr_class_list *const classes = atr_dataset_classes(dataset);
    atr_weighing weighing;
    double number = 0.0;
    atr_status status = ATR_OK;

    out->class_weight_count = 0;
    if (list->count == 1 && find_weighing(list->items[0], &weighing))
        ATR_TRY(weigh_by_counts(weighing, dataset, out));
    else if (list->count == 1 && !atr_parse_real(list->items[0], &number))
        ATR_TRY(weigh_by_file(list->items[0], classes, out));
    else if (list->count > 0)
        ATR_TRY(weigh_by_numbers(list, classes->count, out));
    status = atr_loss_check(out);

done:
    return status;
}

/* ---- what is said of it ------------------------------------------------------------------------------------------------- */

static void describe_numbers(const atr_loss_config *config, atr_text *text)
{
    if (config->smoothing > 0.0)
        atr_text_append(text, ", label smoothing %g", config->smoothing);
    if (config->factor[ATR_LOSS_FOCAL] > 0.0)
        atr_text_append(text, ", focal alpha %g gamma %g", config->focal_alpha, config->focal_gamma);
    if (config->factor[ATR_LOSS_DICE] > 0.0)
        atr_text_append(text, ", dice beta %g", config->dice_beta);
    if (config->factor[ATR_LOSS_OHEM] > 0.0)
        atr_text_append(text, ", ohem below %g, at least %g %%", config->ohem_threshold,
                        100 * config->ohem_keep);
    if (config->reference)
        atr_text_append(text, ", as the reference counts");
}

atr_status atr_loss_describe(const atr_loss_options *options, const atr_loss_config *config,
                             const atr_dataset *dataset, char **out)
{
    const int64_t *const pixels = atr_dataset_statistics(dataset)->pixels[ATR_SPLIT_TRAIN];
    const atr_class_list *const classes = atr_dataset_classes(dataset);
    const char *how = options->class_weights.count == 1 ? options->class_weights.items[0] : "as given";
    char terms[ATR_LOSS_TEXT_BYTES];
    atr_text text = {0};
    double sum = 0.0;

    for (int64_t k = 0; k < classes->count; k++)
        sum += (double)pixels[k];
    atr_text_append(&text, "loss: %s", atr_loss_text(config, terms));
    describe_numbers(config, &text);
    if (config->class_weight_count > 0)
        atr_text_append(&text, "\nclass weights (%s):", how);
    for (int64_t k = 0; k < config->class_weight_count; k++)
        atr_text_append(&text, "\n  %-24s %9.4g   %.3g %% of train pixels", classes->names[k],
                        (double)config->class_weights[k], sum > 0.0 ? 100.0 * (double)pixels[k] / sum : 0.0);
    return atr_text_take(&text, out);
}
