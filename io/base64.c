#include "io/base64.h"

#include <string.h>

/* 0..63 of a letter, or -1. */
static int digit_of(char letter)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = letter == '\0' ? NULL : strchr(alphabet, letter);

    return at == NULL ? -1 : (int)(at - alphabet);
}

static atr_status bad_letter(const char *text, size_t at)
{
    const unsigned char c = (unsigned char)text[at];

    if (c > ' ' && c < 127)
        return atr_fail(ATR_ERR_DATA, "no base64: '%c' at letter %zu", c, at + 1);
    return atr_fail(ATR_ERR_DATA, "no base64: byte %d at letter %zu", c, at + 1);
}

atr_status atr_base64_decode(const char *text, size_t length, void **bytes, size_t *size)
{
    atr_status status = ATR_OK;
    uint8_t *out = NULL;
    int digits[256];
    uint32_t group = 0;
    size_t used = 0, letters = 0, padding = 0;

    *bytes = NULL;
    *size = 0;
    for (int c = 0; c < 256; c++)
        digits[c] = digit_of((char)c);
    ATR_TRY(ATR_NEW((int64_t)(length / 4 * 3 + 4), &out));
    for (size_t i = 0; i < length; i++) {
        const int digit = digits[(unsigned char)text[i]];
        if (strchr(" \t\r\n", text[i]) != NULL && text[i] != '\0')
            continue;
        padding += text[i] == '=';
        if (text[i] == '=' && padding <= 2)
            continue;
        if (digit < 0 || padding > 0) {
            status = bad_letter(text, i);
            goto done;
        }
        group = group << 6 | (uint32_t)digit;
        if (++letters % 4 == 0)
            for (int byte = 2; byte >= 0; byte--)
                out[used++] = (uint8_t)(group >> (8 * byte));
    }
    if (letters % 4 == 1) {
        status = atr_fail(ATR_ERR_DATA, "no base64: cut off in the middle of a byte");
        goto done;
    }
    if (letters % 4 >= 2)
        out[used++] = (uint8_t)(group >> (letters % 4 == 2 ? 4 : 10));
    if (letters % 4 == 3)
        out[used++] = (uint8_t)(group >> 2);
    *bytes = out;
    *size = used;
    out = NULL;

done:
    atr_free(out);
    return status;
}
