#include <string.h>

#include "apps/bench_comm.h"
#include "apps/train_options.h"
#include "core/rng.h"
#include "dnn/model.h"
#include "dnn/plan.h"

/* A rank's times of one step. */
typedef struct step_times {
    double compute, exposed;
} step_times;

typedef struct work {
    atr_session session;
    atr_plan_options plan_options;
    atr_plan *plan;
    float *images;
    uint8_t *labels;
    int64_t pixels;
    atr_reducer **reducers; /* [overlap_count] */
    step_times *times;      /* [repeats, overlap_count, size] */
} work;

/* An atr_plan_options.approve. */
static atr_status ask_for_memory(void *user, const atr_plan_needs *needs)
{
    work *const w = user;
    int64_t total = 0;
    const atr_memory_request request = {.guard = &w->session.memory,
                                        .work = "the training step that sums hide behind",
                                        .graph = w->session.graph,
                                        .params = w->session.params,
                                        .backend = w->session.backend,
                                        .plan = &w->plan_options,
                                        .others =
                                            atr_params_flat_count(w->session.params) * (int64_t)sizeof(float),
                                        .batch_step = 1,
                                        .size = "--size"};

    return atr_memory_ask(&request, needs, &total);
}

/* Made-up pictures and weights. */
static atr_status set_up(atr_bench_comm *bench, work *w)
{
    const atr_bench_comm_options *const o = bench->options;
    const uint64_t key = atr_rng_key(1, ATR_RNG_TEST, (uint64_t)atr_comm_rank(bench->comm), 0);
    const double dropout[2] = {0.5, 0.1};
    atr_model_info *info = NULL;
    atr_status status = ATR_OK;

    ATR_TRY(atr_size_parse(o->size, &bench->height, &bench->width));
    ATR_TRY(ATR_NEW(1, &info));
    w->pixels = o->batch * bench->height * bench->width;
    atr_session_describe(o->backbone, o->classes, 16, info);
    ATR_TRY(atr_session_build(&w->session, info, dropout));
    ATR_TRY(atr_model_init(w->session.params, ATR_INIT_KAIMING, 1, 1));
    ATR_TRY(ATR_NEW(w->pixels * 3, &w->images));
    ATR_TRY(ATR_NEW(w->pixels, &w->labels));
    for (int64_t i = 0; i < w->pixels * 3; i++)
        w->images[i] = (float)atr_rng_unit(key, (uint64_t)i);
    for (int64_t i = 0; i < w->pixels; i++)
        w->labels[i] = (uint8_t)atr_rng_below(key, (uint64_t)i, (uint64_t)o->classes);
    w->plan_options = (atr_plan_options){.mode = ATR_TRAIN,
                                         .batch = o->batch,
                                         .height = bench->height,
                                         .width = bench->width,
                                         .rewrites = ATR_REWRITE_ALL,
                                         .approve = ask_for_memory,
                                         .approve_user = w};
    ATR_TRY(
        atr_plan_create(w->session.graph, w->session.params, w->session.backend, &w->plan_options, &w->plan));
    bench->gradient_mb = 1e-6 * sizeof(float) * (double)atr_params_flat_count(w->session.params);

done:
    atr_free(info);
    return status;
}

/* For each wire: without overlap, then each size of buckets, looked after in both ways. */
static atr_status list_ways(atr_bench_comm *bench)
{
    const int64_t sizes = bench->options->bucket_mb.count;
    double mb[ATR_BENCH_LISTED];
    atr_status status = ATR_OK;

    ATR_TRY(atr_bench_comm_numbers("bucket-mb", &bench->options->bucket_mb, mb));
    ATR_TRY(ATR_NEW(2 * (1 + 2 * sizes), &bench->overlaps));
    for (int wire = ATR_WIRE_F32; wire <= ATR_WIRE_BF16; wire++)
        for (int64_t i = -1; i < sizes; i++)
            for (int progress = ATR_PROGRESS_POLL;
                 progress <= (i < 0 ? ATR_PROGRESS_POLL : ATR_PROGRESS_THREAD); progress++)
                bench->overlaps[bench->overlap_count++].options = (atr_reducer_options){
                    .allreduce = (atr_allreduce)bench->options->allreduce,
                    .wire = (atr_wire)wire,
                    .progress = (atr_reducer_progress)progress,
                    .bucket_mb = i < 0 ? 0 : mb[i],
                };

done:
    return status;
}

