#include "core/options_impl.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "core/text.h"

/* getopt_long() does the reading; this file turns the rows into its tables and its verdicts into messages. */

/* Values that getopt_long() returns for long names, above all letters: BASE + 2 * row, one more for `--no-`. */
enum { CODE_HELP = 1000, CODE_BASE = 1002 };

typedef struct long_table {
    struct option *longs;
    char *letters;
    char (*negated)[ATR_OPTION_NAME_BYTES + 4]; /* "no-NAME", by row */
} long_table;

static void free_table(long_table *table)
{
    atr_free(table->longs);
    atr_free(table->letters);
    atr_free(table->negated);
}

static atr_status make_table(const atr_options *options, long_table *table)
{
    atr_status status = ATR_OK;
    int64_t used = 0, letters = 0;

    ATR_TRY(ATR_NEW(2 * options->count + 2, &table->longs));
    ATR_TRY(ATR_NEW(2 * options->count + 8, &table->letters));
    ATR_TRY(ATR_NEW(options->count + 1, &table->negated));
    /* '-': positional arguments come as they stand, as code 1; ':': a missing value is told from an unknown option. */
    memcpy(table->letters, "-:h", 3);
    letters = 3;
    for (int64_t i = 0; i < options->count; i++) {
        const atr_option *row = options->slots[i].row;
        const bool flag = row->kind == ATR_OPTION_FLAG;
        const int code = CODE_BASE + 2 * (int)i;
        table->longs[used++] = (struct option){row->name, flag ? no_argument : required_argument, NULL, code};
        if (flag) {
            snprintf(table->negated[i], sizeof table->negated[i], "no-%s", row->name);
            table->longs[used++] = (struct option){table->negated[i], no_argument, NULL, code + 1};
        }
        if (row->letter != 0)
            table->letters[letters++] = row->letter;
        if (row->letter != 0 && !flag)
            table->letters[letters++] = ':';
    }
    table->longs[used] = (struct option){"help", no_argument, NULL, CODE_HELP};
done:
    return status;
}

/* The long option that `name` (up to a '=' or the end) spells in full, or NULL. */
static const struct option *find_long(const long_table *table, const char *name)
{
    const size_t length = strcspn(name, "=");

    for (const struct option *o = table->longs; o->name != NULL; o++)
        if (strlen(o->name) == length && strncmp(o->name, name, length) == 0)
            return o;
    return NULL;
}

static atr_status unknown_long(const atr_options *options, const char *token)
{
    char name[2 * ATR_OPTION_NAME_BYTES];

    snprintf(name, sizeof name, "%.*s", (int)strcspn(token + 2, "="), token + 2);
    return atr_options_unknown(options, name, ATR_FROM_COMMAND_LINE);
}

/* What is wrong with `token`, after getopt_long() said '?' or ':' (`missing`) or took an abbreviation; `letter` is its optopt. */
static atr_status explain(const atr_options *options, const long_table *table, const char *token, int letter,
                          bool missing)
{
    if (strncmp(token, "--", 2) == 0) {
        const struct option *o = find_long(table, token + 2);
        if (o == NULL)
            return unknown_long(options, token);
        if (missing)
            return atr_fail(ATR_ERR_USAGE, "--%s needs a value", o->name);
        const bool on = o->val >= CODE_BASE && o->val % 2 == 0;
        return atr_fail(ATR_ERR_USAGE, "--%s takes no value%s%s", o->name,
                        on ? "; to switch it off say --no-" : "", on ? o->name : "");
    }
    if (missing)
        return atr_fail(ATR_ERR_USAGE, "-%c needs a value", letter);
    const bool shown = letter > 0x20 && letter < 0x7F;
    return atr_fail(ATR_ERR_USAGE, "unknown option -%c (--help lists all options)", shown ? letter : '?');
}

/* Slips that getopt_long() cannot see: "-out DIR" is -o with the value "ut", "--epochs --lr 1" gives epochs the value "--lr".
 * `value` is the word behind the token where that was taken as its value, else NULL. */
static atr_status check_slips(const long_table *table, const char *token, const char *value)
{
    char shown[2 * ATR_OPTION_NAME_BYTES];

    if (token[1] != '-' && strcspn(token, "=") > 2 && find_long(table, token + 1) != NULL)
        return atr_fail(ATR_ERR_USAGE, "unknown option %s: did you mean -%s?",
                        atr_printable(token, shown, sizeof shown), shown);
    if (value != NULL && strncmp(value, "--", 2) == 0 && find_long(table, value + 2) != NULL)
        return atr_fail(ATR_ERR_USAGE, "%s needs a value, but %s follows", token,
                        atr_printable(value, shown, sizeof shown));
    return ATR_OK;
}

static atr_status add_positional(atr_options *options, const char *text)
{
    atr_status status = ATR_OK;

    if (options->positional_count == options->positional_room) {
        const int64_t room = 2 * options->positional_room + 16;
        ATR_TRY(atr_grow(options->positional_count, room, sizeof *options->positional,
                         (void **)&options->positional));
        options->positional_room = room;
    }
    ATR_TRY(atr_options_keep(options, text, &options->positional[options->positional_count]));
    options->positional_count++;
done:
    return status;
}

static option_slot *slot_of_letter(atr_options *options, int letter)
{
    for (int64_t i = 0; i < options->count; i++)
        if (options->slots[i].row->letter == letter)
            return &options->slots[i];
    return NULL;
}

/* Stores what getopt_long() found: a letter or a code of make_table(), and the value. */
static atr_status store_found(atr_options *options, int code, const char *value)
{
    if (code == 'h' || code == CODE_HELP) {
        options->help = true;
        return ATR_OK;
    }
    const bool named = code >= CODE_BASE;
    option_slot *slot = named ? &options->slots[(code - CODE_BASE) / 2] : slot_of_letter(options, code);
    if (slot->row->kind == ATR_OPTION_FLAG)
        value = named && (code - CODE_BASE) % 2 == 1 ? "false" : "true";
    return atr_options_store_text(options, slot, value, ATR_FROM_COMMAND_LINE,
                                  slot->origin == ATR_FROM_COMMAND_LINE);
}

atr_status atr_options_parse(atr_options *options, int argc, char *const *argv)
{
    atr_status status = ATR_OK;
    long_table table = {NULL, NULL, NULL};

    ATR_TRY(make_table(options, &table));
    opterr = 0;
    optind = 0; /* start anew */
    while (argc > 0) {
        const char *token = argv[optind == 0 ? 1 : optind]; /* nothing is permuted: see '-' in the letters */
        const int code = getopt_long(argc, argv, table.letters, table.longs, NULL);
        if (code == -1)
            break;
        if (code == 1) {
            ATR_TRY(add_positional(options, optarg));
            continue;
        }
        const bool abbreviated = code >= CODE_HELP && find_long(&table, token + 2) == NULL;
        const bool apart = optarg != NULL && optarg == argv[optind - 1];
        ATR_TRY(check_slips(&table, token, apart ? optarg : NULL));
        if (code == '?' || code == ':' || abbreviated)
            ATR_TRY(explain(options, &table, token, optopt, code == ':'));
        ATR_TRY(store_found(options, code, optarg));
    }
    for (int i = optind; i < argc; i++)
        ATR_TRY(add_positional(options, argv[i]));
done:
    free_table(&table);
    return status;
}

bool atr_options_help_wanted(const atr_options *options)
{
    return options->help;
}

int64_t atr_options_positional_count(const atr_options *options)
{
    return options->positional_count;
}

const char *atr_options_positional(const atr_options *options, int64_t index)
{
    return options->positional[index];
}
