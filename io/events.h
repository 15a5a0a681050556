#ifndef ATR_IO_EVENTS_H
#define ATR_IO_EVENTS_H

#include <stdbool.h>

#include "core/mem.h"

/* Event files, which TensorBoard shows: numbers, pictures and distributions over the steps of a run. A file is a row of records
 * (TFRecord: length, its checksum, bytes, their checksum), each a protobuf message (proto/events.proto). Every record is
 * written in one stroke, so that a killed run leaves at most one torn record, which readers pass over. Not thread-safe. */

typedef struct atr_events atr_events;

/* Begins a file events.out.tfevents.* in `folder`, which exists; its name sorts behind those of the files already there. The run goes on
 * after `steps` steps: events of later ones are cut off the older files, and readers that have seen them are told to forget
 * them. ATR_ERR_IO. */
atr_status atr_events_open(const char *folder, int64_t steps, atr_events **out);
void atr_events_close(atr_events *events);

/* Path of the file; borrowed. */
const char *atr_events_path(const atr_events *events);

typedef struct atr_event_scalar {
    const char *tag; /* "train/loss": the part before the slash is a group on the page */
    double value;    /* what is not finite is left out */
} atr_event_scalar;
atr_status atr_events_scalars(atr_events *events, int64_t step, const atr_event_scalar *scalars,
                              int64_t count);

/* A picture as a PNG or JPEG file; channels 1, 3 or 4. */
typedef struct atr_event_image {
    const char *tag;
    int64_t width, height;
    int channels;
    const void *encoded; /* [size] bytes */
    size_t size;
} atr_event_image;
atr_status atr_events_image(atr_events *events, int64_t step, const atr_event_image *image);

/* How `values` [count] are distributed, in 30 equal parts between the least and the largest; those not finite are left out. */
atr_status atr_events_histogram(atr_events *events, int64_t step, const char *tag, const float *values,
                                int64_t count);

/* Whether `name` is that of an event file. */
bool atr_events_is_name(const char *name);

/* CRC-32C (Castagnoli polynomial, RFC 3720), and as it stands in a record. */
uint32_t atr_crc32c(const void *bytes, size_t size);
uint32_t atr_crc32c_masked(const void *bytes, size_t size);

#endif
