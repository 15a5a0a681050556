#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>

#include "core/recipe.h"
#include "core/rng.h"
#include "core/timer.h"
#include "tests/support/scratch.h"

typedef struct recipe_values {
    int64_t epochs, seed;
    double lr, flip, blur;
    bool resume, shuffle;
    const char *name, *note;
    int optimizer;
    atr_list ignore, classes;
} recipe_values;

static const char *const optimizers[] = {"sgd", "adam", NULL};

static const atr_option rows[] = {
    {.name = "epochs",
     .kind = ATR_OPTION_INT,
     .offset = offsetof(recipe_values, epochs),
     .value = "25",
     .least = 1,
     .most = 1000},
    {.name = "seed", .kind = ATR_OPTION_INT, .offset = offsetof(recipe_values, seed)},
    {.name = "lr", .kind = ATR_OPTION_REAL, .offset = offsetof(recipe_values, lr), .value = "5e-4"},
    {.name = "augment-flip",
     .kind = ATR_OPTION_REAL,
     .offset = offsetof(recipe_values, flip),
     .value = "0.5",
     .least = 0,
     .most = 1},
    {.name = "augment-blur-p", .kind = ATR_OPTION_REAL, .offset = offsetof(recipe_values, blur)},
    {.name = "resume", .kind = ATR_OPTION_FLAG, .offset = offsetof(recipe_values, resume), .once = true},
    {.name = "shuffle", .kind = ATR_OPTION_FLAG, .offset = offsetof(recipe_values, shuffle), .value = "true"},
    {.name = "name", .kind = ATR_OPTION_STRING, .offset = offsetof(recipe_values, name)},
    {.name = "note", .kind = ATR_OPTION_STRING, .offset = offsetof(recipe_values, note), .value = "plain"},
    {.name = "optimizer",
     .kind = ATR_OPTION_CHOICE,
     .offset = offsetof(recipe_values, optimizer),
     .value = "adam",
     .choices = optimizers},
    {.name = "ignore",
     .kind = ATR_OPTION_LIST,
     .offset = offsetof(recipe_values, ignore),
     .value = "255",
     .least = 0,
     .most = 65535},
    {.name = "classes", .kind = ATR_OPTION_LIST, .offset = offsetof(recipe_values, classes)},
    {.name = NULL},
};

static recipe_values values;

static atr_options *make(recipe_values *target)
{
    atr_options *options = NULL;

    assert_int_equal(atr_options_create("atrous train", "", "", &options), ATR_OK);
    assert_int_equal(atr_options_add(options, rows, target), ATR_OK);
    return options;
}

static int make_options(void **state)
{
    *state = make(&values);
    return 0;
}

static int drop_options(void **state)
{
    atr_options_destroy(*state);
    return 0;
}

static atr_status parse(atr_options *options, const char *text)
{
    return atr_options_parse_yaml(options, "r.yaml", text, strlen(text));
}

#define REFUSED(text, message)                                                                               \
    do {                                                                                                     \
        assert_int_equal(parse(*state, text), ATR_ERR_USAGE);                                                \
        assert_string_equal(atr_status_message(), message);                                                  \
    } while (0)

static void nested_and_flat_keys_say_the_same(void **state)
{
    assert_int_equal(parse(*state, "# a recipe\n"
                                   "epochs: 3\n"
                                   "augment:\n"
                                   "  flip: 0.25\n"
                                   "  blur: {p: 1e-3}\n"
                                   "optimizer: sgd\n"
                                   "shuffle: no\n"
                                   "ignore: [255, 11]\n"
                                   "classes:\n"
                                   "  - road, wet\n"
                                   "  - car\n"
                                   "name: \"null\"\n"),
                     ATR_OK);
    assert_int_equal(values.epochs, 3);
    assert_true(values.flip == 0.25 && values.blur == 1e-3);
    assert_int_equal(values.optimizer, 0);
    assert_false(values.shuffle);
    assert_int_equal(values.ignore.count, 2);
    assert_string_equal(values.ignore.items[1], "11");
    assert_int_equal(values.classes.count, 2);
    assert_string_equal(values.classes.items[0], "road, wet");
    assert_string_equal(values.name, "null");
    assert_int_equal(atr_options_origin(*state, "augment-blur-p"), ATR_FROM_RECIPE);
    assert_int_equal(parse(*state, "augment-flip: 0.75\nignore: 1,2,3\n"), ATR_OK);
    assert_true(values.flip == 0.75);
    assert_int_equal(values.ignore.count, 3);
}

