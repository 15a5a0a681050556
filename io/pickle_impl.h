#ifndef ATR_IO_PICKLE_IMPL_H
#define ATR_IO_PICKLE_IMPL_H

#include "core/mem.h"
#include "io/pickle.h"

/* Where the values of a pickle live, and the machine that makes them. */

typedef struct value_list {
    atr_pickle_value **at;
    int64_t count, capacity;
} value_list;

typedef struct value_pool value_pool;

struct atr_pickle {
    value_pool *pools;
    int64_t values;        /* made so far */
    value_list containers; /* that own an item array */
    value_list names;      /* globals: they own their text */
    value_list persids;
    atr_pickle_value *root;
};

atr_status atr_pickle_push(value_list *to, atr_pickle_value *v);

/* A fresh value, zeroed but for its kind; owned by the pickle. ATR_ERR_DATA over ATR_PICKLE_MAX_VALUES. */
atr_status atr_pickle_new(atr_pickle *pickle, atr_pickle_kind kind, atr_pickle_value **out);

/* Appends `count` values to the items of `to`. */
atr_status atr_pickle_append(atr_pickle *pickle, atr_pickle_value *to, atr_pickle_value *const *from,
                             int64_t count);

/* Opcodes of the protocols 2 to 5 (CPython, Lib/pickletools.py) that data can consist of. */
enum atr_pickle_opcode {
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

/* The state of the stack machine. */
typedef struct atr_pickle_machine {
    atr_pickle *pickle;
    const uint8_t *bytes;
    size_t size, at; /* `at`: next byte */
    atr_pickle_allow allow;
    value_list stack, memo;
    int64_t *marks; /* stack heights */
    int64_t mark_count, mark_capacity;
    bool stopped;
} atr_pickle_machine;

/* ATR_ERR_DATA: what is wrong at this place of the stream. */
atr_status atr_pickle_damaged(const atr_pickle_machine *m, const char *what);

/* A fresh value on top of the stack. */
atr_status atr_pickle_push_new(atr_pickle_machine *m, atr_pickle_kind kind, atr_pickle_value **out);

/* An unsigned little-endian number of `width` <= 8 bytes from the stream. */
atr_status atr_pickle_take_number(atr_pickle_machine *m, int width, uint64_t *out);

/* Carries out an instruction that pushes what stands in the stream or is a constant. ATR_ERR_DATA for any other. */
atr_status atr_pickle_literal(atr_pickle_machine *m, uint8_t op);

#endif
