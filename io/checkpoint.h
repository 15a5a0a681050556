#ifndef ATR_IO_CHECKPOINT_H
#define ATR_IO_CHECKPOINT_H

#include "core/quant.h"
#include "io/weights.h"

/* Model and checkpoint files (`*.h5`): one HDF5 file with the model's description, its parameters and buffers under their
 * PyTorch names, and, where training is to be resumed, the optimiser's moments and the state of the run. The same file
 * serves `predict`, which needs nothing beside it. Layout: docs/checkpoints.md; h5py opens it without our help.
 * Not collective: call all of this on one rank and broadcast. */

enum {
    ATR_CLASSES_MAX = 256,  /* ids are u8 */
    ATR_CHANNELS_MAX = 256, /* input channels */
    ATR_WORD_BYTES = 32,    /* short identifiers, closing zero included */
    ATR_SLOTS_MAX = 4,      /* moments per parameter */
    ATR_EXTRA_BYTES = 256,  /* value of a free key */
    ATR_UNSENT_MAX = 16     /* blocks of what is still to be sent */
};

/* What one must know to use the parameters: enough to build the graph and to prepare a picture. A plain value; zero it,
 * fill it, copy it. Strings are UTF-8 with a closing zero. */
typedef struct atr_model_info {
    char architecture[ATR_WORD_BYTES]; /* "deeplabv3plus" */
    char backbone[ATR_WORD_BYTES];     /* "mobilenetv2" */
    int64_t output_stride;             /* 8 or 16 */
    bool align_corners;                /* of every bilinear resize in the network */

    int64_t classes;                                   /* 1..ATR_CLASSES_MAX */
    char class_names[ATR_CLASSES_MAX][ATR_NAME_BYTES]; /* the first `classes` count; "" where unknown */
    uint8_t palette[256][3];                           /* RGB by class id, all 256 rows */

    /* Input of the network: channel c = sample * scale[c] + offset[c], samples as decoded (0..255 for 8 bit). */
    int64_t channels; /* 1..ATR_CHANNELS_MAX */
    double scale[ATR_CHANNELS_MAX], offset[ATR_CHANNELS_MAX];
    int64_t height, width; /* size trained at; what `--fit letterbox` uses. 0: any */
    char fit
        [ATR_WORD_BYTES]; /* how pictures are brought to that size by default: "letterbox", "none", "stretch" */
    double pad_value;     /* sample value around a letterboxed picture (the reference: 128) */
} atr_model_info;

/* The optimiser's memory: `slots[i].flat` are f32 blocks laid out as atr_params_flat_values (the moments' own
 * atr_params_flat_values, for one); saved parameter by parameter under their names. Borrowed in both directions. */
typedef struct atr_optim_slot {
    char name[ATR_WORD_BYTES]; /* "momentum", "exp_avg", "exp_avg_sq" */
    float *flat;
} atr_optim_slot;

typedef struct atr_optim_state {
    char kind[ATR_WORD_BYTES]; /* "sgd", "adam" */
    int64_t step;              /* updates made */
    int64_t *
        entry_steps; /* [atr_params_count] updates of each entry, 0 for buffers: Adam's bias correction counts them, and a
                             parameter that was frozen has seen fewer. NULL: all `step`; reading a file without them: too */
    int slot_count; /* 0..ATR_SLOTS_MAX */
    atr_optim_slot slots[ATR_SLOTS_MAX];
} atr_optim_state;

/* Where a run stands: resume goes on at sample `step_in_epoch` * global batch of epoch `epoch`. */
typedef struct atr_extra {
    char key[ATR_NAME_BYTES], value[ATR_EXTRA_BYTES];
} atr_extra;

typedef struct atr_train_state {
    int64_t epoch;         /* the epoch under way, from 0 */
    int64_t step_in_epoch; /* steps of it that are done */
    int64_t global_step;   /* steps done since the start */
    int64_t global_batch;  /* samples per step over all ranks */
    int64_t ranks;         /* that wrote it; for the message when another number resumes */
    uint64_t seed, rng_key;
    double best_score; /* NaN: none yet */
    int64_t best_epoch;
    int64_t average_steps;     /* updates that the average of the weights has seen; 0 where there is none */
    uint64_t data_fingerprint; /* of the data set: another one is refused by the caller */
    char schedule[ATR_WORD_BYTES];
    char *config; /* the whole configuration as YAML text; may be NULL */
    int64_t extra_count;
    atr_extra *extras; /* [extra_count] free keys, unique */
} atr_train_state;

/* Frees what `state` owns after atr_checkpoint_load_state (config, extras), not `state` itself. */
void atr_train_state_free(atr_train_state *state);

/* Everything to be written; all borrowed. `optim` and `state` may be NULL (a model file). Params on the host. */
typedef struct atr_checkpoint {
    const atr_model_info *info;
    const atr_params *params;
    const atr_optim_state *optim;
    const atr_train_state *state;
    /* Where `params` are an average of the weights: what training goes on from. Written beside the state; NULL: `params`. */
    const atr_params *trained;
    /* What ranks still owe to the sums of gradients (--wire bf16): f32 blocks [unsent_count, flat], 0..ATR_UNSENT_MAX of them, each laid out as
     * atr_params_flat_values. Written beside the state. */
    int64_t unsent_count;
    float *unsent;
    const atr_quant *quant; /* how `params` become integers; NULL: they do not */
} atr_checkpoint;

