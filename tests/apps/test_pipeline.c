/* The pipeline that all pictures and frames of `predict` go through: a thread that reads, streams that run the network, a thread that
 * writes. Small enough for the thread sanitizer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "apps/pipeline.h"
#include "apps/streams.h"
#include "tests/support/network.h"
#include "tests/support/picture.h"

enum { CLASSES = 3, PICTURES = 13, STREAMS = 3, MOST = 40 * 40 };

static atr_session session;
static uint8_t *wanted[PICTURES]; /* ids of each picture run alone */

/* Three pictures of one size follow each other. */
static int64_t width_of(int64_t index)
{
    return 20 + index / 3;
}

static int64_t height_of(int64_t index)
{
    return 33 - index / 3;
}

static void draw(int64_t index, atr_image *image)
{
    for (int64_t i = 0; i < image->width * image->height * 3; i++)
        image->pixels[i] = picture_sample(i / 3 % image->width + 11 * index, i / 3 / image->width, i % 3);
}

static void streams_open(int count, atr_streams *out)
{
    must(atr_streams_open(&session, count, ATR_RUN_LETTERBOX, 0, 0, &(atr_views){.scale_count = 0}, out));
}

static int set_up(void **state)
{
    atr_model_info info;
    atr_streams streams;

    (void)state;
    atr_session_describe("mobilenetv2", CLASSES, 16, &info);
    info.height = info.width = 33;
    must(atr_session_open(&(atr_session_options){.backend = "auto", .threads = 1}, NULL, &session));
    session.threads.count = STREAMS; /* a thread for each, on any machine */
    must(atr_session_build(&session, &info, NULL));
    must(atr_model_init(session.params, ATR_INIT_KAIMING, 1, 5));
    streams_open(1, &streams);
    for (int64_t i = 0; i < PICTURES; i++) {
        atr_image image = {width_of(i), height_of(i), 3, malloc(3 * MOST)};
        draw(i, &image);
        wanted[i] = malloc(MOST);
        must(atr_segmenter_run(streams.segmenters[0], &image, &(atr_segmentation){.ids = wanted[i]}));
        free(image.pixels);
    }
    atr_streams_close(&streams);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int64_t i = 0; i < PICTURES; i++)
        free(wanted[i]);
    atr_session_close(&session);
    return 0;
}

/* What a run reads and what came of it. */
typedef struct feed {
    int64_t count;    /* pictures; -1: no end, but for *stop */
    int64_t bad;      /* this one cannot be decoded; -1: none */
    int64_t fails_at; /* reading ends with a failure there; -1: nowhere */
    int64_t full_at;  /* writing does; -1: nowhere */
    int64_t written;
} feed;

static atr_status read_piece(void *user, const atomic_bool *stop, atr_piece *piece, bool *end)
{
    const feed *f = user;
    const int64_t index = piece->index;

    if (index == f->fails_at)
        return atr_fail(ATR_ERR_DATA, "piece %lld is torn", (long long)index);
    while (f->count < 0 && index >= PICTURES && !atomic_load(stop))
        usleep(1000);
    *end = index == f->count || index >= PICTURES;
    if (*end)
        return ATR_OK;
    if (index == f->bad) {
        atr_piece_fail(piece, atr_fail(ATR_ERR_DATA, "no picture"));
        return ATR_OK;
    }
    const atr_status status = atr_piece_reserve(piece, width_of(index), height_of(index));
    if (status == ATR_OK)
        draw(index, &piece->picture);
    return status;
}

static atr_status write_piece(void *user, atr_piece *piece)
{
    feed *f = user;

    if (f->written == f->full_at)
        return atr_fail(ATR_ERR_IO, "no room for piece %lld", (long long)piece->index);
    if (piece->index != f->written)
        return atr_fail(ATR_ERR_INTERNAL, "piece %lld in place of %lld", (long long)piece->index,
                        (long long)f->written);
    if (piece->index == f->bad
            ? piece->status != ATR_ERR_DATA || strcmp(piece->message, "no picture") != 0
            : piece->status != ATR_OK || memcmp(piece->result.ids, wanted[piece->index],
                                                (size_t)(piece->picture.width * piece->picture.height)) != 0)
        return atr_fail(ATR_ERR_INTERNAL, "piece %lld is another", (long long)piece->index);
    f->written++;
    return ATR_OK;
}

static atr_status run(feed *f, int streams, int64_t batch, bool same_size)
{
    atr_streams open;

    streams_open(streams, &open);
    const atr_pipeline pipeline = {.segmenters = open.segmenters,
                                   .streams = streams,
                                   .classes = CLASSES,
                                   .batch = batch,
                                   .expected = f->count > 0 ? f->count : 0,
                                   .same_size = same_size,
                                   .confidence = batch > 1,
                                   .read = read_piece,
                                   .write = write_piece,
                                   .user = f};
    const atr_status status = atr_pipeline_run(&pipeline);
    atr_streams_close(&open);
    return status;
}

static void all_come_in_order_with_the_results_of_each_alone(void **state)
{
    (void)state;
    for (int streams = 1; streams <= STREAMS; streams++)
        for (int64_t batch = 1; batch <= 4; batch += 3) {
            feed f = {.count = PICTURES, .bad = streams == 2 ? 4 : -1, .fails_at = -1, .full_at = -1};
            must(run(&f, streams, batch, streams == STREAMS));
            assert_int_equal(f.written, PICTURES);
        }
}

static void less_pictures_than_streams_are_enough(void **state)
{
    (void)state;
    for (int64_t count = 0; count < STREAMS; count++) {
        feed f = {.count = count, .bad = -1, .fails_at = -1, .full_at = -1};
        must(run(&f, STREAMS, 2, false));
        assert_int_equal(f.written, count);
    }
}

static void what_was_read_before_a_failure_is_written(void **state)
{
    (void)state;
    for (int streams = 1; streams <= STREAMS; streams += 2) {
        feed f = {.count = PICTURES, .bad = 2, .fails_at = 7, .full_at = -1};
        assert_int_equal(run(&f, streams, 2, false), ATR_ERR_DATA);
        assert_string_equal(atr_status_message(), "piece 7 is torn");
        assert_int_equal(f.written, 7);
    }
}

/* Though the reader, like a camera, would wait for ever. */
static void a_failing_writer_ends_it(void **state)
{
    (void)state;
    for (int streams = 1; streams <= STREAMS; streams += 2) {
        feed f = {.count = -1, .bad = -1, .fails_at = -1, .full_at = 3};
        assert_int_equal(run(&f, streams, 1, false), ATR_ERR_IO);
        assert_string_equal(atr_status_message(), "no room for piece 3");
        assert_int_equal(f.written, 3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_come_in_order_with_the_results_of_each_alone),
        cmocka_unit_test(less_pictures_than_streams_are_enough),
        cmocka_unit_test(what_was_read_before_a_failure_is_written),
        cmocka_unit_test(a_failing_writer_ends_it),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
