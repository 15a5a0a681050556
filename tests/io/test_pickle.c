#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/rng.h"
#include "io/pickle.h"
#include "tests/support/pickle_maker.h"

static bool allow_ordered(const char *global)
{
    return strcmp(global, "collections.OrderedDict") == 0;
}

static atr_status read(const maker *m, atr_pickle **out)
{
    uint8_t *exact = malloc(m->size + 1); /* ends where the bytes end */
    assert_non_null(exact);
    if (m->size > 0)
        memcpy(exact, m->bytes, m->size);
    const atr_status status = atr_pickle_read(exact, m->size, allow_ordered, NULL, out);
    if (status != ATR_OK)
        assert_null(*out);
    free(exact);
    return status;
}

static void refused(maker *m, const char *words)
{
    atr_pickle *pickle = NULL;

    assert_int_equal(read(m, &pickle), ATR_ERR_DATA);
    if (strstr(atr_status_message(), words) == NULL)
        fail_msg("'%s' lacks '%s'", atr_status_message(), words);
    maker_free(m);
}

static void refused_bytes(const char *bytes, size_t size, const char *words)
{
    maker m = {0};

    maker_bytes(&m, bytes, size);
    refused(&m, words);
}

static void plain_values_are_read(void **state)
{
    /* (-2, 70000, 1.5, True, None, 'text', [1, 2], {'k': -1}) and a second pickle behind it */
    static const char stream[] =
        "\x80\x02(J\xfe\xff\xff\xffJ\x70\x11\x01\x00G\x3f\xf8\x00\x00\x00\x00\x00\x00\x88N"
        "X\x04\x00\x00\x00text](K\x01K\x02\x65}\x8c\x01kJ\xff\xff\xff\xffst.N.";
    atr_pickle *pickle = NULL;
    size_t used = 0;

    (void)state;
    assert_int_equal(atr_pickle_read(stream, sizeof stream - 1, allow_ordered, &used, &pickle), ATR_OK);
    assert_int_equal(used, sizeof stream - 3);
    const atr_pickle_value *root = atr_pickle_root(pickle);
    assert_int_equal(root->kind, ATR_PICKLE_TUPLE);
    assert_int_equal(root->count, 8);
    assert_int_equal(root->items[0]->integer, -2);
    assert_int_equal(root->items[1]->integer, 70000);
    assert_true(root->items[2]->real == 1.5);
    assert_int_equal(root->items[3]->kind, ATR_PICKLE_BOOL);
    assert_int_equal(root->items[4]->kind, ATR_PICKLE_NONE);
    assert_true(atr_pickle_is_text(root->items[5], "text"));
    assert_int_equal(root->items[6]->kind, ATR_PICKLE_LIST);
    assert_int_equal(root->items[6]->items[1]->integer, 2);
    assert_int_equal(root->items[7]->kind, ATR_PICKLE_DICT);
    assert_int_equal(root->items[7]->items[1]->integer, -1);
    atr_pickle_destroy(pickle);
}

static void calls_become_data(void **state)
{
    static const char stream[] = "\x80\x02\x63"
                                 "collections\nOrderedDict\nq\x00)R(X\x01\x00\x00\x00"
                                 "aK\x05uh\x00)R}X\x09\x00\x00\x00_metadataK\x01sb\x86.";
    atr_pickle *pickle = NULL;

    (void)state;
    assert_int_equal(atr_pickle_read(stream, sizeof stream - 1, allow_ordered, NULL, &pickle), ATR_OK);
    const atr_pickle_value *first = atr_pickle_root(pickle)->items[0],
                           *second = atr_pickle_root(pickle)->items[1];
    assert_int_equal(first->kind, ATR_PICKLE_CALL);
    assert_string_equal(first->callee->text, "collections.OrderedDict");
    assert_int_equal(first->count, 2);
    assert_int_equal(first->items[1]->integer, 5);
    assert_true(first != second);
    atr_pickle_destroy(pickle);
}

static void foreign_functions_are_named_and_refused(void **state)
{
    maker m = {0};

    (void)state;
    maker_global(&m, "os", "system");
    maker_bytes(&m, "(X\x07\x00\x00\x00rm -rf /tR.", 16);
    refused(&m, "'os.system'");
    maker_bytes(&m,
                "\x8c\x08"
                "builtins\x8c\x04"
                "eval\x93.",
                18); /* STACK_GLOBAL */
    refused(&m, "'builtins.eval'");
    maker_global(&m, "os\x1b[2J", "x"); /* nothing that drives a terminal */
    refused(&m, "'os?[2J.x'");
    for (int op = 'i'; op != 0; op = op == 'i' ? 'o' : op == 'o' ? 0x92 : op == 0x92 ? 0x82 : 0) {
        maker_op(&m, op); /* INST, OBJ, NEWOBJ_EX, EXT1 */
        maker_bytes(&m, "os\nsystem\n", 10);
        refused(&m, "not one that data needs");
    }
    refused_bytes("K\x01)R.", 5, "no named function");
    refused_bytes("\x8c\x01xK\x01\x93.", 7, "not a text");
}

