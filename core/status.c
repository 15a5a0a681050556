#include "core/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MESSAGE_BYTES = 4096 };

static _Thread_local char message[MESSAGE_BYTES];

/* Texts of hostile files stand in messages; they must not drive the terminal that shows them. */
static void tame(char *text)
{
    for (; *text != '\0'; text++)
        if (((unsigned char)*text < ' ' && *text != '\n' && *text != '\t') || *text == 0x7F)
            *text = '?';
}

/* Formats apart from the slot: the arguments may hold the message that is there already. */
atr_status atr_fail(atr_status status, const char *format, ...)
{
    char text[MESSAGE_BYTES] = "";
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    tame(text);
    memcpy(message, text, strlen(text) + 1);
    return status;
}

atr_status atr_fail_prefix(atr_status status, const char *format, ...)
{
    char text[MESSAGE_BYTES] = "";
    va_list args;

    if (status == ATR_OK)
        return status;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    strncat(text, ": ", sizeof text - strlen(text) - 1);
    strncat(text, message, sizeof text - strlen(text) - 1);
    tame(text);
    memcpy(message, text, strlen(text) + 1);
    return status;
}

const char *atr_status_message(void)
{
    return message;
}

const char *atr_status_name(atr_status status)
{
    static const char *const names[] = {
        [ATR_OK] = "ok",
        [ATR_ERR_USAGE] = "wrong usage",
        [ATR_ERR_DATA] = "bad data",
        [ATR_ERR_NOT_FOUND] = "not found",
        [ATR_ERR_IO] = "input or output failed",
        [ATR_ERR_MEMORY] = "out of memory",
        [ATR_ERR_SHAPE] = "shapes do not fit",
        [ATR_ERR_UNSUPPORTED] = "not supported",
        [ATR_ERR_NUMERIC] = "not a finite number",
        [ATR_ERR_REMOTE] = "another rank failed",
        [ATR_ERR_STOPPED] = "stopped on request",
        [ATR_ERR_INTERNAL] = "internal error",
    };

    if ((unsigned)status >= sizeof names / sizeof names[0])
        return "unknown status";
    return names[status];
}
