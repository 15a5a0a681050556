#include "core/options_impl.h"

#include <math.h>
#include <string.h>

#include "core/text.h"

/* Columns of the page: heads such as "  -e, --epochs N" stand in the first HEAD_WIDTH, what they mean behind. */
enum { HEAD_WIDTH = 28, LEAST_COLUMNS = 40, USUAL_COLUMNS = 80 };

static void append_spaces(atr_text *page, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        atr_text_append_bytes(page, " ", 1);
}

/* Appends `words` from column `at` on, each further line indented by `indent`; a newline in `words` stays one. */
static void append_wrapped(atr_text *page, const char *words, int64_t at, int64_t indent, int64_t columns)
{
    char word[256];
    bool first = true;

    while (*words != '\0') {
        const size_t length = strcspn(words, " \n");
        const size_t part = length < sizeof word - 1 ? length : sizeof word - 1;
        memcpy(word, words, part);
        word[part] = '\0';
        const int64_t width = atr_text_width(word);
        if (!first && at + 1 + width > columns) {
            atr_text_append_bytes(page, "\n", 1);
            append_spaces(page, indent);
            at = indent;
            first = true;
        }
        atr_text_append(page, "%s%s", first ? "" : " ", word);
        at += width + !first;
        first = false;
        words += part;
        if (*words == '\n') {
            atr_text_append_bytes(page, "\n", 1);
            append_spaces(page, indent);
            at = indent;
            first = true;
        }
        words += *words != '\0' && part == length;
    }
    atr_text_append_bytes(page, "\n", 1);
}

static const char *argument_name(const atr_option *row)
{
    static const char *const by_kind[] = {
        [ATR_OPTION_FLAG] = NULL,     [ATR_OPTION_INT] = "N",       [ATR_OPTION_REAL] = "X",
        [ATR_OPTION_STRING] = "TEXT", [ATR_OPTION_CHOICE] = "NAME", [ATR_OPTION_LIST] = "A,B,...",
    };

    return row->kind == ATR_OPTION_FLAG || row->argument == NULL ? by_kind[row->kind] : row->argument;
}

static bool on_by_default(const atr_option *row)
{
    return row->kind == ATR_OPTION_FLAG && row->value != NULL && strcmp(row->value, "true") == 0;
}

static void append_bounds(atr_text *text, const atr_option *row)
{
    char least[ATR_REAL_TEXT_BYTES], most[ATR_REAL_TEXT_BYTES];

    atr_real_text(row->least, least);
    atr_real_text(row->most, most);
    if (isinf(row->most))
        atr_text_append(text, "at least %s", least);
    else if (isinf(row->least))
        atr_text_append(text, "at most %s", most);
    else
        atr_text_append(text, "%s to %s", least, most);
}

/* The help line with choices, bounds and default behind it: "passes over the data (1 to 100000; default 25)". */
static atr_status meaning(const atr_option *row, char **out)
{
    atr_text text = {0};
    const bool bounds = row->least != 0 || row->most != 0;
    const bool value = row->value != NULL && row->kind != ATR_OPTION_FLAG && row->value[0] != '\0';

    atr_text_append(&text, "%s", row->help);
    for (int i = 0; row->kind == ATR_OPTION_CHOICE && row->choices[i] != NULL; i++)
        atr_text_append(&text, "%s%s", i == 0 ? ": " : ", ", row->choices[i]);
    if (bounds || value || on_by_default(row))
        atr_text_append(&text, " (");
    if (bounds)
        append_bounds(&text, row);
    if (value)
        atr_text_append(&text, "%sdefault %s", bounds ? "; " : "", row->value);
    if (on_by_default(row))
        atr_text_append(&text, "default on");
    if (bounds || value || on_by_default(row))
        atr_text_append(&text, ")");
    return atr_text_take(&text, out);
}

/* "  -e, --epochs N" */
static atr_status head(const atr_option *row, char **out)
{
    atr_text text = {0};
    const char *argument = argument_name(row);

    if (row->letter != 0)
        atr_text_append(&text, "  -%c, --", row->letter);
    else
        atr_text_append(&text, "      --");
    atr_text_append(&text, "%s%s", on_by_default(row) ? "[no-]" : "", row->name);
    if (argument != NULL)
        atr_text_append(&text, " %s", argument);
    return atr_text_take(&text, out);
}

static void append_entry(atr_text *page, const char *left, const char *right, int64_t columns)
{
    const int64_t width = atr_text_width(left);

    atr_text_append(page, "%s", left);
    if (width + 2 > HEAD_WIDTH) {
        atr_text_append(page, "\n");
        append_spaces(page, HEAD_WIDTH);
    } else {
        append_spaces(page, HEAD_WIDTH - width);
    }
    append_wrapped(page, right, HEAD_WIDTH, HEAD_WIDTH, columns);
}

static atr_status append_row(atr_text *page, const atr_option *row, int64_t columns)
{
    atr_status status = ATR_OK;
    char *left = NULL, *right = NULL;

    ATR_TRY(head(row, &left));
    ATR_TRY(meaning(row, &right));
    append_entry(page, left, right, columns);
done:
    atr_free(left);
    atr_free(right);
    return status;
}

atr_status atr_options_help(const atr_options *options, int columns, char **out)
{
    atr_status status = ATR_OK;
    atr_text page = {0};
    const int64_t width = columns <= 0 ? USUAL_COLUMNS : columns < LEAST_COLUMNS ? LEAST_COLUMNS : columns;
    const int64_t indent = (int64_t)strlen("Usage: ") + atr_text_width(options->program) + 1;

    *out = NULL;
    atr_text_append(&page, "Usage: %s ", options->program);
    append_wrapped(&page, options->usage, indent, indent < width / 2 ? indent : 4, width);
    atr_text_append(&page, "\n");
    append_wrapped(&page, options->summary, 0, 0, width);
    for (int64_t i = 0; i < options->count; i++) {
        const atr_option *row = options->slots[i].row;
        if (row->group != NULL || i == 0)
            atr_text_append(&page, "\n%s:\n", row->group != NULL ? row->group : "Options");
        if (row->help != NULL)
            ATR_TRY(append_row(&page, row, width));
    }
    atr_text_append(&page, "\n");
    append_entry(&page, "  -h, --help", "show this page", width);
    ATR_TRY(atr_text_take(&page, out));
done:
    atr_free(page.bytes);
    return status;
}
