#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>

#include "core/options.h"

typedef struct sample_options {
    int64_t epochs, seed;
    double lr, clip;
    bool resume, flip;
    const char *out, *note;
    int optimizer;
    atr_list ignore, names;
} sample_options;

static const char *const optimizers[] = {"sgd", "adam", "adamw", NULL};

static const atr_option rows[] = {
    {.name = "epochs",
     .letter = 'e',
     .kind = ATR_OPTION_INT,
     .offset = offsetof(sample_options, epochs),
     .value = "25",
     .least = 1,
     .most = 1000,
     .help = "passes over the training split",
     .group = "Training"},
    {.name = "seed",
     .kind = ATR_OPTION_INT,
     .offset = offsetof(sample_options, seed),
     .help = "of all random numbers"},
    {.name = "lr",
     .kind = ATR_OPTION_REAL,
     .offset = offsetof(sample_options, lr),
     .value = "5e-4",
     .least = 0,
     .most = 10,
     .help = "learning rate"},
    {.name = "clip",
     .kind = ATR_OPTION_REAL,
     .offset = offsetof(sample_options, clip),
     .least = 0,
     .most = INFINITY,
     .help = "largest gradient norm"},
    {.name = "resume",
     .letter = 'r',
     .kind = ATR_OPTION_FLAG,
     .offset = offsetof(sample_options, resume),
     .help = "go on where the run was stopped",
     .once = true},
    {.name = "augment-flip",
     .kind = ATR_OPTION_FLAG,
     .offset = offsetof(sample_options, flip),
     .value = "true",
     .help = "mirror half of the pictures",
     .group = "Augmentation"},
    {.name = "out",
     .letter = 'o',
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(sample_options, out),
     .argument = "RUN",
     .help = "folder of the run",
     .group = "Files"},
    {.name = "note",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(sample_options, note),
     .value = "none",
     .help = NULL},
    {.name = "optimizer",
     .kind = ATR_OPTION_CHOICE,
     .offset = offsetof(sample_options, optimizer),
     .value = "adam",
     .choices = optimizers,
     .help = "update rule"},
    {.name = "ignore",
     .letter = 'i',
     .kind = ATR_OPTION_LIST,
     .offset = offsetof(sample_options, ignore),
     .value = "255",
     .least = 0,
     .most = 65535,
     .help = "mask values that mean ignore"},
    {.name = "names",
     .kind = ATR_OPTION_LIST,
     .offset = offsetof(sample_options, names),
     .help = "of the classes"},
    {.name = NULL},
};

static sample_options values;

static int make_options(void **state)
{
    atr_options *options = NULL;

    memset(&values, 0xA5, sizeof values);
    assert_int_equal(
        atr_options_create("atrous train", "DATA.h5 -o RUN [OPTION...]", "Trains a network.", &options),
        ATR_OK);
    assert_int_equal(atr_options_add(options, rows, &values), ATR_OK);
    *state = options;
    return 0;
}

static int drop_options(void **state)
{
    atr_options_destroy(*state);
    return 0;
}

/* Parses the words up to NULL. */
static atr_status parse(atr_options *options, const char *first, ...)
{
    char *argv[32] = {(char *)"train"};
    int argc = 1;
    va_list words;

    va_start(words, first);
    for (const char *word = first; word != NULL; word = va_arg(words, const char *))
        argv[argc++] = (char *)word;
    va_end(words);
    return atr_options_parse(options, argc, argv);
}

#define REFUSED(call, message)                                                                               \
    do {                                                                                                     \
        assert_int_equal((call), ATR_ERR_USAGE);                                                             \
        assert_string_equal(atr_status_message(), message);                                                  \
    } while (0)

static void defaults_stand_before_anything_is_parsed(void **state)
{
    atr_options *options = *state;

    assert_int_equal(values.epochs, 25);
    assert_int_equal(values.seed, 0);
    assert_true(values.lr == 5e-4 && values.clip == 0);
    assert_true(values.flip && !values.resume);
    assert_null(values.out);
    assert_string_equal(values.note, "none");
    assert_int_equal(values.optimizer, 1);
    assert_int_equal(values.ignore.count, 1);
    assert_string_equal(values.ignore.items[0], "255");
    assert_int_equal(values.names.count, 0);
    assert_false(atr_options_given(options, "epochs"));
    assert_true(atr_options_unset(options, atr_options_find(options, "seed")));
    assert_false(atr_options_unset(options, atr_options_find(options, "epochs")));
}

