#include "io/pickle.h"

#include <string.h>

#include "io/pickle_impl.h"

enum { TEXT_SHOWN = 100 };

typedef atr_pickle_value value;

/* The height below which nothing may be taken: that of the last mark. */
static int64_t floor_height(const atr_pickle_machine *m)
{
    return m->mark_count > 0 ? m->marks[m->mark_count - 1] : 0;
}

static atr_status pop(atr_pickle_machine *m, value **out)
{
    if (m->stack.count <= floor_height(m))
        return atr_pickle_damaged(m, "a value is wanted and the stack is empty");
    *out = m->stack.at[--m->stack.count];
    return ATR_OK;
}

static atr_status top(atr_pickle_machine *m, value **out)
{
    if (m->stack.count <= floor_height(m))
        return atr_pickle_damaged(m, "a value is wanted and the stack is empty");
    *out = m->stack.at[m->stack.count - 1];
    return ATR_OK;
}

static atr_status push_mark(atr_pickle_machine *m)
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
static atr_status pop_mark(atr_pickle_machine *m, value *const **from, int64_t *count)
{
    if (m->mark_count == 0)
        return atr_pickle_damaged(m, "values up to a mark are wanted and there is no mark");
    const int64_t height = m->marks[--m->mark_count];
    *from = m->stack.at + height;
    *count = m->stack.count - height;
    m->stack.count = height;
    return ATR_OK;
}

/* Pushes the global MODULE.NAME if the caller allows it. */
static atr_status push_global(atr_pickle_machine *m, const char *module, size_t module_length,
                              const char *name, size_t name_length)
{
    atr_status status = ATR_OK;
    value *v = NULL;
    char *text = NULL;

    if (module_length > TEXT_SHOWN || name_length > TEXT_SHOWN)
        return atr_pickle_damaged(m, "a function's name is absurdly long");
    ATR_TRY(atr_format(&text, "%.*s.%.*s", (int)module_length, module, (int)name_length, name));
    if (!m->allow(text)) {
        status = atr_fail(ATR_ERR_DATA,
                          "the file names '%s', which is not part of tensors; nothing of it was run. Save "
                          "model.state_dict() alone and read that",
                          text);
        goto done;
    }
    ATR_TRY(atr_pickle_push_new(m, ATR_PICKLE_GLOBAL, &v));
    ATR_TRY(atr_pickle_push(&m->pickle->names, v));
    v->text = text;
    v->length = strlen(text);
    text = NULL;

done:
    atr_free(text);
    return status;
}

/* GLOBAL: two lines of text in the stream. */
static atr_status read_global(atr_pickle_machine *m)
{
    atr_status status = ATR_OK;
    const char *line[2];
    size_t length[2];

    for (int i = 0; i < 2; i++) {
        const uint8_t *end = memchr(m->bytes + m->at, '\n', m->size - m->at);
        if (end == NULL)
            return atr_pickle_damaged(m, "the stream ends inside a function's name");
        line[i] = (const char *)m->bytes + m->at;
        length[i] = (size_t)(end - (m->bytes + m->at));
        m->at += length[i] + 1;
    }
    ATR_TRY(push_global(m, line[0], length[0], line[1], length[1]));

done:
    return status;
}

/* STACK_GLOBAL: module and name as texts on the stack. */
static atr_status read_stack_global(atr_pickle_machine *m)
{
    atr_status status = ATR_OK;
    value *name = NULL, *module = NULL;

    ATR_TRY(pop(m, &name));
    ATR_TRY(pop(m, &module));
    if (name->kind != ATR_PICKLE_TEXT || module->kind != ATR_PICKLE_TEXT)
        return atr_pickle_damaged(m, "a function's name is not a text");
    ATR_TRY(push_global(m, module->text, module->length, name->text, name->length));

done:
    return status;
}

/* REDUCE and NEWOBJ: callee and arguments become one value; nothing is called. */
static atr_status make_call(atr_pickle_machine *m)
{
    atr_status status = ATR_OK;
    value *args = NULL, *callee = NULL, *v = NULL;

    ATR_TRY(pop(m, &args));
    ATR_TRY(pop(m, &callee));
    if (callee->kind != ATR_PICKLE_GLOBAL || args->kind != ATR_PICKLE_TUPLE)
        return atr_pickle_damaged(m, "something is called that is no named function");
    ATR_TRY(atr_pickle_push_new(m, ATR_PICKLE_CALL, &v));
    v->callee = callee;
    v->args = args;

done:
    return status;
}

static atr_status make_persid(atr_pickle_machine *m)
{
    atr_status status = ATR_OK;
    value *id = NULL, *v = NULL;

    ATR_TRY(pop(m, &id));
    ATR_TRY(atr_pickle_push_new(m, ATR_PICKLE_PERSID, &v));
    ATR_TRY(atr_pickle_append(m->pickle, v, &id, 1));
    ATR_TRY(atr_pickle_push(&m->pickle->persids, v));

done:
    return status;
}

