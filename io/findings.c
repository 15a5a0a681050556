#include "io/findings.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/text.h"
#include "io/image.h"

struct atr_findings {
    atr_finding *list; /* [capacity], `count` used */
    int64_t count, capacity;
};

atr_status atr_findings_create(atr_findings **out)
{
    return ATR_NEW(1, out);
}

static void finding_free(atr_finding *finding)
{
    for (int64_t i = 0; i < finding->item_count; i++)
        atr_free(finding->items[i]);
    atr_free(finding->items);
    atr_free(finding->subject);
    atr_free(finding->message);
}

void atr_findings_destroy(atr_findings *findings)
{
    if (findings == NULL)
        return;
    for (int64_t i = 0; i < findings->count; i++)
        finding_free(&findings->list[i]);
    atr_free(findings->list);
    atr_free(findings);
}

/* vprintf into a fresh string. */
static atr_status format_args(char **out, const char *format, va_list args)
{
    va_list again;

    va_copy(again, args);
    const int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    const atr_status status = atr_alloc(length + 1, 1, (void **)out);
    if (status == ATR_OK)
        vsnprintf(*out, (size_t)length + 1, format, args);
    return status;
}

/* Takes over what `finding` owns. */
static atr_status append(atr_findings *findings, const atr_finding *finding)
{
    atr_status status = ATR_OK;

    if (findings->count == findings->capacity) {
        const int64_t capacity = findings->capacity == 0 ? 16 : 2 * findings->capacity;
        ATR_TRY(atr_grow(findings->capacity, capacity, sizeof *findings->list, (void **)&findings->list));
        findings->capacity = capacity;
    }
    findings->list[findings->count++] = *finding;

done:
    return status;
}

atr_status atr_findings_add(atr_findings *findings, const char *code, atr_severity severity,
                            const char *subject, const char *format, ...)
{
    atr_status status = ATR_OK;
    atr_finding fresh = {.severity = severity};
    va_list args;

    va_start(args, format);
    status = format_args(&fresh.message, format, args);
    va_end(args);
    if (status != ATR_OK)
        goto done;
    snprintf(fresh.code, sizeof fresh.code, "%s", code);
    ATR_TRY(atr_strdup(subject, &fresh.subject));
    ATR_TRY(append(findings, &fresh));
    return ATR_OK;

done:
    finding_free(&fresh);
    return status;
}

atr_status atr_findings_unreadable(atr_findings *findings, const char *path, const char *subject,
                                   atr_status status)
{
    const char *reason = atr_status_message();
    const size_t length = strlen(path);

    if (status == ATR_ERR_MEMORY)
        return status;
    if (strncmp(reason, path, length) == 0 && strncmp(reason + length, ": ", 2) == 0)
        reason += length + 2; /* the subject says it already */
    return atr_findings_add(findings, "F01", ATR_ERROR, subject,
                            "cannot be read: %s.\nRepair or remove the file.", reason);
}

atr_status atr_findings_item(atr_findings *findings, const char *format, ...)
{
    atr_status status = ATR_OK;
    atr_finding *last = &findings->list[findings->count - 1];
    const int64_t count = last->item_count;
    char *text = NULL;
    va_list args;

    va_start(args, format);
    status = format_args(&text, format, args);
    va_end(args);
    if (status != ATR_OK)
        goto done;
    /* Room doubles at each power of two, so that a long list is not copied for each item. */
    if ((count & (count - 1)) == 0)
        ATR_TRY(atr_grow(count, count == 0 ? 1 : 2 * count, sizeof *last->items, (void **)&last->items));
    last->items[last->item_count++] = text;
    text = NULL;

done:
    atr_free(text);
    return status;
}

atr_status atr_findings_move(atr_findings *findings, atr_findings *from)
{
    atr_status status = ATR_OK;
    int64_t moved = 0;

    for (; moved < from->count; moved++)
        ATR_TRY(append(findings, &from->list[moved]));

done:
    if (moved > 0)
        memmove(from->list, from->list + moved, (size_t)(from->count - moved) * sizeof *from->list);
    from->count -= moved;
    return status;
}

void atr_findings_drop(atr_findings *findings, const char *code)
{
    int64_t kept = 0;

    for (int64_t i = 0; i < findings->count; i++) {
        if (strcmp(findings->list[i].code, code) == 0)
            finding_free(&findings->list[i]);
        else
            findings->list[kept++] = findings->list[i];
    }
    if (findings->count > 0)
        memset(findings->list + kept, 0, (size_t)(findings->count - kept) * sizeof *findings->list);
    findings->count = kept;
}

void atr_findings_be_strict(atr_findings *findings)
{
    for (int64_t i = 0; i < findings->count; i++)
        findings->list[i].severity = ATR_ERROR;
}

int64_t atr_findings_count(const atr_findings *findings)
{
    return findings->count;
}

const atr_finding *atr_findings_at(const atr_findings *findings, int64_t index)
{
    return &findings->list[index];
}

int64_t atr_findings_of_severity(const atr_findings *findings, atr_severity severity)
{
    int64_t count = 0;

    for (int64_t i = 0; i < findings->count; i++)
        count += findings->list[i].severity == severity;
    return count;
}

int64_t atr_findings_of_code(const atr_findings *findings, const char *code)
{
    int64_t count = 0;

    for (int64_t i = 0; i < findings->count; i++)
        count += strcmp(findings->list[i].code, code) == 0;
    return count;
}

