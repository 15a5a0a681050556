/* Losses fused with the last resize (formulas: dnn/ref/loss.c).
 *
 * The rows of pixels between two rows of logits, j and j+1, are one task: each row of pixels is blended from the two, its
 * softmax gives loss and gradient, and the gradient goes back to the two rows of logits. What goes to row j is written
 * straight to dlogits, what goes to row j+1 waits in the scratch until all tasks are done. So each pixel's softmax is
 * computed once a pass, and no result depends on the number of threads: sums of real numbers are kept by task, counts are
 * integers. */
#include <string.h>

#include "dnn/bilinear.h"
#include "dnn/cpu/cpu_impl.h"

int64_t atr_cpu_padded_classes(const atr_backend *backend, int64_t classes)
{
    const int64_t lanes = atr_cpu_kernels_of(backend)->lanes;

    return (classes + lanes - 1) / lanes * lanes;
}

void atr_cpu_pad_classes(float *logits, int64_t pixels, int64_t classes, int64_t padded)
{
    for (int64_t p = 0; p < pixels; p++)
        for (int64_t k = classes; k < padded; k++)
            logits[p * padded + k] = -1e30f;
}

/* Scratch: losses of tasks [N,h] f64 and gradients for the row below [N,h,w,K] f32 of the second pass, or sums of tasks
 * [N,h,2,K] f64 of the first. */
size_t atr_cpu_loss_scratch(const atr_loss_args *args)
{
    const size_t tasks = (size_t)(args->logits.dims[0] * args->logits.dims[1]);
    const size_t first = tasks * 2 * (size_t)args->logits.dims[3] * sizeof(double);
    const size_t second =
        atr_align_up(tasks * sizeof(double)) + (size_t)atr_tensor_count(&args->logits) * sizeof(float);

    return first > second ? first : second;
}

enum { BLENDED, PIXEL_GRADIENT, UPPER, LOWER, ROWS };

/* What all tasks read, and the buffers of threads. */
typedef struct loss_job {
    const atr_cpu_kernels *kernels;
    const atr_loss_args *args;
    int64_t tasks, padded;
    atr_cpu_column *columns; /* [W] */
    int64_t row_floats;      /* of one [w,padded] */
    float *buffers;          /* [threads][ROWS][row_floats] */

    /* First pass: */
    int64_t *counters, counter_row; /* [threads][counter_row]: the sums' integers */

    /* Second pass: */
    atr_cpu_loss_terms terms;
    float *by_class;    /* [3][padded], of terms */
    bool cross_entropy; /* the form is no more than that */
    int64_t *votes;     /* [threads][vote_row]: hits, all [K] */
    int64_t vote_row;   /* keeps threads on cache lines of their own */
    double *losses;     /* [N,h] */
    float *below;       /* [N,h,w,K] */
} loss_job;

/* The first row of pixels whose upper row of logits is j or later. */
static int64_t first_row(const atr_loss_args *args, int64_t j)
{
    const int64_t h = args->logits.dims[1], height = args->height;

    if (j <= 0)
        return 0;
    if (j >= h || h == 1 || height == 1)
        return height;
    return (j * (height - 1) + h - 2) / (h - 1);
}

/* Blends row y of pixels of picture n into `blended`; what the kernels take. */
static atr_cpu_class_row blend_row(const loss_job *job, int64_t n, int64_t y, float *blended)
{
    const atr_tensor *logits = &job->args->logits;
    const int64_t h = logits->dims[1], w = logits->dims[2], classes = logits->dims[3];
    const atr_bilinear_tap tap = atr_bilinear_corners(y, h, job->args->height);

    job->kernels->blend_rows(atr_cpu_pixel(logits, (n * h + tap.first) * w),
                             atr_cpu_pixel(logits, (n * h + tap.second) * w), logits->strides[2],
                             (float)tap.weight, w, classes, blended, job->padded);
    return (atr_cpu_class_row){blended, classes, job->padded, job->columns, job->args->width};
}

static const uint8_t *labels_of(const loss_job *job, int64_t n, int64_t y)
{
    return job->args->labels + (n * job->args->height + y) * job->args->width;
}

/* Loss of one row of pixels; its gradient is added to rows UPPER and LOWER of `buffers`. */
static double pixel_row(const loss_job *job, int64_t n, int64_t y, float *const *buffers,
                        const atr_loss_votes *votes)
{
    const atr_loss_args *args = job->args;
    const int64_t w = args->logits.dims[2];
    const double down = atr_bilinear_corners(y, args->logits.dims[1], args->height).weight;
    float *const gradient = args->dlogits.data != NULL ? buffers[PIXEL_GRADIENT] : NULL;
    const float weights[2] = {(float)(1.0 - down), (float)down};
    const float *sources[2] = {NULL, gradient};
    const atr_cpu_class_row row = blend_row(job, n, y, buffers[BLENDED]);
    const uint8_t *labels = labels_of(job, n, y);

    if (gradient != NULL)
        memset(gradient, 0, (size_t)(w * job->padded) * sizeof(float));
    const double loss = job->cross_entropy
                            ? job->kernels->loss_row(&row, labels, args->form->plain, gradient, votes,
                                                     args->form->with_ignored)
                            : job->kernels->loss_terms_row(&row, labels, &job->terms, gradient, votes);
    for (int side = 0; gradient != NULL && side < 2; side++) {
        float *to = buffers[UPPER + side];
        const float factors[2] = {1.0f, weights[side]};
        sources[0] = to;
        job->kernels->weighted_sum(sources, factors, 2, 0, 1, w * job->padded, to, 0);
    }
    return loss;
}