/* A tuple of the top `count` values, or of those above the mark. */
static atr_status make_tuple(atr_pickle_machine *m, int count)
{
    atr_status status = ATR_OK;
    value *const *from = NULL;
    int64_t taken = count;
    value *v = NULL;

    if (count >= 0) {
        if (m->stack.count - floor_height(m) < count)
            return atr_pickle_damaged(m, "a value is wanted and the stack is empty");
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
static atr_status fill(atr_pickle_machine *m, bool pairs, value *const *from, int64_t count)
{
    atr_status status = ATR_OK;
    value *to = NULL;

    ATR_TRY(top(m, &to));
    if (pairs && ((to->kind != ATR_PICKLE_DICT && to->kind != ATR_PICKLE_CALL) || count % 2 != 0))
        return atr_pickle_damaged(m, "pairs are stored into something that is no dictionary");
    if (!pairs && to->kind != ATR_PICKLE_LIST)
        return atr_pickle_damaged(m, "values are appended to something that is no list");
    ATR_TRY(atr_pickle_append(m->pickle, to, from, count));

done:
    return status;
}

static atr_status fill_marked(atr_pickle_machine *m, bool pairs)
{
    value *const *from = NULL;
    int64_t count = 0;
    const atr_status status = pop_mark(m, &from, &count);

    return status != ATR_OK ? status : fill(m, pairs, from, count);
}

/* SETITEM and APPEND: the top `count` values go into the one below them. */
static atr_status fill_top(atr_pickle_machine *m, bool pairs, int count)
{
    if (m->stack.count - floor_height(m) < count)
        return atr_pickle_damaged(m, "a value is wanted and the stack is empty");
    m->stack.count -= count;
    return fill(m, pairs, m->stack.at + m->stack.count, count);
}

/* Takes values off without using them: POP_MARK, and ADDITEMS into a set. */
static atr_status drop_marked(atr_pickle_machine *m)
{
    value *const *from = NULL;
    int64_t count = 0;

    return pop_mark(m, &from, &count);
}

/* A writer numbers memo entries one by one, so none can exceed the bytes read. */
static atr_status memo_put(atr_pickle_machine *m, uint64_t index)
{
    atr_status status = ATR_OK;
    value *v = NULL;

    ATR_TRY(top(m, &v));
    if (index > m->at)
        return atr_pickle_damaged(m, "a memo number is absurdly large");
    while ((uint64_t)m->memo.count <= index)
        ATR_TRY(atr_pickle_push(&m->memo, NULL));
    m->memo.at[index] = v;

done:
    return status;
}

static atr_status memo_put_read(atr_pickle_machine *m, int width)
{
    uint64_t index = 0;
    const atr_status status = atr_pickle_take_number(m, width, &index);

    return status != ATR_OK ? status : memo_put(m, index);
}

static atr_status memo_get(atr_pickle_machine *m, int width)
{
    uint64_t index = 0;
    const atr_status status = atr_pickle_take_number(m, width, &index);

    if (status != ATR_OK)
        return status;
    if (index >= (uint64_t)m->memo.count || m->memo.at[index] == NULL)
        return atr_pickle_damaged(m, "a memo entry is wanted that was never stored");
    return atr_pickle_push(&m->stack, m->memo.at[index]);
}

static atr_status duplicate(atr_pickle_machine *m)
{
    value *v = NULL;
    const atr_status status = top(m, &v);

    return status != ATR_OK ? status : atr_pickle_push(&m->stack, v);
}

/* A number in the stream that has no meaning here: the protocol's version, a frame's length. */
static atr_status skip_number(atr_pickle_machine *m, int width)
{
    uint64_t unused = 0;

    return atr_pickle_take_number(m, width, &unused);
}

static atr_status stop(atr_pickle_machine *m)
{
    const atr_status status = pop(m, &m->pickle->root);

    m->stopped = true;
    return status;
}

/* Instructions that make or fill tuples, lists, dictionaries and sets. */
static atr_status build(atr_pickle_machine *m, uint8_t op)
{
    value *fresh = NULL;

    switch (op) {
    case OP_EMPTY_TUPLE:
        return atr_pickle_push_new(m, ATR_PICKLE_TUPLE, &fresh);
    case OP_EMPTY_LIST:
        return atr_pickle_push_new(m, ATR_PICKLE_LIST, &fresh);
    case OP_EMPTY_DICT:
        return atr_pickle_push_new(m, ATR_PICKLE_DICT, &fresh);
    case OP_EMPTY_SET:
        return atr_pickle_push_new(m, ATR_PICKLE_OTHER, &fresh);
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
    default:
        return atr_pickle_literal(m, op);
    }
}

/* Instructions that work on the stack and the memo. */
static atr_status move(atr_pickle_machine *m, uint8_t op)
{
    value *unused = NULL;

    switch (op) {
    case OP_MARK:
        return push_mark(m);
    case OP_POP:
    case OP_BUILD: /* attributes of an object (`_metadata` of a state_dict), of which none is needed */
        return pop(m, &unused);
    case OP_POP_MARK:
    case OP_ADDITEMS:
        return drop_marked(m);
    case OP_DUP:
        return duplicate(m);
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
    default:
        return build(m, op);
    }
}

/* One instruction: those of the stream itself and of names and calls, else one of the kinds above. */
static atr_status step(atr_pickle_machine *m, uint8_t op)
{
    switch (op) {
    case OP_PROTO:
        return skip_number(m, 1);
    case OP_FRAME:
        return skip_number(m, 8);
    case OP_STOP:
        return stop(m);
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
        return move(m, op);
    }
}

atr_status atr_pickle_read(const void *bytes, size_t size, atr_pickle_allow allow, size_t *used,
                           atr_pickle **out)
{
    atr_status status = ATR_OK;
    atr_pickle *pickle = NULL;
    atr_pickle_machine m = {.bytes = bytes, .size = size, .allow = allow};

    *out = NULL;
    if (m.size > ATR_PICKLE_MAX_BYTES)
        m.size = ATR_PICKLE_MAX_BYTES;
    ATR_TRY(ATR_NEW(1, &pickle));
    m.pickle = pickle;
    while (!m.stopped) {
        if (m.at >= m.size) {
            status = atr_pickle_damaged(&m, "the stream ends before its stop sign");
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