static void every_kind_and_form_is_understood(void **state)
{
    atr_options *options = *state;

    assert_int_equal(parse(options, "a.h5", "--epochs", "3", "--lr=1e-2", "-r", "-oruns/1",
                           "--no-augment-flip", "b.h5", "--seed", "-7", "--optimizer", "sgd", "-i", "0, 11",
                           "--ignore=12", "--", "--epochs", NULL),
                     ATR_OK);
    assert_int_equal(values.epochs, 3);
    assert_true(values.lr == 0.01);
    assert_true(values.resume && !values.flip);
    assert_string_equal(values.out, "runs/1");
    assert_int_equal(values.seed, -7);
    assert_int_equal(values.optimizer, 0);
    assert_int_equal(values.ignore.count, 3);
    assert_string_equal(values.ignore.items[0], "0");
    assert_string_equal(values.ignore.items[1], "11");
    assert_string_equal(values.ignore.items[2], "12");
    assert_int_equal(atr_options_positional_count(options), 3);
    assert_string_equal(atr_options_positional(options, 0), "a.h5");
    assert_string_equal(atr_options_positional(options, 1), "b.h5");
    assert_string_equal(atr_options_positional(options, 2), "--epochs");
    assert_true(atr_options_given(options, "epochs"));
    assert_false(atr_options_given(options, "clip"));
    assert_false(atr_options_help_wanted(options));
}

static void letters_can_be_joined(void **state)
{
    assert_int_equal(parse(*state, "-re", "7", NULL), ATR_OK);
    assert_true(values.resume);
    assert_int_equal(values.epochs, 7);
}

static void the_last_of_two_scalars_counts(void **state)
{
    assert_int_equal(parse(*state, "-e", "1", "--epochs", "2", "-r", "--no-resume", NULL), ATR_OK);
    assert_int_equal(values.epochs, 2);
    assert_false(values.resume);
}

static void a_lone_dash_and_the_empty_word_are_positional(void **state)
{
    assert_int_equal(parse(*state, "-", "", NULL), ATR_OK);
    assert_int_equal(atr_options_positional_count(*state), 2);
    assert_string_equal(atr_options_positional(*state, 0), "-");
}

static void an_empty_command_line_is_fine(void **state)
{
    char *none[] = {NULL};

    assert_int_equal(atr_options_parse(*state, 0, none), ATR_OK);
    assert_int_equal(parse(*state, NULL, NULL), ATR_OK);
    assert_int_equal(atr_options_positional_count(*state), 0);
}

static void a_list_can_be_emptied(void **state)
{
    assert_int_equal(parse(*state, "--ignore", "", NULL), ATR_OK);
    assert_int_equal(values.ignore.count, 0);
    assert_true(atr_options_given(*state, "ignore"));
}

static void help_is_always_there(void **state)
{
    assert_int_equal(parse(*state, "x", "--help", NULL), ATR_OK);
    assert_true(atr_options_help_wanted(*state));
    drop_options(state);
    make_options(state);
    assert_int_equal(parse(*state, "-rh", NULL), ATR_OK);
    assert_true(atr_options_help_wanted(*state));
}

static void unknown_options_get_a_suggestion(void **state)
{
    REFUSED(parse(*state, "--epohcs", "3", NULL), "unknown option --epohcs: did you mean --epochs?");
    REFUSED(parse(*state, "--optimiser=sgd", NULL), "unknown option --optimiser: did you mean --optimizer?");
    REFUSED(parse(*state, "--flip", NULL), "unknown option --flip: did you mean --augment-flip?");
    REFUSED(parse(*state, "--no-augment-flp", NULL),
            "unknown option --no-augment-flp: did you mean --no-augment-flip?");
    REFUSED(parse(*state, "--hepl", NULL), "unknown option --hepl: did you mean --help?");
    REFUSED(parse(*state, "--quantum", NULL), "unknown option --quantum (--help lists all options)");
    REFUSED(parse(*state, "-q", NULL), "unknown option -q (--help lists all options)");
    REFUSED(parse(*state, "-rq", NULL), "unknown option -q (--help lists all options)");
    REFUSED(parse(*state, "--qu\033[1mantum", NULL),
            "unknown option --qu?[1mantum (--help lists all options)");
}

static void names_are_not_abbreviated(void **state)
{
    REFUSED(parse(*state, "--epo", "3", NULL), "unknown option --epo: did you mean --epochs?");
    REFUSED(parse(*state, "--opt=sgd", NULL), "unknown option --opt: did you mean --optimizer?");
    REFUSED(parse(*state, "--res", NULL), "unknown option --res: did you mean --resume?");
    REFUSED(parse(*state, "--no-res", NULL), "unknown option --no-res: did you mean --no-resume?");
    assert_int_equal(values.epochs, 25);
    assert_false(values.resume);
}

