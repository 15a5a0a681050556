/* Softmax cross-entropy fused with the last resize (formulas: dnn/ref/loss.c).
 *
 * The rows of pixels between two rows of logits, j and j+1, are one task: each row of pixels is blended from the two, its
 * softmax gives loss and gradient, and the gradient goes back to the two rows of logits. What goes to row j is written
 * straight to dlogits, what goes to row j+1 waits in the scratch until all tasks are done. So each pixel's softmax is
 * computed once, and no result depends on the number of threads. */
#include <string.h>

#include "dnn/bilinear.h"
#include "dnn/cpu/cpu_impl.h"

enum { MOST_CLASSES = 256 };

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

/* Scratch: losses of tasks [N,h] f64, gradients for the row below [N,h,w,K]. */
size_t atr_cpu_loss_scratch(const atr_loss_args *args)
{
    const size_t tasks = (size_t)(args->logits.dims[0] * args->logits.dims[1]);

    return atr_align_up(tasks * sizeof(double)) + (size_t)atr_tensor_count(&args->logits) * sizeof(float);
}

/* What all tasks read, and the buffers of threads. */
typedef struct loss_job {
    const atr_cpu_kernels *kernels;
    const atr_loss_args *args;
    int64_t padded;
    atr_cpu_column *columns; /* [W] */
    double weights[MOST_CLASSES];
    int64_t row_floats; /* of one [w,padded] */
    float *buffers;     /* [threads][ROWS][row_floats] */
    double *losses;     /* [N,h] */
    float *below;       /* [N,h,w,K] */
} loss_job;

enum { BLENDED, PIXEL_GRADIENT, UPPER, LOWER, ROWS };

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

/* Loss of one row of pixels; its gradient is added to rows UPPER and LOWER of `buffers`. */
static double pixel_row(const loss_job *job, int64_t n, int64_t y, float *const *buffers)
{
    const atr_loss_args *args = job->args;
    const atr_tensor *logits = &args->logits;
    const int64_t h = logits->dims[1], w = logits->dims[2], classes = logits->dims[3];
    const atr_bilinear_tap tap = atr_bilinear_corners(y, h, args->height);
    const bool gradient = args->dlogits.data != NULL;
    const float weights[2] = {(float)(1.0 - tap.weight), (float)tap.weight};
    const float *terms[2] = {NULL, buffers[PIXEL_GRADIENT]};
    const atr_cpu_class_row row = {buffers[BLENDED], classes, job->padded, job->columns, args->width};

    job->kernels->blend_rows(atr_cpu_pixel(logits, (n * h + tap.first) * w),
                             atr_cpu_pixel(logits, (n * h + tap.second) * w), logits->strides[2],
                             (float)tap.weight, w, classes, buffers[BLENDED], job->padded);
    if (gradient)
        memset(buffers[PIXEL_GRADIENT], 0, (size_t)(w * job->padded) * sizeof(float));
    const double loss = job->kernels->loss_row(&row, args->labels + (n * args->height + y) * args->width,
                                               job->weights, gradient ? buffers[PIXEL_GRADIENT] : NULL);
    for (int side = 0; gradient && side < 2; side++) {
        float *to = buffers[UPPER + side];
        const float factors[2] = {1.0f, weights[side]};
        terms[0] = to;
        job->kernels->weighted_sum(terms, factors, 2, 0, 1, w * job->padded, to, 0);
    }
    return loss;
}

/* Task (n, j) with the thread's own buffers. */
static void run_task(const loss_job *job, int64_t task, float *block)
{
    const atr_loss_args *args = job->args;
    const int64_t h = args->logits.dims[1], w = args->logits.dims[2], classes = args->logits.dims[3];
    const int64_t n = task / h, end = first_row(args, task % h + 1);
    float *buffers[ROWS];

    for (int i = 0; i < ROWS; i++)
        buffers[i] = block + i * job->row_floats;
    atr_cpu_pad_classes(buffers[BLENDED], w, classes, job->padded);
    memset(buffers[UPPER], 0, (size_t)job->row_floats * sizeof(float));
    memset(buffers[LOWER], 0, (size_t)job->row_floats * sizeof(float));
    job->losses[task] = 0.0;
    for (int64_t y = first_row(args, task % h); y < end; y++)
        job->losses[task] += pixel_row(job, n, y, buffers);
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

static atr_status make_job(const atr_backend *backend, const atr_loss_args *args, loss_job *job)
{
    const atr_tensor *logits = &args->logits;
    const int64_t classes = logits->dims[3], tasks = logits->dims[0] * logits->dims[1];
    atr_status status = ATR_OK;

    job->kernels = atr_cpu_kernels_of(backend);
    job->args = args;
    job->padded = atr_cpu_padded_classes(backend, classes);
    job->row_floats = atr_cpu_row(logits->dims[2] * job->padded);
    job->losses = args->scratch;
    job->below = (float *)((char *)args->scratch + atr_align_up((size_t)tasks * sizeof(double)));
    for (int64_t k = 0; k < classes; k++) {
        const double weight = args->class_weights != NULL ? (double)args->class_weights[k] : 1.0;
        job->weights[k] = args->divisor > 0.0 ? weight / args->divisor : 0.0;
    }
    ATR_TRY(ATR_NEW(args->width, &job->columns));
    ATR_TRY(ATR_NEW(backend->threads * ROWS * job->row_floats, &job->buffers));
    atr_cpu_columns_corners(logits->dims[2], args->width, job->columns);
done:
    return status;
}

atr_status atr_cpu_cross_entropy(atr_backend *backend, atr_loss_args *args)
{
    const int64_t tasks = args->logits.dims[0] * args->logits.dims[1];
    atr_status status = ATR_OK;
    loss_job job = {.columns = NULL};

    if (args->logits.dims[3] > MOST_CLASSES)
        return atr_fail(ATR_ERR_UNSUPPORTED, "loss over %lld classes: labels of 8 bits name at most 256",
                        (long long)args->logits.dims[3]);
    ATR_TRY(make_job(backend, args, &job));
#pragma omp parallel for schedule(static)
    for (int part = 0; part < backend->threads; part++) {
        const atr_cpu_range range = atr_cpu_share(tasks, backend->threads, part);
        for (int64_t task = range.first; task < range.end; task++)
            run_task(&job, task, job.buffers + part * ROWS * job.row_floats);
    }
    args->loss = 0.0;
    for (int64_t task = 0; task < tasks; task++)
        args->loss += job.losses[task];
    if (args->dlogits.data != NULL)
        add_below(backend, &job);
done:
    atr_free(job.columns);
    atr_free(job.buffers);
    return status;
}
