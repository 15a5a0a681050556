/* atrous bench scaling: training steps on more and more ranks. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "apps/bench_impl.h"
#include "apps/bench_scaling_impl.h"
#include "apps/cli.h"
#include "apps/stop.h"
#include "core/text.h"
#include "core/threads.h"

static const atr_option rows[] = {
    {.name = "ranks",
     .kind = ATR_OPTION_LIST,
     .offset = offsetof(atr_scaling_options, ranks),
     .least = 1,
     .most = 100000,
     .argument = "N,N,...",
     .help = "numbers of ranks, rising; not given: 1, 2, 4 and so on, and as many as there are cores for",
     .group = "Sweep"},
    {.name = "sweep",
     .kind = ATR_OPTION_LIST,
     .offset = offsetof(atr_scaling_options, sweeps),
     .value = "weak,strong",
     .argument = "NAME,...",
     .help = "weak: the batch of a rank stays; strong: that of all ranks does"},
    {.name = "batch",
     .letter = 'b',
     .kind = ATR_OPTION_INT,
     .offset = offsetof(atr_scaling_options, batch),
     .value = "2",
     .least = 1,
     .most = 4096,
     .argument = "N",
     .help = "pictures of a rank in the weak sweep"},
    {.name = "global-batch",
     .kind = ATR_OPTION_INT,
     .offset = offsetof(atr_scaling_options, global_batch),
     .value = "0",
     .least = 0,
     .most = 1 << 20,
     .argument = "N",
     .help =
         "pictures of all ranks in the strong sweep; numbers of ranks that do not divide it are left out; 0: "
         "as many as the weak sweep's largest job has"},
    {.name = "threads",
     .kind = ATR_OPTION_INT,
     .offset = offsetof(atr_scaling_options, threads),
     .value = "1",
     .least = 0,
     .most = 1024,
     .argument = "N",
     .help = "of each rank; 0: as many as it is given"},
    {.name = "launcher",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(atr_scaling_options, launcher),
     .value = "mpirun -n {ranks}",
     .argument = "WORDS",
     .help =
         "what starts a job, split at blanks: \"srun -n {ranks}\", \"mpirun -n {ranks} --hostfile hosts\""},
    {.name = "rounds",
     .kind = ATR_OPTION_INT,
     .offset = offsetof(atr_scaling_options, rounds),
     .value = "3",
     .least = 1,
     .most = 1000,
     .argument = "N",
     .help = "runs of each job; all jobs take turns",
     .group = "Measuring"},
    {.name = "repeats",
     .letter = 'n',
     .kind = ATR_OPTION_INT,
     .offset = offsetof(atr_scaling_options, repeats),
     .value = "5",
     .least = 1,
     .most = 100000,
     .argument = "N",
     .help = "measured steps of a run"},
    {.name = "warmup",
     .kind = ATR_OPTION_INT,
     .offset = offsetof(atr_scaling_options, warmup),
     .value = "2",
     .least = 1,
     .most = 1000,
     .argument = "N",
     .help = "steps before, not counted"},
    {.name = "plot",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(atr_scaling_options, plot),
     .argument = "FILE.png",
     .help = "draw efficiency over ranks"},
    {.name = "json",
     .kind = ATR_OPTION_FLAG,
     .offset = offsetof(atr_scaling_options, json),
     .help = "one JSON object on standard output"},
    {.name = NULL}};

const char *atr_sweep_name(atr_sweep sweep)
{
    return sweep == ATR_SWEEP_WEAK ? "weak" : "strong";
}

static atr_status sweep_parse(const char *name, atr_sweep *out)
{
    *out = strcmp(name, "strong") == 0 ? ATR_SWEEP_STRONG : ATR_SWEEP_WEAK;
    if (strcmp(name, atr_sweep_name(*out)) != 0)
        return atr_fail(ATR_ERR_USAGE, "--sweep: there is no '%s' (weak, strong)", name);
    return ATR_OK;
}

/* 1, 2, 4 and so on, and the number of this process's CPUs. `ranks` [64]; gives the count. */
static int64_t default_ranks(int64_t *ranks)
{
    const int64_t most = atr_threads_given(1, 0).affinity;
    int64_t count = 0;

    for (int64_t r = 1; r < most; r *= 2)
        ranks[count++] = r;
    ranks[count++] = most > 0 ? most : 1;
    return count;
}

/* The numbers of ranks, into `ranks` (atr_free). */
static atr_status choose_ranks(const atr_scaling_options *o, int64_t **ranks, int64_t *count)
{
    atr_status status = ATR_OK;

    *count = o->ranks.count;
    ATR_TRY(ATR_NEW(*count > 0 ? *count : 64, ranks));
    if (*count == 0)
        *count = default_ranks(*ranks);
    for (int64_t i = 0; i < o->ranks.count; i++)
        if (!atr_parse_int(o->ranks.items[i], &(*ranks)[i]) || (i > 0 && (*ranks)[i] <= (*ranks)[i - 1])) {
            status =
                atr_fail(ATR_ERR_USAGE, "--ranks: numbers must rise, and '%s' does not", o->ranks.items[i]);
            goto done;
        }

done:
    return status;
}

