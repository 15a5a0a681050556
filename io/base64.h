#ifndef ATR_IO_BASE64_H
#define ATR_IO_BASE64_H

#include "core/mem.h"

/* Bytes from base64 text (RFC 4648, standard alphabet) of `length` letters; blanks and line ends between letters do not count,
 * the padding may be missing. `*bytes`: atr_free. ATR_ERR_DATA names the first letter that has no place there. */
atr_status atr_base64_decode(const char *text, size_t length, void **bytes, size_t *size);

#endif