/* Task (n, j) with a thread's own buffers. */
static void run_task(const loss_job *job, int64_t task, int part)
{
    const atr_loss_args *args = job->args;
    const int64_t h = args->logits.dims[1], w = args->logits.dims[2], classes = args->logits.dims[3];
    const int64_t n = task / h, end = first_row(args, task % h + 1);
    atr_loss_votes votes = {NULL, NULL};
    float *buffers[ROWS];

    for (int i = 0; i < ROWS; i++)
        buffers[i] = job->buffers + (part * ROWS + i) * job->row_floats;
    if (job->votes != NULL)
        votes =
            (atr_loss_votes){job->votes + part * job->vote_row, job->votes + part * job->vote_row + classes};
    atr_cpu_pad_classes(buffers[BLENDED], w, classes, job->padded);
    memset(buffers[UPPER], 0, (size_t)job->row_floats * sizeof(float));
    memset(buffers[LOWER], 0, (size_t)job->row_floats * sizeof(float));
    job->losses[task] = 0.0;
    for (int64_t y = first_row(args, task % h); y < end; y++)
        job->losses[task] += pixel_row(job, n, y, buffers, &votes);
    for (int64_t x = 0; x < w && args->dlogits.data != NULL; x++) {
        memcpy(atr_cpu_pixel(&args->dlogits, task * w + x), buffers[UPPER] + x * job->padded,
               (size_t)classes * sizeof(float));
        memcpy(job->below + (task * w + x) * classes, buffers[LOWER] + x * job->padded,
               (size_t)classes * sizeof(float));
    }
}

/* dlogits += what the tasks above (of the last row: its own as well, which reads no row below) left for each row. */
static void add_below(const atr_backend *backend, const loss_job *job)
{
    const atr_tensor *to = &job->args->dlogits;
    const int64_t h = to->dims[1], w = to->dims[2], classes = to->dims[3];

#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range rows = atr_cpu_share(to->dims[0] * h, backend->threads, part);
        for (int64_t row = rows.first; row < rows.end; row++)
            if (row % h > 0)
                job->kernels->add(atr_cpu_pixel(to, row * w), to->strides[2],
                                  job->below + (row - 1) * w * classes, classes, atr_cpu_pixel(to, row * w),
                                  to->strides[2], w, classes);
    }
}

/* What both passes need. */
static atr_status make_job(const atr_backend *backend, const atr_loss_args *args, loss_job *job)
{
    const atr_tensor *logits = &args->logits;
    atr_status status = ATR_OK;

    *job = (loss_job){.kernels = atr_cpu_kernels_of(backend), .args = args};
    if (logits->dims[3] > ATR_MAX_CLASSES)
        return atr_fail(ATR_ERR_UNSUPPORTED, "loss over %lld classes: labels of 8 bits name at most %d",
                        (long long)logits->dims[3], ATR_MAX_CLASSES);
    job->tasks = logits->dims[0] * logits->dims[1];
    job->padded = atr_cpu_padded_classes(backend, logits->dims[3]);
    job->row_floats = atr_cpu_row(logits->dims[2] * job->padded);
    ATR_TRY(ATR_NEW(args->width, &job->columns));
    ATR_TRY(ATR_NEW(backend->threads * ROWS * job->row_floats, &job->buffers));
    atr_cpu_columns_corners(logits->dims[2], args->width, job->columns);
done:
    return status;
}

static void free_job(loss_job *job)
{
    atr_free(job->columns);
    atr_free(job->buffers);
    atr_free(job->counters);
    atr_free(job->by_class);
    atr_free(job->votes);
}

/* ---- second pass -------------------------------------------------------------------------------------------------------- */

/* The form by class as f32. */
static atr_status make_terms(const atr_loss_form *form, loss_job *job)
{
    const int64_t classes = job->args->logits.dims[3], padded = job->padded;
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW(3 * padded, &job->by_class));
    float *const even = job->by_class, *const other = even + padded, *const own_rest = other + padded;
    job->terms = (atr_cpu_loss_terms){.form = form, .even = even, .other = other, .own_rest = own_rest};
    job->terms.by_class = (form->parts & (ATR_LOSS_SLOPES | ATR_LOSS_RANKED)) != 0;
    for (int64_t k = 0; k < classes; k++) {
        if (form->parts & ATR_LOSS_EVEN)
            even[k] = (float)form->even[k];
        if (form->parts & ATR_LOSS_SLOPES) {
            other[k] = (float)form->other[k];
            own_rest[k] = (float)(form->own[k] - form->other[k]);
        }
        job->terms.even_sum += even[k];
    }