/* A row for each sweep and number of ranks; batches that cannot be split evenly have none. */
static atr_status make_points(atr_scaling *s)
{
    const atr_scaling_options *const o = s->options;
    int64_t *ranks = NULL, count = 0;
    atr_status status = ATR_OK;

    ATR_TRY(choose_ranks(o, &ranks, &count));
    ATR_TRY(ATR_NEW(o->sweeps.count * count, &s->points));
    const int64_t all = o->global_batch > 0 ? o->global_batch : o->batch * ranks[count - 1];
    for (int64_t k = 0; k < o->sweeps.count; k++) {
        atr_sweep sweep;
        ATR_TRY(sweep_parse(o->sweeps.items[k], &sweep));
        for (int64_t i = 0; i < count; i++) {
            if (sweep == ATR_SWEEP_STRONG && all % ranks[i] != 0)
                continue;
            atr_scaling_point *const point = &s->points[s->point_count++];
            *point = (atr_scaling_point){.sweep = sweep,
                                         .ranks = ranks[i],
                                         .batch = sweep == ATR_SWEEP_WEAK ? o->batch : all / ranks[i]};
            ATR_TRY(ATR_NEW(o->rounds, &point->runs));
        }
    }
    if (s->point_count == 0)
        status =
            atr_fail(ATR_ERR_USAGE, "none of these numbers of ranks divides a batch of %lld", (long long)all);

done:
    atr_free(ranks);
    return status;
}

/* Least of the rounds' minima, median of their medians. */
static atr_status summarise(const atr_scaling *s, atr_scaling_point *point)
{
    const int64_t rounds = s->options->rounds;
    double *values = NULL;
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW(rounds, &values));
    point->best = point->runs[0];
    for (int64_t i = 1; i < rounds; i++) {
        point->best.min = fmin(point->best.min, point->runs[i].min);
        point->best.alone_min = fmin(point->best.alone_min, point->runs[i].alone_min);
    }
    for (int64_t i = 0; i < rounds; i++)
        values[i] = point->runs[i].median;
    point->best.median = atr_samples_of(values, rounds).median;
    for (int64_t i = 0; i < rounds; i++)
        values[i] = point->runs[i].alone_median;
    point->best.alone_median = atr_samples_of(values, rounds).median;

done:
    atr_free(values);
    return status;
}

/* `first`: the sweep's smallest job. Work done for each rank and second, against that of the first. */
static void judge(const atr_scaling_point *first, atr_scaling_point *point)
{
    const double work = (double)point->batch / (double)first->batch;

    point->against_first[0] = work * first->best.min / point->best.min;
    point->against_first[1] = work * first->best.median / point->best.median;
    memcpy(point->efficiency, point->against_first, sizeof point->efficiency);
    if (point->sweep == ATR_SWEEP_WEAK) {
        point->efficiency[0] = point->best.alone_min / point->best.min;
        point->efficiency[1] = point->best.alone_median / point->best.median;
    }
}

/* All jobs take turns, so that none has a quiet hour of the machine for itself. */
static atr_status sweep(atr_scaling *s)
{
    const atr_scaling_point *first = NULL;
    atr_status status = ATR_OK;

    for (int64_t round = 0; round < s->options->rounds; round++)
        for (int64_t i = 0; i < s->point_count; i++)
            ATR_TRY(atr_scaling_run_once(s, &s->points[i], &s->points[i].runs[round]));
    for (int64_t i = 0; i < s->point_count; i++) {
        if (first == NULL || first->sweep != s->points[i].sweep)
            first = &s->points[i];
        ATR_TRY(summarise(s, &s->points[i]));
        judge(first, &s->points[i]);
    }

done:
    return status;
}

static void scaling_free(atr_scaling *s)
{
    for (int64_t i = 0; i < s->point_count; i++)
        atr_free(s->points[i].runs);
    atr_free(s->points);
    atr_free(s->pass);
    atr_free(s->title);
}

static atr_status run_scaling(const atr_options *options, const atr_scaling_options *chosen)
{
    atr_scaling s = {.options = chosen, .pass_count = atr_options_positional_count(options)};
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW(s.pass_count, &s.pass));
    for (int64_t i = 0; i < s.pass_count; i++)
        s.pass[i] = atr_options_positional(options, i);
    ATR_TRY(make_points(&s));
    atr_stop_watch();
    ATR_TRY(sweep(&s));
    ATR_TRY(atr_scaling_print(&s));
    if (chosen->plot != NULL)
        ATR_TRY(atr_scaling_plot(&s, chosen->plot));

done:
    scaling_free(&s);
    return status;
}

int atr_bench_scaling(int argc, char **argv)
{
    atr_options *options = NULL;
    atr_scaling_options chosen;
    int exit_code = ATR_EXIT_DONE;
    atr_status status = ATR_OK;

    ATR_TRY(atr_options_create(
        "atrous bench scaling", "[OPTION...] [-- OPTION OF BENCH TRAIN...]",
        "Times training steps on more and more ranks. What stands behind -- goes to each run of `atrous "
        "bench "
        "train`. Weak efficiency is against as many ranks that train side by side without communication.",
        &options));
    ATR_TRY(atr_options_add(options, rows, &chosen));
    if (!atr_cli_parse(options, argc, argv, false, &exit_code))
        goto done;
    atr_cli_log();
    ATR_TRY(run_scaling(options, &chosen));

done:
    if (status != ATR_OK) {
        atr_cli_error("bench", atr_status_message());
        exit_code = atr_cli_exit_code(status);
    }
    atr_options_destroy(options);
    return exit_code;
}
