#include "io/events.h"

#include <errno.h>
#include <events.pb-c.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "io/events_impl.h"

struct atr_events {
    char *path;
    int file;
};

void atr_put_u32(uint8_t *bytes, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(value >> 8 * i);
}

void atr_put_u64(uint8_t *bytes, uint64_t value)
{
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(value >> 8 * i);
}

static atr_status write_all(const atr_events *events, const uint8_t *bytes, size_t size)
{
    for (size_t at = 0; at < size;) {
        const ssize_t wrote = write(events->file, bytes + at, size - at);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0)
            return atr_fail(ATR_ERR_IO, "%s: %s", events->path, strerror(errno));
        at += (size_t)wrote;
    }
    return ATR_OK;
}

static atr_status write_event(const atr_events *events, int64_t step, Atr__Event *event)
{
    struct timespec now = {0};
    uint8_t *record = NULL;
    atr_status status = ATR_OK;

    clock_gettime(CLOCK_REALTIME, &now);
    event->wall_time = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    event->step = step;
    const size_t size = atr__event__get_packed_size(event);
    ATR_TRY(ATR_NEW((int64_t)size + ATR_RECORD_HEAD + ATR_RECORD_TAIL, &record));
    atr_put_u64(record, size);
    atr_put_u32(record + 8, atr_crc32c_masked(record, 8));
    atr__event__pack(event, record + ATR_RECORD_HEAD);
    atr_put_u32(record + ATR_RECORD_HEAD + size, atr_crc32c_masked(record + ATR_RECORD_HEAD, size));
    ATR_TRY(write_all(events, record, ATR_RECORD_HEAD + size + ATR_RECORD_TAIL));

done:
    atr_free(record);
    return status;
}

/* A new file: TensorBoard reads the files of a folder in the order of their names, which begin with the time. */
static atr_status create_file(atr_events *events, const char *folder, int64_t newest)
{
    int64_t seconds = (int64_t)time(NULL);
    char host[256] = "";
    atr_status status = ATR_OK;

    if (seconds <= newest)
        seconds = newest + 1;
    if (gethostname(host, sizeof host - 1) != 0 || host[0] == '\0' || strchr(host, '/') != NULL)
        memcpy(host, "localhost", sizeof "localhost");
    ATR_TRY(atr_format(&events->path, "%s/events.out.tfevents.%010lld.%s.%d", folder, (long long)seconds,
                       host, (int)getpid()));
    events->file = open(events->path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
    if (events->file < 0)
        status = atr_fail(ATR_ERR_IO, "%s: %s", events->path, strerror(errno));

done:
    return status;
}

/* The version of the format, and, where a run goes on, that what was after `steps` did not happen. */
static atr_status write_start(const atr_events *events, int64_t steps)
{
    Atr__EventSession session = ATR__EVENT_SESSION__INIT;
    Atr__Event version = ATR__EVENT__INIT, start = ATR__EVENT__INIT;
    char text[] = "brain.Event:2";
    atr_status status = ATR_OK;

    version.what_case = ATR__EVENT__WHAT_FILE_VERSION;
    version.file_version = text;
    ATR_TRY(write_event(events, 0, &version));
    if (steps > 0) {
        session.status = ATR__EVENT_SESSION__STATUS__START;
        start.what_case = ATR__EVENT__WHAT_SESSION_LOG;
        start.session_log = &session;
        ATR_TRY(write_event(events, steps + 1, &start));
    }

done:
    return status;
}

atr_status atr_events_open(const char *folder, int64_t steps, atr_events **out)
{
    atr_events *events = NULL;
    int64_t newest = 0;
    atr_status status = ATR_OK;

    *out = NULL;
    ATR_TRY(ATR_NEW(1, &events));
    events->file = -1;
    ATR_TRY(atr_events_cut(folder, steps, &newest));
    ATR_TRY(create_file(events, folder, newest));
    ATR_TRY(write_start(events, steps));
    *out = events;
    events = NULL;

done:
    atr_events_close(events);
    return status;
}

void atr_events_close(atr_events *events)
{
    if (events == NULL)
        return;
    if (events->file >= 0)
        close(events->file);
    atr_free(events->path);
    atr_free(events);
}

const char *atr_events_path(const atr_events *events)
{
    return events->path;
}

static atr_status write_values(const atr_events *events, int64_t step, Atr__EventValue **values,
                               int64_t count)
{
    Atr__EventSummary summary = ATR__EVENT_SUMMARY__INIT;
    Atr__Event event = ATR__EVENT__INIT;

    if (count == 0)
        return ATR_OK;
    summary.n_value = (size_t)count;
    summary.value = values;
    event.what_case = ATR__EVENT__WHAT_SUMMARY;
    event.summary = &summary;
    return write_event(events, step, &event);
}

atr_status atr_events_scalars(atr_events *events, int64_t step, const atr_event_scalar *scalars,
                              int64_t count)
{
    Atr__EventValue *values = NULL, **pointers = NULL;
    int64_t used = 0;
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW(count, &values));
    ATR_TRY(ATR_NEW(count, &pointers));
    for (int64_t i = 0; i < count; i++) {
        if (!isfinite(scalars[i].value))
            continue;
        Atr__EventValue *const value = &values[used];
        atr__event_value__init(value);
        value->tag = (char *)scalars[i].tag;
        value->value_case = ATR__EVENT_VALUE__VALUE_SIMPLE_VALUE;
        value->simple_value = (float)scalars[i].value;
        pointers[used++] = value;
    }
    ATR_TRY(write_values(events, step, pointers, used));

done:
    atr_free(pointers);
    atr_free(values);
    return status;
}

