#ifndef ATR_APPS_PLOT_H
#define ATR_APPS_PLOT_H

#include "core/text.h"

/* Curves and bars as SVG, drawn by gnuplot as a child process. */

typedef struct atr_curve {
    const char *title;
    const double *x, *y; /* [count]; points that are not finite are left out */
    int64_t count;
    bool points; /* with a mark at each point */
} atr_curve;

typedef struct atr_plot {
    const char *title, *x_label, *y_label; /* y_label: NULL for none */
    const atr_curve *curves;
    int curve_count;
    bool from_zero; /* y axis starts at 0 */
} atr_plot;

/* Whether any point of any curve is finite: what has none cannot be drawn. */
bool atr_plot_has_points(const atr_plot *plot);

/* Appends an <svg> element to `out`. ATR_ERR_NOT_FOUND where there is no gnuplot ("install gnuplot-nox"), ATR_ERR_INTERNAL where
 * it failed. Text in titles must be plain: no
 * quotes, no backslashes. Curves without a point are left out; ATR_ERR_USAGE where none has one. */
atr_status atr_plot_svg(const atr_plot *plot, atr_text *out);

#endif
