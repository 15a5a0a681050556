#ifndef ATR_APPS_LOSS_OPTIONS_H
#define ATR_APPS_LOSS_OPTIONS_H

#include "core/options.h"
#include "dnn/loss.h"
#include "io/dataset.h"

/* The options of a training run that make its loss. Add `atr_loss_rows` to the command's own table. */
typedef struct atr_loss_options {
    const char *loss;
    atr_list class_weights;
    double smoothing, focal_alpha, focal_gamma, dice_beta, dice_smooth, ohem_threshold, ohem_keep;
} atr_loss_options;

extern const atr_option atr_loss_rows[];

/* What they mean, but for the class weights; `reference`: as the public reference computes. ATR_ERR_USAGE: no such loss, or the
 * command line sets a number of a loss that is not used (recipes may hold numbers of all). */
atr_status atr_loss_config_from(const atr_options *parsed, const atr_loss_options *options, bool reference,
                                atr_loss_config *out);

/* The class weights: numbers, one for each class; or by a name of atr_weighing_names, from the pixel counts of the train split;
 * or from a text file with a line for each class, WEIGHT in order of the classes or NAME WEIGHT in any order ('#': comment).
 * Nothing given: none. ATR_ERR_USAGE, ATR_ERR_DATA. */
atr_status atr_loss_weigh(const atr_loss_options *options, const atr_dataset *dataset, atr_loss_config *out);

/* Lines about the loss for the start of a run, in `*out` (atr_free): its terms, and the weight of each class by name where there are
 * any, with the class's share of the train pixels. */
atr_status atr_loss_describe(const atr_loss_options *options, const atr_loss_config *config,
                             const atr_dataset *dataset, char **out);

#endif
