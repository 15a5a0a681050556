#include "io/exif.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { TAG_ORIENTATION = 0x0112, TYPE_SHORT = 3, ENTRY_BYTES = 12 };

typedef struct tiff {
    const uint8_t *bytes;
    size_t size;
    bool big_endian;
} tiff;

/* Number of `count` bytes (2 or 4) at `at`; false if that is outside the block. */
static bool number_at(const tiff *file, size_t at, size_t count, uint32_t *out)
{
    uint32_t value = 0;

    if (at > file->size || file->size - at < count)
        return false;
    for (size_t i = 0; i < count; i++)
        value = value << 8 | file->bytes[at + (file->big_endian ? i : count - 1 - i)];
    *out = value;
    return true;
}

int atr_exif_orientation(const void *bytes, size_t size)
{
    tiff file = {bytes, size, false};
    uint32_t magic = 0, directory = 0, entries = 0;

    if (size < 8)
        return 1;
    file.big_endian = memcmp(bytes, "MM", 2) == 0;
    if (!file.big_endian && memcmp(bytes, "II", 2) != 0)
        return 1;
    if (!number_at(&file, 2, 2, &magic) || magic != 42 || !number_at(&file, 4, 4, &directory) ||
        !number_at(&file, directory, 2, &entries))
        return 1;
    for (size_t i = 0; i < entries; i++) {
        const size_t at = (size_t)directory + 2 + i * ENTRY_BYTES;
        uint32_t tag = 0, type = 0, count = 0, value = 0;
        if (!number_at(&file, at, 2, &tag) || !number_at(&file, at + 2, 2, &type) ||
            !number_at(&file, at + 4, 4, &count) || !number_at(&file, at + 8, 2, &value))
            return 1;
        if (tag == TAG_ORIENTATION)
            return type == TYPE_SHORT && count == 1 && value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}