atr_status atr_events_image(atr_events *events, int64_t step, const atr_event_image *image)
{
    Atr__EventImage picture = ATR__EVENT_IMAGE__INIT;
    Atr__EventValue value = ATR__EVENT_VALUE__INIT, *pointer = &value;

    picture.width = (int32_t)image->width;
    picture.height = (int32_t)image->height;
    picture.colorspace = image->channels;
    picture.encoded.len = image->size;
    picture.encoded.data = (uint8_t *)image->encoded;
    value.tag = (char *)image->tag;
    value.value_case = ATR__EVENT_VALUE__VALUE_IMAGE;
    value.image = &picture;
    return write_values(events, step, &pointer, 1);
}

enum { BUCKETS = 30 };

/* Sums and bounds of the finite values. */
static void measure(const float *values, int64_t count, Atr__EventHistogram *out)
{
    out->min = INFINITY;
    out->max = -INFINITY;
    for (int64_t i = 0; i < count; i++) {
        const double v = values[i];
        if (!isfinite(v))
            continue;
        out->min = fmin(out->min, v);
        out->max = fmax(out->max, v);
        out->num += 1;
        out->sum += v;
        out->sum_squares += v * v;
    }
}

/* Equal parts from min to max; a bucket holds what lies above the limit before its own, and up to it. */
static void fill_buckets(const float *values, int64_t count, Atr__EventHistogram *out)
{
    const double width = (out->max - out->min) / BUCKETS;

    out->n_bucket = out->n_bucket_limit = width > 0 ? BUCKETS : 1;
    for (size_t b = 0; b < out->n_bucket; b++)
        out->bucket_limit[b] = b + 1 == out->n_bucket ? out->max : out->min + width * (double)(b + 1);
    for (int64_t i = 0; i < count; i++) {
        if (!isfinite(values[i]))
            continue;
        const int at = width > 0 ? (int)((values[i] - out->min) / width) : 0;
        out->bucket[at < BUCKETS ? at : BUCKETS - 1] += 1;
    }
}

atr_status atr_events_histogram(atr_events *events, int64_t step, const char *tag, const float *values,
                                int64_t count)
{
    double limits[BUCKETS] = {0}, counts[BUCKETS] = {0};
    Atr__EventHistogram histogram = ATR__EVENT_HISTOGRAM__INIT;
    Atr__EventValue value = ATR__EVENT_VALUE__INIT, *pointer = &value;

    measure(values, count, &histogram);
    if (histogram.num == 0)
        return ATR_OK;
    histogram.bucket_limit = limits;
    histogram.bucket = counts;
    fill_buckets(values, count, &histogram);
    value.tag = (char *)tag;
    value.value_case = ATR__EVENT_VALUE__VALUE_HISTO;
    value.histo = &histogram;
    return write_values(events, step, &pointer, 1);
}
