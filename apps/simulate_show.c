#include <jansson.h>
#include <math.h>
#include <stdio.h>

#include "apps/cli.h"
#include "apps/plot.h"
#include "apps/simulate_impl.h"
#include "dist/reducer.h"

static void print_head(const atr_simulation *s)
{
    const atr_simulate_options *const o = s->options;
    const atr_step_trace *const t = &s->trace;
    const int f = o->figure;

    printf("%s; %s of %lld steps\n", t->work, f == ATR_TRACE_MIN ? "minima" : "medians", (long long)t->steps);
    printf(
        "  step           forward %.1f ms, backward %.1f ms, update %.1f ms (%g times as fast as traced)\n",
        1e3 * t->forward[f], 1e3 * t->backward[f], 1e3 * t->update[f], o->speed);
    printf("  gradients      %.2f MB, buckets of %g MB, first and last of %g MB, %s on the wire, %s\n",
           1e-6 * (double)(atr_step_trace_elements(t) * (int64_t)sizeof(float)), o->bucket_mb, o->edge_mb,
           atr_wire_names[o->wire], o->progress == ATR_PROGRESS_POLL ? "polled" : "moved by a thread");
    printf("  network        a = %.4g us, B = %.4g Gbit/s in each direction, C = %g GB/s, M = %g GB/s, "
           "%lld ranks a node, spread %.2g %%\n",
           o->latency_us, o->bandwidth_gbit, o->host_gbyte, o->memory_gbyte, (long long)o->ranks, o->spread);
    if (o->wire == ATR_WIRE_BF16)
        printf("  bf16           K = %g GB/s\n", o->convert_gbyte);
}

static void print_text(const atr_simulation *s)
{
    print_head(s);
    for (int64_t i = 0; i < s->row_count; i++) {
        const atr_simulated *const r = &s->rows[i];
        const atr_forecast *const none = &r->forecast[0], *const over = &r->forecast[1];
        if (i % s->options->nodes.count == 0)
            printf("\n%s: %s\n%42s%s\n%8s%9s%11s%14s%12s%14s%12s%12s\n", atr_reduction_names[r->reduction],
                   atr_reduction_formula(r->reduction), "without overlap",
                   "                      with overlap", "nodes", "buckets", "sums ms", "step ms",
                   "efficiency", "step ms", "exposed ms", "efficiency");
        printf("%8lld%9lld%11.2f%14.2f%12.3f%14.2f%12.2f%12.3f\n", (long long)r->nodes,
               (long long)over->buckets, 1e3 * over->sums, 1e3 * none->step, r->efficiency[0],
               1e3 * over->step, 1e3 * over->exposed, r->efficiency[1]);
    }
}

static json_t *row_json(const atr_simulated *r, int overlap)
{
    const atr_forecast *const f = &r->forecast[overlap];

    return json_pack("{s:s, s:b, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "allreduce",
                     atr_reduction_names[r->reduction], "overlap", overlap, "nodes", (json_int_t)r->nodes,
                     "buckets", (json_int_t)f->buckets, "step_ms", 1e3 * f->step, "compute_ms",
                     1e3 * f->compute, "waiting_ms", 1e3 * f->waiting, "sums_ms", 1e3 * f->sums, "exposed_ms",
                     1e3 * f->exposed, "efficiency", r->efficiency[overlap], "images_per_s",
                     r->rate[overlap]);
}

static atr_status print_json(const atr_simulation *s)
{
    const atr_simulate_options *const o = s->options;
    json_t *const results = json_array();

    for (int64_t i = 0; i < s->row_count; i++)
        for (int overlap = 0; overlap < 2; overlap++)
            json_array_append_new(results, row_json(&s->rows[i], overlap));
    json_t *const out = json_pack(
        "{s:s, s:s, s:s, s:f, s:f, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:s, s:s, s:o}", "trace", s->path,
        "work", s->trace.work, "figure", o->figure == ATR_TRACE_MIN ? "min" : "median", "speed", o->speed,
        "spread_percent", o->spread, "ranks_per_node", (json_int_t)o->ranks, "latency_us", o->latency_us,
        "bandwidth_gbit", o->bandwidth_gbit, "host_gbyte", o->host_gbyte, "memory_gbyte", o->memory_gbyte,
        "convert_gbyte", o->convert_gbyte, "bucket_mb", o->bucket_mb, "edge_mb", o->edge_mb, "wire",
        atr_wire_names[o->wire], "progress", atr_reducer_progress_names[o->progress], "results", results);
    return atr_cli_json(out, 7);
}

atr_status atr_simulate_print(const atr_simulation *simulation)
{
    if (simulation->options->json)
        return print_json(simulation);
    print_text(simulation);
    return ATR_OK;
}

/* Of each reduction a curve with overlap, and a dashed one without. `names` [reductions][2], `values` [1 + 2 reductions, nodes]. */
static void make_curves(const atr_simulation *s, char (*names)[2][64], double *values, atr_curve *curves)
{
    const int64_t count = s->options->nodes.count;

    for (int64_t i = 0; i < s->row_count; i++) {
        const atr_simulated *const row = &s->rows[i];
        const int64_t r = i / count, n = i % count;
        values[n] = (double)row->nodes;
        for (int k = 0; k < 2; k++) {
            double *const y = &values[(1 + 2 * r + k) * count];
            y[n] = 100 * row->efficiency[1 - k];
            snprintf(names[r][k], sizeof names[r][k], "%s%s", atr_reduction_names[row->reduction],
                     k == 0 ? ", overlap" : "");
            curves[2 * r + k] = (atr_curve){.title = names[r][k],
                                            .x = values,
                                            .y = y,
                                            .count = count,
                                            .points = k == 0,
                                            .dashed = k == 1};
        }
    }
}

atr_status atr_simulate_plot(const atr_simulation *simulation, const char *path)
{
    const atr_simulate_options *const o = simulation->options;
    const int64_t reductions = o->reductions.count;
    char(*names)[2][64] = NULL;
    char title[160];
    double *values = NULL;
    atr_curve *curves = NULL;
    atr_drawing *drawing = NULL;
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW(reductions, &names));
    ATR_TRY(ATR_NEW((1 + 2 * reductions) * o->nodes.count, &values));
    ATR_TRY(ATR_NEW(2 * reductions, &curves));
    make_curves(simulation, names, values, curves);
    snprintf(title, sizeof title, "%.4g Gbit/s, %.4g us, nodes %g times as fast, %s on the wire",
             o->bandwidth_gbit, o->latency_us, o->speed, atr_wire_names[o->wire]);
    const atr_plot plot = {.title = title,
                           .x_label = "nodes",
                           .y_label = "parallel efficiency, %",
                           .curves = curves,
                           .curve_count = (int)(2 * reductions),
                           .from_zero = true,
                           .log_x = true,
                           .pairs = true};
    ATR_TRY(atr_drawing_begin(&plot, path, &drawing));
    ATR_TRY(atr_drawing_end(&drawing, true));

done:
    if (drawing != NULL)
        atr_drawing_end(&drawing, true);
    atr_free(names);
    atr_free(values);
    atr_free(curves);
    return status;
}