static void null_leaves_an_option_as_it_is(void **state)
{
    assert_int_equal(parse(*state, "epochs: null\nlr: ~\nname:\nnote: \"\"\nignore: []\n"), ATR_OK);
    assert_int_equal(values.epochs, 25);
    assert_null(values.name);
    assert_string_equal(values.note, "");
    assert_int_equal(values.ignore.count, 0);
    assert_false(atr_options_given(*state, "epochs"));
}

static void an_empty_recipe_is_fine(void **state)
{
    assert_int_equal(parse(*state, ""), ATR_OK);
    assert_int_equal(parse(*state, "# nothing\n"), ATR_OK);
    assert_int_equal(parse(*state, "---\n...\n"), ATR_OK);
    assert_int_equal(parse(*state, "{}"), ATR_OK);
}

static void the_command_line_wins(void **state)
{
    char *argv[] = {(char *)"train", (char *)"--epochs=7", NULL};

    assert_int_equal(atr_options_parse(*state, 2, argv), ATR_OK);
    assert_int_equal(parse(*state, "epochs: 9\nlr: 1\n"), ATR_OK);
    assert_int_equal(values.epochs, 7);
    assert_true(values.lr == 1);
}

static void unknown_keys_name_their_line_and_a_near_one(void **state)
{
    REFUSED("epochs: 3\n\nlrr: 1\n", "r.yaml:3: unknown key lrr: did you mean lr?");
    REFUSED("augment:\n  flp: 1\n", "r.yaml:2: unknown key augment-flp: did you mean augment-flip?");
    REFUSED("batch_size: 8\n", "r.yaml:1: unknown key batch_size");
    REFUSED("epochs: {max: 3}\n", "r.yaml:1: unknown key epochs-max: did you mean epochs?");
    REFUSED("rseume: true\n", "r.yaml:1: unknown key rseume"); /* not one for recipes: no suggestion */
    REFUSED("\"\": 3\n", "r.yaml:1: unknown key ");
    REFUSED("\"a\\eb\": 3\n", "r.yaml:1: unknown key a?b");
}

static void bounds_are_those_of_the_command_line(void **state)
{
    REFUSED("epochs: 0\n", "r.yaml:1: epochs: 0 is out of bounds, 1 to 1000 is allowed");
    REFUSED("lr: fast\n", "r.yaml:1: lr: 'fast' is not a number");
    REFUSED("lr: .inf\n", "r.yaml:1: lr: '.inf' is not a number");
    REFUSED("shuffle: maybe\n", "r.yaml:1: shuffle: 'maybe' is not true or false");
    REFUSED("optimizer: sdg\n",
            "r.yaml:1: optimizer: no 'sdg' to choose, there are sgd, adam (did you mean sgd?)");
    REFUSED("ignore:\n- 255\n- 99999\n", "r.yaml:4: ignore: 99999 is out of bounds, 0 to 65535 is allowed");
    REFUSED("epochs: [1]\nlr: [1, 2]\n", "r.yaml:2: lr takes one value, not a list of 2");
}