static const char *severity_name(atr_severity severity)
{
    return severity == ATR_ERROR ? "error" : "warning";
}

/* "error L02 cat_017.png: first line", then details and items, indented. Details that were just said (`before`) are not
 * said again. */
static void append_finding(const atr_finding *finding, const atr_finding *before, int64_t most,
                           const char *report, atr_text *text)
{
    const char *details = strchr(finding->message, '\n');
    const int first = details == NULL ? (int)strlen(finding->message) : (int)(details - finding->message);
    const char *said = before == NULL ? NULL : strchr(before->message, '\n');

    atr_text_append(text, "%s %s %s%s%.*s\n", severity_name(finding->severity), finding->code,
                    finding->subject, finding->subject[0] == '\0' ? "" : ": ", first, finding->message);
    if (details != NULL && (said == NULL || strcmp(details, said) != 0))
        atr_text_append(text, "    %s\n", details + 1);
    for (int64_t i = 0; i < finding->item_count && i < most; i++)
        atr_text_append(text, "      %s\n", finding->items[i]);
    if (finding->item_count > most)
        atr_text_append(text, "      and %lld more, all in %s\n", (long long)(finding->item_count - most),
                        report);
}

/* All findings of the kind (code and severity) of `first`, the first of them. */
static void append_kind(const atr_findings *findings, int64_t first, int64_t most, const char *report,
                        atr_text *text)
{
    const atr_finding *kind = &findings->list[first], *before = NULL;
    int64_t seen = 0;

    for (int64_t i = first; i < findings->count; i++) {
        const atr_finding *finding = &findings->list[i];
        if (finding->severity != kind->severity || strcmp(finding->code, kind->code) != 0)
            continue;
        if (seen++ < most)
            append_finding(finding, before, most, report, text);
        before = finding;
    }
    if (seen > most)
        atr_text_append(text, "%s %s: %lld more, all in %s\n", severity_name(kind->severity), kind->code,
                        (long long)(seen - most), report);
}

/* Whether no finding before `index` is of its kind. Kinds are few: the search stops at the first match. */
static bool first_of_kind(const atr_findings *findings, int64_t index)
{
    const atr_finding *finding = &findings->list[index];

    for (int64_t i = 0; i < index; i++)
        if (findings->list[i].severity == finding->severity &&
            strcmp(findings->list[i].code, finding->code) == 0)
            return false;
    return true;
}

atr_status atr_findings_text(const atr_findings *findings, int64_t most, const char *report, char **text)
{
    atr_status status = ATR_OK;
    atr_text built = {0};

    for (atr_severity severity = ATR_WARNING; severity <= ATR_ERROR; severity++)
        for (int64_t i = 0; i < findings->count; i++)
            if (findings->list[i].severity == severity && first_of_kind(findings, i))
                append_kind(findings, i, most, report, &built);
    ATR_TRY(atr_text_take(&built, text));
    for (char *c = *text; *c != '\0'; c++) /* a file's name must not steer the terminal */
        if (((unsigned char)*c < ' ' && *c != '\n') || *c == 127)
            *c = '?';

done:
    return status;
}

/* File names may be no UTF-8: what JSON cannot hold is replaced. */
static json_t *json_text(const char *text, size_t length)
{
    json_t *value = json_stringn(text, length);
    char *plain = NULL;

    if (value != NULL || atr_alloc((int64_t)length + 1, 1, (void **)&plain) != ATR_OK)
        return value;
    for (size_t i = 0; i < length; i++)
        plain[i] = (unsigned char)text[i] < 0x80 ? text[i] : '?';
    value = json_stringn(plain, length);
    atr_free(plain);
    return value;
}

static json_t *finding_json(const atr_finding *finding)
{
    const char *end = strchr(finding->message, '\n');
    const size_t first = end == NULL ? strlen(finding->message) : (size_t)(end - finding->message);
    json_t *object = json_object(), *items = json_array();

    json_object_set_new(object, "code", json_string(finding->code));
    json_object_set_new(object, "severity", json_string(severity_name(finding->severity)));
    json_object_set_new(object, "file", json_text(finding->subject, strlen(finding->subject)));
    json_object_set_new(object, "message", json_text(finding->message, first));
    json_object_set_new(object, "details",
                        end == NULL ? json_string("") : json_text(end + 1, strlen(end + 1)));
    for (int64_t i = 0; i < finding->item_count; i++)
        json_array_append_new(items, json_text(finding->items[i], strlen(finding->items[i])));
    json_object_set_new(object, "items", items);
    return object;
}

atr_status atr_findings_write(const atr_findings *findings, const char *path)
{
    atr_status status = ATR_OK;
    json_t *root = json_object(), *list = json_array();
    char *text = NULL;

    for (int64_t i = 0; i < findings->count; i++)
        json_array_append_new(list, finding_json(&findings->list[i]));
    json_object_set_new(root, "errors", json_integer(atr_findings_of_severity(findings, ATR_ERROR)));
    json_object_set_new(root, "warnings", json_integer(atr_findings_of_severity(findings, ATR_WARNING)));
    json_object_set_new(root, "findings", list);
    text = json_dumps(root, JSON_INDENT(1));
    if (text == NULL) {
        status = atr_fail(ATR_ERR_MEMORY, "%s: no memory for the report", path);
        goto done;
    }
    ATR_TRY(atr_file_write(path, text, strlen(text)));

done:
    free(text);
    json_decref(root);
    return status;
}
