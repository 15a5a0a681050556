#ifndef ATR_IO_STAGE_IMPL_H
#define ATR_IO_STAGE_IMPL_H

#include "io/stage.h"

enum { ATR_STAGE_CHUNK = 4 << 20 }; /* bytes of a piece */

/* NAME.record: this, then one XXH3 (u64, 0: not there yet) for each piece. */
typedef struct atr_stage_record {
    char magic[8];
    uint64_t key, seal;
    int64_t bytes, mtime_ns; /* of the source */
    int64_t copy_mtime_ns;   /* of the whole copy; 0: it is not known to be good */
    uint64_t check;          /* XXH3 of what stands above */
} atr_stage_record;

struct atr_stage {
    char *source, *folder, *copy, *partial, *record;
    uint64_t key, seal;
    int64_t bytes, mtime_ns;
    atr_stage_state state; /* leader: as last found */
};

/* "FOLDER/atrous-UID". `*out`: atr_free. */
atr_status atr_stage_home(const char *folder, char **out);

/* False: none, or of another source, or damaged. */
bool atr_stage_record_read(const atr_stage *stage, atr_stage_record *out);
/* The record of `stage` with this time of the copy. */
atr_stage_record atr_stage_record_make(const atr_stage *stage, int64_t copy_mtime_ns);
atr_status atr_stage_record_write(int fd, const char *path, const atr_stage_record *record);

/* Place of a piece's checksum in the record. */
int64_t atr_stage_sum_at(int64_t piece);

/* Nanoseconds of the last change. */
struct stat;
int64_t atr_stage_mtime(const struct stat *facts);

/* All of `count` bytes at `at`. `path` is for the message. */
atr_status atr_stage_read(int fd, const char *path, void *bytes, int64_t count, int64_t at);
atr_status atr_stage_write(int fd, const char *path, const void *bytes, int64_t count, int64_t at);

#endif
