#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

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

/* Images and labels of each sample of the first `steps` steps, by rank: copied into whole global batches. */
static void gather(int ranks, int steps, float *images, uint8_t *labels, int64_t *samples)
{
    const int64_t pixels = SIDE * (SIDE + 8);

    for (int rank = 0; rank < ranks; rank++) {
        atr_loader_config config = train_config();
        atr_batch b;
        config.rank = rank;
        config.ranks = ranks;
        atr_loader *loader = start(&config);
        for (int step = 0; step < steps; step++) {
            must(atr_loader_next(loader, &b));
            const int64_t first = (int64_t)step * BATCH + rank * BATCH / ranks;
            assert_int_equal(b.count, (rank + 1) * BATCH / ranks - rank * BATCH / ranks);
            assert_int_equal(b.global_count, BATCH);
            memcpy(images + 3 * first * pixels, b.images, (size_t)(3 * b.count * pixels) * sizeof *images);
            memcpy(labels + first * pixels, b.labels, (size_t)(b.count * pixels));
            memcpy(samples + first, b.samples, (size_t)b.count * sizeof *samples);
        }
        atr_loader_destroy(loader);
    }
}

static void the_number_of_ranks_changes_nothing(void **state)
{
    (void)state;
    enum { STEPS = 7, SAMPLES = STEPS * BATCH, PIXELS = SIDE * (SIDE + 8) };
    float *images[2] = {calloc(SAMPLES, 3 * PIXELS * sizeof(float)),
                        calloc(SAMPLES, 3 * PIXELS * sizeof(float))};
    uint8_t *labels[2] = {calloc(SAMPLES, PIXELS), calloc(SAMPLES, PIXELS)};
    int64_t samples[2][SAMPLES] = {{0}};

    gather(1, STEPS, images[0], labels[0], samples[0]);
    for (int ranks = 2; ranks <= 4; ranks++) { /* 4 does not divide 6 */
        gather(ranks, STEPS, images[1], labels[1], samples[1]);
        assert_memory_equal(samples[0], samples[1], sizeof samples[0]);
        assert_memory_equal(images[0], images[1], SAMPLES * 3 * PIXELS * sizeof(float));
        assert_memory_equal(labels[0], labels[1], SAMPLES * PIXELS);
    }
    for (int i = 0; i < 2; i++) {
        free(images[i]);
        free(labels[i]);
    }
}

static void an_epoch_shows_each_sample_at_most_once_in_a_new_order(void **state)
{
    (void)state;
    const atr_loader_config config = train_config();
    atr_loader *loader = start(&config);
    int64_t order[2][TRAIN] = {{0}};
    atr_batch b;

    assert_int_equal(atr_loader_steps(loader), TRAIN / BATCH);
    for (int epoch = 0; epoch < 2; epoch++) {
        int seen[TRAIN + VAL] = {0};
        for (int step = 0; step < TRAIN / BATCH; step++) {
            must(atr_loader_next(loader, &b));
            assert_int_equal(b.epoch, epoch);
            assert_int_equal(b.step, step);
            for (int64_t i = 0; i < b.count; i++) {
                assert_int_equal(atr_dataset_sample(data, b.samples[i]).splits, 1 << ATR_SPLIT_TRAIN);
                assert_int_equal(seen[b.samples[i]]++, 0);
                assert_true(b.keys[i] ==
                            atr_rng_key(5, ATR_RNG_DROPOUT, (uint64_t)epoch, (uint64_t)b.samples[i]));
                order[epoch][step * BATCH + i] = b.samples[i];
            }
        }
    }
    assert_memory_not_equal(order[0], order[1], sizeof order[0]);
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
        cmocka_unit_test(the_number_of_ranks_changes_nothing),
        cmocka_unit_test(an_epoch_shows_each_sample_at_most_once_in_a_new_order),
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
