#ifndef ATR_APPS_PLOT_H
#define ATR_APPS_PLOT_H

#include "core/text.h"

/* Curves, bars and matrices as SVG or PNG, drawn by gnuplot as a child process. All of these give ATR_ERR_NOT_FOUND where there is
 * no gnuplot ("install gnuplot-nox"), ATR_ERR_INTERNAL where it failed. Names of classes and runs may hold anything: they
 * never become commands. */

typedef struct atr_curve {
    const char *title;
    const double *x, *y; /* [count]; points that are not finite are left out */
    int64_t count;
    bool points; /* with a mark at each point */
    bool dashed;
} atr_curve;

typedef struct atr_plot {
    const char *title, *x_label, *y_label; /* y_label: NULL for none */
    const atr_curve *curves;
    int curve_count;
    bool from_zero; /* y axis starts at 0 */
    bool log_x;     /* each step of the x axis is a doubling */
    bool pairs;     /* two curves after each other have one colour */
} atr_plot;

/* Whether any point of any curve is finite: what has none cannot be drawn. */
bool atr_plot_has_points(const atr_plot *plot);

/* Appends an <svg> element to `out`. Curves without a point are left out; ATR_ERR_USAGE where none has one. */
atr_status atr_plot_svg(const atr_plot *plot, atr_text *out);

/* A bar from 0 for each class, the first on top, its value behind it. */
typedef struct atr_bars {
    const char *title, *x_label;
    const char *const *names; /* [count] */
    const double *values;     /* [count] in percent; not finite: "n/a" and no bar */
    int64_t count;
} atr_bars;

/* Writes a PNG. */
atr_status atr_bars_png(const atr_bars *bars, const char *path);

/* A square of colours, numbers in the cells where there is room. */
typedef struct atr_matrix {
    const char *title, *x_label, *y_label;
    const char *const *names; /* [count], of rows and columns */
    const double *values;     /* [count,count] in percent, rows from the top; not finite: an empty cell */
    int64_t count;
} atr_matrix;

/* Writes a PNG. */
atr_status atr_matrix_png(const atr_matrix *matrix, const char *path);

/* Curves that are drawn while the caller goes on: a gnuplot of its own, which the terminal's Ctrl-C does not reach. */
typedef struct atr_drawing atr_drawing;

/* Starts a PNG. Copies all it needs. ATR_ERR_USAGE where no curve has a point. */
atr_status atr_drawing_begin(const atr_plot *plot, const char *path, atr_drawing **out);
/* Looks whether it is done (`wait`: waits for it), then writes the file, frees the drawing and sets `*drawing` to NULL. Takes
 * a pointer to NULL. */
atr_status atr_drawing_end(atr_drawing **drawing, bool wait);

#endif