static void missing_and_needless_values_are_told(void **state)
{
    REFUSED(parse(*state, "--epochs", NULL), "--epochs needs a value");
    REFUSED(parse(*state, "-o", NULL), "-o needs a value");
    REFUSED(parse(*state, "--resume=yes", NULL), "--resume takes no value; to switch it off say --no-resume");
    REFUSED(parse(*state, "--no-resume=yes", NULL), "--no-resume takes no value");
    REFUSED(parse(*state, "--out", "--epochs", "3", NULL), "--out needs a value, but --epochs follows");
    REFUSED(parse(*state, "-o", "--lr=3", NULL), "-o needs a value, but --lr=3 follows");
    assert_int_equal(parse(*state, "--out=--epochs", NULL), ATR_OK);
    assert_string_equal(values.out, "--epochs");
}

static void one_dash_before_a_long_name_is_told(void **state)
{
    REFUSED(parse(*state, "-out", "runs", NULL), "unknown option -out: did you mean --out?");
    REFUSED(parse(*state, "-lr=3", NULL), "unknown option -lr=3: did you mean --lr=3?");
    assert_null(values.out);
}

static void bad_numbers_are_told(void **state)
{
    REFUSED(parse(*state, "--epochs", "many", NULL), "--epochs: 'many' is not a whole number");
    REFUSED(parse(*state, "--epochs", "1.5", NULL), "--epochs: '1.5' is not a whole number");
    REFUSED(parse(*state, "--epochs=", NULL), "--epochs: '' is not a whole number");
    REFUSED(parse(*state, "--epochs", "99999999999999999999", NULL),
            "--epochs: 99999999999999999999 is out of bounds, 1 to 1000 is allowed");
    REFUSED(parse(*state, "--lr", "0,01", NULL), "--lr: '0,01' is not a number");
    REFUSED(parse(*state, "--lr", "nan", NULL), "--lr: 'nan' is not a number");
    assert_int_equal(values.epochs, 25);
}

static void bounds_are_kept_and_told(void **state)
{
    REFUSED(parse(*state, "--epochs", "0", NULL), "--epochs: 0 is out of bounds, 1 to 1000 is allowed");
    REFUSED(parse(*state, "--epochs", "1001", NULL), "--epochs: 1001 is out of bounds, 1 to 1000 is allowed");
    REFUSED(parse(*state, "--lr", "-1e-9", NULL), "--lr: -1e-9 is out of bounds, 0 to 10 is allowed");
    REFUSED(parse(*state, "--clip", "-1", NULL), "--clip: -1 is too small, at least 0 is allowed");
    REFUSED(parse(*state, "--ignore", "255,70000", NULL),
            "--ignore: 70000 is out of bounds, 0 to 65535 is allowed");
    REFUSED(parse(*state, "--ignore", "255,road", NULL), "--ignore: 'road' is not a number");
    REFUSED(parse(*state, "--ignore", "1,,2", NULL),
            "--ignore: the list has an empty item (two commas in a row, or one at an end)");
    REFUSED(parse(*state, "--ignore", "1,", NULL),
            "--ignore: the list has an empty item (two commas in a row, or one at an end)");
    assert_int_equal(parse(*state, "--epochs", "1", "--clip", "1e300", "--lr", "10", NULL), ATR_OK);
}

static void unknown_choices_name_the_known(void **state)
{
    REFUSED(parse(*state, "--optimizer", "lion", NULL),
            "--optimizer: no 'lion' to choose, there are sgd, adam, adamw");
    REFUSED(parse(*state, "--optimizer", "adma", NULL),
            "--optimizer: no 'adma' to choose, there are sgd, adam, adamw (did you mean adam?)");
    assert_int_equal(values.optimizer, 1);
}

