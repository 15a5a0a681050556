#include "io/pickle.h"

#include <string.h>

#include "io/pickle_impl.h"

/* Opcodes of the protocols 2 to 5 (CPython, Lib/pickletools.py) that data can consist of. */
enum opcode {
    OP_MARK = '(',
    OP_STOP = '.',
    OP_POP = '0',
    OP_POP_MARK = '1',
    OP_DUP = '2',
    OP_BINBYTES = 'B',
    OP_SHORT_BINBYTES = 'C',
    OP_BINFLOAT = 'G',
    OP_BININT = 'J',
    OP_BININT1 = 'K',
    OP_BININT2 = 'M',
    OP_NONE = 'N',
    OP_BINPERSID = 'Q',
    OP_REDUCE = 'R',
    OP_BINSTRING = 'T',
    OP_SHORT_BINSTRING = 'U',
    OP_BINUNICODE = 'X',
    OP_EMPTY_LIST = ']',
    OP_APPEND = 'a',
    OP_BUILD = 'b',
    OP_GLOBAL = 'c',
    OP_APPENDS = 'e',
    OP_BINGET = 'h',
    OP_LONG_BINGET = 'j',
    OP_BINPUT = 'q',
    OP_LONG_BINPUT = 'r',
    OP_SETITEM = 's',
    OP_TUPLE = 't',
    OP_EMPTY_TUPLE = ')',
    OP_SETITEMS = 'u',
    OP_EMPTY_DICT = '}',
    OP_PROTO = 0x80,
    OP_NEWOBJ = 0x81,
    OP_TUPLE1 = 0x85,
    OP_TUPLE2 = 0x86,
    OP_TUPLE3 = 0x87,
    OP_NEWTRUE = 0x88,
    OP_NEWFALSE = 0x89,
    OP_LONG1 = 0x8a,
    OP_LONG4 = 0x8b,
    OP_SHORT_BINUNICODE = 0x8c,
    OP_BINUNICODE8 = 0x8d,
    OP_BINBYTES8 = 0x8e,
    OP_EMPTY_SET = 0x8f,
    OP_ADDITEMS = 0x90,
    OP_STACK_GLOBAL = 0x93,
    OP_MEMOIZE = 0x94,
    OP_FRAME = 0x95
};

enum { TEXT_SHOWN = 100 };

typedef atr_pickle_value value;

/* The state of the stack machine. */
typedef struct machine {
    atr_pickle *pickle;
    const uint8_t *bytes;
    size_t size, at; /* `at`: next byte */
    atr_pickle_allow allow;
    value_list stack, memo;
    int64_t *marks; /* stack heights */
    int64_t mark_count, mark_capacity;
    bool stopped;
} machine;

static atr_status damaged(const machine *m, const char *what)
{
    return atr_fail(ATR_ERR_DATA, "pickle, byte %zu: %s", m->at, what);
}

static atr_status push_new(machine *m, atr_pickle_kind kind, value **out)
{
    atr_status status = ATR_OK;

    ATR_TRY(atr_pickle_new(m->pickle, kind, out));
    ATR_TRY(atr_pickle_push(&m->stack, *out));

done:
    return status;
}

static atr_status push_integer(machine *m, atr_pickle_kind kind, int64_t integer)
{
    value *v = NULL;
    const atr_status status = push_new(m, kind, &v);

    if (status == ATR_OK)
        v->integer = integer;
    return status;
}

/* The height below which nothing may be taken: that of the last mark. */
static int64_t floor_height(const machine *m)
{
    return m->mark_count > 0 ? m->marks[m->mark_count - 1] : 0;
}

static atr_status pop(machine *m, value **out)
{
    if (m->stack.count <= floor_height(m))
        return damaged(m, "a value is wanted and the stack is empty");
    *out = m->stack.at[--m->stack.count];
    return ATR_OK;
}

static atr_status top(machine *m, value **out)
{
    if (m->stack.count <= floor_height(m))
        return damaged(m, "a value is wanted and the stack is empty");
    *out = m->stack.at[m->stack.count - 1];
    return ATR_OK;
}

static atr_status push_mark(machine *m)
{
    if (m->mark_count == m->mark_capacity) {
        const int64_t capacity = m->mark_capacity == 0 ? 64 : m->mark_capacity * 2;
        const atr_status status = atr_grow(m->mark_capacity, capacity, sizeof *m->marks, (void **)&m->marks);
        if (status != ATR_OK)
            return status;
        m->mark_capacity = capacity;
    }
    m->marks[m->mark_count++] = m->stack.count;
    return ATR_OK;
}

