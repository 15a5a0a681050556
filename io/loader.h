#ifndef ATR_IO_LOADER_H
#define ATR_IO_LOADER_H

#include "io/augment.h"
#include "io/dataset.h"
#include "io/letterbox.h"

/* Batches for training and validation, made ahead of time by threads.
 *
 * Which samples an epoch's global batch g holds depends on (seed, epoch, g) alone, and a sample's augmentation on (seed, epoch,
 * sample): the same pictures for any number of ranks and threads. Rank r of R takes the contiguous part
 * [r n / R, (r+1) n / R) of each global batch of n samples, or of each part of it where it is computed in several
 * (core/deal.h). All ranks make the same number of steps per epoch.
 *   train: ceil(N / B) steps in an order shuffled anew each epoch, each sample once; the last batch may be short, and a rank's part
 *          of it empty. With `drop_last` floor(N / B) steps: the short rest is left out, as the reference does.
 *   val:   ceil(N / B) steps in the order of the data set, each sample once; the last batch is short, and a rank's part of it may
 *          be empty.
 * Not collective; the ranks agree because they are given the same configuration. */

typedef enum atr_loader_mode { ATR_LOADER_TRAIN, ATR_LOADER_VAL } atr_loader_mode;

typedef struct atr_loader_config {
    atr_split split;
    atr_loader_mode mode;
    int64_t global_batch; /* B: samples per step over all ranks */
    int64_t parts;        /* train: in so many passes a step of B samples is computed; 0: 1 */
    bool drop_last;       /* train: no short batch */
    int rank, ranks;      /* 0 and 1 without MPI */
    uint64_t seed;
    int64_t height,
        width; /* of the batch. Both 0 (val, at most 1 sample per rank and step): each picture's own size */
    atr_augment augment; /* train; its padding is the label outside the picture */
    bool jpeg_scale;     /* train: a JPEG that is to be shrunk is decoded smaller where that is faster */
    atr_fit fit;         /* val */
    uint8_t padding;     /* val: label outside the picture: ATR_IGNORE, or 0 as the reference does */
    double scale[3], offset[3]; /* images = x * scale[c] + offset[c], x in 0..255 */
    int threads;                /* that decode and augment, at least 1 */
    int64_t prefetch;           /* batches made ahead, at least 1 */
    int64_t epoch, step;        /* where to begin: resuming gives exactly what would have come */
} atr_loader_config;

/* One rank's part of a global batch; lent until the next call of atr_loader_next() or _destroy(). */
typedef struct atr_batch {
    int64_t epoch, step;
    int64_t
        count; /* samples that are there; the rest up to `capacity` is 0 in images and ATR_IGNORE in labels */
    int64_t capacity;     /* N: the largest part this rank ever gets, at least 1 */
    int64_t global_count; /* samples of the whole global batch */
    int64_t height, width;
    float *images;          /* [N,height,width,3] f32 */
    uint8_t *labels;        /* [N,height,width] u8, ATR_IGNORE where ignored */
    const int64_t *samples; /* [count] numbers in the data set */
    const uint64_t *keys;   /* [count] atr_rng_key(seed, ATR_RNG_DROPOUT, epoch, sample) */
    const atr_box *boxes;   /* [count] val: where the picture lies on the canvas */
    int64_t valid_pixels;   /* labels that are not ATR_IGNORE, of this part */
} atr_batch;

typedef struct atr_loader atr_loader;

/* Starts the threads. Borrows `dataset`. ATR_ERR_USAGE: a configuration without meaning; ATR_ERR_DATA: no samples, or with
 * `drop_last` fewer than one global batch, with what to do about it. */
atr_status atr_loader_create(const atr_dataset *dataset, const atr_loader_config *config, atr_loader **out);

/* Waits for the threads; takes NULL. */
void atr_loader_destroy(atr_loader *loader);

/* Steps of an epoch of `samples` in batches of `batch`, and samples of the last one. */
int64_t atr_epoch_steps(int64_t samples, int64_t batch, bool drop_last);
int64_t atr_epoch_last(int64_t samples, int64_t batch, bool drop_last);

/* Steps per epoch, the same on all ranks. */
int64_t atr_loader_steps(const atr_loader *loader);

/* Lends the next batch; after the last step of an epoch comes step 0 of the next. A sample that cannot be read gives its
 * message (with number and name), now and at every further call. */
atr_status atr_loader_next(atr_loader *loader, atr_batch *out);

/* Seconds that atr_loader_next() has waited for the threads so far: near 0 where they keep up. */
double atr_loader_waited(const atr_loader *loader);

#endif
