#ifndef ATR_APPS_INFO_H
#define ATR_APPS_INFO_H

#include "core/text.h"
#include "io/checkpoint.h"

/* What a file is and holds, as text for people or as one JSON object; the parts of `atrous info`. */

typedef enum atr_file_kind {
    ATR_FILE_MODEL, /* or a checkpoint, or an HDF5 file of another program: opening it says so */
    ATR_FILE_DATASET,
    ATR_FILE_PICTURE, /* PNG, JPEG */
    ATR_FILE_WEIGHTS  /* or something unknown: reading it says so */
} atr_file_kind;

/* Tells by the content, never by the name. The seal of our own files is checked on the way (ATR_ERR_DATA where it is broken). A folder,
 * list or pattern (see atr_dataset_files()) is what its first file is, if that is a data set.
 * ATR_ERR_USAGE: another folder; ATR_ERR_NOT_FOUND, ATR_ERR_IO. */
atr_status atr_file_sniff(const char *path, atr_file_kind *out);

typedef struct atr_info_request {
    const char *path;
    int64_t bytes; /* of the file */
    bool json;
    bool tensors;          /* list every tensor */
    bool layers;           /* list every layer of the network, with what it costs at `height` x `width` */
    bool memory;           /* with `layers`: also what prediction and training on `batch` pictures take */
    int64_t batch;         /* 0: 1 */
    int64_t height, width; /* 0: the model's own, 512 where it has none */
    int64_t output_stride; /* where no file says it: 8 or 16 */
} atr_info_request;

/* A model or checkpoint file of ours. Messages as of atr_checkpoint_open(). */
atr_status atr_info_model(const atr_info_request *request, atr_text *out);

/* A weight file of another program. Messages as of atr_weights_read(). */
atr_status atr_info_weights(const atr_info_request *request, atr_text *out);

/* Reads a model, weight file or picture from end to end and says nothing. */
atr_status atr_info_check(const char *path, atr_file_kind kind);

/* A network without a file. ATR_ERR_USAGE: no such backbone or output stride. */
atr_status atr_info_network(const char *backbone, int64_t classes, const atr_info_request *request,
                            atr_text *out);

/* Each layer of a network with its output's shape, parameters, multiply-accumulates of convolutions and bytes of its output, and
 * sums by part; in JSON the member "cost" of an object, with the comma before it. ATR_ERR_SHAPE: too small a picture. */
atr_status atr_info_layers(const atr_model_info *info, const atr_info_request *request, atr_text *out);

/* What prediction and training take of memory here; in JSON the member "memory", with the comma before it. Opens the back end; nothing
 * large is taken. */
atr_status atr_info_memory(const atr_model_info *info, const atr_info_request *request, int64_t height,
                           int64_t width, atr_text *out);

/* Decodes the whole picture, so that a damaged one is found. */
atr_status atr_info_picture(const atr_info_request *request, atr_text *out);

/* "  NAME      " in front of a line of facts. */
void atr_info_label(atr_text *out, const char *name);
/* "23.6 MB" */
void atr_info_bytes(atr_text *out, int64_t bytes);
/* Text of a file with its control characters made harmless. */
void atr_info_printable(atr_text *out, const char *text);

/* Trainable numbers by part of the network (what stands before the first '.' of a name), and buffers apart. In JSON the
 * members "parameters", "buffers", "parts" and, if asked for, "tensors" of an object. */
void atr_info_tensors(const atr_weights *weights, const atr_info_request *request, atr_text *out);

#endif
