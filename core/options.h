#ifndef ATR_CORE_OPTIONS_H
#define ATR_CORE_OPTIONS_H

#include <stdbool.h>

#include "core/mem.h"

/* Options are declared, not parsed by hand: one row of a table says the name, the kind, where the value lies in a plain
 * struct, the default, the bounds and the help line. The command line (here) and recipes (core/recipe.h) set them by
 * the same rules; the command line wins over a recipe, and a recipe over the default.
 *
 *     typedef struct train_options {
 *         int64_t epochs;
 *         double lr;
 *         bool resume;
 *         const char *out;
 *         int optimizer;      index into the row's choices
 *         atr_list ignore;
 *     } train_options;
 *
 *     static const char *const optimizers[] = {"sgd", "adam", NULL};
 *     static const atr_option rows[] = {
 *         {.name = "epochs", .letter = 'e', .kind = ATR_OPTION_INT, .offset = offsetof(train_options, epochs), .value = "25",
 *          .least = 1, .most = 100000, .argument = "N", .help = "passes over the training split", .group = "Training"},
 *         {.name = "optimizer", .kind = ATR_OPTION_CHOICE, .offset = offsetof(train_options, optimizer),
 *          .value = "adam", .choices = optimizers, .help = "update rule"},
 *         {.name = NULL}};
 */

typedef enum atr_option_kind {
    ATR_OPTION_FLAG,   /* bool. `--name`, `--no-name`; true or false in a recipe. Default false */
    ATR_OPTION_INT,    /* int64_t. Default 0 */
    ATR_OPTION_REAL,   /* double, finite. Default 0 */
    ATR_OPTION_STRING, /* const char *. Default NULL */
    ATR_OPTION_CHOICE, /* int, index into `choices`. Default 0 */
    ATR_OPTION_LIST    /* atr_list. `a,b,c` or given several times; a sequence in a recipe. Default empty */
} atr_option_kind;

/* Items of a list option, owned by the options object. With bounds in its row every item is a number within them
 * (see atr_parse_int() and atr_parse_real() in core/text.h). */
typedef struct atr_list {
    int64_t count;
    const char *const *items;
} atr_list;

/* One row. The table ends with a row whose name is NULL. All text is borrowed, as a rule static. */
typedef struct atr_option {
    const char *name;           /* without dashes, words joined by '-': `augment-flip` */
    char letter;                /* short form, 0: none; 'h' is taken */
    atr_option_kind kind;       /* type of the field at `offset` */
    size_t offset;              /* bytes into the target struct */
    const char *value;          /* default, written as on the command line; NULL: unset, the field is zero */
    double least, most;         /* bounds, inclusive (INT, REAL, items of LIST); both 0: none */
    const char *const *choices; /* CHOICE: names, NULL at the end */
    const char *argument;       /* in the help, such as "N" or "DIR"; NULL: by kind */
    const char *help;           /* NULL: not shown */
    const char *group;          /* heading above this row in the help; NULL: same as the row before */
    bool
        once; /* of one run only (`--resume`, `--recipe`): not allowed in recipes, not written to config.yaml */
} atr_option;

typedef enum atr_option_origin { ATR_FROM_DEFAULT, ATR_FROM_RECIPE, ATR_FROM_COMMAND_LINE } atr_option_origin;

/* Tables, the structs they fill, positional arguments, and all strings the structs point to. */
typedef struct atr_options atr_options;

/* `program` is how the command is called ("atrous train"), `usage` the arguments behind it ("DATA.h5 -o RUN [OPTION...]"),
 * `summary` one or more lines on what it does. All borrowed. */
atr_status atr_options_create(const char *program, const char *usage, const char *summary, atr_options **out);

/* The strings and lists in the target structs die with it. */
void atr_options_destroy(atr_options *options);

/* Adds a table and writes its defaults into `*target`. Borrows both. May be called for several tables; names and letters
 * must differ between them. ATR_ERR_INTERNAL for a row that makes no sense (a default out of bounds, a name twice). */
atr_status atr_options_add(atr_options *options, const atr_option *rows, void *target);

/* Reads a command line; argv[0] is skipped (the command's name). Understands `--name value`, `--name=value`, `-o value`,
 * `--no-flag`, `--` and, always, `--help` and `-h`; options and positional arguments may be mixed. Names are not
 * abbreviated, so a script does not break when an option is added. Of a scalar option given twice the last one counts, list
 * options grow. ATR_ERR_USAGE names the option and, where one is near, what was meant. Not thread-safe (getopt). */
atr_status atr_options_parse(atr_options *options, int argc, char *const *argv);

bool atr_options_help_wanted(const atr_options *options);

int64_t atr_options_positional_count(const atr_options *options);
/* Borrowed from the options object. */
const char *atr_options_positional(const atr_options *options, int64_t index);

/* Sets one option from text, as the command line or a recipe would. A weaker origin than the present one checks the text
 * but leaves the value. ATR_ERR_USAGE: unknown name, not a number, out of bounds, no such choice. */
atr_status atr_options_set(atr_options *options, const char *name, const char *text,
                           atr_option_origin origin);

/* The same with items, for a list option. A scalar option takes exactly one. */
atr_status atr_options_set_items(atr_options *options, const char *name, const char *const *items,
                                 int64_t count, atr_option_origin origin);

/* Where the value comes from. ATR_FROM_DEFAULT for a name that does not exist. */
atr_option_origin atr_options_origin(const atr_options *options, const char *name);
/* Whether it was given at all, by recipe or command line. */
bool atr_options_given(const atr_options *options, const char *name);

/* All rows in order of declaration. */
int64_t atr_options_count(const atr_options *options);
const atr_option *atr_options_row(const atr_options *options, int64_t index);
/* Position of `name`, or -1. */
int64_t atr_options_find(const atr_options *options, const char *name);
/* True where nothing was given, the row has no default and the program left the field at zero: "not said". */
bool atr_options_unset(const atr_options *options, int64_t index);
/* The value now in the target struct, as text from which atr_options_set() makes it again, bit by bit (lists whose items hold
 * commas aside); "" when unset. To be freed with atr_free(). */
atr_status atr_options_value_text(const atr_options *options, int64_t index, char **out);
/* Items of a list row. */
atr_list atr_options_list(const atr_options *options, int64_t index);

/* The help page, wrapped to `columns` (0: 80; at least 40): usage, summary, then the rows under their headings with
 * bounds, choices and defaults. To be freed with atr_free(). */
atr_status atr_options_help(const atr_options *options, int columns, char **out);

#endif
