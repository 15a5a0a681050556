/* Event files: records that other readers take, and none twice after a run went on. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <events.pb-c.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/events.h"
#include "io/events_impl.h"
#include "tests/support/scratch.h"

static char *folder;

static int set_up(void **state)
{
    (void)state;
    folder = scratch_create();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

/* The events of a file, each checked as a record; the rest of the file must be empty. */
typedef struct reading {
    int count;
    Atr__Event *events[64];
} reading;

static reading read_back(const char *path)
{
    reading r = {0};
    size_t size = 0, at = 0;
    uint8_t *bytes = scratch_read(path, &size);

    while (at < size) {
        assert_true(size - at >= ATR_RECORD_HEAD + ATR_RECORD_TAIL);
        const uint64_t length = atr_get_u64(bytes + at);
        assert_int_equal(atr_get_u32(bytes + at + 8), atr_crc32c_masked(bytes + at, 8));
        at += ATR_RECORD_HEAD;
        assert_true(length <= size - at - ATR_RECORD_TAIL);
        assert_int_equal(atr_get_u32(bytes + at + length), atr_crc32c_masked(bytes + at, length));
        assert_true(r.count < 64);
        r.events[r.count] = atr__event__unpack(NULL, length, bytes + at);
        assert_non_null(r.events[r.count++]);
        at += length + ATR_RECORD_TAIL;
    }
    free(bytes);
    return r;
}

static void forget(reading *r)
{
    for (int i = 0; i < r->count; i++)
        atr__event__free_unpacked(r->events[i], NULL);
}

static void good(atr_status status)
{
    if (status != ATR_OK)
        fail_msg("%s", atr_status_message());
}

static void scalar(atr_events *events, int64_t step, double value)
{
    good(atr_events_scalars(events, step, &(atr_event_scalar){"train/loss", value}, 1));
}

static void checksums_are_those_of_rfc_3720(void **state)
{
    uint8_t bytes[32];

    (void)state;
    assert_int_equal(atr_crc32c("", 0), 0);
    assert_int_equal(atr_crc32c("123456789", 9), 0xe3069283);
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(atr_crc32c(bytes, 32), 0x8a9136aa);
    memset(bytes, 0xff, sizeof bytes);
    assert_int_equal(atr_crc32c(bytes, 32), 0x62a8ab43);
    for (int i = 0; i < 32; i++)
        bytes[i] = (uint8_t)i;
    assert_int_equal(atr_crc32c(bytes, 32), 0x46dd794e);
    for (int i = 0; i < 32; i++)
        bytes[i] = (uint8_t)(31 - i);
    assert_int_equal(atr_crc32c(bytes, 32), 0x113fdb5c);
    /* ((crc >> 15) | (crc << 17)) + 0xa282ead8, by hand for 0xe3069283. */
    assert_int_equal(atr_crc32c_masked("123456789", 9), (uint32_t)(0x2507c60du + 0xa282ead8u));
}

static void a_file_holds_what_was_written(void **state)
{
    const float values[] = {-1, -1, 0, 2, NAN, INFINITY};
    const atr_event_scalar scalars[] = {{"train/loss", 0.5}, {"val/miou", NAN}, {"train/lr", 1e-3}};
    atr_events *events = NULL;

    (void)state;
    good(atr_events_open(folder, 0, &events));
    good(atr_events_scalars(events, 7, scalars, 3));
    good(atr_events_image(events, 8, &(atr_event_image){"val/a", 4, 3, 3, "bytes", 5}));
    good(atr_events_histogram(events, 9, "weights", values, 6));
    good(atr_events_histogram(events, 9, "nothing", values + 4, 2));
    good(atr_events_histogram(events, 10, "constant", values, 2));
    reading r = read_back(atr_events_path(events));
    atr_events_close(events);

    assert_int_equal(r.count, 5);
    assert_int_equal(r.events[0]->what_case, ATR__EVENT__WHAT_FILE_VERSION);
    assert_string_equal(r.events[0]->file_version, "brain.Event:2");
    const Atr__EventSummary *s = r.events[1]->summary;
    assert_int_equal(r.events[1]->step, 7);
    assert_true(r.events[1]->wall_time > 1.6e9);
    assert_int_equal(s->n_value, 2); /* what is not finite is left out */
    assert_string_equal(s->value[0]->tag, "train/loss");
    assert_true(s->value[0]->simple_value == 0.5f);
    assert_string_equal(s->value[1]->tag, "train/lr");
    const Atr__EventImage *image = r.events[2]->summary->value[0]->image;
    assert_int_equal(image->width, 4);
    assert_int_equal(image->height, 3);
    assert_int_equal(image->colorspace, 3);
    assert_int_equal(image->encoded.len, 5);
    assert_memory_equal(image->encoded.data, "bytes", 5);
    const Atr__EventHistogram *h = r.events[3]->summary->value[0]->histo;
    assert_true(h->num == 4 && h->min == -1 && h->max == 2 && h->sum == 0 && h->sum_squares == 6);
    assert_int_equal(h->n_bucket, 30);
    assert_int_equal(h->n_bucket_limit, 30);
    assert_true(h->bucket[0] == 2 && h->bucket[10] == 1 && h->bucket[29] == 1);
    assert_true(fabs(h->bucket_limit[0] + 0.9) < 1e-12 && h->bucket_limit[29] == 2);
    h = r.events[4]->summary->value[0]->histo;
    assert_true(h->n_bucket == 1 && h->bucket[0] == 2 && h->bucket_limit[0] == -1);
    forget(&r);
}

