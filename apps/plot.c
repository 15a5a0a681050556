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

static bool has_points(const atr_curve *curve)
{
    for (int64_t i = 0; i < curve->count; i++)
        if (isfinite(curve->x[i]) && isfinite(curve->y[i]))
            return true;
    return false;
}

bool atr_plot_has_points(const atr_plot *plot)
{
    for (int c = 0; c < plot->curve_count; c++)
        if (has_points(&plot->curves[c]))
            return true;
    return false;
}

/* How the curves look; their points follow. */
static void write_plot_command(const atr_plot *plot, atr_text *script)
{
    const int colours = sizeof line_colours / sizeof line_colours[0];
    const char *separator = "plot";

    for (int c = 0; c < plot->curve_count; c++) {
        const atr_curve *curve = &plot->curves[c];
        if (!has_points(curve))
            continue;
        atr_text_append(script, "%s '-' using 1:2 with %s lw 2 lc rgb '%s' title \"%s\" noenhanced",
                        separator, curve->points ? "linespoints pt 7 ps 0.6" : "lines",
                        line_colours[c % colours], curve->title);
        separator = ",";
    }
    atr_text_append(script, "\n");
}

/* The commands for one plot, data inline. */
static void write_script(const atr_plot *plot, atr_text *script)
{
    atr_text_append(script,
                    "set terminal svg size 720,330 dynamic font 'sans-serif,14'\nset output\n"
                    "set grid lc rgb '#dde3ea'\nset border 3 lc rgb '#5b6775'\nset tics nomirror\n"
                    "set title \"%s\" noenhanced\nset xlabel \"%s\" noenhanced\n",
                    plot->title, plot->x_label);
    if (plot->y_label != NULL)
        atr_text_append(script, "set ylabel \"%s\" noenhanced\n", plot->y_label);
    atr_text_append(script,
                    plot->curve_count > 1 ? "set key outside bottom center horizontal\n" : "unset key\n");
    if (plot->from_zero)
        atr_text_append(script, "set yrange [0:*]\n");
    write_plot_command(plot, script);
    for (int c = 0; c < plot->curve_count; c++) {
        const atr_curve *curve = &plot->curves[c];
        if (!has_points(curve))
            continue;
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

    if (!atr_plot_has_points(plot))
        return atr_fail(ATR_ERR_USAGE, "there is no point to draw");
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
