#include "core/recipe.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

#include "core/text.h"

static int write_piece(void *user, unsigned char *bytes, size_t count)
{
    atr_text *text = user;

    atr_text_append_bytes(text, (const char *)bytes, (int64_t)count);
    return text->status == ATR_OK;
}

/* Hands a freshly initialised event over; the emitter frees it. `made` is what the initialiser returned. */
static atr_status emit(yaml_emitter_t *emitter, yaml_event_t *event, int made)
{
    if (!made)
        return atr_fail(ATR_ERR_MEMORY, "cannot make a YAML event");
    if (!yaml_emitter_emit(emitter, event))
        return atr_fail(ATR_ERR_INTERNAL, "cannot write YAML: %s",
                        emitter->problem != NULL ? emitter->problem : "no reason");
    return ATR_OK;
}

/* Texts are quoted always, so that "yes", "1e3" or "null" stay texts. */
static atr_status emit_scalar(yaml_emitter_t *emitter, const char *text, bool quoted)
{
    yaml_event_t event;
    char shown[80];
    const yaml_scalar_style_t style = quoted ? YAML_DOUBLE_QUOTED_SCALAR_STYLE : YAML_PLAIN_SCALAR_STYLE;

    /* the initialiser reads the text only; it refuses nothing but memory and broken UTF-8 */
    if (!yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)text, (int)strlen(text),
                                      !quoted, quoted, style))
        return atr_fail(ATR_ERR_USAGE, "'%s' is not UTF-8 and cannot be kept in YAML",
                        atr_printable(text, shown, sizeof shown));
    return emit(emitter, &event, 1);
}

static atr_status emit_list(yaml_emitter_t *emitter, atr_list list)
{
    atr_status status = ATR_OK;
    yaml_event_t event;

    ATR_TRY(emit(emitter, &event,
                 yaml_sequence_start_event_initialize(&event, NULL, NULL, 1, YAML_FLOW_SEQUENCE_STYLE)));
    for (int64_t i = 0; i < list.count; i++)
        ATR_TRY(emit_scalar(emitter, list.items[i], true));
    ATR_TRY(emit(emitter, &event, yaml_sequence_end_event_initialize(&event)));
done:
    return status;
}

/* A real number so that readers of YAML 1.1 see one too: "1e-05" is text to them, "1.0e-05" is not. */
static atr_status emit_real(yaml_emitter_t *emitter, const char *text)
{
    char number[ATR_REAL_TEXT_BYTES + 4];
    const size_t mantissa = strcspn(text, "e");

    if (text[mantissa] == '\0' || strchr(text, '.') != NULL)
        return emit_scalar(emitter, text, false);
    snprintf(number, sizeof number, "%.*s.0%s", (int)mantissa, text, text + mantissa);
    return emit_scalar(emitter, number, false);
}

static atr_status emit_value(yaml_emitter_t *emitter, const atr_options *options, int64_t index)
{
    atr_status status = ATR_OK;
    char *text = NULL;
    const atr_option_kind kind = atr_options_row(options, index)->kind;

    if (atr_options_unset(options, index))
        return emit_scalar(emitter, "null", false);
    if (kind == ATR_OPTION_LIST)
        return emit_list(emitter, atr_options_list(options, index));
    ATR_TRY(atr_options_value_text(options, index, &text));
    if (kind == ATR_OPTION_REAL)
        ATR_TRY(emit_real(emitter, text));
    else
        ATR_TRY(emit_scalar(emitter, text, kind == ATR_OPTION_STRING));
done:
    atr_free(text);
    return atr_fail_prefix(status, "--%s", atr_options_row(options, index)->name);
}

static atr_status emit_all(yaml_emitter_t *emitter, const atr_options *options)
{
    atr_status status = ATR_OK;
    yaml_event_t event;

    ATR_TRY(emit(emitter, &event, yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING)));
    ATR_TRY(emit(emitter, &event, yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1)));
    ATR_TRY(emit(emitter, &event,
                 yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE)));
    for (int64_t i = 0; i < atr_options_count(options); i++) {
        if (atr_options_row(options, i)->once)
            continue;
        ATR_TRY(emit_scalar(emitter, atr_options_row(options, i)->name, false));
        ATR_TRY(emit_value(emitter, options, i));
    }
    ATR_TRY(emit(emitter, &event, yaml_mapping_end_event_initialize(&event)));
    ATR_TRY(emit(emitter, &event, yaml_document_end_event_initialize(&event, 1)));
    ATR_TRY(emit(emitter, &event, yaml_stream_end_event_initialize(&event)));
done:
    return status;
}

atr_status atr_options_yaml(const atr_options *options, char **out)
{
    atr_status status = ATR_OK;
    atr_text text = {0};
    yaml_emitter_t emitter;

    *out = NULL;
    if (!yaml_emitter_initialize(&emitter))
        return atr_fail(ATR_ERR_MEMORY, "cannot write YAML: out of memory");
    yaml_emitter_set_output(&emitter, write_piece, &text);
    yaml_emitter_set_unicode(&emitter, 1);
    yaml_emitter_set_width(&emitter, -1); /* one option, one line */
    ATR_TRY(emit_all(&emitter, options));
    ATR_TRY(atr_text_take(&text, out));
done:
    yaml_emitter_delete(&emitter);
    atr_free(text.bytes);
    return status;
}

atr_status atr_options_write_yaml(const atr_options *options, const char *path)
{
    atr_status status = ATR_OK;
    char *text = NULL, *part = NULL;
    FILE *file = NULL;

    ATR_TRY(atr_options_yaml(options, &text));
    ATR_TRY(atr_format(&part, "%s.%ld.part", path, (long)getpid()));
    file = fopen(part, "wbe");
    bool whole = file != NULL && fputs(text, file) >= 0 && fflush(file) == 0 && fsync(fileno(file)) == 0;
    int error = errno;
    if (file != NULL && fclose(file) != 0 && whole) {
        error = errno;
        whole = false;
    }
    if (whole && rename(part, path) != 0) {
        error = errno;
        whole = false;
    }
    if (!whole) {
        remove(part);
        status = atr_fail(ATR_ERR_IO, "cannot write %s: %s", path, strerror(error));
    }
done:
    atr_free(part);
    atr_free(text);
    return status;
}