static void a_run_that_goes_on_has_no_step_twice(void **state)
{
    atr_events *events = NULL;
    char first[512];

    (void)state;
    good(atr_events_open(folder, 0, &events));
    for (int step = 1; step <= 5; step++)
        scalar(events, step, step);
    snprintf(first, sizeof first, "%s", atr_events_path(events));
    atr_events_close(events);

    good(atr_events_open(folder, 3, &events));
    scalar(events, 4, 40);
    assert_true(strcmp(first, atr_events_path(events)) <
                0); /* read behind the first, within one second too */
    reading old = read_back(first), fresh = read_back(atr_events_path(events));
    atr_events_close(events);
    assert_int_equal(old.count, 4);
    assert_int_equal(old.events[3]->step, 3);
    assert_int_equal(fresh.count, 3);
    assert_int_equal(fresh.events[1]->what_case, ATR__EVENT__WHAT_SESSION_LOG);
    assert_int_equal(fresh.events[1]->session_log->status, ATR__EVENT_SESSION__STATUS__START);
    assert_int_equal(fresh.events[1]->step, 4);
    assert_int_equal(fresh.events[2]->step, 4);
    forget(&old);
    forget(&fresh);
}

static void damaged_files_are_cut_where_they_end_to_make_sense(void **state)
{
    atr_events *events = NULL;
    char path[512];
    size_t size = 0;

    (void)state;
    good(atr_events_open(folder, 0, &events));
    scalar(events, 1, 1);
    scalar(events, 2, 2);
    snprintf(path, sizeof path, "%s", atr_events_path(events));
    atr_events_close(events);
    uint8_t *bytes = scratch_read(path, &size);
    for (size_t cut = 0; cut < size; cut++) { /* a torn end at every byte, and a flipped bit there */
        for (int flip = 0; flip < 2; flip++) {
            bytes[cut] ^= (uint8_t)flip;
            scratch_write(path, bytes, flip == 1 ? size : cut);
            bytes[cut] ^= (uint8_t)flip;
            int64_t newest = 0;
            good(atr_events_cut(folder, 9, &newest));
            reading r = read_back(path);
            assert_true(r.count < 3);
            forget(&r);
        }
    }
    free(bytes);
}

static void a_length_beyond_the_file_asks_for_no_memory(void **state)
{
    uint8_t head[ATR_RECORD_HEAD + 8] = {0};
    int64_t newest = 0;
    size_t size = 0;
    const char *path = scratch_text("%s/events.out.tfevents.0000000123.x.1", folder);

    (void)state;
    for (int bits = 8; bits < 64; bits += 8) {
        atr_put_u64(head, (uint64_t)1 << bits);
        atr_put_u32(head + 8, atr_crc32c_masked(head, 8));
        scratch_write(path, head, sizeof head);
        good(atr_events_cut(folder, 9, &newest));
        free(scratch_read(path, &size));
        assert_int_equal(size, 0);
    }
    assert_int_equal(newest, 123);
}

static void other_files_are_left_alone(void **state)
{
    atr_events *events = NULL;
    size_t size = 0;

    (void)state;
    scratch_write_text(scratch_text("%s/notes.txt", folder), "mine");
    good(atr_events_open(folder, 1, &events));
    atr_events_close(events);
    free(scratch_read(scratch_text("%s/notes.txt", folder), &size));
    assert_int_equal(size, 4);
    assert_int_equal(atr_events_open(scratch_text("%s/none", folder), 0, &events), ATR_ERR_IO);
    assert_null(events);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checksums_are_those_of_rfc_3720),
        cmocka_unit_test_setup_teardown(a_file_holds_what_was_written, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_run_that_goes_on_has_no_step_twice, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damaged_files_are_cut_where_they_end_to_make_sense, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_length_beyond_the_file_asks_for_no_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(other_files_are_left_alone, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
