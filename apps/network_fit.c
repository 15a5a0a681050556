#include "apps/network_fit.h"

#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "io/image.h"

typedef struct point {
    double bytes, seconds;
} point;

/* Row `index` of the sums; false where it is no exchange that was measured. */
static bool read_point(const json_t *sums, size_t index, point *out)
{
    const json_t *const row = json_array_get(sums, index);
    const char *const method = json_string_value(json_object_get(row, "method"));

    out->bytes = 1e6 * json_number_value(json_object_get(row, "mb"));
    out->seconds = 1e-3 * json_number_value(json_object_get(row, "median_ms"));
    return method != NULL && strcmp(method, "exchange") == 0 && out->bytes > 0 && out->seconds > 0;
}

static bool fit(const json_t *sums, double *latency, double *bandwidth)
{
    enum { LARGE = 16 };
    point p, least = {INFINITY, 0}, most = {0, 0};

    for (size_t i = 0; i < json_array_size(sums); i++)
        if (read_point(sums, i, &p)) {
            if (p.bytes < least.bytes)
                least = p;
            if (p.bytes > most.bytes)
                most = p;
        }
    if (!(most.bytes > least.bytes))
        return false;
    *latency = least.seconds;
    *bandwidth = 0;
    for (size_t i = 0; i < json_array_size(sums); i++)
        if (read_point(sums, i, &p) && p.bytes > least.bytes && p.bytes >= most.bytes / LARGE &&
            p.seconds > least.seconds)
            *bandwidth = fmax(*bandwidth, p.bytes / (p.seconds - least.seconds));
    return *bandwidth > 0;
}

atr_status atr_network_fit(const char *path, double *latency, double *bandwidth)
{
    enum { MOST_BYTES = 64 << 20 };
    void *bytes = NULL;
    size_t size = 0;
    json_t *root = NULL;
    atr_status status = ATR_OK;

    ATR_TRY(atr_file_read(path, MOST_BYTES, &bytes, &size));
    root = json_loadb(bytes, size, 0, NULL);
    if (!fit(json_object_get(root, "sums"), latency, bandwidth))
        status = atr_fail(
            ATR_ERR_DATA,
            "%s: no exchanges of several sizes (mpirun -n 2 atrous bench comm --json writes them)", path);

done:
    json_decref(root);
    atr_free(bytes);
    return status;
}
