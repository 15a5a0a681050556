#include "core/options_impl.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "core/text.h"

/* From text to the fields of the target structs, and back. */

enum { SHOWN_BYTES = 80, WHO_BYTES = ATR_OPTION_NAME_BYTES + 8 };

/* Makes `block` live as long as `options`; frees it on failure. */
static atr_status own(atr_options *options, void *block)
{
    if (options->owned_count == options->owned_room) {
        const int64_t room = 2 * options->owned_room + 32;
        const atr_status status =
            atr_grow(options->owned_room, room, sizeof *options->owned, (void **)&options->owned);
        if (status != ATR_OK) {
            atr_free(block);
            return status;
        }
        options->owned_room = room;
    }
    options->owned[options->owned_count++] = block;
    return ATR_OK;
}

atr_status atr_options_keep(atr_options *options, const char *text, const char **out)
{
    atr_status status = ATR_OK;
    char *copy = NULL;

    ATR_TRY(atr_strdup(text, &copy));
    ATR_TRY(own(options, copy));
    *out = copy;
done:
    return status;
}

/* A copy of the items in one block: pointers first, letters behind them. */
static atr_status keep_list(atr_options *options, const char *const *items, int64_t count, atr_list *out)
{
    atr_status status = ATR_OK;
    int64_t bytes = count * (int64_t)sizeof(char *);
    void *block = NULL;

    *out = (atr_list){0, NULL};
    if (count == 0)
        return ATR_OK;
    for (int64_t i = 0; i < count; i++)
        bytes += (int64_t)strlen(items[i]) + 1;
    ATR_TRY(atr_alloc(bytes, 1, &block));
    ATR_TRY(own(options, block));
    const char **pointers = block;
    char *letters = (char *)(pointers + count);
    for (int64_t i = 0; i < count; i++) {
        const size_t length = strlen(items[i]) + 1;
        memcpy(letters, items[i], length);
        pointers[i] = letters;
        letters += length;
    }
    *out = (atr_list){count, pointers};
done:
    return status;
}

/* How messages name the option: with dashes on a command line, bare in a recipe. */
static const char *who(const atr_option *row, atr_option_origin origin, char text[WHO_BYTES])
{
    snprintf(text, WHO_BYTES, "%s%s", origin == ATR_FROM_RECIPE ? "" : "--", row->name);
    return text;
}

static bool bounded(const atr_option *row)
{
    return row->least != 0 || row->most != 0;
}

static atr_status check_bounds(const atr_option *row, double value, const char *text,
                               atr_option_origin origin)
{
    char name[WHO_BYTES], least[ATR_REAL_TEXT_BYTES], most[ATR_REAL_TEXT_BYTES], shown[SHOWN_BYTES];

    if (!bounded(row) || (value >= row->least && value <= row->most))
        return ATR_OK;
    who(row, origin, name);
    atr_printable(text, shown, sizeof shown);
    atr_real_text(row->least, least);
    atr_real_text(row->most, most);
    if (isinf(row->most))
        return atr_fail(ATR_ERR_USAGE, "%s: %s is too small, at least %s is allowed", name, shown, least);
    if (isinf(row->least))
        return atr_fail(ATR_ERR_USAGE, "%s: %s is too large, at most %s is allowed", name, shown, most);
    return atr_fail(ATR_ERR_USAGE, "%s: %s is out of bounds, %s to %s is allowed", name, shown, least, most);
}

static atr_status not_a(const atr_option *row, const char *wanted, const char *text, atr_option_origin origin)
{
    char name[WHO_BYTES], shown[SHOWN_BYTES];

    return atr_fail(ATR_ERR_USAGE, "%s: '%s' is not %s", who(row, origin, name),
                    atr_printable(text, shown, sizeof shown), wanted);
}

static atr_status parse_flag(const atr_option *row, const char *text, atr_option_origin origin, bool *out)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcasecmp(text, words[i]) == 0) {
            *out = i % 2 == 1;
            return ATR_OK;
        }
    return not_a(row, "true or false", text, origin);
}

static int64_t choice_count(const atr_option *row)
{
    int64_t count = 0;

    while (row->choices[count] != NULL)
        count++;
    return count;
}

