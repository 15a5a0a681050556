#ifndef ATR_APPS_PREDICT_IMPL_H
#define ATR_APPS_PREDICT_IMPL_H

#include "apps/inputs.h"
#include "apps/pipeline.h"
#include "apps/session.h"
#include "apps/streams.h"
#include "apps/tally.h"

/* Inside `atrous predict`: its options, what it makes of a picture, and its three ways to run: pictures, video, speed. */

typedef enum predict_map {
    PREDICT_MAP_NONE,
    PREDICT_MAP_PNG8,
    PREDICT_MAP_PNG16,
    PREDICT_MAP_NPY
} predict_map;

typedef enum predict_show {
    PREDICT_SHOW_OVERLAY,
    PREDICT_SHOW_COLOUR,
    PREDICT_SHOW_CUTOUT,
    PREDICT_SHOW_IDS
} predict_show;

typedef struct predict_options {
    atr_session_options session;
    const char *out;
    bool recursive;
    bool ids, overlay, colour, cutout, logits;
    double alpha;
    int confidence, probabilities; /* predict_map */
    atr_list cutout_classes, probability_classes;
    bool count, json;
    const char *csv;
    int fit; /* atr_fit_mode */
    const char *size;
    const char *streams; /* a number, or "auto" */
    int64_t batch;
    int mirror; /* atr_mirror */
    atr_list scales;
    int64_t speed; /* repeats; 0: no speed test */
    bool video;
    const char *raw, *input_format;
    int show; /* predict_show */
    double frame_rate;
    int64_t frames;
    int matrix; /* atr_yuv_matrix */
    atr_list encode;
} predict_options;

extern const atr_option predict_rows[];

/* What is wrong between the options, before anything is opened; `video`: the input is video. */
atr_status predict_check_options(const atr_options *parsed, const predict_options *o, bool video);

/* Whether the options or the name of an input say that it is video. */
bool predict_is_video(const predict_options *o, const char *input);

/* Classes by number or name; `chosen` [256]. ATR_ERR_USAGE names the one that the model does not have. */
atr_status predict_choose_classes(const atr_model_info *info, const char *option, const atr_list *list,
                                  bool *chosen);

/* Everything a run has open. */
typedef struct predict_job {
    const predict_options *options;
    const char *model; /* path */
    atr_session session;
    atr_streams streams;
    bool cutout[256], probable[256]; /* classes that are cut out, whose probabilities are written */
    atr_tally tally;
    bool counts; /* somebody wants the tally */
} predict_job;

/* A file that is made of each picture: a row of the table in predict_outputs.c, once for each class where it is one for each. */
typedef struct predict_output {
    char *suffix; /* ".overlay.png", owned */
    int class_id; /* of a file for one class */
    atr_status (*write)(const predict_job *job, const atr_piece *piece, int class_id, const char *path);
} predict_output;

typedef struct predict_outputs {
    int64_t count;
    predict_output *items;
} predict_outputs;

/* The files that the options ask for. */
atr_status predict_outputs_choose(const predict_job *job, predict_outputs *out);
void predict_outputs_free(predict_outputs *outputs);

/* The pipeline for a job; read, write and user are the caller's to fill. */
atr_pipeline predict_pipeline(const predict_job *job);

/* How a run ended: counted for the exit code. */
typedef struct predict_result {
    int64_t done, failed;
} predict_result;

atr_status predict_pictures(predict_job *job, const atr_inputs *inputs, predict_result *result);
/* Not one frame done is a failure; one that comes after others counts as failed in `result`. *stopped: the user asked for an end. */
atr_status predict_video(predict_job *job, const char *input, predict_result *result, bool *stopped);
atr_status predict_speed(predict_job *job, const atr_inputs *inputs);

#endif
