#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/deal.h"
#include "core/rng.h"
#include "io/h5.h"
#include "io/loader.h"
#include "io/pack.h"
#include "tests/support/scratch.h"
#include "tests/support/voc.h"

enum { TRAIN = 23, VAL = 7, SIDE = 24, BATCH = 6 };

static char *folder;
static char path[512];
static atr_dataset *data;

static void must(atr_status status)
{
    if (status != ATR_OK)
        fail_msg("%s", atr_status_message());
}

static int make_data(void **state)
{
    atr_findings *findings = NULL;
    atr_pack_result result;

    (void)state;
    folder = scratch_create();
    snprintf(path, sizeof path, "%s/data.h5", folder);
    voc_make(folder, TRAIN, VAL);
    const atr_pack_config config = {.source = folder, .output = path, .classes = "3", .threads = 2};
    must(atr_findings_create(&findings));
    must(atr_pack(&config, NULL, findings, &result));
    must(atr_dataset_open(path, &data));
    atr_findings_destroy(findings);
    return 0;
}

static int remove_data(void **state)
{
    (void)state;
    atr_dataset_close(data);
    scratch_remove(folder);
    return 0;
}

static atr_loader_config train_config(void)
{
    atr_loader_config config = {.split = ATR_SPLIT_TRAIN,
                                .mode = ATR_LOADER_TRAIN,
                                .global_batch = BATCH,
                                .ranks = 1,
                                .seed = 5,
                                .height = SIDE,
                                .width = SIDE + 8,
                                .scale = {1.0 / 255, 1.0 / 255, 1.0 / 255},
                                .threads = 2,
                                .prefetch = 2};

    atr_augment_defaults(&config.augment);
    return config;
}

static atr_loader_config val_config(void)
{
    atr_loader_config config = train_config();

    config.split = ATR_SPLIT_VAL;
    config.mode = ATR_LOADER_VAL;
    config.padding = ATR_IGNORE;
    return config;
}

static atr_loader *start(const atr_loader_config *config)
{
    atr_loader *loader = NULL;

    must(atr_loader_create(data, config, &loader));
    return loader;
}

/* Hash of all that `steps` batches bring. */
static uint64_t hash_of(const atr_loader_config *config, int steps)
{
    atr_loader *loader = start(config);
    uint64_t hash = 0;
    atr_batch b;

    for (int i = 0; i < steps; i++) {
        must(atr_loader_next(loader, &b));
        const size_t pixels = (size_t)(b.count * b.height * b.width);
        hash = atr_hash64(b.images, 3 * pixels * sizeof *b.images, hash);
        hash = atr_hash64(b.labels, pixels, hash);
        hash = atr_hash64(b.samples, (size_t)b.count * sizeof *b.samples, hash);
        hash = atr_hash64(b.keys, (size_t)b.count * sizeof *b.keys, hash);
    }
    atr_loader_destroy(loader);
    return hash;
}

static void the_number_of_threads_changes_nothing(void **state)
{
    (void)state;
    atr_loader_config config = train_config();
    const uint64_t hash = hash_of(&config, 10);

    config.threads = 1;
    config.prefetch = 1;
    assert_true(hash_of(&config, 10) == hash);
    config.threads = 3;
    config.prefetch = 5;
    assert_true(hash_of(&config, 10) == hash);
    config.seed = 6;
    assert_true(hash_of(&config, 10) != hash);
}

enum {
    EPOCHS = 2,
    EPOCH_STEPS = (TRAIN + BATCH - 1) / BATCH,
    PIXELS = SIDE * (SIDE + 8),
    SAMPLES = EPOCHS * TRAIN
};

/* What all ranks get in EPOCHS epochs, [SAMPLES] in the order of the global batches. */
typedef struct epochs {
    float *images;
    uint8_t *labels;
    int64_t samples[SAMPLES];
} epochs;

static void put(epochs *e, int64_t at, const atr_batch *b, int64_t from, int64_t count)
{
    memcpy(e->images + 3 * at * PIXELS, b->images + 3 * from * PIXELS,
           (size_t)(3 * count * PIXELS) * sizeof *e->images);
    memcpy(e->labels + at * PIXELS, b->labels + from * PIXELS, (size_t)(count * PIXELS));
    memcpy(e->samples + at, b->samples + from, (size_t)count * sizeof *e->samples);
}

