#include "dnn/backend.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "dnn/rewrites.h"
#include "dnn/widen.h"

/* All back ends of this build, best first. */
static const atr_backend_table *const tables[] = {&atr_backend_cpu, &atr_backend_ref};

enum { TABLES = sizeof tables / sizeof tables[0] };

const char *atr_backend_names(void)
{
    return "cpu, ref";
}

static atr_status find_table(const char *name, const atr_backend_table **out)
{
    for (int i = 0; i < TABLES; i++)
        if (strcmp(name, "auto") == 0 || strcmp(name, tables[i]->name) == 0) {
            *out = tables[i];
            return ATR_OK;
        }
    return atr_fail(ATR_ERR_UNSUPPORTED, "--backend %s: not compiled into this build (have: %s)", name,
                    atr_backend_names());
}

/* What atr_backend_open() makes: the back end and its table with the empty slots filled. */
typedef struct open_backend {
    atr_backend backend; /* first, so that a pointer to it is one to the whole */
    atr_backend_table table;
} open_backend;

/* On a host an empty slot means the `ref` kernel; a buffer's size goes with the function that uses it. */
static void fill_from_ref(atr_backend_table *table)
{
    const atr_backend_table *ref = &atr_backend_ref;

    for (int op = 0; op < ATR_OPS; op++)
        if (table->op[op].forward == NULL)
            table->op[op] = ref->op[op];
    if (table->loss == NULL) {
        table->loss_scratch = ref->loss_scratch;
        table->loss_sums = ref->loss_sums;
        table->loss = ref->loss;
    }
    if (table->segment == NULL) {
        table->segment_scratch = ref->segment_scratch;
        table->segment = ref->segment;
    }
    if (table->enlarge == NULL)
        table->enlarge = ref->enlarge;
    if (table->sgd == NULL)
        table->sgd = ref->sgd;
    if (table->adam == NULL)
        table->adam = ref->adam;
    if (table->accumulate == NULL)
        table->accumulate = ref->accumulate;
    if (table->average == NULL)
        table->average = ref->average;
    if (table->sum_squares == NULL)
        table->sum_squares = ref->sum_squares;
}

atr_status atr_backend_open(const char *name, int threads, atr_backend **out)
{
    atr_status status = ATR_OK;
    const atr_backend_table *table = NULL;
    open_backend *opened = NULL;

    *out = NULL;
    if (threads < 1)
        return atr_fail(ATR_ERR_USAGE, "%d threads: at least 1 is needed", threads);
    ATR_TRY(find_table(name, &table));
    ATR_TRY(ATR_NEW(1, &opened));
    opened->table = *table;
    if (table->host)
        fill_from_ref(&opened->table);
    opened->backend.table = &opened->table;
    /* Kernels share work among as many threads as they were promised: a team made smaller would leave work undone. */
    opened->backend.threads = threads < omp_get_thread_limit() ? threads : omp_get_thread_limit();
    opened->backend.rewrites = ATR_REWRITE_ALL;
    opened->backend.precision = ATR_F32;
    atr_backend_enter(&opened->backend);
    if (table->open != NULL)
        ATR_TRY(table->open(opened->backend.threads, &opened->backend.engine));
    *out = &opened->backend;
    opened = NULL;

done:
    atr_free(opened);
    return status;
}

/* Lets `kernel` prepare a step, itself or on f32 copies. ATR_ERR_UNSUPPORTED leaves the step as it was. */
static atr_status attempt(atr_backend *backend, atr_step *step, const atr_kernel *kernel, bool widened)
{
    if (kernel->forward == NULL)
        return ATR_ERR_UNSUPPORTED;
    step->kernel = widened ? &atr_widened : kernel;
    step->inner = widened ? kernel : NULL;
    const atr_status status = step->kernel->prepare == NULL ? ATR_OK : step->kernel->prepare(backend, step);
    if (status == ATR_ERR_UNSUPPORTED) {
        if (step->kernel->release != NULL)
            step->kernel->release(step);
        step->state = NULL;
        step->kernel = NULL;
        step->packed_bytes = 0;
    }
    return status;
}

atr_status atr_backend_prepare(atr_backend *backend, atr_step *step)
{
    const atr_backend_table *table = backend->table;
    const bool narrow = atr_step_is_narrow(step);
    atr_status status = ATR_ERR_UNSUPPORTED;

    if (!narrow || table->knows_bf16[step->op])
        status = attempt(backend, step, &table->op[step->op], false);
    if (status == ATR_ERR_UNSUPPORTED && table->host && narrow)
        status = attempt(backend, step, &table->op[step->op], true);
    if (status == ATR_ERR_UNSUPPORTED && table->host)
        status = attempt(backend, step, &atr_backend_ref.op[step->op], narrow);
    if (status == ATR_ERR_UNSUPPORTED)
        return atr_fail(ATR_ERR_UNSUPPORTED, "%s: back end %s has no kernel for it", step->name, table->name);
    return status;
}

void atr_backend_close(atr_backend *backend)
{
    if (backend == NULL)
        return;
    if (backend->table->close != NULL)
        backend->table->close(backend->engine);
    atr_free(backend);
}

void atr_backend_enter(const atr_backend *backend)
{
    omp_set_dynamic(0); /* or OMP_DYNAMIC would narrow teams on a busy machine */
    omp_set_num_threads(backend->threads);
}

atr_status atr_backend_segment(atr_backend *backend, const atr_segment_args *wanted)
{
    atr_status status = ATR_OK;
    const atr_backend_table *table = backend->table->host ? backend->table : &atr_backend_ref;
    atr_segment_args args = *wanted;
    void *scratch = NULL;

    atr_backend_enter(backend);
    ATR_TRY(atr_alloc((int64_t)table->segment_scratch(&args), 1, &scratch));
    args.scratch = scratch;
    ATR_TRY(table->segment(backend, &args));
done:
    atr_free(scratch);
    return status;
}

bool atr_backend_finite(atr_backend *backend, const float *values, int64_t count)
{
    double sum = 0;

    return backend->table->sum_squares(backend, values, count, &sum) == ATR_OK && isfinite(sum);
}

static bool finite_bf16(const uint16_t *values, int64_t pixels, int64_t channels, int64_t stride)
{
    for (int64_t p = 0; p < pixels; p++)
        for (int64_t c = 0; c < channels; c++)
            if ((values[p * stride + c] & 0x7F80u) == 0x7F80u)
                return false;
    return true;
}

/* A slice is looked at pixel by pixel: what lies between belongs to others. */
bool atr_backend_finite_pixels(atr_backend *backend, const atr_tensor *tensor)
{
    const int64_t channels = tensor->dims[3], pixels = tensor->dims[0] * tensor->dims[1] * tensor->dims[2];
    const float *const values = tensor->data;

    if (values == NULL || tensor->rank != 4)
        return true;
    if (tensor->type == ATR_BF16)
        return finite_bf16(tensor->data, pixels, channels, tensor->strides[2]);
    if (tensor->type != ATR_F32)
        return true;
    if (tensor->strides[2] == channels)
        return atr_backend_finite(backend, values, pixels * channels);
    for (int64_t i = 0; i < pixels; i++)
        if (!atr_backend_finite(backend, values + i * tensor->strides[2], channels))
            return false;
    return true;
}

const atr_allocator *atr_backend_allocator(const atr_backend *backend)
{
    return backend->table->allocator != NULL ? backend->table->allocator(backend->engine)
                                             : &atr_host_allocator;
}