/* Takes all values above the last mark off the stack; they stay readable at `*from` until the next push. */
static atr_status pop_mark(machine *m, value *const **from, int64_t *count)
{
    if (m->mark_count == 0)
        return damaged(m, "values up to a mark are wanted and there is no mark");
    const int64_t height = m->marks[--m->mark_count];
    *from = m->stack.at + height;
    *count = m->stack.count - height;
    m->stack.count = height;
    return ATR_OK;
}

/* Gives the next `count` bytes of the stream. */
static atr_status take(machine *m, uint64_t count, const uint8_t **out)
{
    if (count > m->size - m->at)
        return damaged(m, "the stream ends inside a value");
    *out = m->bytes + m->at;
    m->at += (size_t)count;
    return ATR_OK;
}

/* An unsigned little-endian number of `width` <= 8 bytes. */
static atr_status take_number(machine *m, int width, uint64_t *out)
{
    const uint8_t *bytes = NULL;
    const atr_status status = take(m, (uint64_t)width, &bytes);

    *out = 0;
    for (int i = width - 1; status == ATR_OK && i >= 0; i--)
        *out = *out << 8 | bytes[i];
    return status;
}

/* A counted string: the count is `width` bytes. */
static atr_status push_text(machine *m, atr_pickle_kind kind, int width)
{
    atr_status status = ATR_OK;
    const uint8_t *bytes = NULL;
    uint64_t length = 0;
    value *v = NULL;

    ATR_TRY(take_number(m, width, &length));
    ATR_TRY(take(m, length, &bytes));
    ATR_TRY(push_new(m, kind, &v));
    v->text = (const char *)bytes;
    v->length = (size_t)length;

done:
    return status;
}

