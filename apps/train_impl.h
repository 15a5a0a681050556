#ifndef ATR_APPS_TRAIN_IMPL_H
#define ATR_APPS_TRAIN_IMPL_H

#include "apps/evaluate.h"
#include "apps/runlog.h"
#include "apps/train.h"
#include "dist/step.h"
#include "dnn/ema.h"
#include "io/loader.h"
#include "io/run_lock.h"
#include "io/run_writer.h"

/* Where a run stands: what a checkpoint holds beside parameters and moments, and rank 0 tells the others. */
typedef struct atr_train_cursor {
    int64_t epoch;         /* under way, from 0 */
    int64_t step_in_epoch; /* steps of it that are done; all of them: only its end (evaluation) is missing */
    int64_t global_step;   /* steps done since the start */
    double best_score;     /* NaN: none yet */
    int64_t best_epoch;
    int64_t average_steps; /* resuming: updates that the checkpoint's average has seen */
    bool averaged;         /* resuming: the checkpoint's network is an average */
} atr_train_cursor;

/* train_watch.c */
typedef struct atr_train_watch atr_train_watch;

struct atr_trainer {
    /* Borrowed. */
    const atr_options *parsed;
    const atr_train_options *options;
    const char *const *data; /* [data_count] names of its files, as given */
    int64_t data_count;
    atr_comm *comm;

    double started; /* atr_seconds() */
    atr_train_config config;
    bool root, resumed;
    atr_session session;
    atr_dataset *dataset;
    atr_loader *loader;
    atr_plans *plans;
    atr_plan_options plan_options; /* of all of them, but for the batch */
    int64_t memory_taken;          /* that the session's guard was asked for them */
    int64_t
        memory_evaluation; /* what the plan between the epochs takes; 0: not measured yet, or there is none */
    atr_norm_ranks norm_ranks;
    atr_optim *optim;
    atr_loss *loss;
    atr_reducer *reducer;
    int64_t unsent_count;         /* the same on all ranks */
    atr_ema *ema;                 /* NULL: none */
    float *sums;                  /* gradients of a step's parts; NULL: it has one */
    atr_parallel parallel;        /* of the above */
    const atr_train_phase *phase; /* the one that plan and loader are made for; of `config` */
    atr_confusion confusion;
    char *config_text; /* YAML, as in config.yaml */

    atr_train_cursor cursor;
    int64_t steps_per_epoch;
    int64_t *step_samples; /* --log-samples: of the last step, in the order of the global batch */
    int64_t saved_step;    /* of the last checkpoint that is known to be whole; -1: none */
    int64_t steps_here;    /* done by this process */

    /* Rank 0. */
    atr_run_lock *lock;
    atr_run_writer *writer;
    float *unsent;                     /* [unsent_count, flat] for checkpoints: train_unsent.c */
    double deadline;                   /* atr_seconds() at which the run must have stopped; INFINITY: never */
    double longest_step, save_seconds; /* of this process */
    atr_runlog *log;
    atr_train_watch *watch;
    double epoch_loss, epoch_score; /* sums over the steps of this epoch that this process did */
    int64_t epoch_steps;
    double epoch_started;
    atr_step_times epoch_times; /* sums of them */
    double step_ended;          /* atr_seconds(), to tell the rate */
    double waited;              /* atr_loader_waited() then */
    int columns;                /* of the terminal, as it was at the start; 0: none */
};

/* train_folder.c: the RUN folder. Rank 0 only. */

/* Makes the folder, or sees that it may be used: an existing run needs --resume or --force, and no other job may write to it. `*lock`
 * is owned. */
atr_status atr_train_folder_prepare(const atr_train_options *options, atr_run_lock **lock);
/* Writes config.yaml and opens the log. With --force the old run's files go, not sooner: whatever else could fail has been done,
 * and the new run may have begun with the old one's weights. */
atr_status atr_train_folder_open_log(atr_trainer *trainer);

/* train_model.c: the network a run starts from. Collective, agreed. */
atr_status atr_train_model_fresh(atr_trainer *trainer);

/* train_phase.c: the epochs with a frozen backbone and those after them. Collective, agreed. */

/* Makes plan and loader for the epoch of the cursor. */
atr_status atr_train_phase_begin(atr_trainer *trainer);
/* The same, where the epoch of the cursor belongs to another phase than the last one; says so. */
atr_status atr_train_phase_switch(atr_trainer *trainer);
/* What every phase wants of the ranks and the data set. ATR_ERR_USAGE. */
atr_status atr_train_phases_check(const atr_trainer *trainer);
/* Steps of an epoch in a phase, and pictures of one of them (from 0). */
int64_t atr_train_phase_steps(const atr_trainer *trainer, const atr_train_phase *phase);
int64_t atr_train_phase_batch(const atr_trainer *trainer, const atr_train_phase *phase, int64_t step);

