/* What freezing the backbone is worth: training steps on street pictures (CamVid), all of the network and with the backbone frozen,
 * one after the other in turns, so that what else the machine does falls on all alike.
 *
 * What it can be worth depends on the backbone's share of a step. Xception's is most of it. MobileNetV2 is small: in f32 three fifths of
 * a step are the decoder's two convolutions and the ASPP, which are trained in both cases, so that even a backbone that costs nothing would
 * not give more than 1.7. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "apps/commands.h"
#include "apps/session.h"
#include "dist/step.h"
#include "io/loader.h"
#include "io/path.h"
#include "tests/support/command.h"
#include "tests/support/network.h"
#include "tests/support/parity.h"
#include "tests/support/scratch.h"

enum { BATCH = 2, HEIGHT = 256, WIDTH = 352, CLASSES = 11, ROUNDS = 5, SIDES = 3 };

/* How many times as fast a step is at least, with the batch's and with running statistics. */
static const struct {
    const char *backbone;
    double least[SIDES];
} cases[] = {
    {"mobilenetv2", {1, 1.2, 1.3}},
    {"xception", {1, 1.6, 1.6}},
};

enum { CASES = sizeof cases / sizeof cases[0] };

static const char *const names[SIDES] = {"all trained", "frozen, batch's statistics",
                                         "frozen, running statistics"};

/* One way to train. */
typedef struct side {
    atr_session session;
    atr_plan *plan;
    atr_optim *optim;
    atr_reducer *reducer;
    atr_loss *loss;
    atr_parallel parallel;
    double wall[ROUNDS], processor[ROUNDS]; /* s */
} side;

static void side_open(side *s, const char *backbone, int kind, atr_comm *comm)
{
    static const atr_session_options options = {.backend = "auto", .threads = 0};
    const atr_optim_config config = {.kind = ATR_OPTIM_SGD, .momentum = 0.9, .weight_decay = 1e-4};
    const double dropout[2] = {0.5, 0.1};
    const atr_plan_options plan = {
        .mode = ATR_TRAIN, .batch = BATCH, .height = HEIGHT, .width = WIDTH, .rewrites = ATR_REWRITE_ALL};
    static atr_model_info info;
    atr_loss_config loss;

    memset(s, 0, sizeof *s);
    atr_session_describe(backbone, CLASSES, 16, &info);
    must(atr_session_open(&options, NULL, &s->session));
    must(atr_session_build(&s->session, &info, dropout));
    must(atr_model_init(s->session.params, ATR_INIT_KAIMING, 1, 1));
    atr_params_freeze(s->session.params, ATR_BACKBONE_PREFIX, kind > 0, kind == 2);
    must(atr_plan_create(s->session.graph, s->session.params, s->session.backend, &plan, &s->plan));
    must(atr_optim_create(&config, s->session.params, s->session.backend, &s->optim));
    must(atr_reducer_create(comm, s->session.params, NULL, &s->reducer));
    atr_loss_defaults(&loss);
    must(atr_loss_create(&loss, CLASSES, &s->loss));
    s->parallel = (atr_parallel){.comm = comm,
                                 .backend = s->session.backend,
                                 .params = s->session.params,
                                 .plan = s->plan,
                                 .optim = s->optim,
                                 .reducer = s->reducer,
                                 .classes = CLASSES,
                                 .loss = s->loss};
}

static void side_close(side *s)
{
    atr_loss_destroy(s->loss);
    atr_reducer_destroy(s->reducer);
    atr_optim_destroy(s->optim);
    atr_plan_destroy(s->plan);
    atr_session_close(&s->session);
}