/* Steps first .. end-1 (counted over epochs) on so many ranks, each in `parts` passes. */
static void gather(int ranks, int64_t parts, int first, int end, epochs *e)
{
    for (int rank = 0; rank < ranks; rank++) {
        atr_loader_config config = train_config();
        atr_batch b;
        config.rank = rank;
        config.ranks = ranks;
        config.parts = parts;
        config.epoch = first / EPOCH_STEPS;
        config.step = first % EPOCH_STEPS;
        atr_loader *loader = start(&config);
        for (int step = first; step < end; step++) {
            const int64_t at = (step / EPOCH_STEPS) * TRAIN + (step % EPOCH_STEPS) * BATCH;
            int64_t used = 0;
            must(atr_loader_next(loader, &b));
            assert_int_equal(b.global_count, step % EPOCH_STEPS == EPOCH_STEPS - 1 ? TRAIN % BATCH : BATCH);
            assert_true(b.count <= b.capacity);
            const int64_t passes = atr_deal_passes(b.global_count, BATCH, parts);
            for (int64_t pass = 0; pass < passes; pass++) {
                const atr_share share = atr_deal_pass(b.global_count, passes, pass, ranks, rank, rank + 1);
                put(e, at + share.first, &b, used, share.count);
                used += share.count;
            }
            assert_int_equal(used, b.count);
        }
        atr_loader_destroy(loader);
    }
}

static void open_epochs(epochs *e)
{
    memset(e->samples, 0xff, sizeof e->samples);
    e->images = calloc(SAMPLES, 3 * PIXELS * sizeof *e->images);
    e->labels = calloc(SAMPLES, PIXELS);
}

static void close_epochs(epochs *e)
{
    free(e->images);
    free(e->labels);
}

static void check_equal(const epochs *a, const epochs *b)
{
    assert_memory_equal(a->samples, b->samples, sizeof a->samples);
    assert_memory_equal(a->images, b->images, SAMPLES * 3 * PIXELS * sizeof *a->images);
    assert_memory_equal(a->labels, b->labels, SAMPLES * PIXELS);
}

/* 4 does not divide 6, and the last batch has 5; passes change the deal, not the batches. */
static void the_number_of_ranks_and_passes_changes_nothing(void **state)
{
    (void)state;
    epochs one;

    open_epochs(&one);
    gather(1, 1, 0, EPOCHS * EPOCH_STEPS, &one);
    for (int ranks = 1; ranks <= 6; ranks++)
        for (int64_t parts = 1; parts <= 4; parts += 3) {
            epochs other;
            open_epochs(&other);
            gather(ranks, parts, 0, EPOCHS * EPOCH_STEPS, &other);
            check_equal(&one, &other);
            close_epochs(&other);
        }
    close_epochs(&one);
}

/* 4 ranks stop in the middle of the first epoch, 2 within the second, 3 finish it. */
static void going_on_with_other_ranks_gives_what_would_have_come(void **state)
{
    (void)state;
    epochs whole, resumed;

    open_epochs(&whole);
    open_epochs(&resumed);
    gather(1, 1, 0, EPOCHS * EPOCH_STEPS, &whole);
    gather(4, 1, 0, 2, &resumed);
    gather(2, 1, 2, EPOCH_STEPS + 1, &resumed);
    gather(3, 1, EPOCH_STEPS + 1, EPOCHS * EPOCH_STEPS, &resumed);
    check_equal(&whole, &resumed);
    close_epochs(&resumed);
    close_epochs(&whole);
}

/* Without `drop_last` all of them, with it those of whole batches. */
static void an_epoch_shows_each_sample_once_in_a_new_order(void **state)
{
    (void)state;
    for (int drop = 0; drop <= 1; drop++) {
        atr_loader_config config = train_config();
        const int64_t steps = drop ? TRAIN / BATCH : EPOCH_STEPS;
        int64_t order[2][TRAIN] = {{0}};
        atr_batch b;
        config.drop_last = drop;
        atr_loader *loader = start(&config);
        assert_int_equal(atr_loader_steps(loader), steps);
        for (int epoch = 0; epoch < 2; epoch++) {
            int seen[TRAIN + VAL] = {0};
            int64_t total = 0;
            for (int step = 0; step < steps; step++) {
                must(atr_loader_next(loader, &b));
                assert_int_equal(b.epoch, epoch);
                assert_int_equal(b.step, step);
                for (int64_t i = 0; i < b.count; i++) {
                    assert_int_equal(atr_dataset_sample(data, b.samples[i]).splits, 1 << ATR_SPLIT_TRAIN);
                    assert_int_equal(seen[b.samples[i]]++, 0);
                    assert_true(b.keys[i] ==
                                atr_rng_key(5, ATR_RNG_DROPOUT, (uint64_t)epoch, (uint64_t)b.samples[i]));
                    order[epoch][total++] = b.samples[i];
                }
            }
            assert_int_equal(total, drop ? TRAIN / BATCH * BATCH : TRAIN);
        }
        assert_memory_not_equal(order[0], order[1], sizeof order[0]);
        atr_loader_destroy(loader);
    }
}