static void stronger_origins_win_in_any_order(void **state)
{
    atr_options *options = *state;

    assert_int_equal(atr_options_set(options, "lr", "0.5", ATR_FROM_RECIPE), ATR_OK);
    assert_true(values.lr == 0.5);
    assert_int_equal(parse(options, "--epochs", "3", NULL), ATR_OK);
    assert_int_equal(atr_options_set(options, "epochs", "9", ATR_FROM_RECIPE), ATR_OK);
    assert_int_equal(values.epochs, 3);
    assert_int_equal(atr_options_origin(options, "epochs"), ATR_FROM_COMMAND_LINE);
    assert_int_equal(atr_options_set(options, "lr", "0.7", ATR_FROM_DEFAULT), ATR_OK);
    assert_true(values.lr == 0.5);
    assert_int_equal(atr_options_set(options, "seed", "7", ATR_FROM_DEFAULT), ATR_OK);
    assert_int_equal(values.seed, 7);
    assert_int_equal(atr_options_origin(options, "lr"), ATR_FROM_RECIPE);
    REFUSED(atr_options_set(options, "epochs", "0", ATR_FROM_RECIPE),
            "epochs: 0 is out of bounds, 1 to 1000 is allowed");
    REFUSED(atr_options_set(options, "epoch", "1", ATR_FROM_RECIPE),
            "unknown key epoch: did you mean epochs?");
}

static void a_recipe_list_gives_way_to_the_command_line_as_a_whole(void **state)
{
    static const char *const items[] = {"1", "2"};

    assert_int_equal(atr_options_set_items(*state, "ignore", items, 2, ATR_FROM_RECIPE), ATR_OK);
    assert_int_equal(values.ignore.count, 2);
    assert_int_equal(parse(*state, "--ignore", "9", NULL), ATR_OK);
    assert_int_equal(values.ignore.count, 1);
    REFUSED(atr_options_set_items(*state, "lr", items, 2, ATR_FROM_RECIPE),
            "lr takes one value, not a list of 2");
    REFUSED(atr_options_set_items(*state, "lr", items, 0, ATR_FROM_RECIPE),
            "lr takes one value, not a list of 0");
}

static void strings_live_as_long_as_the_options(void **state)
{
    char word[] = "runs/a";

    assert_int_equal(atr_options_set(*state, "out", word, ATR_FROM_RECIPE), ATR_OK);
    const char *first = values.out;
    memset(word, 'x', sizeof word - 1);
    assert_int_equal(atr_options_set(*state, "out", "runs/b", ATR_FROM_RECIPE), ATR_OK);
    assert_string_equal(first, "runs/a");
    assert_string_equal(values.out, "runs/b");
}

static void values_as_text_make_the_same_values(void **state)
{
    atr_options *options = *state;
    const sample_options before = values;

    assert_int_equal(parse(options, "--lr", "0.1", "--seed", "-3", "--names", "road,car", NULL), ATR_OK);
    for (int64_t i = 0; i < atr_options_count(options); i++) {
        char *text = NULL;
        assert_int_equal(atr_options_value_text(options, i, &text), ATR_OK);
        if (!atr_options_unset(options, i))
            assert_int_equal(
                atr_options_set(options, atr_options_row(options, i)->name, text, ATR_FROM_COMMAND_LINE),
                ATR_OK);
        atr_free(text);
    }
    assert_true(values.lr == 0.1);
    assert_int_equal(values.seed, -3);
    assert_int_equal(values.epochs, before.epochs);
    assert_int_equal(values.names.count, 2);
    assert_string_equal(values.names.items[1], "car");
    assert_null(values.out);
}

static void a_program_may_settle_what_was_not_said(void **state)
{
    char *text = NULL;
    const int64_t seed = atr_options_find(*state, "seed");

    values.seed = 99;
    assert_false(atr_options_unset(*state, seed));
    assert_int_equal(atr_options_value_text(*state, seed, &text), ATR_OK);
    assert_string_equal(text, "99");
    atr_free(text);
}

/* The longest line of `page`, in letters. */
static size_t widest(const char *page)
{
    size_t most = 0;

    for (const char *line = page; *line != '\0'; line += strcspn(line, "\n") + (strchr(line, '\n') != NULL))
        if (strcspn(line, "\n") > most)
            most = strcspn(line, "\n");
    return most;
}

static void help_shows_every_row_its_bounds_and_default(void **state)
{
    static const char *const wanted[] = {
        "Usage: atrous train DATA.h5 -o RUN [OPTION...]\n",
        "\nTrains a network.\n",
        "\nTraining:\n  -e, --epochs N            passes over the training split (1 to 1000; default\n",
        "      --lr X                learning rate (0 to 10; default 5e-4)\n",
        "      --clip X              largest gradient norm (at least 0)\n",
        "  -r, --resume              go on where the run was stopped\n",
        "\nAugmentation:\n      --[no-]augment-flip   mirror half of the pictures (default on)\n",
        "  -o, --out RUN             folder of the run\n",
        "      --optimizer NAME      update rule: sgd, adam, adamw (default adam)\n",
        "  -i, --ignore A,B,...      mask values that mean ignore (0 to 65535; default\n",
        "  -h, --help ",
    };
    char *page = NULL;

    assert_int_equal(atr_options_help(*state, 0, &page), ATR_OK);
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        if (strstr(page, wanted[i]) == NULL)
            fail_msg("not in the help: %s\n%s", wanted[i], page);
    assert_null(strstr(page, "--note")); /* it has no help line */
    assert_true(widest(page) <= 80);
    atr_free(page);
}

