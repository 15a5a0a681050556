#include "tests/support/scratch.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { BUFFERS = 8, BUFFER_BYTES = 4096 };

char *scratch_create(void)
{
    const char *parent = getenv("TMPDIR");
    char *folder = malloc(BUFFER_BYTES);

    assert_non_null(folder);
    snprintf(folder, BUFFER_BYTES, "%s/atr-test-XXXXXX", parent == NULL ? "/tmp" : parent);
    assert_non_null(mkdtemp(folder));
    return folder;
}

static int remove_one(const char *path, const struct stat *info, int flag, struct FTW *where)
{
    (void)info, (void)flag, (void)where;
    return remove(path);
}

void scratch_remove(char *folder)
{
    if (folder != NULL)
        nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(folder);
}

const char *scratch_text(const char *format, ...)
{
    static char buffers[BUFFERS][BUFFER_BYTES];
    static int next;
    char *buffer = buffers[next++ % BUFFERS];
    va_list args;

    va_start(args, format);
    vsnprintf(buffer, BUFFER_BYTES, format, args);
    va_end(args);
    return buffer;
}

void scratch_folders_above(const char *path)
{
    char part[BUFFER_BYTES];

    snprintf(part, sizeof part, "%s", path);
    for (char *slash = strchr(part + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(part, 0777);
        *slash = '/';
    }
}

void scratch_write(const char *path, const void *bytes, size_t size)
{
    scratch_folders_above(path);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

void scratch_write_text(const char *path, const char *text)
{
    scratch_write(path, text, strlen(text));
}

uint8_t *scratch_read(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    const long length = ftell(file);
    assert_true(length >= 0);
    rewind(file);
    uint8_t *bytes = calloc(1, (size_t)length + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, (size_t)length, file), length);
    fclose(file);
    *size = (size_t)length;
    return bytes;
}