/* An epoch of fewer samples than a batch is one step of all of them. */
static void a_batch_may_be_larger_than_the_data(void **state)
{
    (void)state;
    atr_loader_config config = train_config();
    atr_batch b;

    config.global_batch = TRAIN + 9;
    atr_loader *loader = start(&config);
    assert_int_equal(atr_loader_steps(loader), 1);
    must(atr_loader_next(loader, &b));
    assert_int_equal(b.count, TRAIN);
    assert_int_equal(b.global_count, TRAIN);
    atr_loader_destroy(loader);
}

static void going_on_in_the_middle_gives_what_would_have_come(void **state)
{
    (void)state;
    atr_loader_config config = train_config();
    atr_loader *whole = start(&config), *late = NULL;
    atr_batch a, b;

    for (int i = 0; i < 5; i++)
        must(atr_loader_next(whole, &a));
    config.epoch = a.epoch;
    config.step = a.step;
    late = start(&config);
    for (int i = 0; i < 6; i++) {
        must(atr_loader_next(late, &b));
        assert_true(a.epoch == b.epoch && a.step == b.step && a.count == b.count);
        assert_true(a.valid_pixels == b.valid_pixels);
        assert_memory_equal(a.samples, b.samples, (size_t)a.count * sizeof *a.samples);
        assert_memory_equal(a.images, b.images,
                            (size_t)(a.count * a.height * a.width * 3) * sizeof *a.images);
        must(atr_loader_next(whole, &a));
    }
    atr_loader_destroy(whole);
    atr_loader_destroy(late);
}

static void validation_drops_no_sample_and_steps_agree(void **state)
{
    (void)state;
    for (int ranks = 1; ranks <= 9; ranks += 2) {
        for (int batch = 1; batch <= 8; batch++) {
            int seen[TRAIN + VAL] = {0};
            int64_t total = 0;
            for (int rank = 0; rank < ranks; rank++) {
                atr_loader_config config = val_config();
                atr_batch b;
                config.rank = rank;
                config.ranks = ranks;
                config.global_batch = batch;
                atr_loader *loader = start(&config);
                assert_int_equal(atr_loader_steps(loader), (VAL + batch - 1) / batch);
                for (int64_t step = 0; step < atr_loader_steps(loader); step++) {
                    must(atr_loader_next(loader, &b));
                    assert_true(b.count <= b.capacity && b.epoch == 0);
                    total += b.count;
                    for (int64_t i = 0; i < b.count; i++)
                        seen[b.samples[i]]++;
                    for (int64_t i = b.count * b.height * b.width; i < b.capacity * b.height * b.width; i++)
                        assert_int_equal(b.labels[i], ATR_IGNORE);
                }
                atr_loader_destroy(loader);
            }
            assert_int_equal(total, VAL);
            for (int i = 0; i < TRAIN + VAL; i++)
                assert_int_equal(seen[i], i >= TRAIN);
        }
    }
}

static void validation_says_where_the_picture_lies(void **state)
{
    (void)state;
    atr_loader_config config = val_config();
    atr_batch b;
    atr_loader *loader = start(&config);

    must(atr_loader_next(loader, &b));
    for (int64_t i = 0; i < b.count; i++) {
        const atr_sample sample = atr_dataset_sample(data, b.samples[i]);
        const atr_box box = atr_fit_box(ATR_FIT_LETTERBOX, sample.width, sample.height, b.width, b.height);
        assert_memory_equal(&box, &b.boxes[i], sizeof box);
        const uint8_t *labels = b.labels + i * b.height * b.width;
        assert_int_equal(labels[box.y * b.width + box.x], 0);
        if (box.x > 0)
            assert_int_equal(labels[0], ATR_IGNORE);
    }
    atr_loader_destroy(loader);
}