/* The network that is evaluated and shown: the average of the weights where there is one. */
atr_params *atr_train_shown_params(const atr_trainer *trainer);

/* train_unsent.c: with bf16 on the wire, what is still to be sent. Collective, agreed; nothing with f32. */

/* After the reducer is made: room for it. */
atr_status atr_train_unsent_open(atr_trainer *trainer);
/* Fills it for the next checkpoint; waits for the one before. */
atr_status atr_train_unsent_take(atr_trainer *trainer);
/* Gives the reducer what the checkpoint holds (`file`: NULL on ranks other than 0). */
atr_status atr_train_unsent_resume(atr_trainer *trainer, const atr_checkpoint_file *file);
/* train_memory.c: an atr_plan_options.approve; `user` is the trainer. Rank 0 says what the first plan and the run take. */
atr_status atr_train_memory_approve(void *user, const atr_plan_needs *needs);

/* train_state.c: checkpoints of a run. Collective, agreed. */

/* Loads model and cursor from the run's folder; `*found` is false where there is no checkpoint. */
atr_status atr_train_resume_model(atr_trainer *trainer, atr_checkpoint_file **file, bool *found);
/* Loads the optimiser's moments, and the average of the weights, from what the call above opened (NULL on ranks other than 0). */
atr_status atr_train_resume_optim(atr_trainer *trainer, const atr_checkpoint_file *file);
/* Takes a copy for last.h5 and, with `best`, best.h5, which rank 0 writes behind the training; or writes them (--no-async-save). The
 * status is that of the checkpoint before. */
atr_status atr_train_save(atr_trainer *trainer, bool best);
/* Waits until what was saved is written. */
atr_status atr_train_save_wait(atr_trainer *trainer);
/* Not collective: how the writing fares, on rank 0; ATR_OK on the others. */
atr_status atr_train_save_check(atr_trainer *trainer);

/* train_guard.c: what ends a run before its time. */

/* Begins to watch the ranks (dist/monitor.h). Collective, agreed. */
atr_status atr_train_guard(atr_comm *comm, const atr_train_options *options);
/* What --max-time says: the moment of atr_seconds() at which the program, begun at `started`, must have ended. ATR_ERR_USAGE. */
atr_status atr_train_deadline(const char *text, double started, double *deadline);
/* Whether this rank was asked to stop, or the time is nearly over (which rank 0 knows). Not collective. */
bool atr_train_stop_wanted(const atr_trainer *trainer);
bool atr_train_time_is_up(const atr_trainer *trainer);
/* "SIGTERM", "--max-time": why rank 0 stops. */
const char *atr_train_stop_reason(const atr_trainer *trainer);
/* Collective. ATR_ERR_STOPPED on all ranks where one was asked to stop while the run was set up. */
atr_status atr_train_stop_early(atr_trainer *trainer);
/* Rank 0, before the log is cut: says so where the start before this one was killed. */
void atr_train_say_killed(const atr_trainer *trainer);

/* train_watch.c: event files and pictures of curves beside the log. Rank 0 only. Nothing in it stops a run: what fails is said once. */

/* Goes on after the cursor's step. ATR_ERR_MEMORY. */
atr_status atr_train_watch_open(atr_trainer *trainer);
void atr_train_watch_close(atr_train_watch *watch);
void atr_train_watch_step(atr_trainer *trainer, const atr_log_step *record);
void atr_train_watch_eval(atr_trainer *trainer, const atr_log_eval *record);
/* After the evaluation, where there was one. */
void atr_train_watch_epoch(atr_trainer *trainer);

/* train_samples.c. Collective: the samples of a step of all ranks into `step_samples` [global_count] on rank 0 and all others. The
 * status is agreed. */
atr_status atr_train_gather_samples(atr_trainer *trainer, const atr_batch *batch);

/* train_show.c: what rank 0 says. */
void atr_train_show_start(const atr_trainer *trainer);
void atr_train_show_phase(const atr_trainer *trainer);
void atr_train_show_step(const atr_trainer *trainer, const atr_log_step *record);
void atr_train_show_epoch(const atr_trainer *trainer);
/* Progress of an evaluation, for atr_evaluate_options: `user` is the trainer. */
void atr_train_show_evaluating(void *user, int64_t done, int64_t total);
void atr_train_show_eval(const atr_trainer *trainer, const atr_log_eval *record);
/* A line about the run, after the progress bar was cleared. */
void atr_train_say(const atr_trainer *trainer, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
