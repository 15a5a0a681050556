#ifndef ATR_APPS_PIPELINE_H
#define ATR_APPS_PIPELINE_H

#include <stdatomic.h>

#include "apps/segmenter.h"

/* Pictures or frames through a network in three stages that overlap: a thread reads (decodes), the calling thread runs the
 * network, a thread writes (draws, encodes). With several streams as many threads run the network at once, each on its own part of the
 * CPUs. Bounded queues between them, so memory does not grow with the number of
 * pictures. Everything comes out in the order it went in, and the same whatever the batch. */

/* One picture on its way. Pieces are used again: buffers are kept from picture to picture. */
typedef struct atr_piece {
    int64_t index;           /* from 0, in order of reading */
    atr_image picture;       /* RGB u8, made by the reader, freed by the pipeline */
    atr_segmentation result; /* made by the pipeline; NULL where not wanted */
    atr_status status;       /* what went wrong with this picture alone; it then has no result */
    char *message;           /* its words */
    int64_t room[4];         /* elements in the buffers of the result */
} atr_piece;

typedef struct atr_pipeline {
    atr_segmenter *const *segmenters; /* [streams], of one network and with the same settings */
    int streams;                      /* 1: the calling thread runs the network, on all CPUs */
    int64_t classes;
    int64_t batch;    /* pictures in one pass of the network, at most */
    int64_t expected; /* pictures that will come, 0: not known; the first plan is made while they are read */
    bool same_size;   /* only pictures of one size share a pass */
    bool probabilities, confidence, logits; /* wanted beside ids */
    /* On the reading thread: fills piece->picture, or piece->status by atr_piece_fail() where only this picture is bad, or sets
     * *end where there are no more. A failure ends the input: what was read before is finished first. A call that may wait long
     * looks at *stop from time to time and ends the input when it is set. */
    atr_status (*read)(void *user, const atomic_bool *stop, atr_piece *piece, bool *end);
    /* On the writing thread, in order. A failure stops everything. */
    atr_status (*write)(void *user, atr_piece *piece);
    void *user;
} atr_pipeline;

/* Runs until the input ends. The failure of `write`, else that of `read`, with its message. */
atr_status atr_pipeline_run(const atr_pipeline *pipeline);

/* Keeps a failure and its message with the piece. */
void atr_piece_fail(atr_piece *piece, atr_status status);

/* Room for a picture of this size in piece->picture; its pixels have no meaning yet. */
atr_status atr_piece_reserve(atr_piece *piece, int64_t width, int64_t height);

#endif