static void broken_stacks_are_refused(void **state)
{
    (void)state;
    refused_bytes(".", 1, "the stack is empty");
    refused_bytes("", 0, "ends before its stop sign");
    refused_bytes("K\x01", 2, "ends before its stop sign");
    refused_bytes("0.", 2, "the stack is empty");
    refused_bytes("t.", 2, "no mark");
    refused_bytes("K\x01(\x85.", 5, "the stack is empty"); /* nothing may be taken from below a mark */
    refused_bytes("K\x01(a.", 5, "the stack is empty");
    refused_bytes("](K\x01s.", 6, "the stack is empty");
    refused_bytes("]K\x01K\x02s.", 7, "no dictionary");
    refused_bytes("}K\x01\x61.", 5, "no list");
    refused_bytes("}(K\x01u.", 6, "no dictionary"); /* half a pair */
    refused_bytes("h\x05.", 3, "never stored");
    refused_bytes("K\x01j\xff\xff\xff\xff.", 8, "never stored");
}

static void lying_lengths_are_refused(void **state)
{
    (void)state;
    refused_bytes("X\xff\xff\xff\xff"
                  "abc.",
                  9, "ends inside a value");
    refused_bytes("\x8d\xff\xff\xff\xff\xff\xff\xff\xff.", 10, "ends inside a value");
    refused_bytes("\x8b\xff\xff\xff\x7f.", 6, "ends inside a value");
    refused_bytes("\x8a\x09\x01.", 4, "ends inside a value");
    refused_bytes("G\x00", 2, "ends inside a value");
    refused_bytes("cos", 3, "inside a function's name");
}

/* A memo entry of 4 billion would take 32 GB. */
static void huge_memo_is_refused(void **state)
{
    (void)state;
    refused_bytes("K\x01r\xff\xff\xff\xff.", 8, "absurdly large");
    refused_bytes("K\x01r\x00\x00\x00\x01.", 8, "absurdly large");
}

/* A million opening brackets: no recursion, no crash. */
static void deep_nesting_is_survived(void **state)
{
    maker m = {0};
    atr_pickle *pickle = NULL;
    const size_t depth = 1 << 20;

    (void)state;
    for (size_t i = 0; i < depth; i++)
        maker_op(&m, ']');
    for (size_t i = 0; i + 1 < depth; i++)
        maker_op(&m, 'a');
    maker_op(&m, '.');
    assert_int_equal(read(&m, &pickle), ATR_OK);
    atr_pickle_destroy(pickle);
    maker_free(&m);
    for (size_t i = 0; i < (size_t)3 << 20; i++)
        maker_op(&m, 'N');
    maker_op(&m, '.');
    refused(&m, "more than");
}

/* l = []; l.append(l): values may contain themselves. */
static void cycles_are_survived(void **state)
{
    atr_pickle *pickle = NULL;

    (void)state;
    assert_int_equal(atr_pickle_read("]q\x00h\x00\x61.", 7, allow_ordered, NULL, &pickle), ATR_OK);
    assert_true(atr_pickle_root(pickle)->items[0] == atr_pickle_root(pickle));
    atr_pickle_destroy(pickle);
}

/* Random programs over the opcodes that are read: each ends with a status. */
static void random_programs_are_survived(void **state)
{
    static const uint8_t ops[] =
        "(012BCGJKMNQRTUX]abcehjqrst)u}\x80\x81\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8f\x90\x93\x94\x95";
    int64_t read_well = 0;

    (void)state;
    for (uint64_t round = 0; round < 20000; round++) {
        const uint64_t key = atr_rng_key(3, ATR_RNG_TEST, round, 0);
        const uint64_t length = 1 + atr_rng_below(key, 0, 60);
        maker m = {0};
        atr_pickle *pickle = NULL;
        for (uint64_t i = 1; i <= length; i++) {
            const bool op = atr_rng_below(key, 3 * i, 4) != 0;
            maker_op(&m, op ? ops[atr_rng_below(key, 3 * i + 1, sizeof ops - 1)]
                            : (int)atr_rng_below(key, 3 * i + 2, 5));
        }
        maker_op(&m, '.');
        read_well += read(&m, &pickle) == ATR_OK;
        atr_pickle_destroy(pickle);
        maker_free(&m);
    }
    assert_true(read_well > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_values_are_read),
        cmocka_unit_test(calls_become_data),
        cmocka_unit_test(foreign_functions_are_named_and_refused),
        cmocka_unit_test(broken_stacks_are_refused),
        cmocka_unit_test(lying_lengths_are_refused),
        cmocka_unit_test(huge_memo_is_refused),
        cmocka_unit_test(deep_nesting_is_survived),
        cmocka_unit_test(cycles_are_survived),
        cmocka_unit_test(random_programs_are_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