done:
    return status;
}

static void add_votes(const atr_backend *backend, const loss_job *job)
{
    const int64_t classes = job->args->logits.dims[3];

    for (int part = 0; part < backend->threads && job->votes != NULL; part++)
        for (int64_t k = 0; k < classes; k++) {
            job->args->votes.hits[k] += job->votes[part * job->vote_row + k];
            job->args->votes.all[k] += job->votes[part * job->vote_row + classes + k];
        }
}

atr_status atr_cpu_loss(atr_backend *backend, atr_loss_args *args)
{
    atr_status status = ATR_OK;
    loss_job job;

    ATR_TRY(make_job(backend, args, &job));
    job.losses = args->scratch;
    job.below = (float *)((char *)args->scratch + atr_align_up((size_t)job.tasks * sizeof(double)));
    job.vote_row = atr_cpu_row(2 * args->logits.dims[3]);
    job.cross_entropy = args->form->parts == ATR_LOSS_PLAIN;
    ATR_TRY(make_terms(args->form, &job));
    if (args->votes.all != NULL)
        ATR_TRY(ATR_NEW(backend->threads * job.vote_row, &job.votes));
#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range range = atr_cpu_share(job.tasks, backend->threads, part);
        for (int64_t task = range.first; task < range.end; task++)
            run_task(&job, task, part);
    }
    args->loss = 0.0;
    for (int64_t task = 0; task < job.tasks; task++)
        args->loss += job.losses[task];
    add_votes(backend, &job);
    if (args->dlogits.data != NULL)
        add_below(backend, &job);
done:
    free_job(&job);
    return status;
}

/* ---- first pass --------------------------------------------------------------------------------------------------------- */

/* Sums of task (n, j): `own` and `all` [K], and a thread's counters. */
static void sum_task(const loss_job *job, int64_t task, int part, double *own, double *all)
{
    const atr_loss_args *args = job->args;
    const int64_t h = args->logits.dims[1], end = first_row(args, task % h + 1);
    float *const blended = job->buffers + part * ROWS * job->row_floats;
    int64_t *const counters = job->counters + part * job->counter_row;
    atr_loss_sums sums = *args->sums;

    sums.pixels = counters + (args->sums->pixels - args->sums->integers);
    if (sums.hardness != NULL)
        sums.hardness = counters + (args->sums->hardness - args->sums->integers);
    if (sums.errors != NULL)
        sums.errors = counters + (args->sums->errors - args->sums->integers);
    memset(own, 0, (size_t)args->logits.dims[3] * sizeof *own);
    memset(all, 0, (size_t)args->logits.dims[3] * sizeof *all);
    atr_cpu_pad_classes(blended, args->logits.dims[2], args->logits.dims[3], job->padded);
    for (int64_t y = first_row(args, task % h); y < end; y++) {
        const atr_cpu_class_row row = blend_row(job, task / h, y, blended);
        job->kernels->loss_sums_row(&row, labels_of(job, task / h, y), &sums, own, all);
    }
}

/* In the order of tasks. */
static void add_sums(const atr_backend *backend, const loss_job *job, const double *by_task)
{
    const atr_loss_sums *sums = job->args->sums;
    const int64_t classes = job->args->logits.dims[3];

    for (int64_t task = 0; task < job->tasks && sums->own != NULL; task++)
        for (int64_t k = 0; k < classes; k++) {
            sums->own[k] += by_task[2 * task * classes + k];
            sums->all[k] += by_task[(2 * task + 1) * classes + k];
        }
    for (int part = 0; part < backend->threads; part++)
        for (int64_t i = 0; i < sums->integer_count; i++)
            sums->integers[i] += job->counters[part * job->counter_row + i];
}

atr_status atr_cpu_loss_sums(atr_backend *backend, atr_loss_args *args)
{
    const int64_t classes = args->logits.dims[3];
    double *by_task = args->scratch; /* [N,h,2,K] */
    atr_status status = ATR_OK;
    loss_job job;

    ATR_TRY(make_job(backend, args, &job));
    job.counter_row = atr_cpu_row(args->sums->integer_count);
    ATR_TRY(ATR_NEW(backend->threads * job.counter_row, &job.counters));
#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range range = atr_cpu_share(job.tasks, backend->threads, part);
        for (int64_t task = range.first; task < range.end; task++)
            sum_task(&job, task, part, by_task + 2 * task * classes, by_task + (2 * task + 1) * classes);
    }
    add_sums(backend, &job, by_task);
done:
    free_job(&job);
    return status;
}
