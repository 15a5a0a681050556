/* From class scores to a label map (formulas: dnn/ref/segment.c). Each thread goes down its rows of the output and keeps the
 * two rows of probabilities, at the network's size, that the current one lies between. */
#include "dnn/bilinear.h"
#include "dnn/cpu/cpu_impl.h"

enum { MOST_CLASSES = 256 };

size_t atr_cpu_segment_scratch(const atr_segment_args *args)
{
    (void)args;
    return 0;
}

typedef struct segment_job {
    const atr_cpu_kernels *kernels;
    const atr_segment_args *args;
    int64_t padded;
    atr_cpu_column *inner; /* [box_w]: columns of the logits that a column of the box reads */
    atr_cpu_column *outer; /* [out_w]: columns of the box that a column of the output reads */
    int64_t blended_floats, row_floats;
    float *buffers; /* [threads]: blended logits [w,padded], two rows of probabilities [box_w,padded] */
} segment_job;

/* One thread's rows of probabilities and which rows of the box they are. */
typedef struct row_cache {
    float *blended, *rows[2];
    int64_t held[2];
} row_cache;

/* Row y of the box as a row between two rows of logits, blended into the cache. */
static atr_cpu_class_row blend(const segment_job *job, row_cache *cache, int64_t y)
{
    const atr_segment_args *args = job->args;
    const atr_tensor *logits = &args->logits;
    const int64_t w = logits->dims[2], classes = logits->dims[3];
    const atr_bilinear_tap tap = atr_bilinear_corners(args->box_y + y, logits->dims[1], args->height);

    job->kernels->blend_rows(atr_cpu_pixel(logits, tap.first * w), atr_cpu_pixel(logits, tap.second * w),
                             logits->strides[2], (float)tap.weight, w, classes, cache->blended, job->padded);
    return (atr_cpu_class_row){cache->blended, classes, job->padded, job->inner, args->box_w};
}

/* Probabilities of row y of the box, in the cache or made there; row `keep` is not thrown out. */
static const float *probabilities(const segment_job *job, row_cache *cache, int64_t y, int64_t keep)
{

    for (int i = 0; i < 2; i++)
        if (cache->held[i] == y)
            return cache->rows[i];
    const int slot = cache->held[0] == keep ? 1 : 0;
    const atr_cpu_class_row row = blend(job, cache, y);
    job->kernels->softmax_row(&row, cache->rows[slot]);
    cache->held[slot] = y;
    return cache->rows[slot];
}

/* Ids alone at the box's own size need no probabilities: the largest logit wins. */
static bool is_plain(const atr_segment_args *args)
{
    return args->box_h == args->out_h && args->box_w == args->out_w && args->ids != NULL &&
           args->confidence == NULL && args->probabilities == NULL;
}

static void segment_rows(const segment_job *job, atr_cpu_range rows, float *buffer)
{
    const atr_segment_args *args = job->args;
    const int64_t w = args->logits.dims[2], classes = args->logits.dims[3];
    const atr_cpu_class_row row = {NULL, classes, job->padded, job->outer, args->out_w};
    row_cache cache = {.blended = buffer,
                       .rows = {buffer + job->blended_floats, buffer + job->blended_floats + job->row_floats},
                       .held = {-1, -1}};

    atr_cpu_pad_classes(cache.blended, w, classes, job->padded);
    for (int64_t y = rows.first; y < rows.end && is_plain(args); y++) {
        const atr_cpu_class_row logits = blend(job, &cache, y);
        job->kernels->label_row(&logits, args->ids + y * args->out_w);
    }
    for (int64_t y = rows.first; y < rows.end && !is_plain(args); y++) {
        const atr_bilinear_tap tap = atr_bilinear_centres(y, args->box_h, args->out_h);
        const int64_t second = tap.weight > 0.0 ? tap.second : tap.first;
        const int64_t at = y * args->out_w;
        const atr_cpu_votes votes = {.ids = args->ids == NULL ? NULL : args->ids + at,
                                     .confidence = args->confidence == NULL ? NULL : args->confidence + at,
                                     .probabilities =
                                         args->probabilities == NULL ? NULL : args->probabilities + at,
                                     .plane = args->out_h * args->out_w};
        const float *upper = probabilities(job, &cache, tap.first, second);
        const float *lower = probabilities(job, &cache, second, tap.first);
        job->kernels->vote_row(upper, lower, (float)tap.weight, &row, &votes);
    }
}

/* Columns of the box are columns of the network's picture from box_x on. */
static void inner_columns(const atr_segment_args *args, atr_cpu_column *columns)
{
    for (int64_t x = 0; x < args->box_w; x++) {
        const atr_bilinear_tap tap = atr_bilinear_corners(args->box_x + x, args->logits.dims[2], args->width);
        columns[x] = (atr_cpu_column){tap.first, tap.second, (float)tap.weight};
    }
}

atr_status atr_cpu_segment(atr_backend *backend, const atr_segment_args *args)
{
    atr_status status = ATR_OK;
    segment_job job = {.kernels = atr_cpu_kernels_of(backend),
                       .args = args,
                       .padded = atr_cpu_padded_classes(backend, args->logits.dims[3])};

    if (args->logits.dims[3] > MOST_CLASSES)
        return atr_fail(ATR_ERR_UNSUPPORTED, "a label map of %lld classes: ids of 8 bits name at most 256",
                        (long long)args->logits.dims[3]);
    job.blended_floats = atr_cpu_row(args->logits.dims[2] * job.padded);
    job.row_floats = atr_cpu_row(args->box_w * job.padded);
    const int64_t part_floats = job.blended_floats + 2 * job.row_floats;
    ATR_TRY(ATR_NEW(args->box_w, &job.inner));
    ATR_TRY(ATR_NEW(args->out_w, &job.outer));
    ATR_TRY(ATR_NEW(backend->threads * part_floats, &job.buffers));
    inner_columns(args, job.inner);
    atr_cpu_columns_centres(args->box_w, args->out_w, job.outer);
#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++)
        segment_rows(&job, atr_cpu_share(args->out_h, backend->threads, part),
                     job.buffers + part * part_floats);
done:
    atr_free(job.inner);
    atr_free(job.outer);
    atr_free(job.buffers);
    return status;
}