static atr_status parse_choice(const atr_option *row, const char *text, atr_option_origin origin, int *out)
{
    const int64_t count = choice_count(row);
    char name[WHO_BYTES], shown[SHOWN_BYTES];
    atr_text names = {0};
    char *list = NULL;

    for (int64_t i = 0; i < count; i++)
        if (strcmp(text, row->choices[i]) == 0) {
            *out = (int)i;
            return ATR_OK;
        }
    for (int64_t i = 0; i < count; i++)
        atr_text_append(&names, "%s%s", i == 0 ? "" : ", ", row->choices[i]);
    atr_status status = atr_text_take(&names, &list);
    if (status != ATR_OK)
        return status;
    const char *near = atr_did_you_mean(text, row->choices, count);
    status = atr_fail(ATR_ERR_USAGE, "%s: no '%s' to choose, there are %s%s%s%s", who(row, origin, name),
                      atr_printable(text, shown, sizeof shown), list, near == NULL ? "" : " (did you mean ",
                      near == NULL ? "" : near, near == NULL ? "" : "?)");
    atr_free(list);
    return status;
}

/* A value of any scalar kind; only the member of the row's kind is set. */
typedef struct scalar {
    bool flag;
    int64_t whole;
    double real;
    int choice;
} scalar;

static atr_status parse_scalar(const atr_option *row, const char *text, atr_option_origin origin, scalar *out)
{
    switch (row->kind) {
    case ATR_OPTION_FLAG:
        return parse_flag(row, text, origin, &out->flag);
    case ATR_OPTION_INT:
        if (!atr_parse_int(text, &out->whole)) {
            if (bounded(row) && atr_parse_real(text, &out->real) && fabs(out->real) >= 0x1p63)
                return check_bounds(row, out->real, text, origin); /* whole, but no 64 bits hold it */
            return not_a(row, "a whole number", text, origin);
        }
        return check_bounds(row, (double)out->whole, text, origin);
    case ATR_OPTION_REAL:
        if (!atr_parse_real(text, &out->real))
            return not_a(row, "a number", text, origin);
        return check_bounds(row, out->real, text, origin);
    case ATR_OPTION_CHOICE:
        return parse_choice(row, text, origin, &out->choice);
    case ATR_OPTION_STRING:
    case ATR_OPTION_LIST:
        break;
    }
    return ATR_OK;
}

static atr_status check_items(const atr_option *row, const char *const *items, int64_t count,
                              atr_option_origin origin)
{
    atr_status status = ATR_OK;

    for (int64_t i = 0; i < count && bounded(row); i++) {
        double value = 0;
        if (!atr_parse_real(items[i], &value))
            return not_a(row, "a number", items[i], origin);
        ATR_TRY(check_bounds(row, value, items[i], origin));
    }
done:
    return status;
}

/* Writes the checked value into the target struct. */
static atr_status write_field(atr_options *options, const option_slot *slot, const scalar *value,
                              const char *const *items, int64_t count)
{
    switch (slot->row->kind) {
    case ATR_OPTION_FLAG:
        *(bool *)slot->field = value->flag;
        return ATR_OK;
    case ATR_OPTION_INT:
        *(int64_t *)slot->field = value->whole;
        return ATR_OK;
    case ATR_OPTION_REAL:
        *(double *)slot->field = value->real;
        return ATR_OK;
    case ATR_OPTION_CHOICE:
        *(int *)slot->field = value->choice;
        return ATR_OK;
    case ATR_OPTION_STRING:
        return atr_options_keep(options, items[0], (const char **)slot->field);
    case ATR_OPTION_LIST:
        return keep_list(options, items, count, (atr_list *)slot->field);
    }
    return ATR_OK;
}

atr_status atr_options_store(atr_options *options, option_slot *slot, const char *const *items, int64_t count,
                             atr_option_origin origin)
{
    atr_status status = ATR_OK;
    scalar value = {0};
    char name[WHO_BYTES];

    if (slot->row->kind == ATR_OPTION_LIST) {
        ATR_TRY(check_items(slot->row, items, count, origin));
    } else {
        if (count != 1)
            return atr_fail(ATR_ERR_USAGE, "%s takes one value, not a list of %lld",
                            who(slot->row, origin, name), (long long)count);
        ATR_TRY(parse_scalar(slot->row, items[0], origin, &value));
    }
    if (origin < slot->origin)
        return ATR_OK;
    ATR_TRY(write_field(options, slot, &value, items, count));
    slot->origin = origin;
    slot->set = true;
done:
    return status;
}

