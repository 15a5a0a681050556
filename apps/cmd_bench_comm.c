/* atrous bench comm */
#include <stddef.h>

#include "apps/bench_comm.h"
#include "apps/cli.h"
#include "apps/commands.h"
#include "core/text.h"

#define FIELD(member) .offset = offsetof(atr_bench_comm_options, member)

/* clang-format off */
static const atr_option rows[] = {
    {.name = "mb", .kind = ATR_OPTION_LIST, FIELD(mb), .value = "0.004,0.064,1,4,16", .least = 1e-4, .most = 1000,
     .argument = "MB,...", .help = "sizes of what is summed", .group = "Work"},
    {.name = "train", .kind = ATR_OPTION_FLAG, FIELD(train), .value = "true",
     .help = "also training steps, with each size of buckets, wire and way of progress"},
    {.name = "bucket-mb", .kind = ATR_OPTION_LIST, FIELD(bucket_mb), .value = "1,4,16", .least = 0.01, .most = 1000,
     .argument = "MB,...", .help = "sizes of buckets in these steps, next to steps without overlap"},
    {.name = "allreduce", .kind = ATR_OPTION_CHOICE, FIELD(allreduce), .value = "auto", .choices = atr_allreduce_names,
     .help = "how these steps sum"},
    {.name = "backbone", .kind = ATR_OPTION_STRING, FIELD(backbone), .value = "mobilenetv2", .argument = "NAME",
     .help = "feature extractor: mobilenetv2 or xception; a wrong name lists those there are"},
    {.name = "size", .kind = ATR_OPTION_STRING, FIELD(size), .value = "512", .argument = "HxW",
     .help = "size of a picture"},
    {.name = "batch", .letter = 'b', .kind = ATR_OPTION_INT, FIELD(batch), .value = "2", .least = 1, .most = 4096,
     .argument = "N", .help = "pictures a rank"},
    {.name = "classes", .kind = ATR_OPTION_INT, FIELD(classes), .value = "21", .least = 1, .most = 255,
     .argument = "N", .help = "classes told apart"},
    {.name = "repeats", .letter = 'n', .kind = ATR_OPTION_INT, FIELD(repeats), .value = "9", .least = 1, .most = 100000,
     .argument = "N", .help = "measured runs of each, after one that is not counted", .group = "Measuring"},
    {.name = "json", .kind = ATR_OPTION_FLAG, FIELD(json), .help = "one JSON object on standard output"},
    {.name = NULL},
};
/* clang-format on */

atr_status atr_bench_comm_numbers(const char *name, const atr_list *list, double *out)
{
    if (list->count > ATR_BENCH_LISTED)
        return atr_fail(ATR_ERR_USAGE, "--%s: %lld numbers, at most %d are wanted", name,
                        (long long)list->count, ATR_BENCH_LISTED);
    for (int64_t i = 0; i < list->count; i++)
        if (!atr_parse_real(list->items[i], &out[i]))
            return atr_fail(ATR_ERR_USAGE, "--%s: '%.40s' is no number", name, list->items[i]);
    return ATR_OK;
}

static atr_status check(const atr_options *parsed, const atr_bench_comm_options *options)
{
    double numbers[ATR_BENCH_LISTED];
    atr_status status = ATR_OK;

    ATR_TRY(atr_cli_positional(parsed, 0, 0));
    ATR_TRY(atr_bench_comm_numbers("mb", &options->mb, numbers));
    ATR_TRY(atr_bench_comm_numbers("bucket-mb", &options->bucket_mb, numbers));

done:
    return status;
}

static void drop(atr_bench_comm *bench)
{
    for (int64_t i = 0; i < bench->overlap_count; i++)
        atr_free(bench->overlaps[i].buckets);
    atr_free(bench->overlaps);
    atr_free(bench->sums);
}

static atr_status run(const atr_bench_comm_options *options, atr_comm *comm)
{
    atr_bench_comm bench = {.options = options, .comm = comm};
    int64_t leaders = atr_comm_node_rank(comm) == 0;
    atr_status status = ATR_OK;

    ATR_TRY(atr_comm_sum_i64(comm, &leaders, 1));
    bench.nodes = (int)leaders;
    ATR_TRY(atr_bench_comm_sums(&bench));
    if (options->train)
        ATR_TRY(atr_bench_comm_overlap(&bench));
    if (atr_comm_rank(comm) == 0 && options->json)
        ATR_TRY(atr_bench_comm_print_json(&bench));
    else if (atr_comm_rank(comm) == 0)
        atr_bench_comm_print(&bench);

done:
    drop(&bench);
    return status;
}

int atr_cmd_bench_comm(int argc, char **argv)
{
    atr_status status = ATR_OK;
    atr_options *parsed = NULL;
    atr_bench_comm_options options = {0};
    atr_comm *comm = NULL;
    int exit_code = ATR_EXIT_DONE;

    ATR_TRY(atr_comm_open(&comm));
    if (atr_comm_rank(comm) == 0)
        atr_cli_log();
    ATR_TRY(atr_options_create(
        "atrous bench comm", "[OPTION...]",
        "Under mpirun: how long sums over the ranks take by size and algorithm, next to what two ranks "
        "exchange,\nand how much of the gradients' sums a training step hides.",
        &parsed));
    ATR_TRY(atr_options_add(parsed, rows, &options));
    ATR_TRY(atr_options_add(parsed, atr_session_rows, &options.session));
    if (!atr_cli_parse(parsed, argc, argv, atr_comm_rank(comm) != 0, &exit_code))
        goto done;
    ATR_TRY(atr_comm_agree(comm, check(parsed, &options)));
    if (atr_comm_size(comm) == 1)
        status =
            atr_fail(ATR_ERR_USAGE, "one rank alone has nobody to talk to: mpirun -n 2 atrous bench comm");
    ATR_TRY(status);
    ATR_TRY(run(&options, comm));

done:
    if (status != ATR_OK)
        exit_code = atr_cli_end_job("bench comm", comm, status);
    atr_options_destroy(parsed);
    atr_comm_close(comm);
    return exit_code;
}
