#include <errno.h>
#include <jansson.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "apps/plot_impl.h"
#include "io/image.h"

extern char **environ;

static bool is_utf8(const char *text)
{
    json_t *const string = json_string(text);
    const bool good = string != NULL;

    json_decref(string);
    return good;
}

void atr_plot_quote(const char *text, atr_text *script)
{
    const char *const from = text != NULL ? text : "";
    const bool utf8 = is_utf8(from);
    int letters = 0;

    atr_text_append(script, "'");
    for (const char *c = from; *c != '\0'; c++) {
        letters += ((unsigned char)*c & 0xC0) != 0x80;
        if (letters > ATR_PLOT_TEXT_LETTERS) {
            atr_text_append(script, "...");
            break;
        }
        if ((unsigned char)*c < ' ' || *c == 127)
            atr_text_append(script, " ");
        else if (*c == '\'')
            atr_text_append(
                script, "\xe2\x80\x99"); /* a typographer's: gnuplot's own way to say it fails at an end */
        else if ((unsigned char)*c >= 0x80 && !utf8)
            atr_text_append(script, "?");
        else
            atr_text_append_bytes(script, c, 1);
    }
    atr_text_append(script, "'");
}

void atr_plot_titles(const char *title, const char *x_label, const char *y_label, atr_text *script)
{
    static const char *const names[] = {"title", "xlabel", "ylabel"};
    const char *const texts[] = {title, x_label, y_label};

    for (int i = 0; i < 3; i++)
        if (texts[i] != NULL) {
            atr_text_append(script, "set %s ", names[i]);
            atr_plot_quote(texts[i], script);
            atr_text_append(script, "\n");
        }
}

static void forget(atr_gnuplot_job *job)
{
    if (job->input != NULL)
        fclose(job->input);
    if (job->picture != NULL)
        fclose(job->picture);
    if (job->complaints != NULL)
        fclose(job->complaints);
    *job = (atr_gnuplot_job){0};
}

/* gnuplot with `job->input` as its input and `job->picture` as its output. In the background it is in a process group of its own. */
static atr_status spawn(atr_gnuplot_job *job, bool background)
{
    char *const argv[] = {"gnuplot", NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    pid_t child = 0;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fileno(job->input), STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, fileno(job->picture), STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, fileno(job->complaints), STDERR_FILENO);
    posix_spawnattr_init(&attributes);
    if (background)
        posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    const int error = posix_spawnp(&child, "gnuplot", &actions, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    job->child = child;
    if (error == ENOENT)
        return atr_fail(ATR_ERR_NOT_FOUND,
                        "there is no gnuplot to draw curves with; install it (Debian: gnuplot-nox)");
    if (error != 0)
        return atr_fail(ATR_ERR_IO, "cannot start gnuplot: %s", strerror(error));
    return ATR_OK;
}

atr_status atr_gnuplot_start(const atr_text *script, bool background, atr_gnuplot_job *job)
{
    atr_status status = ATR_OK;

    *job = (atr_gnuplot_job){tmpfile(), tmpfile(), tmpfile(), 0};
    ATR_TRY(script->status);
    if (job->input == NULL || job->picture == NULL || job->complaints == NULL) {
        status = atr_fail(ATR_ERR_IO, "cannot make a temporary file: %s", strerror(errno));
        goto done;
    }
    if (fwrite(script->bytes, 1, (size_t)script->used, job->input) != (size_t)script->used ||
        fflush(job->input) != 0) {
        status = atr_fail(ATR_ERR_IO, "cannot write a temporary file: %s", strerror(errno));
        goto done;
    }
    rewind(job->input);
    ATR_TRY(spawn(job, background));

done:
    if (status != ATR_OK)
        forget(job);
    return status;
}

static void read_picture(FILE *file, atr_text *picture)
{
    char block[4096];

    rewind(file);
    for (size_t got; (got = fread(block, 1, sizeof block, file)) > 0;)
        atr_text_append_bytes(picture, block, (int64_t)got);
}

/* With gnuplot's first words that are no warning. */
static atr_status failed(FILE *complaints)
{
    char line[256] = "", clean[200];

    rewind(complaints);
    while (fgets(line, sizeof line, complaints) != NULL)
        if (strspn(line, " \t\n") < strlen(line) && strstr(line, "arning") == NULL)
            break;
    line[strcspn(line, "\n")] = '\0';
    return atr_fail(ATR_ERR_INTERNAL, "gnuplot failed to draw a plot: %s",
                    atr_printable(line, clean, sizeof clean));
}

atr_status atr_gnuplot_finish(atr_gnuplot_job *job, bool wait, bool *running, atr_text *picture)
{
    atr_status status = ATR_OK;
    int how = 0;
    pid_t ended = 0;

    do
        ended = waitpid(job->child, &how, wait ? 0 : WNOHANG);
    while (ended < 0 && errno == EINTR);
    *running = ended == 0;
    if (*running)
        return ATR_OK;
    if (ended < 0 || !WIFEXITED(how) || WEXITSTATUS(how) != 0)
        status = failed(job->complaints);
    else
        read_picture(job->picture, picture);
    forget(job);
    return status != ATR_OK ? status : picture->status;
}

atr_status atr_gnuplot(const atr_text *script, atr_text *picture)
{
    atr_gnuplot_job job = {0};
    bool running = false;
    atr_status status = ATR_OK;

    ATR_TRY(atr_gnuplot_start(script, false, &job));
    ATR_TRY(atr_gnuplot_finish(&job, true, &running, picture));

done:
    return status;
}

atr_status atr_gnuplot_file(const atr_text *script, const char *path)
{
    atr_text picture = {0};
    atr_status status = ATR_OK;

    ATR_TRY(atr_gnuplot(script, &picture));
    ATR_TRY(atr_file_write(path, picture.bytes, (size_t)picture.used));

done:
    atr_free(picture.bytes);
    return status;
}
