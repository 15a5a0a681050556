#ifndef ATR_TESTS_SUPPORT_PICKLE_MAKER_H
#define ATR_TESTS_SUPPORT_PICKLE_MAKER_H

#include <stddef.h>
#include <stdint.h>

/* Makes pickles and the two containers of PyTorch around them, honest and hostile ones. Everything grows in one buffer. */
typedef struct maker {
    uint8_t *bytes;
    size_t size, capacity;
} maker;

void maker_free(maker *m);
void maker_bytes(maker *m, const void *bytes, size_t size);
void maker_number(maker *m, uint64_t value, int width); /* little endian */

/* Opcodes by letter or number; texts and integers as values; a global by its two names. */
void maker_op(maker *m, int op);
void maker_text(maker *m, const char *text);
void maker_int(maker *m, int64_t value);
void maker_global(maker *m, const char *module, const char *name);

/* One tensor as _rebuild_tensor_v2 describes it; its name is the key of the dictionary entry. */
typedef struct maker_tensor {
    const char *name, *storage_class, *key;
    int64_t storage_count, offset;
    int rank;
    int64_t dims[8], strides[8];
} maker_tensor;
/* Pushes name and tensor: between MARK and SETITEMS. */
void maker_tensor_item(maker *m, const maker_tensor *tensor);
/* A whole pickle {name: tensor}. */
void maker_state_dict(maker *m, const maker_tensor *tensors, int count);

/* The three pickles in front of a file before PyTorch 1.6, and the list of its storage keys. */
void maker_legacy_front(maker *m);
void maker_legacy_keys(maker *m, const char *const *keys, int count);

/* A zip archive: entries one by one, then its directory. `method`: 0 stored. */
typedef struct maker_zip {
    maker file, directory;
    int count;
} maker_zip;
void maker_zip_entry(maker_zip *zip, const char *name, const void *bytes, size_t size, int method);
void maker_zip_close(maker_zip *zip); /* `file` is the archive then; free it with maker_free */

#endif
