#include "core/recipe.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

#include "core/options_impl.h"
#include "core/text.h"

/* Reading goes from event to event and builds no tree, so what a file costs is bounded by its size, not by what it
 * describes. */

enum { KEY_BYTES = 4 * ATR_OPTION_NAME_BYTES, SHOWN_BYTES = 80 };

typedef struct reader {
    atr_options *options;
    const char *name; /* of the file, for messages */
    yaml_parser_t parser;
    yaml_event_t event;  /* the last one, freed by the next next_event() */
    char key[KEY_BYTES]; /* the keys of all open maps, joined by '-' */
    int64_t document;    /* this reading's number */
} reader;

/* "recipe.yaml:12: " before a message; the line is that of the last event. */
static atr_status at_line(const reader *r, atr_status status)
{
    return atr_fail_prefix(status, "%s:%zu", r->name, r->event.start_mark.line + 1);
}

static atr_status syntax_error(const reader *r)
{
    const yaml_parser_t *p = &r->parser;
    const char *problem = p->problem != NULL ? p->problem : "unreadable";

    if (p->error == YAML_MEMORY_ERROR)
        return atr_fail(ATR_ERR_MEMORY, "%s: out of memory", r->name);
    if (p->error == YAML_READER_ERROR)
        return atr_fail(ATR_ERR_USAGE, "%s: not YAML at byte %zu: %s", r->name, p->problem_offset, problem);
    return atr_fail(ATR_ERR_USAGE, "%s:%zu: not YAML: %s", r->name, p->problem_mark.line + 1, problem);
}

static atr_status refuse_extras(const reader *r, const yaml_char_t *anchor, const yaml_char_t *tag)
{
    if (anchor != NULL)
        return at_line(r, atr_fail(ATR_ERR_USAGE, "anchors ('&') have no place in a recipe"));
    if (tag != NULL)
        return at_line(r, atr_fail(ATR_ERR_USAGE, "tags ('!') have no place in a recipe"));
    return ATR_OK;
}

/* The next event, checked for what recipes never hold. */
static atr_status next_event(reader *r)
{
    yaml_event_t *e = &r->event;

    yaml_event_delete(e);
    if (!yaml_parser_parse(&r->parser, e))
        return syntax_error(r);
    switch (e->type) {
    case YAML_ALIAS_EVENT:
        return at_line(r, atr_fail(ATR_ERR_USAGE, "aliases ('*') have no place in a recipe"));
    case YAML_SCALAR_EVENT:
        if (strlen((const char *)e->data.scalar.value) != e->data.scalar.length)
            return at_line(r, atr_fail(ATR_ERR_USAGE, "a text holds a zero byte"));
        return refuse_extras(r, e->data.scalar.anchor, e->data.scalar.tag);
    case YAML_SEQUENCE_START_EVENT:
        return refuse_extras(r, e->data.sequence_start.anchor, e->data.sequence_start.tag);
    case YAML_MAPPING_START_EVENT:
        return refuse_extras(r, e->data.mapping_start.anchor, e->data.mapping_start.tag);
    default:
        return ATR_OK;
    }
}

static const char *scalar_text(const reader *r)
{
    return (const char *)r->event.data.scalar.value;
}

static bool is_null(const reader *r)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(scalar_text(r), words[i]) == 0)
            return r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    return false;
}

/* The slot of the present key; a key given twice in one file is refused, because one of the two would be lost in silence. */
static atr_status find_slot(reader *r, option_slot **out)
{
    const int64_t index = atr_options_find(r->options, r->key);

    if (index < 0)
        return at_line(r, atr_options_unknown(r->options, r->key, ATR_FROM_RECIPE));
    option_slot *slot = &r->options->slots[index];
    if (slot->row->once)
        return at_line(r,
                       atr_fail(ATR_ERR_USAGE, "'%s' belongs on the command line, not in a recipe", r->key));
    if (slot->document == r->document)
        return at_line(r, atr_fail(ATR_ERR_USAGE, "'%s' is given twice", r->key));
    slot->document = r->document;
    *out = slot;
    return ATR_OK;
}

static atr_status read_scalar(reader *r)
{
    atr_status status = ATR_OK;
    option_slot *slot = NULL;
    const char *text = scalar_text(r);

    ATR_TRY(find_slot(r, &slot));
    if (!is_null(r))
        ATR_TRY(at_line(r, atr_options_store_text(r->options, slot, text, ATR_FROM_RECIPE, false)));
done:
    return status;
}

static atr_status append_item(const char ***items, int64_t *count, int64_t *room, const char *text)
{
    atr_status status = ATR_OK;
    char *copy = NULL;

    if (*count == *room) {
        const int64_t more = 2 * *room + 16;
        ATR_TRY(atr_grow(*count, more, sizeof **items, (void **)items));
        *room = more;
    }
    ATR_TRY(atr_strdup(text, &copy));
    (*items)[(*count)++] = copy;
done:
    return status;
}