/* A two's complement integer of any length; over 64 bits it is nothing we need. */
static atr_status push_long(machine *m, int width)
{
    atr_status status = ATR_OK;
    const uint8_t *bytes = NULL;
    uint64_t length = 0, bits = 0;

    ATR_TRY(take_number(m, width, &length));
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
static atr_status push_real(machine *m)
{
    atr_status status = ATR_OK;
    const uint8_t *bytes = NULL;
    uint64_t bits = 0;
    value *v = NULL;

    ATR_TRY(take(m, 8, &bytes));
    for (int i = 0; i < 8; i++)
        bits = bits << 8 | bytes[i];
    ATR_TRY(push_new(m, ATR_PICKLE_FLOAT, &v));
    memcpy(&v->real, &bits, sizeof bits);

done:
    return status;
}

/* Pushes the global MODULE.NAME if the caller allows it. */
static atr_status push_global(machine *m, const char *module, size_t module_length, const char *name,
                              size_t name_length)
{
    atr_status status = ATR_OK;
    value *v = NULL;
    char *text = NULL;

    if (module_length > TEXT_SHOWN || name_length > TEXT_SHOWN)
        return damaged(m, "a function's name is absurdly long");
    ATR_TRY(atr_format(&text, "%.*s.%.*s", (int)module_length, module, (int)name_length, name));
    if (!m->allow(text)) {
        status = atr_fail(ATR_ERR_DATA,
                          "the file names '%s', which is not part of tensors; nothing of it was run. Save "
                          "model.state_dict() alone and read that",
                          text);
        goto done;
    }
    ATR_TRY(push_new(m, ATR_PICKLE_GLOBAL, &v));
    ATR_TRY(atr_pickle_push(&m->pickle->names, v));
    v->text = text;
    v->length = strlen(text);
    text = NULL;

done:
    atr_free(text);
    return status;
}

/* GLOBAL: two lines of text in the stream. */
static atr_status read_global(machine *m)
{
    atr_status status = ATR_OK;
    const char *line[2];
    size_t length[2];

    for (int i = 0; i < 2; i++) {
        const uint8_t *end = memchr(m->bytes + m->at, '\n', m->size - m->at);
        if (end == NULL)
            return damaged(m, "the stream ends inside a function's name");
        line[i] = (const char *)m->bytes + m->at;
        length[i] = (size_t)(end - (m->bytes + m->at));
        m->at += length[i] + 1;
    }
    ATR_TRY(push_global(m, line[0], length[0], line[1], length[1]));

done:
    return status;
}

/* STACK_GLOBAL: module and name as texts on the stack. */
static atr_status read_stack_global(machine *m)
{
    atr_status status = ATR_OK;
    value *name = NULL, *module = NULL;

    ATR_TRY(pop(m, &name));
    ATR_TRY(pop(m, &module));
    if (name->kind != ATR_PICKLE_TEXT || module->kind != ATR_PICKLE_TEXT)
        return damaged(m, "a function's name is not a text");
    ATR_TRY(push_global(m, module->text, module->length, name->text, name->length));

done:
    return status;
}

/* REDUCE and NEWOBJ: callee and arguments become one value; nothing is called. */
static atr_status make_call(machine *m)
{
    atr_status status = ATR_OK;
    value *args = NULL, *callee = NULL, *v = NULL;

    ATR_TRY(pop(m, &args));
    ATR_TRY(pop(m, &callee));
    if (callee->kind != ATR_PICKLE_GLOBAL || args->kind != ATR_PICKLE_TUPLE)
        return damaged(m, "something is called that is no named function");
    ATR_TRY(push_new(m, ATR_PICKLE_CALL, &v));
    v->callee = callee;
    v->args = args;

done:
    return status;
}

static atr_status make_persid(machine *m)
{
    atr_status status = ATR_OK;
    value *id = NULL, *v = NULL;

    ATR_TRY(pop(m, &id));
    ATR_TRY(push_new(m, ATR_PICKLE_PERSID, &v));
    ATR_TRY(atr_pickle_append(m->pickle, v, &id, 1));
    ATR_TRY(atr_pickle_push(&m->pickle->persids, v));

done:
    return status;
}

/* A tuple of the top `count` values, or of those above the mark. */
static atr_status make_tuple(machine *m, int count)
{
    atr_status status = ATR_OK;
    value *const *from = NULL;
    int64_t taken = count;
    value *v = NULL;

    if (count >= 0) {
        if (m->stack.count - floor_height(m) < count)
            return damaged(m, "a value is wanted and the stack is empty");
        m->stack.count -= count;
        from = m->stack.at + m->stack.count;
    } else {
        ATR_TRY(pop_mark(m, &from, &taken));
    }
    ATR_TRY(atr_pickle_new(m->pickle, ATR_PICKLE_TUPLE, &v));
    ATR_TRY(atr_pickle_append(m->pickle, v, from, taken)); /* before the push: it may overwrite `from` */
    ATR_TRY(atr_pickle_push(&m->stack, v));

done:
    return status;
}

/* SETITEM(S): pairs into a dictionary or into the result of a call (OrderedDict). APPEND(S): values into a list. */
static atr_status fill(machine *m, bool pairs, value *const *from, int64_t count)
{
    atr_status status = ATR_OK;
    value *to = NULL;

    ATR_TRY(top(m, &to));
    if (pairs && ((to->kind != ATR_PICKLE_DICT && to->kind != ATR_PICKLE_CALL) || count % 2 != 0))
        return damaged(m, "pairs are stored into something that is no dictionary");
    if (!pairs && to->kind != ATR_PICKLE_LIST)
        return damaged(m, "values are appended to something that is no list");
    ATR_TRY(atr_pickle_append(m->pickle, to, from, count));

done:
    return status;
}

static atr_status fill_marked(machine *m, bool pairs)
{
    value *const *from = NULL;
    int64_t count = 0;
    const atr_status status = pop_mark(m, &from, &count);

    return status != ATR_OK ? status : fill(m, pairs, from, count);
}

/* SETITEM and APPEND: the top `count` values go into the one below them. */
static atr_status fill_top(machine *m, bool pairs, int count)
{
    if (m->stack.count - floor_height(m) < count)
        return damaged(m, "a value is wanted and the stack is empty");
    m->stack.count -= count;
    return fill(m, pairs, m->stack.at + m->stack.count, count);
}

/* Takes values off without using them: POP_MARK, and ADDITEMS into a set. */
static atr_status drop_marked(machine *m)
{
    value *const *from = NULL;
    int64_t count = 0;

    return pop_mark(m, &from, &count);
}

/* A writer numbers memo entries one by one, so none can exceed the bytes read. */
static atr_status memo_put(machine *m, uint64_t index)
{
    atr_status status = ATR_OK;
    value *v = NULL;

    ATR_TRY(top(m, &v));
    if (index > m->at)
        return damaged(m, "a memo number is absurdly large");
    while ((uint64_t)m->memo.count <= index)
        ATR_TRY(atr_pickle_push(&m->memo, NULL));
    m->memo.at[index] = v;

done:
    return status;
}

static atr_status memo_put_read(machine *m, int width)
{
    uint64_t index = 0;
    const atr_status status = take_number(m, width, &index);

    return status != ATR_OK ? status : memo_put(m, index);
}

static atr_status memo_get(machine *m, int width)
{
    uint64_t index = 0;
    const atr_status status = take_number(m, width, &index);

    if (status != ATR_OK)
        return status;
    if (index >= (uint64_t)m->memo.count || m->memo.at[index] == NULL)
        return damaged(m, "a memo entry is wanted that was never stored");
    return atr_pickle_push(&m->stack, m->memo.at[index]);
}

static atr_status duplicate(machine *m)
{
    value *v = NULL;
    const atr_status status = top(m, &v);

    return status != ATR_OK ? status : atr_pickle_push(&m->stack, v);
}

static atr_status push_small_integer(machine *m, int width)
{
    uint64_t bits = 0;
    const atr_status status = take_number(m, width, &bits);

    if (status != ATR_OK)
        return status;
    return push_integer(m, ATR_PICKLE_INT, width == 4 ? (int32_t)(uint32_t)bits : (int64_t)bits);
}

/* A number in the stream that has no meaning here: the protocol's version, a frame's length. */
static atr_status skip_number(machine *m, int width)
{
    uint64_t unused = 0;

    return take_number(m, width, &unused);
}

static atr_status stop(machine *m)
{
    const atr_status status = pop(m, &m->pickle->root);

    m->stopped = true;
    return status;
}

static atr_status step(machine *m, uint8_t op)
{
    value *fresh = NULL;

    switch (op) {
    case OP_PROTO:
        return skip_number(m, 1);
    case OP_FRAME:
        return skip_number(m, 8);
    case OP_STOP:
        return stop(m);
    case OP_MARK:
        return push_mark(m);
    case OP_POP:
    case OP_BUILD: /* attributes of an object (`_metadata` of a state_dict), of which none is needed */
        return pop(m, &fresh);
    case OP_POP_MARK:
    case OP_ADDITEMS:
        return drop_marked(m);
    case OP_DUP:
        return duplicate(m);
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
    case OP_EMPTY_TUPLE:
        return push_new(m, ATR_PICKLE_TUPLE, &fresh);
    case OP_EMPTY_LIST:
        return push_new(m, ATR_PICKLE_LIST, &fresh);
    case OP_EMPTY_DICT:
        return push_new(m, ATR_PICKLE_DICT, &fresh);
    case OP_EMPTY_SET:
        return push_new(m, ATR_PICKLE_OTHER, &fresh);
    case OP_TUPLE:
        return make_tuple(m, -1);
    case OP_TUPLE1:
        return make_tuple(m, 1);
    case OP_TUPLE2:
        return make_tuple(m, 2);
    case OP_TUPLE3:
        return make_tuple(m, 3);
    case OP_APPEND:
        return fill_top(m, false, 1);
    case OP_APPENDS:
        return fill_marked(m, false);
    case OP_SETITEM:
        return fill_top(m, true, 2);
    case OP_SETITEMS:
        return fill_marked(m, true);
    case OP_BINGET:
        return memo_get(m, 1);
    case OP_LONG_BINGET:
        return memo_get(m, 4);
    case OP_BINPUT:
        return memo_put_read(m, 1);
    case OP_LONG_BINPUT:
        return memo_put_read(m, 4);
    case OP_MEMOIZE:
        return memo_put(m, (uint64_t)m->memo.count);
    case OP_GLOBAL:
        return read_global(m);
    case OP_STACK_GLOBAL:
        return read_stack_global(m);
    case OP_REDUCE:
    case OP_NEWOBJ:
        return make_call(m);
    case OP_BINPERSID:
        return make_persid(m);
    default:
        return atr_fail(ATR_ERR_DATA, "pickle, byte %zu: instruction 0x%02x is not one that data needs",
                        m->at - 1, op);
    }
}

atr_status atr_pickle_read(const void *bytes, size_t size, atr_pickle_allow allow, size_t *used,
                           atr_pickle **out)
{
    atr_status status = ATR_OK;
    atr_pickle *pickle = NULL;
    machine m = {.bytes = bytes, .size = size, .allow = allow};

    *out = NULL;
    if (m.size > ATR_PICKLE_MAX_BYTES)
        m.size = ATR_PICKLE_MAX_BYTES;
    ATR_TRY(ATR_NEW(1, &pickle));
    m.pickle = pickle;
    while (!m.stopped) {
        if (m.at >= m.size) {
            status = damaged(&m, "the stream ends before its stop sign");
            goto done;
        }
        ATR_TRY(step(&m, m.bytes[m.at++]));
    }
    if (used != NULL)
        *used = m.at;
    *out = pickle;
    pickle = NULL;

done:
    atr_free(m.stack.at);
    atr_free(m.memo.at);
    atr_free(m.marks);
    atr_pickle_destroy(pickle);
    return status;
}