static void pictures_come_at_their_own_size_where_asked(void **state)
{
    (void)state;
    atr_loader_config config = val_config();
    atr_batch b;

    config.height = config.width = 0;
    config.global_batch = 1;
    atr_loader *loader = start(&config);
    for (int step = 0; step < 2 * VAL; step++) {
        atr_image image = {0};
        must(atr_loader_next(loader, &b));
        const atr_sample sample = atr_dataset_sample(data, b.samples[0]);
        assert_true(b.width == sample.width && b.height == sample.height);
        must(atr_dataset_read_image(data, b.samples[0], &image));
        for (int64_t i = 0; i < 3 * b.width * b.height; i++)
            assert_true(b.images[i] == (float)(image.pixels[i] / 255.0));
        atr_image_free(&image);
    }
    atr_loader_destroy(loader);
    config.global_batch = 2;
    assert_int_equal(atr_loader_create(data, &config, &loader), ATR_ERR_USAGE);
}

static void too_little_data_is_said_with_what_to_do(void **state)
{
    (void)state;
    atr_loader_config config = train_config();
    atr_loader *loader = NULL;

    config.global_batch = TRAIN + 1;
    config.drop_last = true;
    assert_int_equal(atr_loader_create(data, &config, &loader), ATR_ERR_DATA);
    assert_non_null(strstr(atr_status_message(), "23 samples in train, one step needs 24"));
    assert_non_null(strstr(atr_status_message(), "smaller --batch"));
    config = train_config();
    config.ranks = 7;
    assert_int_equal(atr_loader_create(data, &config, &loader), ATR_ERR_USAGE);
    config = val_config();
    config.split = ATR_SPLIT_TEST;
    assert_int_equal(atr_loader_create(data, &config, &loader), ATR_ERR_DATA);
    assert_non_null(strstr(atr_status_message(), "no sample in test"));
    assert_null(loader);
}

static void a_damaged_sample_is_named_again_and_again(void **state)
{
    (void)state;
    char bad[600];
    atr_dataset *damaged = NULL;
    atr_loader *loader = NULL;
    atr_h5 *file = NULL;
    int64_t at = 0, length = 0, offsets[TRAIN + VAL + 1];
    const int64_t count = TRAIN + VAL + 1;
    atr_loader_config config = val_config();
    atr_status status = ATR_OK;
    size_t size = 0;
    atr_batch b;

    snprintf(bad, sizeof bad, "%s/bad.h5", folder);
    must(atr_h5_open(path, &file));
    must(atr_h5_place(file, "images/bytes", &at, &length));
    atr_tensor tensor = atr_tensor_make(ATR_I64, 1, &count, offsets);
    must(atr_h5_read(file, "images/offset", &tensor));
    atr_h5_destroy(file);
    uint8_t *bytes = scratch_read(path, &size);
    bytes[at + offsets[TRAIN + 4] + 9] ^= 4; /* v004, in step 2 */
    scratch_write(bad, bytes, size);
    free(bytes);
    must(atr_dataset_open(bad, &damaged));
    config.global_batch = 2;
    must(atr_loader_create(damaged, &config, &loader));
    must(atr_loader_next(loader, &b));
    must(atr_loader_next(loader, &b));
    for (int i = 0; i < 2; i++) {
        status = atr_loader_next(loader, &b);
        assert_int_equal(status, ATR_ERR_DATA);
        assert_non_null(strstr(atr_status_message(), "sample 27 'v004'"));
    }
    atr_loader_destroy(loader);
    atr_dataset_close(damaged);
}

static void a_loader_can_be_left_at_any_time(void **state)
{
    (void)state;
    for (int taken = 0; taken < 4; taken++) {
        const atr_loader_config config = train_config();
        atr_loader *loader = start(&config);
        atr_batch b;
        for (int i = 0; i < taken; i++)
            must(atr_loader_next(loader, &b));
        atr_loader_destroy(loader);
    }
    atr_loader_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_number_of_threads_changes_nothing),
        cmocka_unit_test(the_number_of_ranks_and_passes_changes_nothing),
        cmocka_unit_test(going_on_with_other_ranks_gives_what_would_have_come),
        cmocka_unit_test(an_epoch_shows_each_sample_once_in_a_new_order),
        cmocka_unit_test(a_batch_may_be_larger_than_the_data),
        cmocka_unit_test(going_on_in_the_middle_gives_what_would_have_come),
        cmocka_unit_test(validation_drops_no_sample_and_steps_agree),
        cmocka_unit_test(validation_says_where_the_picture_lies),
        cmocka_unit_test(pictures_come_at_their_own_size_where_asked),
        cmocka_unit_test(too_little_data_is_said_with_what_to_do),
        cmocka_unit_test(a_damaged_sample_is_named_again_and_again),
        cmocka_unit_test(a_loader_can_be_left_at_any_time),
    };

    return cmocka_run_group_tests(tests, make_data, remove_data);
}