static double clock_seconds(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void step(side *s, const atr_batch *batch, int round)
{
    const atr_parallel_batch part = {batch->count,  batch->height, batch->width,   batch->images,
                                     batch->labels, batch->keys,   batch->samples, batch->global_count};
    const double wall = clock_seconds(CLOCK_MONOTONIC), processor = clock_seconds(CLOCK_PROCESS_CPUTIME_ID);
    atr_parallel_result result;

    must(atr_parallel_step(&s->parallel, &part, ATR_OK, false, round + 2, 1e-4, &result));
    if (round >= 0) {
        s->wall[round] = clock_seconds(CLOCK_MONOTONIC) - wall;
        s->processor[round] = clock_seconds(CLOCK_PROCESS_CPUTIME_ID) - processor;
    }
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static double median(double *values)
{
    qsort(values, ROUNDS, sizeof *values, ascending);
    return values[ROUNDS / 2];
}

static void open_loader(const char *path, atr_dataset **dataset, atr_loader **loader)
{
    atr_loader_config config = {.split = ATR_SPLIT_TRAIN,
                                .mode = ATR_LOADER_TRAIN,
                                .global_batch = BATCH,
                                .ranks = 1,
                                .seed = 1,
                                .height = HEIGHT,
                                .width = WIDTH,
                                .padding = 255,
                                .threads = 1,
                                .prefetch = 1};

    atr_augment_defaults(&config.augment);
    config.augment.padding = 255;
    for (int c = 0; c < 3; c++)
        config.scale[c] = 1.0 / 255;
    must(atr_dataset_open(path, dataset));
    must(atr_loader_create(*dataset, &config, loader));
}

/* Runs the sides in turns and prints what was measured; false where one is too slow or keeps too much. */
static bool compare(int c, const atr_batch *batch, atr_comm *comm)
{
    side sides[SIDES];
    bool good = true;

    for (int k = 0; k < SIDES; k++)
        side_open(&sides[k], cases[c].backbone, k, comm);
    for (int round = -1; round < ROUNDS; round++)
        for (int k = 0; k < SIDES; k++)
            step(&sides[k], batch, round);
    const double whole = median(sides[0].processor), whole_wall = median(sides[0].wall);
    const double arena = (double)atr_plan_arena_bytes(sides[0].plan);
    for (int k = 0; k < SIDES; k++) {
        const double processor = median(sides[k].processor), wall = median(sides[k].wall);
        const double bytes = (double)atr_plan_arena_bytes(sides[k].plan);
        printf("%-11s %-27s %6.0f ms of processor time a step (%.2f times as fast), %6.0f ms (%.2f times), "
               "%5.0f MiB of activations (%.2f)\n",
               cases[c].backbone, names[k], 1e3 * processor, whole / processor, 1e3 * wall, whole_wall / wall,
               bytes / (1 << 20), bytes / arena);
        good = good && whole / processor >= cases[c].least[k] && (k == 0 || bytes < 0.6 * arena);
    }
    fflush(stdout);
    for (int k = 0; k < SIDES; k++)
        side_close(&sides[k]);
    return good;
}

static void a_frozen_backbone_is_faster_and_takes_less_memory(void **state)
{
    const char *const shared = parity_shared();
    atr_comm *comm = NULL;
    atr_dataset *dataset = NULL;
    atr_loader *loader = NULL;
    atr_batch batch;
    bool good = true;

    (void)state;
    if (shared == NULL || !atr_path_is_folder(scratch_text("%s/camvid", shared))) {
        printf("skipped: no CamVid pictures in the folder of shared test data\n");
        skip();
    }
    char *const folder = scratch_create();
    const char *const path = scratch_text("%s/camvid.h5", folder);
    command_expect(0, "468 samples", atr_cmd_pack, "pack", scratch_text("%s/camvid/VOC2007", shared), "-o",
                   path, "--classes", "11", "--ignore", "11", NULL);
    must(atr_comm_open(&comm));
    open_loader(path, &dataset, &loader);
    must(atr_loader_next(loader, &batch));
    for (int c = 0; c < CASES; c++)
        good = compare(c, &batch, comm) && good;
    atr_loader_destroy(loader);
    atr_dataset_close(dataset);
    atr_comm_close(comm);
    scratch_remove(folder);
    assert_true(good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frozen_backbone_is_faster_and_takes_less_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