/* Splits `text` (changed in place) at commas into `items`, blanks around them dropped. */
static atr_status split(const atr_option *row, char *text, atr_option_origin origin, const char **items,
                        int64_t *count)
{
    char name[WHO_BYTES];

    for (char *item = text, *next = NULL; item != NULL && *text != '\0'; item = next) {
        next = strchr(item, ',');
        if (next != NULL)
            *next++ = '\0';
        item += strspn(item, " ");
        size_t length = strlen(item);
        while (length > 0 && item[length - 1] == ' ')
            item[--length] = '\0';
        if (length == 0)
            return atr_fail(ATR_ERR_USAGE,
                            "%s: the list has an empty item (two commas in a row, or one at an end)",
                            who(row, origin, name));
        items[(*count)++] = item;
    }
    return ATR_OK;
}

atr_status atr_options_store_text(atr_options *options, option_slot *slot, const char *text,
                                  atr_option_origin origin, bool append)
{
    atr_status status = ATR_OK;
    const char **items = NULL;
    char *copy = NULL;
    int64_t count = 0;

    if (slot->row->kind != ATR_OPTION_LIST)
        return atr_options_store(options, slot, &text, 1, origin);
    const atr_list old = append ? *(const atr_list *)slot->field : (atr_list){0, NULL};
    int64_t most = old.count + 1;
    for (const char *c = text; *c != '\0'; c++)
        most += *c == ',';
    ATR_TRY(atr_strdup(text, &copy));
    ATR_TRY(ATR_NEW(most, &items));
    for (int64_t i = 0; i < old.count; i++)
        items[count++] = old.items[i];
    ATR_TRY(split(slot->row, copy, origin, items, &count));
    ATR_TRY(atr_options_store(options, slot, items, count, origin));
done:
    atr_free(items);
    atr_free(copy);
    return status;
}

void atr_options_clear(const option_slot *slot)
{
    static const size_t bytes[] = {
        [ATR_OPTION_FLAG] = sizeof(bool),   [ATR_OPTION_INT] = sizeof(int64_t),
        [ATR_OPTION_REAL] = sizeof(double), [ATR_OPTION_STRING] = sizeof(const char *),
        [ATR_OPTION_CHOICE] = sizeof(int),  [ATR_OPTION_LIST] = sizeof(atr_list),
    };

    memset(slot->field, 0, bytes[slot->row->kind]);
}

/* Whether the field still is as atr_options_clear() left it. */
static bool field_is_zero(const option_slot *slot)
{
    switch (slot->row->kind) {
    case ATR_OPTION_FLAG:
        return !*(const bool *)slot->field;
    case ATR_OPTION_INT:
        return *(const int64_t *)slot->field == 0;
    case ATR_OPTION_REAL:
        return *(const double *)slot->field == 0;
    case ATR_OPTION_STRING:
        return *(const char *const *)slot->field == NULL;
    case ATR_OPTION_CHOICE:
        return *(const int *)slot->field == 0;
    case ATR_OPTION_LIST:
        return ((const atr_list *)slot->field)->count == 0;
    }
    return false;
}

bool atr_options_unset(const atr_options *options, int64_t index)
{
    const option_slot *slot = &options->slots[index];

    return field_is_zero(slot) && (!slot->set || slot->row->kind == ATR_OPTION_STRING);
}

atr_list atr_options_list(const atr_options *options, int64_t index)
{
    const option_slot *slot = &options->slots[index];

    return slot->row->kind == ATR_OPTION_LIST ? *(const atr_list *)slot->field : (atr_list){0, NULL};
}

static atr_status list_text(const atr_list *list, char **out)
{
    atr_text text = {0};

    for (int64_t i = 0; i < list->count; i++)
        atr_text_append(&text, "%s%s", i == 0 ? "" : ",", list->items[i]);
    return atr_text_take(&text, out);
}

atr_status atr_options_value_text(const atr_options *options, int64_t index, char **out)
{
    const option_slot *slot = &options->slots[index];
    char number[ATR_REAL_TEXT_BYTES];

    if (atr_options_unset(options, index))
        return atr_strdup("", out);
    switch (slot->row->kind) {
    case ATR_OPTION_FLAG:
        return atr_strdup(*(const bool *)slot->field ? "true" : "false", out);
    case ATR_OPTION_INT:
        return atr_format(out, "%lld", (long long)*(const int64_t *)slot->field);
    case ATR_OPTION_REAL:
        return atr_strdup(atr_real_text(*(const double *)slot->field, number), out);
    case ATR_OPTION_CHOICE:
        return atr_strdup(slot->row->choices[*(const int *)slot->field], out);
    case ATR_OPTION_STRING:
        return atr_strdup(*(const char *const *)slot->field, out);
    case ATR_OPTION_LIST:
        return list_text((const atr_list *)slot->field, out);
    }
    return atr_fail(ATR_ERR_INTERNAL, "option --%s has no kind", slot->row->name);
}
