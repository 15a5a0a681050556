#include "core/options_impl.h"

#include <string.h>

#include "core/text.h"

enum { SHOWN_BYTES = 80 };

atr_status atr_options_create(const char *program, const char *usage, const char *summary, atr_options **out)
{
    const atr_status status = ATR_NEW(1, out);

    if (status == ATR_OK) {
        (*out)->program = program;
        (*out)->usage = usage;
        (*out)->summary = summary;
    }
    return status;
}

void atr_options_destroy(atr_options *options)
{
    if (options == NULL)
        return;
    for (int64_t i = 0; i < options->owned_count; i++)
        atr_free(options->owned[i]);
    atr_free(options->owned);
    atr_free(options->positional);
    atr_free(options->slots);
    atr_free(options);
}

/* What a row must fulfil; only a bug can break it. */
static atr_status check_row(const atr_options *options, const atr_option *row)
{
    const size_t length = strlen(row->name);

    if (length == 0 || length >= ATR_OPTION_NAME_BYTES ||
        strspn(row->name, "abcdefghijklmnopqrstuvwxyz0123456789-") != length || row->name[0] == '-' ||
        strncmp(row->name, "no-", 3) == 0 || strcmp(row->name, "help") == 0 || row->letter == 'h' ||
        (row->kind == ATR_OPTION_CHOICE && (row->choices == NULL || row->choices[0] == NULL)))
        return atr_fail(ATR_ERR_INTERNAL, "the row of option '%s' makes no sense", row->name);
    for (int64_t i = 0; i < options->count; i++)
        if (strcmp(options->slots[i].row->name, row->name) == 0 ||
            (row->letter != 0 && options->slots[i].row->letter == row->letter))
            return atr_fail(ATR_ERR_INTERNAL, "option --%s is declared twice, or its letter is", row->name);
    return ATR_OK;
}

static atr_status add_row(atr_options *options, const atr_option *row, void *target)
{
    atr_status status = ATR_OK;

    ATR_TRY(check_row(options, row));
    if (options->count == options->room) {
        const int64_t room = 2 * options->room + 32;
        ATR_TRY(atr_grow(options->count, room, sizeof *options->slots, (void **)&options->slots));
        options->room = room;
    }
    option_slot *slot = &options->slots[options->count++];
    *slot = (option_slot){.row = row, .field = (char *)target + row->offset};
    atr_options_clear(slot);
    if (row->value != NULL &&
        atr_options_store_text(options, slot, row->value, ATR_FROM_DEFAULT, false) != ATR_OK)
        return atr_fail_prefix(ATR_ERR_INTERNAL, "default of an option");
done:
    return status;
}

atr_status atr_options_add(atr_options *options, const atr_option *rows, void *target)
{
    atr_status status = ATR_OK;

    for (const atr_option *row = rows; row->name != NULL; row++)
        ATR_TRY(add_row(options, row, target));
done:
    return status;
}

int64_t atr_options_count(const atr_options *options)
{
    return options->count;
}

const atr_option *atr_options_row(const atr_options *options, int64_t index)
{
    return options->slots[index].row;
}

int64_t atr_options_find(const atr_options *options, const char *name)
{
    for (int64_t i = 0; i < options->count; i++)
        if (strcmp(options->slots[i].row->name, name) == 0)
            return i;
    return -1;
}

/* Which row a user who wrote `name` may have meant; NULL: none is near. */
static atr_status suggest(const atr_options *options, const char *name, bool flags_only, bool recipe,
                          const char **out)
{
    const char **names = NULL;
    int64_t count = 0;
    const atr_status status = ATR_NEW(options->count + 1, &names);

    if (status != ATR_OK)
        return status;
    for (int64_t i = 0; i < options->count; i++) {
        const atr_option *row = options->slots[i].row;
        if ((!flags_only || row->kind == ATR_OPTION_FLAG) && (!recipe || !row->once))
            names[count++] = row->name;
    }
    if (!flags_only && !recipe)
        names[count++] = "help";
    *out = atr_did_you_mean(name, names, count);
    atr_free(names);
    return ATR_OK;
}

atr_status atr_options_unknown(const atr_options *options, const char *name, atr_option_origin origin)
{
    const bool recipe = origin == ATR_FROM_RECIPE;
    const char *dashes = recipe ? "" : "--", *kind = recipe ? "key" : "option", *no = "", *near = NULL;
    char shown[SHOWN_BYTES];
    atr_status status = ATR_OK;

    if (!recipe && strncmp(name, "no-", 3) == 0) {
        ATR_TRY(suggest(options, name + 3, true, false, &near));
        no = near != NULL ? "no-" : "";
    }
    if (near == NULL)
        ATR_TRY(suggest(options, name, false, recipe, &near));
    atr_printable(name, shown, sizeof shown);
    if (near != NULL)
        return atr_fail(ATR_ERR_USAGE, "unknown %s %s%s: did you mean %s%s%s?", kind, dashes, shown, dashes,
                        no, near);
    return atr_fail(ATR_ERR_USAGE, "unknown %s %s%s%s", kind, dashes, shown,
                    recipe ? "" : " (--help lists all options)");
done:
    return status;
}

atr_status atr_options_set(atr_options *options, const char *name, const char *text, atr_option_origin origin)
{
    const int64_t index = atr_options_find(options, name);

    if (index < 0)
        return atr_options_unknown(options, name, origin);
    return atr_options_store_text(options, &options->slots[index], text, origin, false);
}

atr_status atr_options_set_items(atr_options *options, const char *name, const char *const *items,
                                 int64_t count, atr_option_origin origin)
{
    const int64_t index = atr_options_find(options, name);

    if (index < 0)
        return atr_options_unknown(options, name, origin);
    return atr_options_store(options, &options->slots[index], items, count, origin);
}

atr_option_origin atr_options_origin(const atr_options *options, const char *name)
{
    const int64_t index = atr_options_find(options, name);

    return index < 0 ? ATR_FROM_DEFAULT : options->slots[index].origin;
}

bool atr_options_given(const atr_options *options, const char *name)
{
    return atr_options_origin(options, name) != ATR_FROM_DEFAULT;
}