static void what_recipes_never_hold_is_refused(void **state)
{
    REFUSED("resume: true\n", "r.yaml:1: 'resume' belongs on the command line, not in a recipe");
    REFUSED("epochs: 3\nepochs: 4\n", "r.yaml:2: 'epochs' is given twice");
    REFUSED("augment: {flip: 1}\naugment-flip: 0\n", "r.yaml:2: 'augment-flip' is given twice");
    REFUSED("epochs: &a 3\n", "r.yaml:1: anchors ('&') have no place in a recipe");
    REFUSED("classes: &a [x]\n", "r.yaml:1: anchors ('&') have no place in a recipe");
    REFUSED("name: *a\n", "r.yaml:1: aliases ('*') have no place in a recipe");
    REFUSED("<<: {epochs: 1}\n", "r.yaml:1: unknown key <<-epochs: did you mean epochs?");
    REFUSED("epochs: !!python/object:os.system 3\n", "r.yaml:1: tags ('!') have no place in a recipe");
    REFUSED("classes: [[a], b]\n", "r.yaml:1: 'classes': a list holds only single values");
    REFUSED("classes: [{a: 1}]\n", "r.yaml:1: 'classes': a list holds only single values");
    REFUSED("[1]: 3\n", "r.yaml:1: a key must be a word");
    REFUSED("- 1\n", "r.yaml:1: a recipe is a map of 'option: value' lines");
    REFUSED("hello\n", "r.yaml:1: a recipe is a map of 'option: value' lines");
    REFUSED("lr: 1\n---\nlr: 2\n", "r.yaml:2: a recipe is one document; a second one begins here");
    REFUSED("name: \"a\\0b\"\n", "r.yaml:1: a text holds a zero byte");
    REFUSED("a: {b: {c: {d: {e: {f: {g: {h: {i: 1}}}}}}}}\n", "r.yaml:1: maps are more than 8 deep");
}

static void broken_yaml_names_its_line(void **state)
{
    REFUSED("epochs: 3\nlr: [1\n", "r.yaml:3: not YAML: did not find expected ',' or ']'");
    assert_int_equal(parse(*state, "epochs: 3\n\tlr: 1\n"), ATR_ERR_USAGE);
    assert_non_null(strstr(atr_status_message(), "r.yaml:"));
    assert_int_equal(parse(*state, "name: \"\xff\xfe\"\n"), ATR_ERR_USAGE);
    assert_non_null(strstr(atr_status_message(), "not YAML at byte"));
}

/* Fills `text` [bytes] with copies of `piece`. */
static char *repeat(const char *piece, size_t bytes)
{
    char *text = malloc(bytes + 1);
    const size_t length = strlen(piece);

    for (size_t i = 0; i < bytes; i++)
        text[i] = piece[i % length];
    text[bytes] = '\0';
    return text;
}

static void hostile_recipes_cost_little(void **state)
{
    static const char *const pieces[] = {"[",     "{",    "a: {",         "- ",      "? ",    "&a ",
                                         "*a ",   "!a ",  "\"",           "'",       "a:\n ", "%",
                                         "{a: [", "[]: ", "\xEF\xBB\xBF", "a: |\n  "};

    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        char *text = repeat(pieces[i], ATR_RECIPE_MAX_BYTES);
        const double start = atr_seconds();
        assert_int_equal(parse(*state, text), ATR_ERR_USAGE);
        assert_true(atr_seconds() - start < 20);
        free(text);
    }
    char *text = repeat("# ", ATR_RECIPE_MAX_BYTES + 2);
    REFUSED(text, "r.yaml: too long for a recipe (over 1048576 bytes)");
    free(text);
}

static void long_lists_and_texts_are_read(void **state)
{
    char *text = repeat("a,", 500001), *name = repeat("x", 100000), *yaml = NULL;

    assert_int_equal(atr_format(&yaml, "classes: [%s]\nname: %s\n", text, name), ATR_OK);
    assert_int_equal(parse(*state, yaml), ATR_OK);
    assert_int_equal(values.classes.count, 250001);
    assert_string_equal(values.name, name);
    atr_free(yaml);
    free(text);
    free(name);
}

