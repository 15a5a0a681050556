#include "apps/plot.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* The page's colours; gnuplot takes them in this order. */
static const char *const line_colours[] = {"#2a6f97", "#c8553d", "#588157", "#8d6a9f", "#b08900"};

/* The commands for one plot, data inline. */
static void write_script(const atr_plot *plot, atr_text *script)
{
    atr_text_append(
        script, "set terminal svg size 720,320 dynamic font 'sans-serif,13'\n"
                "set output\nset grid lc rgb '#dddddd'\nset border 3 lc rgb '#555555'\nset tics nomirror\n"
                "set key top right opaque\n");
    atr_text_append(
        script, "set title \"%s\" noenhanced\nset xlabel \"%s\" noenhanced\nset ylabel \"%s\" noenhanced\n",
        plot->title, plot->x_label, plot->y_label);
    if (plot->from_zero)
        atr_text_append(script, "set yrange [0:*]\n");
    for (int c = 0; c < plot->curve_count; c++)
        atr_text_append(
            script, "%s '-' using 1:2 with %s lw 2 pt 7 ps 0.6 lc rgb '%s' title \"%s\" noenhanced",
            c == 0 ? "plot" : ",", plot->curves[c].points ? "linespoints" : "lines",
            line_colours[c % (int)(sizeof line_colours / sizeof line_colours[0])], plot->curves[c].title);
    atr_text_append(script, "\n");
    for (int c = 0; c < plot->curve_count; c++) {
        const atr_curve *curve = &plot->curves[c];
        for (int64_t i = 0; i < curve->count; i++)
            if (isfinite(curve->x[i]) && isfinite(curve->y[i]))
                atr_text_append(script, "%.17g %.9g\n", curve->x[i], curve->y[i]);
        atr_text_append(script, "e\n");
    }
}

/* Runs gnuplot with `script` (a file) as its input and `picture` as its output. */
static atr_status run_gnuplot(FILE *script, FILE *picture)
{
    char *const argv[] = {"gnuplot", NULL};
    posix_spawn_file_actions_t actions;
    pid_t child = 0;
    int how = 0;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fileno(script), STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, fileno(picture), STDOUT_FILENO);
    const int error = posix_spawnp(&child, "gnuplot", &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error == ENOENT)
        return atr_fail(ATR_ERR_NOT_FOUND,
                        "there is no gnuplot to draw curves with; install it (Debian: gnuplot-nox)");
    if (error != 0)
        return atr_fail(ATR_ERR_IO, "cannot start gnuplot: %s", strerror(error));
    while (waitpid(child, &how, 0) < 0 && errno == EINTR)
        ;
    if (!WIFEXITED(how) || WEXITSTATUS(how) != 0)
        return atr_fail(ATR_ERR_INTERNAL, "gnuplot failed to draw a plot");
    return ATR_OK;
}

/* From the <svg> element on: the XML declaration has no place inside a page. */
static void append_svg(FILE *picture, atr_text *out)
{
    char block[4096];
    bool inside = false;

    rewind(picture);
    for (size_t got; (got = fread(block, 1, sizeof block - 1, picture)) > 0;) {
        block[got] = '\0';
        const char *from = inside ? block : strstr(block, "<svg");
        if (from == NULL)
            continue;
        inside = true;
        atr_text_append_bytes(out, from, (int64_t)(got - (size_t)(from - block)));
    }
}

atr_status atr_plot_svg(const atr_plot *plot, atr_text *out)
{
    atr_status status = ATR_OK;
    atr_text script = {0};
    FILE *input = tmpfile(), *picture = tmpfile();

    if (input == NULL || picture == NULL) {
        status = atr_fail(ATR_ERR_IO, "cannot make a temporary file: %s", strerror(errno));
        goto done;
    }
    write_script(plot, &script);
    ATR_TRY(script.status);
    if (fwrite(script.bytes, 1, (size_t)script.used, input) != (size_t)script.used || fflush(input) != 0) {
        status = atr_fail(ATR_ERR_IO, "cannot write a temporary file: %s", strerror(errno));
        goto done;
    }
    rewind(input);
    ATR_TRY(run_gnuplot(input, picture));
    append_svg(picture, out);
done:
    if (input != NULL)
        fclose(input);
    if (picture != NULL)
        fclose(picture);
    atr_free(script.bytes);
    return status;
}
