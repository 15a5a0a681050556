#ifndef ATR_APPS_TRAIN_OPTIONS_H
#define ATR_APPS_TRAIN_OPTIONS_H

#include "apps/loss_options.h"
#include "apps/reducer_options.h"
#include "apps/segmenter.h"
#include "apps/session.h"
#include "dnn/optim.h"
#include "dnn/schedule.h"
#include "io/augment.h"

/* Everything that a training run can be told, by the command line or a recipe. Defaults are the reference's. */

typedef enum atr_frozen_norm {
    ATR_FROZEN_NORM_RUNNING, /* a frozen batch norm uses its running statistics and keeps them */
    ATR_FROZEN_NORM_BATCH /* it uses the batch's, and its running statistics go on, as the reference's do */
} atr_frozen_norm;

typedef enum atr_compat { ATR_COMPAT_NONE, ATR_COMPAT_REFERENCE } atr_compat;

/* As parsed: the target of the table. */
typedef struct atr_train_options {
    const char *out, *recipe, *stage, *weights, *backbone, *size, *max_time;
    bool resume, force, async_save, new_head, backbone_only, freeze_norm, sync_norm, nesterov, fit_lr,
        recompute, log_samples;
    bool curves, tensorboard, tensorboard_histograms;
    int64_t tensorboard_images;
    int64_t output_stride, batch, epochs, max_steps, stop_after, seed;
    bool jpeg_scale;
    int64_t eval_period, save_period, save_steps, log_interval, loader_threads;
    int64_t freeze_epochs, freeze_batch, accumulate, norm_ranks;
    double lr, min_lr, momentum, weight_decay, init_gain, power, warmup, clip, ema, target_miou,
        stall_timeout, lost_timeout;
    int optimizer, schedule, init, compat, eval_fit, frozen_norm;
    atr_list dropout;
    atr_list augment[ATR_AUGMENT_KINDS];
    atr_loss_options loss;
    atr_reducer_choice reducer;
    atr_session_options session;
} atr_train_options;

/* Epochs that are trained in the same way. */
typedef struct atr_train_phase {
    int64_t first, end;    /* epochs, from 0; `end` is behind the last one */
    bool frozen;           /* the backbone is */
    int64_t batch;         /* samples per step over all ranks */
    atr_schedule schedule; /* over all epochs of the run, its rates fitted to this phase's batch */
} atr_train_phase;

enum { ATR_TRAIN_PHASES = 2 };

/* What they mean, after checks. A plain value. */
typedef struct atr_train_config {
    int64_t height, width;
    double dropout[2];
    atr_loss_config loss; /* class weights come with the data set: atr_loss_weigh() */
    atr_optim_config optim;
    int phase_count;
    atr_train_phase phases[ATR_TRAIN_PHASES]; /* in order, without a gap */
    atr_augment augment;
    uint8_t padding; /* label around a letterboxed picture */
    bool drop_last;  /* an epoch leaves out the samples that do not fill a batch */
    int64_t
        norm_ranks; /* neighbouring ranks that share the batch norms' statistics: 1: none, INT64_MAX: all */
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

/* The phase that `epoch` (from 0) belongs to; behind the end: the last one. */
const atr_train_phase *atr_train_phase_at(const atr_train_config *config, int64_t epoch);

/* "512" or "512x384" (height x width). ATR_ERR_USAGE. */
atr_status atr_size_parse(const char *text, int64_t *height, int64_t *width);

#endif
