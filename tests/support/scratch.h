#ifndef ATR_TESTS_SUPPORT_SCRATCH_H
#define ATR_TESTS_SUPPORT_SCRATCH_H

#include <stdint.h>
#include <stdio.h>

/* A folder for one test program's files, and files made in it. Every failure here ends the test (cmocka's fail). */

/* A fresh folder under $TMPDIR or /tmp; scratch_remove() frees the name. */
char *scratch_create(void);
void scratch_remove(char *folder);

/* printf into one of several static buffers, for paths; not thread-safe. */
const char *scratch_text(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Makes the folders above `path`. */
void scratch_folders_above(const char *path);

void scratch_write(const char *path, const void *bytes, size_t size);
/* Whole file, malloc'ed, with a zero behind its end. */
uint8_t *scratch_read(const char *path, size_t *size);
void scratch_write_text(const char *path, const char *text);

#endif
