#include "apps/plot.h"

#include <math.h>
#include <string.h>

#include "apps/plot_impl.h"
#include "io/image.h"

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
        atr_text_append(script, "%s '-' using 1:2 with %s lw 2 %slc rgb '%s' title ", separator,
                        curve->points ? "linespoints pt 7 ps 0.6" : "lines", curve->dashed ? "dt 2 " : "",
                        line_colours[(plot->pairs ? c / 2 : c) % colours]);
        atr_plot_quote(curve->title, script);
        separator = ",";
    }
    atr_text_append(script, "\n");
}

/* The commands for one plot, data inline. */
static void write_script(const atr_plot *plot, const char *terminal, atr_text *script)
{
    atr_text_append(script,
                    "set terminal %s\nset output\n"
                    "set grid lc rgb '#dde3ea'\nset border 3 lc rgb '#5b6775'\nset tics nomirror\n",
                    terminal);
    atr_plot_titles(plot->title, plot->x_label, plot->y_label, script);
    atr_text_append(script,
                    plot->curve_count > 1 ? "set key outside top center horizontal\n" : "unset key\n");
    if (plot->log_x)
        atr_text_append(script, "set logscale x 2\n");
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

static atr_status nothing_to_draw(void)
{
    return atr_fail(ATR_ERR_USAGE, "there is no point to draw");
}

atr_status atr_plot_svg(const atr_plot *plot, atr_text *out)
{
    atr_status status = ATR_OK;
    atr_text script = {0}, picture = {0};

    if (!atr_plot_has_points(plot))
        return nothing_to_draw();
    write_script(plot, "svg noenhanced size 720,330 dynamic font 'sans-serif,14'", &script);
    ATR_TRY(atr_gnuplot(&script, &picture));
    /* From the <svg> element on: the XML declaration has no place inside a page. */
    const char *const from = picture.bytes != NULL ? strstr(picture.bytes, "<svg") : NULL;
    if (from == NULL)
        status = atr_fail(ATR_ERR_INTERNAL, "gnuplot failed to draw a plot");
    else
        atr_text_append(out, "%s", from);

done:
    atr_free(script.bytes);
    atr_free(picture.bytes);
    return status;
}

struct atr_drawing {
    char *path;
    atr_gnuplot_job job;
};

static void drawing_free(atr_drawing *drawing)
{
    if (drawing == NULL)
        return;
    atr_free(drawing->path);
    atr_free(drawing);
}

atr_status atr_drawing_begin(const atr_plot *plot, const char *path, atr_drawing **out)
{
    atr_drawing *drawing = NULL;
    atr_text script = {0};
    atr_status status = ATR_OK;

    *out = NULL;
    if (!atr_plot_has_points(plot))
        return nothing_to_draw();
    ATR_TRY(ATR_NEW(1, &drawing));
    ATR_TRY(atr_strdup(path, &drawing->path));
    write_script(plot, "pngcairo noenhanced size 800,500 font 'sans,11'", &script);
    ATR_TRY(atr_gnuplot_start(&script, true, &drawing->job));
    *out = drawing;
    drawing = NULL;

done:
    drawing_free(drawing);
    atr_free(script.bytes);
    return status;
}

atr_status atr_drawing_end(atr_drawing **drawing, bool wait)
{
    atr_text picture = {0};
    bool running = false;
    atr_status status = ATR_OK;

    if (*drawing == NULL)
        return ATR_OK;
    ATR_TRY(atr_gnuplot_finish(&(*drawing)->job, wait, &running, &picture));
    if (!running)
        ATR_TRY(atr_file_write((*drawing)->path, picture.bytes, (size_t)picture.used));

done:
    atr_free(picture.bytes);
    if (!running) {
        drawing_free(*drawing);
        *drawing = NULL;
    }
    return status;
}
