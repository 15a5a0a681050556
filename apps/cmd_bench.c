/* atrous bench: how fast this machine predicts and trains. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "apps/bench_impl.h"
#include "apps/cli.h"
#include "core/cpu.h"

static const char *const strides[] = {"16", "8", NULL};
static const char *const frozens[] = {"no", "running", "batch", NULL}; /* atr_bench_frozen */

static const atr_option rows[] = {
    {.name = "batch",
     .letter = 'b',
     .kind = ATR_OPTION_INT,
     .offset = offsetof(atr_bench_options, batch),
     .value = "0",
     .least = 0,
     .most = 4096,
     .argument = "N",
     .help = "pictures at once, on each rank; 0: 1 for inference, 2 for train",
     .group = "Work"},
    {.name = "size",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(atr_bench_options, size),
     .value = "512",
     .argument = "HxW",
     .help = "size of a picture"},
    {.name = "model",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(atr_bench_options, model),
     .argument = "FILE",
     .help = "a model file's network and weights, in place of made-up ones"},
    {.name = "backbone",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(atr_bench_options, backbone),
     .value = "mobilenetv2",
     .argument = "NAME",
     .help = "feature extractor: mobilenetv2 or xception; a wrong name lists "
             "those there are"},
    {.name = "output-stride",
     .kind = ATR_OPTION_CHOICE,
     .offset = offsetof(atr_bench_options, stride),
     .value = "16",
     .choices = strides,
     .argument = "N",
     .help = "of the backbone"},
    {.name = "classes",
     .kind = ATR_OPTION_INT,
     .offset = offsetof(atr_bench_options, classes),
     .value = "21",
     .least = 1,
     .most = 255,
     .argument = "N",
     .help = "classes told apart"},
    {.name = "labels",
     .kind = ATR_OPTION_FLAG,
     .offset = offsetof(atr_bench_options, labels),
     .help = "inference: to the class of each pixel, in place of its score for every class"},
    {.name = "dropout",
     .kind = ATR_OPTION_FLAG,
     .offset = offsetof(atr_bench_options, dropout),
     .value = "true",
     .help =
         "train: as the network is trained; without, the loss is a function of weights and pictures alone"},
    {.name = "frozen",
     .kind = ATR_OPTION_CHOICE,
     .offset = offsetof(atr_bench_options, frozen),
     .value = "no",
     .choices = frozens,
     .argument = "NAME",
     .help = "train: with a frozen backbone, whose batch norms use running statistics or the batch's"},
    {.name = "recompute",
     .kind = ATR_OPTION_FLAG,
     .offset = offsetof(atr_bench_options, recompute),
     .help = "train: drop activations and make them again for backward: less memory, more time"},
    {.name = "repeats",
     .letter = 'n',
     .kind = ATR_OPTION_INT,
     .offset = offsetof(atr_bench_options, repeats),
     .value = "15",
     .least = 1,
     .most = 100000,
     .argument = "N",
     .help = "measured runs",
     .group = "Measuring"},
    {.name = "warmup",
     .kind = ATR_OPTION_INT,
     .offset = offsetof(atr_bench_options, warmup),
     .value = "3",
     .least = 0,
     .most = 1000,
     .argument = "N",
     .help = "runs before, not counted"},
    {.name = "profile",
     .kind = ATR_OPTION_FLAG,
     .offset = offsetof(atr_bench_options, profile),
     .help = "also measure what the machine can do, and time each kind of step and each step, forward and "
             "backward: the fastest run of each"},
    {.name = "against-alone",
     .kind = ATR_OPTION_FLAG,
     .offset = offsetof(atr_bench_options, against_alone),
     .help = "train: before each step of all ranks, one that each makes by "
             "itself while the others do, too: what communication costs"},
    {.name = "trace",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(atr_bench_options, trace),
     .argument = "FILE",
     .help = "train: write when each gradient of a rank's step is ready, as "
             "JSON for `atrous simulate`"},
    {.name = "json",
     .kind = ATR_OPTION_FLAG,
     .offset = offsetof(atr_bench_options, json),
     .help = "one JSON object on standard output"},
    {.name = NULL}};

int64_t atr_bench_stride(const atr_bench_options *options)
{
    return atoi(strides[options->stride]);
}

/* Training's own options mean nothing elsewhere, nor does a description beside a file that has one. */
static atr_status check_kind(const atr_options *options, const char *what)
{
    static const char *const own[] = {"trace",     "against-alone", "recompute", "allreduce", "wire",
                                      "bucket-mb", "progress",      "dropout",   "frozen"};
    static const char *const described[] = {"backbone", "output-stride", "classes"};

    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (strcmp(what, "train") != 0 && atr_options_given(options, own[i]))
            return atr_fail(ATR_ERR_USAGE, "--%s belongs to `atrous bench train`", own[i]);
    if (strcmp(what, "train") == 0 && atr_options_given(options, "labels"))
        return atr_fail(ATR_ERR_USAGE, "--labels belongs to `atrous bench inference`");
    for (size_t i = 0; i < sizeof described / sizeof described[0]; i++)
        if (atr_options_given(options, "model") && atr_options_given(options, described[i]))
            return atr_fail(ATR_ERR_USAGE, "the file of --model has its own --%s", described[i]);
    return ATR_OK;
}

static atr_status run_bench(const char *what, const atr_bench_options *o, atr_comm *comm)
{
    atr_status status = ATR_OK;
    atr_bench b = {.options = o, .comm = comm, .training = comm != NULL};

    ATR_TRY(atr_isa_check());
    ATR_TRY(atr_bench_open(&b, what));
    ATR_TRY(atr_bench_measure(&b));
    if (comm == NULL || atr_comm_rank(comm) == 0)
        ATR_TRY(atr_bench_print(&b));

done:
    atr_bench_close(&b);
    return status;
}

static int bench_network(int argc, char **argv)
{
    atr_status status = ATR_OK;
    atr_options *options = NULL;
    atr_comm *comm = NULL;
    atr_bench_options chosen;
    int exit_code = ATR_EXIT_DONE;

    ATR_TRY(atr_options_create(
        "atrous bench", "[inference|train] [OPTION...]\n   or: atrous bench comm|scaling [OPTION...]",
        "Times prediction (float tensor to scores or classes of every pixel) or a training step (forward, "
        "loss, backward, sum "
        "of gradients, update) with made-up pictures and weights; training also on many ranks: `mpirun -n 2 "
        "atrous bench train`.",
        &options));
    ATR_TRY(atr_options_add(options, rows, &chosen));
    ATR_TRY(atr_options_add(options, atr_session_rows, &chosen.session));
    ATR_TRY(atr_options_add(options, atr_reducer_rows, &chosen.reducer));
    if (!atr_cli_parse(options, argc, argv, false, &exit_code))
        goto done;
    atr_cli_log();
    ATR_TRY(atr_cli_positional(options, 0, 1));
    const char *const what =
        atr_options_positional_count(options) > 0 ? atr_options_positional(options, 0) : "inference";
    ATR_TRY(check_kind(options, what));
    if (strcmp(what, "train") == 0)
        ATR_TRY(atr_comm_open(&comm));
    ATR_TRY(run_bench(what, &chosen, comm));

done:
    if (status != ATR_OK)
        exit_code = atr_cli_end_job("bench", comm, status);
    atr_comm_close(comm);
    atr_options_destroy(options);
    return exit_code;
}

int atr_cmd_bench(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "scaling") == 0)
        return atr_bench_scaling(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "comm") == 0)
        return atr_cmd_bench_comm(argc - 1, argv + 1);
    return bench_network(argc, argv);
}
