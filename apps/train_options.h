#ifndef ATR_APPS_TRAIN_OPTIONS_H
#define ATR_APPS_TRAIN_OPTIONS_H

#include "apps/segmenter.h"
#include "apps/session.h"
#include "dnn/optim.h"
#include "dnn/schedule.h"
#include "io/augment.h"

/* Everything that a training run can be told, by the command line or a recipe. Defaults are the reference's. */

typedef enum atr_compat { ATR_COMPAT_NONE, ATR_COMPAT_REFERENCE } atr_compat;

/* As parsed: the target of the table. */
typedef struct atr_train_options {
    const char *out, *recipe, *weights, *backbone, *size;
    bool resume, force, new_head, freeze_norm, nesterov, fit_lr;
    bool curves, tensorboard, tensorboard_histograms;
    int64_t tensorboard_images;
    int64_t output_stride, batch, epochs, max_steps, stop_after, seed;
    int64_t eval_period, save_period, log_interval, loader_threads;
    double lr, min_lr, momentum, weight_decay, init_gain;
    int optimizer, schedule, init, compat, eval_fit;
    atr_list class_weights, dropout;
    atr_list augment[ATR_AUGMENT_KINDS];
    atr_session_options session;
} atr_train_options;

/* What they mean, after checks. A plain value. */
typedef struct atr_train_config {
    int64_t height, width;
    double dropout[2];
    int64_t class_weight_count; /* 0: all 1 */
    float class_weights[ATR_CLASSES_MAX];
    atr_optim_config optim;
    atr_schedule schedule; /* after scaling by the batch size */
    atr_augment augment;
    uint8_t padding; /* label around a letterboxed picture */
} atr_train_config;

/* The table, made once per run because its augmentation rows come from the augmentation's own table. */
typedef struct atr_train_table atr_train_table;
atr_status atr_train_table_create(atr_train_table **out);
void atr_train_table_destroy(atr_train_table *table);

/* Adds all rows to `options`; they fill `*target`. The table must outlive `options`. */
atr_status atr_train_table_add(const atr_train_table *table, atr_options *options, atr_train_options *target);

/* ATR_ERR_USAGE where options contradict each other or themselves. */
atr_status atr_train_config_from(const atr_options *parsed, const atr_train_options *options,
                                 atr_train_config *out);

/* "512" or "512x384" (height x width). ATR_ERR_USAGE. */
atr_status atr_size_parse(const char *text, int64_t *height, int64_t *width);

#endif
