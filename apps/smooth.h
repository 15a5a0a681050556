#ifndef ATR_APPS_SMOOTH_H
#define ATR_APPS_SMOOTH_H

#include "core/mem.h"

/* Savitzky & Golay (Anal. Chem. 36, 1964): each value becomes that of the cubic which fits its `window` neighbours best (least
 * squares); at the ends the cubic of the first or last window. values, out [count]; `window` odd, 5 or more. Values that are not
 * finite spoil their window. ATR_ERR_USAGE where there are fewer values than the window. */
atr_status atr_smooth_cubic(const double *values, int64_t count, int window, double *out);

#endif