/* Sets every option of `options` to something from stream `key`, strings of any letters among it. */
static void set_randomly(atr_options *options, uint64_t key)
{
    char text[64], number[64];
    const char *items[3] = {text, number, "a, b"};
    size_t used = 0;

    for (uint64_t i = 0; i < atr_rng_below(key, 1, 12);
         i++) { /* code points below 0x800, none of them zero */
        const uint64_t point = 1 + atr_rng_below(key, 10 + i, i % 2 == 0 ? 0x7F : 0x7FE);
        if (point < 0x80) {
            text[used++] = (char)point;
        } else {
            text[used++] = (char)(0xC0 | point >> 6);
            text[used++] = (char)(0x80 | (point & 63));
        }
    }
    text[used] = '\0';
    assert_int_equal(atr_options_set(options, "name", text, ATR_FROM_RECIPE), ATR_OK);
    assert_int_equal(
        atr_options_set_items(options, "classes", items, (int64_t)atr_rng_below(key, 2, 4), ATR_FROM_RECIPE),
        ATR_OK);
    snprintf(number, sizeof number, "%.17g",
             ldexp(atr_rng_unit(key, 3) - 0.5, (int)atr_rng_below(key, 4, 600) - 300));
    assert_int_equal(atr_options_set(options, "lr", number, ATR_FROM_RECIPE), ATR_OK);
    snprintf(number, sizeof number, "%.17g", atr_rng_unit(key, 5) / 3);
    assert_int_equal(atr_options_set(options, "augment-flip", number, ATR_FROM_RECIPE), ATR_OK);
    snprintf(number, sizeof number, "%lld", (long long)atr_rng_u64(key, 6));
    assert_int_equal(atr_options_set(options, "seed", number, ATR_FROM_RECIPE), ATR_OK);
    assert_int_equal(
        atr_options_set(options, "shuffle", atr_rng_below(key, 7, 2) ? "true" : "false", ATR_FROM_RECIPE),
        ATR_OK);
    assert_int_equal(
        atr_options_set(options, "optimizer", optimizers[atr_rng_below(key, 8, 2)], ATR_FROM_RECIPE), ATR_OK);
}

static void assert_same_list(atr_list a, atr_list b)
{
    assert_int_equal(a.count, b.count);
    for (int64_t i = 0; i < a.count; i++)
        assert_string_equal(a.items[i], b.items[i]);
}

static void written_options_read_back_exactly(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < 300; round++) {
        recipe_values out, in;
        atr_options *writer = make(&out), *reader = make(&in);
        char *yaml = NULL;
        set_randomly(writer, atr_rng_key(11, ATR_RNG_TEST, round, 0));
        assert_int_equal(atr_options_yaml(writer, &yaml), ATR_OK);
        assert_int_equal(atr_options_parse_yaml(reader, "config.yaml", yaml, strlen(yaml)), ATR_OK);
        assert_memory_equal(&out.lr, &in.lr, sizeof in.lr);
        assert_memory_equal(&out.flip, &in.flip, sizeof in.flip);
        assert_int_equal(out.seed, in.seed);
        assert_int_equal(out.epochs, in.epochs);
        assert_int_equal(out.shuffle, in.shuffle);
        assert_int_equal(out.optimizer, in.optimizer);
        assert_string_equal(out.name, in.name);
        assert_string_equal(out.note, in.note);
        assert_same_list(out.classes, in.classes);
        assert_same_list(out.ignore, in.ignore);
        atr_free(yaml);
        atr_options_destroy(writer);
        atr_options_destroy(reader);
    }
}

static void config_names_every_option_but_those_of_one_run(void **state)
{
    char *yaml = NULL;

    assert_int_equal(parse(*state, "lr: 1e-5\nclasses: [road, yes]\n"), ATR_OK);
    values.resume = true;
    assert_int_equal(atr_options_yaml(*state, &yaml), ATR_OK);
    assert_string_equal(yaml, "epochs: 25\n"
                              "seed: null\n"
                              "lr: 1.0e-05\n"
                              "augment-flip: 0.5\n"
                              "augment-blur-p: null\n"
                              "shuffle: true\n"
                              "name: null\n"
                              "note: \"plain\"\n"
                              "optimizer: adam\n"
                              "ignore: [\"255\"]\n"
                              "classes: [\"road\", \"yes\"]\n");
    atr_free(yaml);
}

static void text_that_yaml_cannot_hold_is_told(void **state)
{
    char *yaml = (char *)1;

    assert_int_equal(atr_options_set(*state, "name", "caf\xE9", ATR_FROM_RECIPE), ATR_OK);
    assert_int_equal(atr_options_yaml(*state, &yaml), ATR_ERR_USAGE);
    assert_null(yaml);
    assert_non_null(strstr(atr_status_message(), "--name"));
    assert_non_null(strstr(atr_status_message(), "UTF-8"));
}