/* A sequence of scalars, from behind its start to its end. */
static atr_status read_sequence(reader *r)
{
    atr_status status = ATR_OK;
    option_slot *slot = NULL;
    const char **items = NULL;
    int64_t count = 0, room = 0;

    ATR_TRY(find_slot(r, &slot));
    for (;;) {
        ATR_TRY(next_event(r));
        if (r->event.type == YAML_SEQUENCE_END_EVENT)
            break;
        if (r->event.type != YAML_SCALAR_EVENT) {
            status = at_line(r, atr_fail(ATR_ERR_USAGE, "'%s': a list holds only single values", r->key));
            goto done;
        }
        ATR_TRY(append_item(&items, &count, &room, scalar_text(r)));
    }
    ATR_TRY(at_line(r, atr_options_store(r->options, slot, items, count, ATR_FROM_RECIPE)));
done:
    for (int64_t i = 0; i < count; i++)
        atr_free((void *)items[i]);
    atr_free(items);
    return status;
}

/* Puts the present scalar behind the `used` bytes of the key. */
static atr_status extend_key(reader *r, size_t used)
{
    char shown[SHOWN_BYTES];
    const char *text = scalar_text(r);
    const int length = snprintf(r->key + used, sizeof r->key - used, "%s%s", used > 0 ? "-" : "", text);

    if (length < 0 || (size_t)length >= sizeof r->key - used)
        return at_line(r,
                       atr_fail(ATR_ERR_USAGE, "unknown key '%s'", atr_printable(text, shown, sizeof shown)));
    return ATR_OK;
}

/* The entries of a map, from behind its start to its end. The key so far has `used` bytes. Recursion ends at
 * ATR_RECIPE_MAX_DEPTH. */
static atr_status read_map(reader *r, size_t used, int depth)
{
    atr_status status = ATR_OK;

    if (depth > ATR_RECIPE_MAX_DEPTH)
        return at_line(r, atr_fail(ATR_ERR_USAGE, "maps are more than %d deep", ATR_RECIPE_MAX_DEPTH));
    for (;;) {
        ATR_TRY(next_event(r));
        if (r->event.type == YAML_MAPPING_END_EVENT)
            break;
        if (r->event.type != YAML_SCALAR_EVENT)
            return at_line(r, atr_fail(ATR_ERR_USAGE, "a key must be a word"));
        ATR_TRY(extend_key(r, used));
        ATR_TRY(next_event(r));
        if (r->event.type == YAML_MAPPING_START_EVENT)
            ATR_TRY(read_map(r, strlen(r->key), depth + 1));
        else if (r->event.type == YAML_SEQUENCE_START_EVENT)
            ATR_TRY(read_sequence(r));
        else
            ATR_TRY(read_scalar(r));
        r->key[used] = '\0';
    }
done:
    return status;
}

/* One document with one map, or nothing at all (an empty file, or comments only). */
static atr_status read_stream(reader *r)
{
    atr_status status = ATR_OK;

    ATR_TRY(next_event(r)); /* stream start */
    ATR_TRY(next_event(r));
    if (r->event.type == YAML_STREAM_END_EVENT)
        return ATR_OK;
    ATR_TRY(next_event(r));
    if (r->event.type == YAML_MAPPING_START_EVENT)
        ATR_TRY(read_map(r, 0, 1));
    else if (r->event.type != YAML_SCALAR_EVENT || !is_null(r))
        return at_line(r, atr_fail(ATR_ERR_USAGE, "a recipe is a map of 'option: value' lines"));
    ATR_TRY(next_event(r)); /* document end */
    ATR_TRY(next_event(r));
    if (r->event.type != YAML_STREAM_END_EVENT)
        return at_line(r, atr_fail(ATR_ERR_USAGE, "a recipe is one document; a second one begins here"));
done:
    return status;
}

atr_status atr_options_parse_yaml(atr_options *options, const char *name, const void *text, size_t bytes)
{
    reader r = {.options = options, .name = name};

    if (bytes > ATR_RECIPE_MAX_BYTES)
        return atr_fail(ATR_ERR_USAGE, "%s: too long for a recipe (over %d bytes)", name,
                        ATR_RECIPE_MAX_BYTES);
    if (!yaml_parser_initialize(&r.parser))
        return atr_fail(ATR_ERR_MEMORY, "%s: out of memory", name);
    r.document = ++options->documents;
    yaml_parser_set_input_string(&r.parser, text, bytes);
    const atr_status status = read_stream(&r);
    yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    return status;
}

atr_status atr_options_read_yaml(atr_options *options, const char *path)
{
    atr_status status = ATR_OK;
    char *text = NULL;
    FILE *file = fopen(path, "rbe");

    if (file == NULL)
        return atr_fail(errno == ENOENT ? ATR_ERR_NOT_FOUND : ATR_ERR_IO, "cannot open recipe %s: %s", path,
                        strerror(errno));
    ATR_TRY(ATR_NEW(ATR_RECIPE_MAX_BYTES + 1, &text));
    const size_t bytes = fread(text, 1, ATR_RECIPE_MAX_BYTES + 1, file);
    if (ferror(file)) {
        status = atr_fail(ATR_ERR_IO, "cannot read recipe %s: %s", path, strerror(errno));
        goto done;
    }
    ATR_TRY(atr_options_parse_yaml(options, path, text, bytes));
done:
    atr_free(text);
    fclose(file);
    return status;
}
