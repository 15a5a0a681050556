#include <string.h>

#include "io/pickle_impl.h"

/* What stands in the stream of a pickle itself: numbers and texts. */

typedef atr_pickle_value value;

atr_status atr_pickle_damaged(const atr_pickle_machine *m, const char *what)
{
    return atr_fail(ATR_ERR_DATA, "pickle, byte %zu: %s", m->at, what);
}

atr_status atr_pickle_push_new(atr_pickle_machine *m, atr_pickle_kind kind, value **out)
{
    atr_status status = ATR_OK;

    ATR_TRY(atr_pickle_new(m->pickle, kind, out));
    ATR_TRY(atr_pickle_push(&m->stack, *out));

done:
    return status;
}

static atr_status push_integer(atr_pickle_machine *m, atr_pickle_kind kind, int64_t integer)
{
    value *v = NULL;
    const atr_status status = atr_pickle_push_new(m, kind, &v);

    if (status == ATR_OK)
        v->integer = integer;
    return status;
}

/* Gives the next `count` bytes of the stream. */
static atr_status take(atr_pickle_machine *m, uint64_t count, const uint8_t **out)
{
    if (count > m->size - m->at)
        return atr_pickle_damaged(m, "the stream ends inside a value");
    *out = m->bytes + m->at;
    m->at += (size_t)count;
    return ATR_OK;
}

atr_status atr_pickle_take_number(atr_pickle_machine *m, int width, uint64_t *out)
{
    const uint8_t *bytes = NULL;
    const atr_status status = take(m, (uint64_t)width, &bytes);

    *out = 0;
    for (int i = width - 1; status == ATR_OK && i >= 0; i--)
        *out = *out << 8 | bytes[i];
    return status;
}

/* A counted string: the count is `width` bytes. */
static atr_status push_text(atr_pickle_machine *m, atr_pickle_kind kind, int width)
{
    atr_status status = ATR_OK;
    const uint8_t *bytes = NULL;
    uint64_t length = 0;
    value *v = NULL;

    ATR_TRY(atr_pickle_take_number(m, width, &length));
    ATR_TRY(take(m, length, &bytes));
    ATR_TRY(atr_pickle_push_new(m, kind, &v));
    v->text = (const char *)bytes;
    v->length = (size_t)length;

done:
    return status;
}

/* A two's complement integer of any length; over 64 bits it is nothing we need. */
static atr_status push_long(atr_pickle_machine *m, int width)
{
    atr_status status = ATR_OK;
    const uint8_t *bytes = NULL;
    uint64_t length = 0, bits = 0;

    ATR_TRY(atr_pickle_take_number(m, width, &length));
    ATR_TRY(take(m, length, &bytes));
    if (length > 8)
        return push_integer(m, ATR_PICKLE_OTHER, 0);
    if (length > 0 && (bytes[length - 1] & 0x80) != 0)
        bits = ~(uint64_t)0;
    for (uint64_t i = length; i-- > 0;)
        bits = bits << 8 | bytes[i];
    ATR_TRY(push_integer(m, ATR_PICKLE_INT, (int64_t)bits));

done:
    return status;
}

/* A big-endian double. */
static atr_status push_real(atr_pickle_machine *m)
{
    atr_status status = ATR_OK;
    const uint8_t *bytes = NULL;
    uint64_t bits = 0;
    value *v = NULL;

    ATR_TRY(take(m, 8, &bytes));
    for (int i = 0; i < 8; i++)
        bits = bits << 8 | bytes[i];
    ATR_TRY(atr_pickle_push_new(m, ATR_PICKLE_FLOAT, &v));
    memcpy(&v->real, &bits, sizeof bits);

done:
    return status;
}

static atr_status push_small_integer(atr_pickle_machine *m, int width)
{
    uint64_t bits = 0;
    const atr_status status = atr_pickle_take_number(m, width, &bits);

    if (status != ATR_OK)
        return status;
    return push_integer(m, ATR_PICKLE_INT, width == 4 ? (int32_t)(uint32_t)bits : (int64_t)bits);
}

atr_status atr_pickle_literal(atr_pickle_machine *m, uint8_t op)
{
    switch (op) {
    case OP_NONE:
        return push_integer(m, ATR_PICKLE_NONE, 0);
    case OP_NEWTRUE:
        return push_integer(m, ATR_PICKLE_BOOL, 1);
    case OP_NEWFALSE:
        return push_integer(m, ATR_PICKLE_BOOL, 0);
    case OP_BININT:
        return push_small_integer(m, 4);
    case OP_BININT1:
        return push_small_integer(m, 1);
    case OP_BININT2:
        return push_small_integer(m, 2);
    case OP_LONG1:
        return push_long(m, 1);
    case OP_LONG4:
        return push_long(m, 4);
    case OP_BINFLOAT:
        return push_real(m);
    case OP_SHORT_BINUNICODE:
    case OP_SHORT_BINSTRING:
        return push_text(m, ATR_PICKLE_TEXT, 1);
    case OP_BINUNICODE:
    case OP_BINSTRING:
        return push_text(m, ATR_PICKLE_TEXT, 4);
    case OP_BINUNICODE8:
        return push_text(m, ATR_PICKLE_TEXT, 8);
    case OP_SHORT_BINBYTES:
        return push_text(m, ATR_PICKLE_BYTES, 1);
    case OP_BINBYTES:
        return push_text(m, ATR_PICKLE_BYTES, 4);
    case OP_BINBYTES8:
        return push_text(m, ATR_PICKLE_BYTES, 8);
    default:
        return atr_fail(ATR_ERR_DATA, "pickle, byte %zu: instruction 0x%02x is not one that data needs",
                        m->at - 1, op);
    }
}
