#ifndef ATR_APPS_SESSION_H
#define ATR_APPS_SESSION_H

#include "apps/memory.h"
#include "apps/precision.h"
#include "core/options.h"
#include "core/threads.h"
#include "dist/comm.h"
#include "dnn/backend.h"
#include "dnn/model.h"
#include "io/checkpoint.h"

/* What everything that runs a network sets up, in this order: threads, back end, model (graph and parameters). Pictures then
 * go through apps/segmenter.h (evaluation, prediction, library: one way for all).
 *
 *     atr_session session = {0};
 *     ATR_TRY(atr_session_open(&options, NULL, &session));
 *     ATR_TRY(atr_session_load(&session, "best.h5"));
 *     ATR_TRY(atr_plan_create(session.graph, session.params, session.backend, &plan_options, &plan));
 *     …
 *     atr_session_close(&session);
 */

/* Options that all such commands have; add `atr_session_rows` to the command's own table. */
typedef struct atr_session_options {
    const char *backend;      /* a name, or "auto" */
    int64_t threads;          /* 0: all that were given to this process */
    int precision;            /* atr_precision */
    const char *memory_limit; /* as atr_memory_limit_parse() reads it */
    atr_list rewrite;         /* -NAME: plans do without that rewrite (dnn/rewrites.h) */
} atr_session_options;

extern const atr_option atr_session_rows[];

/* Readable by all, owned by the session but for `comm`. */
typedef struct atr_session {
    atr_comm *comm; /* NULL: one process */
    atr_threads threads;
    atr_backend *backend;
    atr_memory_guard memory; /* of all plans on it */
    atr_precision precision; /* as asked for */
    atr_model_info info;     /* of the model; .classes is 0 before there is one */
    atr_graph *graph;
    atr_params *params;
    atr_quant quant; /* how it runs in integers; empty: it does not */
} atr_session;

/* Decides the threads and opens the back end. `comm` may be NULL. Collective over `comm`; the status is agreed. */
atr_status atr_session_open(const atr_session_options *options, atr_comm *comm, atr_session *out);
void atr_session_close(atr_session *session);

/* A description with the reference's preprocessing (RGB, value/255, letterbox on 128), VOC colours and no names. */
void atr_session_describe(const char *backbone, int64_t classes, int64_t output_stride, atr_model_info *out);

/* The graph of the network that `info` describes, which must be one that this program builds. `dropout` as below. The caller
 * destroys it. */
atr_status atr_session_graph(const atr_model_info *info, const double *dropout, atr_graph **out);

/* Builds graph and zeroed parameters for `info`, which is copied. `dropout` [2]: see atr_model_config; NULL: none. */
atr_status atr_session_build(atr_session *session, const atr_model_info *info, const double *dropout);

/* Reads a model file: description, graph, parameters. Collective over the session's comm: rank 0 reads. */
atr_status atr_session_load(atr_session *session, const char *path);
/* The same for a network that is only run, in one process: its weights stay in the file, which must not be written to until then. */
atr_status atr_session_map(atr_session *session, const char *path);
/* The same as atr_session_load() from an open file; `file` is looked at on rank 0 only, `opened` says how opening
 * went there. `dropout` as for atr_session_build(). */
atr_status atr_session_load_from(atr_session *session, const atr_checkpoint_file *file, atr_status opened,
                                 const double *dropout);

/* What atr_session_load_from() does about integers: reads session->quant where the file has one and the precision wants it, checks it
 * against the graph, and gives it to all ranks. ATR_ERR_USAGE where int8 is asked of a file that was not quantised. Collective over the
 * session's comm. */
atr_status atr_session_load_quant(atr_session *session, const atr_checkpoint_file *file);

/* atr_comm_agree() where there are several ranks. */
atr_status atr_session_agree(const atr_session *session, atr_status status);

/* "f32", "bf16" or "int8": what its model runs in. */
const char *atr_session_precision(const atr_session *session);

/* "deeplabv3plus mobilenetv2, output stride 16, 21 classes, 5.8 M parameters" into `text`; returns `text`. */
enum { ATR_SESSION_TEXT_BYTES = 256 };
char *atr_session_text(const atr_session *session, char *text);

#endif
