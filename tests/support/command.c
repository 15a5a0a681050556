#include "tests/support/command.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { ARGUMENTS = 64 };

/* A stream sent into a file for a while. */
typedef struct capture {
    FILE *stream, *file;
    int kept;
} capture;

static capture capture_begin(FILE *stream)
{
    capture c = {stream, tmpfile(), -1};

    assert_non_null(c.file);
    fflush(stream);
    c.kept = dup(fileno(stream));
    assert_true(c.kept >= 0);
    assert_true(dup2(fileno(c.file), fileno(stream)) >= 0);
    return c;
}

static char *capture_end(capture *c)
{
    fflush(c->stream);
    assert_true(dup2(c->kept, fileno(c->stream)) >= 0);
    close(c->kept);
    assert_int_equal(fseek(c->file, 0, SEEK_END), 0);
    const long size = ftell(c->file);
    rewind(c->file);
    char *text = calloc((size_t)size + 1, 1);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, (size_t)size, c->file), size);
    fclose(c->file);
    return text;
}

static command_result run(int (*command)(int argc, char **argv), const char *name, va_list rest)
{
    char *argv[ARGUMENTS + 1] = {NULL};
    int argc = 0;
    command_result result;

    for (const char *argument = name; argument != NULL; argument = va_arg(rest, const char *)) {
        assert_true(argc < ARGUMENTS);
        argv[argc++] = strdup(argument);
    }
    capture out = capture_begin(stdout), err = capture_begin(stderr);
    result.exit_code = command(argc, argv);
    result.err = capture_end(&err);
    result.out = capture_end(&out);
    for (int i = 0; i < argc; i++)
        free(argv[i]);
    return result;
}

command_result command_run(int (*command)(int argc, char **argv), const char *name, ...)
{
    va_list rest;

    va_start(rest, name);
    const command_result result = run(command, name, rest);
    va_end(rest);
    return result;
}

void command_free(command_result *result)
{
    free(result->out);
    free(result->err);
}

json_t *command_json(command_result result)
{
    json_error_t error;

    if (result.exit_code != 0)
        fail_msg("%s", result.err);
    json_t *object = json_loads(result.out, 0, &error);
    if (object == NULL)
        fail_msg("%s in: %s", error.text, result.out);
    command_free(&result);
    return object;
}

void command_expect(int exit_code, const char *says, int (*command)(int argc, char **argv), const char *name,
                    ...)
{
    va_list rest;

    va_start(rest, name);
    command_result result = run(command, name, rest);
    va_end(rest);
    if (result.exit_code != exit_code ||
        (says != NULL && strstr(result.out, says) == NULL && strstr(result.err, says) == NULL))
        fail_msg("%s ended with %d, wanted %d%s%s%s\noutput: %s\nerrors: %s", name, result.exit_code,
                 exit_code, says != NULL ? " and '" : "", says != NULL ? says : "", says != NULL ? "'" : "",
                 result.out, result.err);
    command_free(&result);
}
