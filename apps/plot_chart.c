#include <math.h>

#include "apps/plot_impl.h"

/* Charts of evaluations: bars by class, and a matrix of classes. */

enum { MOST_NUMBERS = 32 /* classes up to which a cell has room for its number */ };

/* "set ytics ('sky' 0, 'road' 1)". */
static void write_tics(const char *axis, const char *look, const char *const *names, int64_t count,
                       atr_text *script)
{
    atr_text_append(script, "set %s scale 0 %s (", axis, look);
    for (int64_t k = 0; k < count; k++) {
        atr_plot_quote(names[k], script);
        atr_text_append(script, " %lld%s", (long long)k, k + 1 < count ? ", " : "");
    }
    atr_text_append(script, ")\n");
}

static void write_bars(const atr_bars *bars, atr_text *script)
{
    atr_text_append(script,
                    "set terminal pngcairo noenhanced size 860,%lld font 'sans,11'\nset output\nunset key\n"
                    "set border 3 lc rgb '#5b6775'\nset grid xtics lc rgb '#dde3ea'\n"
                    "set xrange [0:112]\nset xtics 0,20,100 nomirror\nset yrange [%lld.5:-0.5]\n"
                    "set style fill solid noborder\n",
                    (long long)(130 + 26 * bars->count), (long long)bars->count - 1);
    write_tics("ytics", "nomirror", bars->names, bars->count, script);
    atr_plot_titles(bars->title, bars->x_label, NULL, script);
    atr_text_append(script, "plot '-' using 1:2:3:4:5:6 with boxxyerror lc rgb '#4169e1', "
                            "'-' using 1:2:3 with labels left offset 0.7,0 tc rgb '#1d2733'\n");
    for (int64_t k = 0; k < bars->count; k++) {
        const double value = isfinite(bars->values[k]) ? bars->values[k] : 0;
        atr_text_append(script, "%.6g %lld 0 %.6g %.2f %.2f\n", value, (long long)k, value, (double)k - 0.4,
                        (double)k + 0.4);
    }
    atr_text_append(script, "e\n");
    for (int64_t k = 0; k < bars->count; k++)
        if (isfinite(bars->values[k]))
            atr_text_append(script, "%.6g %lld %.2f\n", bars->values[k], (long long)k, bars->values[k]);
        else
            atr_text_append(script, "0 %lld n/a\n", (long long)k);
    atr_text_append(script, "e\n");
}

atr_status atr_bars_png(const atr_bars *bars, const char *path)
{
    atr_text script = {0};

    write_bars(bars, &script);
    const atr_status status = atr_gnuplot_file(&script, path);
    atr_free(script.bytes);
    return status;
}

/* Numbers of the cells that are dark (white letters) or light. */
static void write_numbers(const atr_matrix *matrix, bool dark, atr_text *script)
{
    for (int64_t i = 0; i < matrix->count * matrix->count; i++) {
        const double value = matrix->values[i];
        if (value > 0 && (value > 60) == dark)
            atr_text_append(script, "%lld %lld %.*f\n", (long long)(i % matrix->count),
                            (long long)(i / matrix->count), value >= 99.95 ? 0 : 1, value);
    }
    atr_text_append(script, "-9 -9 0\ne\n"); /* outside: a list must not be empty */
}

static void write_cells(const atr_matrix *matrix, atr_text *script)
{
    for (int64_t i = 0; i < matrix->count * matrix->count; i++) {
        const double x = (double)(i % matrix->count), y = (double)(i / matrix->count);
        if (isfinite(matrix->values[i]))
            atr_text_append(script, "%g %g %.1f %.1f %.1f %.1f %.6g\n", x, y, x - 0.5, x + 0.5, y - 0.5,
                            y + 0.5, matrix->values[i]);
    }
    atr_text_append(script, "-9 -9 -9.5 -8.5 -9.5 -8.5 0\ne\n");
}

static void write_matrix(const atr_matrix *matrix, atr_text *script)
{
    const bool numbers = matrix->count <= MOST_NUMBERS;
    const int64_t cell = matrix->count <= 8 ? 64 : numbers ? 40 : matrix->count <= 100 ? 14 : 9;
    const int64_t side = cell * matrix->count;

    atr_text_append(script,
                    "set terminal pngcairo noenhanced size %lld,%lld font 'sans,%d'\nset output\nunset key\n"
                    "set border 15 lc rgb '#5b6775'\nset palette defined (0 '#f7fafc', 30 '#a9c9dd', "
                    "100 '#17506f')\nset cbrange [0:100]\n"
                    "set xrange [-0.5:%lld.5]\nset yrange [%lld.5:-0.5]\nset style fill solid noborder\n",
                    (long long)(side + 300), (long long)(side + 240), numbers ? 10 : 7,
                    (long long)matrix->count - 1, (long long)matrix->count - 1);
    write_tics("xtics", "nomirror rotate by 45 right", matrix->names, matrix->count, script);
    write_tics("ytics", "nomirror", matrix->names, matrix->count, script);
    atr_plot_titles(matrix->title, matrix->x_label, matrix->y_label, script);
    atr_text_append(script, "plot '-' using 1:2:3:4:5:6:7 with boxxyerror fc palette%s\n",
                    numbers ? ", '-' using 1:2:3 with labels tc rgb '#ffffff'"
                              ", '-' using 1:2:3 with labels tc rgb '#1d2733'"
                            : "");
    write_cells(matrix, script);
    if (numbers) {
        write_numbers(matrix, true, script);
        write_numbers(matrix, false, script);
    }
}

atr_status atr_matrix_png(const atr_matrix *matrix, const char *path)
{
    atr_text script = {0};

    write_matrix(matrix, &script);
    const atr_status status = atr_gnuplot_file(&script, path);
    atr_free(script.bytes);
    return status;
}