static atr_status run_step(atr_bench_comm *bench, work *w, atr_reducer *reducer, step_times *all)
{
    step_times mine;
    double loss = 0;
    atr_status status = ATR_OK, reduced = ATR_OK;

    ATR_TRY(atr_comm_barrier(bench->comm));
    const double start = atr_seconds();
    status = atr_plan_forward(w->plan, w->images);
    if (status == ATR_OK)
        status = atr_plan_cross_entropy(w->plan, w->labels, NULL, (double)w->pixels, &loss);
    atr_reducer_begin(reducer);
    if (status == ATR_OK)
        status = atr_plan_backward(w->plan, atr_reducer_ready, reducer);
    const double computed = atr_seconds();
    reduced = atr_reducer_wait(reducer);
    mine = (step_times){computed - start, atr_seconds() - computed};
    ATR_TRY(reduced);
    ATR_TRY(atr_comm_agree(bench->comm, status));
    ATR_TRY(atr_comm_gather(bench->comm, &mine, sizeof mine, all));

done:
    return status;
}

/* The ways take turns, so that what else the machine does falls on all of them. */
static atr_status run_steps(atr_bench_comm *bench, work *w)
{
    const int64_t repeats = bench->options->repeats, ways = bench->overlap_count;
    const int size = atr_comm_size(bench->comm);
    atr_status status = ATR_OK;

    ATR_TRY(atr_comm_agree(bench->comm, ATR_NEW(repeats * ways * size, &w->times)));
    for (int64_t i = -1; i < repeats; i++)
        for (int64_t k = 0; k < ways; k++)
            ATR_TRY(run_step(bench, w, w->reducers[k], w->times + ((i < 0 ? 0 : i) * ways + k) * size));

done:
    return status;
}

static atr_status summarise(const atr_bench_comm *bench, const work *w, int64_t way)
{
    const int64_t repeats = bench->options->repeats;
    const int size = atr_comm_size(bench->comm);
    atr_bench_overlap *const out = &bench->overlaps[way];
    double *values = NULL;
    const atr_reducer_bucket *buckets = NULL;
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW(3 * repeats, &values));
    for (int64_t i = 0; i < repeats; i++) {
        const step_times *const ranks = w->times + (i * bench->overlap_count + way) * size;
        double *const step = &values[i], *const compute = &values[repeats + i],
                      *const exposed = &values[2 * repeats + i];
        *exposed = ranks[0].exposed;
        for (int r = 0; r < size; r++) {
            const double whole = ranks[r].compute + ranks[r].exposed;
            *step = whole > *step ? whole : *step;
            *compute = ranks[r].compute > *compute ? ranks[r].compute : *compute;
            *exposed = ranks[r].exposed < *exposed ? ranks[r].exposed : *exposed;
        }
    }
    out->step = atr_samples_of(values, repeats);
    out->compute = atr_samples_of(values + repeats, repeats);
    out->exposed = atr_samples_of(values + 2 * repeats, repeats);
    atr_reducer_text(w->reducers[way], out->text);
    out->bucket_count = atr_reducer_buckets(w->reducers[way], &buckets);
    ATR_TRY(ATR_NEW(out->bucket_count, &out->buckets));
    memcpy(out->buckets, buckets, (size_t)out->bucket_count * sizeof *buckets);

done:
    atr_free(values);
    return status;
}

static void tear_down(const atr_bench_comm *bench, work *w)
{
    for (int64_t k = 0; w->reducers != NULL && k < bench->overlap_count; k++)
        atr_reducer_destroy(w->reducers[k]);
    atr_free(w->reducers);
    atr_free(w->times);
    atr_plan_destroy(w->plan);
    atr_session_close(&w->session);
    atr_free(w->images);
    atr_free(w->labels);
}

atr_status atr_bench_comm_overlap(atr_bench_comm *bench)
{
    work w = {0};
    atr_status status = ATR_OK;

    ATR_TRY(atr_comm_agree(bench->comm, list_ways(bench)));
    ATR_TRY(atr_session_open(&bench->options->session, bench->comm, &w.session));
    ATR_TRY(atr_comm_agree(bench->comm, set_up(bench, &w)));
    ATR_TRY(atr_comm_agree(bench->comm, ATR_NEW(bench->overlap_count, &w.reducers)));
    for (int64_t k = 0; k < bench->overlap_count; k++)
        ATR_TRY(
            atr_reducer_create(bench->comm, w.session.params, &bench->overlaps[k].options, &w.reducers[k]));
    ATR_TRY(run_steps(bench, &w));
    for (int64_t k = 0; k < bench->overlap_count && status == ATR_OK; k++)
        status = summarise(bench, &w, k);
    ATR_TRY(atr_comm_agree(bench->comm, status));

done:
    tear_down(bench, &w);
    return status;
}