static void files_are_written_whole_and_read(void **state)
{
    char *folder = scratch_create();
    char path[512], missing[512];

    snprintf(path, sizeof path, "%s/config.yaml", folder);
    snprintf(missing, sizeof missing, "%s/none/config.yaml", folder);
    scratch_write_text(
        path, "an older file, longer than the one that takes its place ......................................"
              "........................................................................................\n");
    values.epochs = 77;
    assert_int_equal(atr_options_write_yaml(*state, path), ATR_OK);
    values.epochs = 1;
    assert_int_equal(atr_options_read_yaml(*state, path), ATR_OK);
    assert_int_equal(values.epochs, 77);
    assert_int_equal(atr_options_write_yaml(*state, missing), ATR_ERR_IO);
    assert_int_equal(atr_options_read_yaml(*state, missing), ATR_ERR_NOT_FOUND);
    assert_non_null(strstr(atr_status_message(), missing));
    assert_int_equal(atr_options_read_yaml(*state, folder), ATR_ERR_IO);
    assert_int_equal(atr_options_read_yaml(*state, "/dev/zero"), ATR_ERR_USAGE);
    scratch_remove(folder);
}

static void a_thousand_damaged_recipes_give_a_status_each(void **state)
{
    static const char good[] =
        "epochs: 3\naugment:\n  flip: 0.25\n  blur: {p: 1e-3}\noptimizer: sgd\nignore: [255, 11]\n"
        "classes:\n  - road\n  - \"c\\u00e4r\"\nname: 'a b'\nnote: |\n  two\n  lines\n";
    static const char spice[] = "[]{}:,-&*!|>%@\"'#?\n\t \\\0\xff\x80";
    char text[sizeof good + 8];
    int refused = 0;

    (void)state;
    for (uint64_t round = 0; round < 1000; round++) {
        const uint64_t key = atr_rng_key(3, ATR_RNG_TEST, round, 1);
        recipe_values target;
        atr_options *options = make(&target);
        size_t bytes = sizeof good - 1;
        memcpy(text, good, sizeof good);
        for (uint64_t hit = 0; hit < 1 + round % 5; hit++) {
            const size_t at = atr_rng_below(key, 3 * hit, bytes);
            if (hit % 2 == 0)
                text[at] = spice[atr_rng_below(key, 3 * hit + 1, sizeof spice - 1)];
            else
                text[at] = (char)(text[at] ^ 1 << atr_rng_below(key, 3 * hit + 1, 8));
        }
        if (round % 7 == 0)
            bytes = atr_rng_below(key, 99, bytes);
        char *exact =
            malloc(bytes > 0 ? bytes : 1); /* exactly as long, so that a sanitizer sees over-reads */
        memcpy(exact, text, bytes);
        const atr_status status = atr_options_parse_yaml(options, "r.yaml", exact, bytes);
        assert_true(status == ATR_OK || status == ATR_ERR_USAGE);
        if (status != ATR_OK)
            assert_int_equal(strncmp(atr_status_message(), "r.yaml", 6), 0);
        refused += status != ATR_OK;
        free(exact);
        atr_options_destroy(options);
    }
    assert_in_range(refused, 300, 1000);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, make_options, drop_options)
    const struct CMUnitTest tests[] = {
        CASE(nested_and_flat_keys_say_the_same),
        CASE(null_leaves_an_option_as_it_is),
        CASE(an_empty_recipe_is_fine),
        CASE(the_command_line_wins),
        CASE(unknown_keys_name_their_line_and_a_near_one),
        CASE(bounds_are_those_of_the_command_line),
        CASE(what_recipes_never_hold_is_refused),
        CASE(broken_yaml_names_its_line),
        CASE(hostile_recipes_cost_little),
        CASE(long_lists_and_texts_are_read),
        cmocka_unit_test(written_options_read_back_exactly),
        CASE(config_names_every_option_but_those_of_one_run),
        CASE(text_that_yaml_cannot_hold_is_told),
        CASE(files_are_written_whole_and_read),
        cmocka_unit_test(a_thousand_damaged_recipes_give_a_status_each),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
