#ifndef ATR_IO_EVENTS_IMPL_H
#define ATR_IO_EVENTS_IMPL_H

#include "io/events.h"

enum {
    ATR_RECORD_HEAD = 12, /* length u64, its checksum u32 */
    ATR_RECORD_TAIL = 4   /* checksum of the bytes */
};

/* Cuts everything from the first event of a step after `steps`, or from the first record that is not whole, off all event files of
 * `folder`. `*newest`: the largest time in their names, 0 where there is none. */
atr_status atr_events_cut(const char *folder, int64_t steps, int64_t *newest);

/* Little-endian numbers. */
uint32_t atr_get_u32(const uint8_t *bytes);
uint64_t atr_get_u64(const uint8_t *bytes);
void atr_put_u32(uint8_t *bytes, uint32_t value);
void atr_put_u64(uint8_t *bytes, uint64_t value);

#endif
