#ifndef ATR_TESTS_SUPPORT_PICTURE_H
#define ATR_TESTS_SUPPORT_PICTURE_H

#include <stddef.h>
#include <stdint.h>

/* Drawn pixels and damaged files for the tests of io/. */

/* Sample (x,y,c) of a picture that looks like noise but is the same everywhere: the golden numbers of the tests were
 * computed from it by other programs. */
uint8_t picture_sample(int64_t x, int64_t y, int64_t c);

/* pixels [height,width,channels] u8 of picture_sample(). malloc'ed. */
uint8_t *picture_make(int64_t width, int64_t height, int64_t channels);

/* 64-bit FNV-1a of bytes. */
uint64_t picture_hash(const void *bytes, size_t size);

/* Calls read() with 1000 copies of a file, each in a block of exactly its size (so that a sanitizer sees every byte read too
 * far): half of them cut at random places, half with 1 to 8 random bits flipped. Returns how many read() refused. */
int picture_damage(const void *bytes, size_t size, uint64_t seed,
                   int (*read)(const void *bytes, size_t size));

#endif
