#include <jansson.h>
#include <stdio.h>

#include "apps/bench_scaling_impl.h"
#include "apps/cli.h"
#include "apps/plot.h"

static double pictures_per_s(const atr_scaling_point *p)
{
    return (double)(p->ranks * p->batch) / p->best.median;
}

static void print_text(const atr_scaling *s)
{
    printf("%s; %lld rounds of %lld steps\n", s->title, (long long)s->options->rounds,
           (long long)s->options->repeats);
    for (int64_t i = 0; i < s->point_count; i++) {
        const atr_scaling_point *const p = &s->points[i];
        const bool weak = p->sweep == ATR_SWEEP_WEAK;
        if (i == 0 || p->sweep != s->points[i - 1].sweep)
            printf("\n%s\n%6s%7s%12s%12s%12s%12s%12s%12s%14s%12s\n",
                   weak ? "weak: efficiency against ranks that train by themselves side by side"
                        : "strong: efficiency against the smallest job",
                   "ranks", "batch", "min ms", "median ms", weak ? "alone min" : "", weak ? "median" : "",
                   "efficiency", "by medians", weak ? "against first" : "", "pictures/s");
        printf("%6lld%7lld%12.1f%12.1f", (long long)p->ranks, (long long)p->batch, 1e3 * p->best.min,
               1e3 * p->best.median);
        if (weak)
            printf("%12.1f%12.1f", 1e3 * p->best.alone_min, 1e3 * p->best.alone_median);
        else
            printf("%24s", "");
        printf("%12.3f%12.3f", p->efficiency[0], p->efficiency[1]);
        if (weak)
            printf("%14.3f", p->against_first[0]);
        else
            printf("%14s", "");
        printf("%12.2f\n", pictures_per_s(p));
    }
}

static json_t *point_json(const atr_scaling_point *p)
{
    json_t *const out =
        json_pack("{s:s, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "sweep", atr_sweep_name(p->sweep),
                  "ranks", (json_int_t)p->ranks, "batch", (json_int_t)p->batch, "min_ms", 1e3 * p->best.min,
                  "median_ms", 1e3 * p->best.median, "efficiency_min", p->efficiency[0], "efficiency_median",
                  p->efficiency[1], "against_first_min", p->against_first[0], "against_first_median",
                  p->against_first[1], "images_per_s", pictures_per_s(p));

    if (p->sweep == ATR_SWEEP_WEAK)
        json_object_update_missing_new(out, json_pack("{s:f, s:f}", "alone_min_ms", 1e3 * p->best.alone_min,
                                                      "alone_median_ms", 1e3 * p->best.alone_median));
    return out;
}

static atr_status print_json(const atr_scaling *s)
{
    json_t *const points = json_array();

    for (int64_t i = 0; i < s->point_count; i++)
        json_array_append_new(points, point_json(&s->points[i]));
    json_t *const out = json_pack("{s:s, s:s, s:I, s:I, s:o}", "work", s->title, "launcher",
                                  s->options->launcher, "rounds", (json_int_t)s->options->rounds, "repeats",
                                  (json_int_t)s->options->repeats, "points", points);
    return atr_cli_json(out, 6);
}

atr_status atr_scaling_print(const atr_scaling *scaling)
{
    if (scaling->options->json)
        return print_json(scaling);
    print_text(scaling);
    return ATR_OK;
}

/* Each sweep has two curves, by minima and (dashed) by medians; the points of one sweep follow each other. */
static int make_curves(const atr_scaling *s, double *values, atr_curve *curves)
{
    static const char *const titles[2][2] = {{"weak, minima", "weak, medians"},
                                             {"strong, minima", "strong, medians"}};
    int count = 0;

    for (int64_t i = 0; i < s->point_count; i++) {
        const atr_scaling_point *const p = &s->points[i];
        values[i] = (double)p->ranks;
        for (int k = 0; k < 2; k++)
            values[(1 + k) * s->point_count + i] = 100 * p->efficiency[k];
        if (i == 0 || p->sweep != s->points[i - 1].sweep) {
            for (int k = 0; k < 2; k++)
                curves[count + k] = (atr_curve){.title = titles[p->sweep][k],
                                                .x = &values[i],
                                                .y = &values[(1 + k) * s->point_count + i],
                                                .points = k == 0,
                                                .dashed = k == 1};
            count += 2;
        }
        curves[count - 2].count++;
        curves[count - 1].count++;
    }
    return count;
}

atr_status atr_scaling_plot(const atr_scaling *scaling, const char *path)
{
    double *values = NULL;
    atr_curve *curves = NULL;
    atr_drawing *drawing = NULL;
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW(3 * scaling->point_count, &values));
    ATR_TRY(ATR_NEW(2 * scaling->point_count, &curves));
    const atr_plot plot = {.title = scaling->title,
                           .x_label = "ranks",
                           .y_label = "parallel efficiency, %",
                           .curves = curves,
                           .curve_count = make_curves(scaling, values, curves),
                           .from_zero = true,
                           .log_x = true,
                           .pairs = true};
    ATR_TRY(atr_drawing_begin(&plot, path, &drawing));
    ATR_TRY(atr_drawing_end(&drawing, true));

done:
    if (drawing != NULL)
        atr_drawing_end(&drawing, true);
    atr_free(values);
    atr_free(curves);
    return status;
}