static void help_wraps_to_the_terminal(void **state)
{
    const int columns[] = {1, 40, 60, 200};

    for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++) {
        char *page = NULL;
        assert_int_equal(atr_options_help(*state, columns[i], &page), ATR_OK);
        assert_true(widest(page) <= (size_t)(columns[i] < 40 ? 40 : columns[i]));
        atr_free(page);
    }
}

static void rows_that_make_no_sense_are_refused(void **state)
{
    static const atr_option bad[][2] = {
        {{.name = "epochs", .kind = ATR_OPTION_INT, .help = "twice"}},
        {{.name = "other", .letter = 'e', .kind = ATR_OPTION_FLAG}},
        {{.name = "help", .kind = ATR_OPTION_FLAG}},
        {{.name = "host", .letter = 'h', .kind = ATR_OPTION_STRING}},
        {{.name = "no-way", .kind = ATR_OPTION_FLAG}},
        {{.name = "Upper", .kind = ATR_OPTION_FLAG}},
        {{.name = "pick", .kind = ATR_OPTION_CHOICE}},
        {{.name = "big", .kind = ATR_OPTION_INT, .value = "11", .least = 1, .most = 10}},
        {{.name = "word", .kind = ATR_OPTION_REAL, .value = "x"}},
    };
    char target[64];

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(atr_options_add(*state, bad[i], target), ATR_ERR_INTERNAL);
}

static void several_tables_fill_several_structs(void **state)
{
    static const atr_option more[] = {
        {.name = "tile", .letter = 't', .kind = ATR_OPTION_INT, .offset = 8, .value = "513"}, {.name = NULL}};
    int64_t tile[2] = {1, 1};

    assert_int_equal(atr_options_add(*state, more, tile), ATR_OK);
    assert_int_equal(tile[1], 513);
    assert_int_equal(parse(*state, "-t", "8", "--epochs", "2", NULL), ATR_OK);
    assert_int_equal(tile[1], 8);
    assert_int_equal(tile[0], 1);
    assert_int_equal(values.epochs, 2);
}

static void many_arguments_are_no_trouble(void **state)
{
    enum { COUNT = 5000 };
    char **argv = calloc(COUNT + 1, sizeof *argv);

    for (int i = 0; i < COUNT; i++)
        argv[i] = i % 2 == 0 ? (char *)"x.png" : (char *)"--ignore=3";
    assert_int_equal(atr_options_parse(*state, COUNT, argv), ATR_OK);
    assert_int_equal(atr_options_positional_count(*state), COUNT / 2 - 1);
    assert_int_equal(values.ignore.count, COUNT / 2);
    free(argv);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, make_options, drop_options)
    const struct CMUnitTest tests[] = {
        CASE(defaults_stand_before_anything_is_parsed),
        CASE(every_kind_and_form_is_understood),
        CASE(letters_can_be_joined),
        CASE(the_last_of_two_scalars_counts),
        CASE(a_lone_dash_and_the_empty_word_are_positional),
        CASE(an_empty_command_line_is_fine),
        CASE(a_list_can_be_emptied),
        CASE(help_is_always_there),
        CASE(unknown_options_get_a_suggestion),
        CASE(names_are_not_abbreviated),
        CASE(missing_and_needless_values_are_told),
        CASE(one_dash_before_a_long_name_is_told),
        CASE(bad_numbers_are_told),
        CASE(bounds_are_kept_and_told),
        CASE(unknown_choices_name_the_known),
        CASE(stronger_origins_win_in_any_order),
        CASE(a_recipe_list_gives_way_to_the_command_line_as_a_whole),
        CASE(strings_live_as_long_as_the_options),
        CASE(values_as_text_make_the_same_values),
        CASE(a_program_may_settle_what_was_not_said),
        CASE(help_shows_every_row_its_bounds_and_default),
        CASE(help_wraps_to_the_terminal),
        CASE(rows_that_make_no_sense_are_refused),
        CASE(several_tables_fill_several_structs),
        CASE(many_arguments_are_no_trouble),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
