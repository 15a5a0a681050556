#include "io/events.h"

enum { BYTES = 256 };

/* The remainders of all bytes, reflected as the bits go over the wire. */
static void fill_table(uint32_t table[BYTES])
{
    const uint32_t polynomial = 0x82f63b78; /* 0x1edc6f41, bits reversed */

    for (uint32_t byte = 0; byte < BYTES; byte++) {
        uint32_t rest = byte;
        for (int bit = 0; bit < 8; bit++)
            rest = rest >> 1 ^ ((rest & 1) != 0 ? polynomial : 0);
        table[byte] = rest;
    }
}

uint32_t atr_crc32c(const void *bytes, size_t size)
{
    const uint8_t *b = bytes;
    uint32_t table[BYTES], crc = 0xffffffff; /* filling takes as long as 2 kB of data: records are few */

    fill_table(table);
    for (size_t i = 0; i < size; i++)
        crc = crc >> 8 ^ table[(crc ^ b[i]) & 0xff];
    return crc ^ 0xffffffff;
}

/* Rotated and shifted, because a checksum of bytes that hold their own checksum says little. */
uint32_t atr_crc32c_masked(const void *bytes, size_t size)
{
    const uint32_t crc = atr_crc32c(bytes, size);

    return (crc >> 15 | crc << 17) + 0xa282ead8;
}