/* Writes `path` through a temporary name in the same folder, sealed with a checksum over all bytes, synced and renamed (the
 * folder synced too): a reader sees the old file or the new one, whatever happens to the writer.
 * ATR_ERR_USAGE: the description is incomplete; ATR_ERR_IO: errno's words (a full disk, for one); the old file stays. */
atr_status atr_checkpoint_write(const char *path, const atr_checkpoint *ckpt);

/* An open file whose checksum was found right and whose description was read. */
typedef struct atr_checkpoint_file atr_checkpoint_file;

/* ATR_ERR_NOT_FOUND: no such file; ATR_ERR_DATA: not a checkpoint, cut short, or damaged. Messages start with the path. */
atr_status atr_checkpoint_open(const char *path, atr_checkpoint_file **out);
void atr_checkpoint_close(atr_checkpoint_file *file);

/* Borrowed until close. */
const atr_model_info *atr_checkpoint_info(const atr_checkpoint_file *file);
const char *atr_checkpoint_path(const atr_checkpoint_file *file);
bool atr_checkpoint_has_optim(const atr_checkpoint_file *file);
bool atr_checkpoint_has_state(const atr_checkpoint_file *file);

/* Whether the parameters are an average of the weights, and those that training goes on from stand beside them. */
bool atr_checkpoint_has_trained(const atr_checkpoint_file *file);

/* Whether it says how its network runs in integers. */
bool atr_checkpoint_has_quant(const atr_checkpoint_file *file);
/* That, into `out`, which must be empty; free with atr_quant_free(). ATR_ERR_NOT_FOUND: the file has none; ATR_ERR_DATA: a step that
 * cannot be one. Whether names and counts are those of the network is the caller's to check (atr_quant_check()). */
atr_status atr_checkpoint_load_quant(const atr_checkpoint_file *file, atr_quant *out);

/* All parameters and buffers as weights; owned by the caller. */
atr_status atr_checkpoint_weights(const atr_checkpoint_file *file, atr_weights **out);
/* The same, filled into `params` (see atr_weights_fill for mode, report and errors). */
atr_status atr_checkpoint_load_params(const atr_checkpoint_file *file, atr_load_mode mode, atr_params *params,
                                      atr_load_report *report);
/* For networks that are only run: values stay in the file, which is mapped, where it has a table of just these parameters; else they are
 * read as above, ATR_LOAD_STRICT. */
atr_status atr_checkpoint_map_params(const atr_checkpoint_file *file, atr_params *params);
/* The parameters and buffers that training goes on from, all of them and in the right shapes. ATR_ERR_NOT_FOUND: the file has none
 * beside its parameters. */
atr_status atr_checkpoint_load_trained(const atr_checkpoint_file *file, atr_params *params);
/* Fills the slots of `optim` (kind, slot names and flat blocks given by the caller) and its step. ATR_ERR_DATA when the file
 * holds another kind of optimiser or lacks a parameter; ATR_ERR_NOT_FOUND when it holds none. */
atr_status atr_checkpoint_load_optim(const atr_checkpoint_file *file, const atr_params *params,
                                     atr_optim_state *optim);
/* Blocks of what is still to be sent: 0..ATR_UNSENT_MAX. */
atr_status atr_checkpoint_unsent_count(const atr_checkpoint_file *file, int64_t *out);
/* Fills `blocks` [that count, flat]; what lies between parameters is left alone. ATR_ERR_DATA: a parameter is missing or has another
 * shape. */
atr_status atr_checkpoint_load_unsent(const atr_checkpoint_file *file, const atr_params *params,
                                      float *blocks);
/* ATR_ERR_NOT_FOUND when the file is a plain model. Free with atr_train_state_free. */
atr_status atr_checkpoint_load_state(const atr_checkpoint_file *file, atr_train_state *out);

/* A run's folder keeps `last.h5`, the one before it as `last.prev.h5`, and `best.h5`. */

/* Writes FOLDER/last.h5 after moving a sound old one to last.prev.h5; with `best`, best.h5 becomes the same file (a hard
 * link where the file system has them). A killed or failed writer leaves at least one sound checkpoint. */
atr_status atr_run_save(const char *folder, const atr_checkpoint *ckpt, bool best);

/* Opens what training goes on from: last.h5, or last.prev.h5 when that one is damaged or missing. Then `*note` says so
 * ("last.h5 is damaged (checksum), using step 7000.", owned, atr_free), else it is NULL; `note` may be NULL.
 * ATR_ERR_NOT_FOUND: the folder holds no checkpoint; ATR_ERR_DATA: none is sound. */
atr_status atr_run_resume(const char *folder, atr_checkpoint_file **out, char **note);

#endif
