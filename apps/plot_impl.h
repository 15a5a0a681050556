#ifndef ATR_APPS_PLOT_IMPL_H
#define ATR_APPS_PLOT_IMPL_H

#include "apps/plot.h"

/* How gnuplot is told and run. */

/* `text` as a string of gnuplot: single quotes, in which nothing is expanded or run, and never one inside. Control characters become
 * blanks, what is no UTF-8 '?', too much is cut off (ATR_PLOT_TEXT_LETTERS); "" stands for NULL. */
enum { ATR_PLOT_TEXT_LETTERS = 60 };
void atr_plot_quote(const char *text, atr_text *script);

/* "set title … set xlabel … set ylabel …", each where it is not NULL. */
void atr_plot_titles(const char *title, const char *x_label, const char *y_label, atr_text *script);

/* Runs gnuplot with `script` as its input and appends what it draws to `picture`. */
atr_status atr_gnuplot(const atr_text *script, atr_text *picture);

/* The same to a file, which is replaced in one stroke. */
atr_status atr_gnuplot_file(const atr_text *script, const char *path);

/* The two halves of it. In the background gnuplot is in a process group of its own, so that Ctrl-C leaves it alone. */
typedef struct atr_gnuplot_job {
    void *input, *picture, *complaints; /* FILE */
    int child;
} atr_gnuplot_job;
atr_status atr_gnuplot_start(const atr_text *script, bool background, atr_gnuplot_job *job);
/* `*running` where it is still at work and `wait` is false: call again. Else the job is over and freed. */
atr_status atr_gnuplot_finish(atr_gnuplot_job *job, bool wait, bool *running, atr_text *picture);

#endif
