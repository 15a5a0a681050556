#include "apps/network_fit.h"

#include <jansson.h>
#include <stdbool.h>
#include <string.h>

#include "io/image.h"

/* Sums of w, w n, w n^2, w t and w n t, with w = 1/t^2. */
typedef struct fit {
    int count;
    double w, wn, wnn, wt, wnt;
} fit;

static void add(fit *f, double n, double t)
{
    const double w = 1 / (t * t);

    f->count++;
    f->w += w;
    f->wn += w * n;
    f->wnn += w * n * n;
    f->wt += w * t;
    f->wnt += w * n * t;
}

/* A line that would cut the axis below zero goes through it. */
static bool solve(const fit *f, double *latency, double *per_byte)
{
    const double determinant = f->w * f->wnn - f->wn * f->wn;

    if (f->count < 2 || determinant <= 0)
        return false;
    *latency = (f->wt * f->wnn - f->wnt * f->wn) / determinant;
    *per_byte = (f->w * f->wnt - f->wn * f->wt) / determinant;
    if (*latency < 0) {
        *latency = 0;
        *per_byte = f->wnt / f->wnn;
    }
    return *per_byte > 0;
}

static void add_sums(const json_t *sums, fit *f)
{
    size_t i;
    json_t *row;

    json_array_foreach(sums, i, row)
    {
        const char *const method = json_string_value(json_object_get(row, "method"));
        const double bytes = 1e6 * json_number_value(json_object_get(row, "mb"));
        const double seconds = 1e-3 * json_number_value(json_object_get(row, "median_ms"));
        if (method != NULL && strcmp(method, "exchange") == 0 && bytes > 0 && seconds > 0)
            add(f, bytes, seconds);
    }
}

atr_status atr_network_fit(const char *path, double *latency, double *bandwidth)
{
    enum { MOST_BYTES = 64 << 20 };
    void *bytes = NULL;
    size_t size = 0;
    double per_byte = 0;
    fit f = {0};
    json_t *root = NULL;
    atr_status status = ATR_OK;

    ATR_TRY(atr_file_read(path, MOST_BYTES, &bytes, &size));
    root = json_loadb(bytes, size, 0, NULL);
    add_sums(json_object_get(root, "sums"), &f);
    if (solve(&f, latency, &per_byte))
        *bandwidth = 1 / per_byte;
    else
        status = atr_fail(
            ATR_ERR_DATA,
            "%s: no exchanges of several sizes (mpirun -n 2 atrous bench comm --json writes them)", path);

done:
    json_decref(root);
    atr_free(bytes);
    return status;
}
