/* The table of places: a network starts without asking HDF5 for some hundred datasets, and its weights are copied once, from the file
 * to where they are used. The seal covers the table as all else, so it says the truth or the file is refused before. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "io/checkpoint_impl.h"
#include "io/image.h"
#include "io/weights_impl.h"

#define PLACES CKPT_MODEL "/param_places"

/* A row of the table, i64: where the values start in the file, their type (0 f32, 1 i64, both little endian), rank, extents. */
enum { AT_OFFSET, AT_TYPE, AT_RANK, AT_DIMS, ROW = AT_DIMS + 4 };
enum { PLACE_F32, PLACE_I64 };

static bool is_little_endian(void)
{
    const uint16_t word = 1;
    uint8_t first;

    memcpy(&first, &word, 1);
    return first == 1;
}

/* All of a parameter's row but the offset, which stays 0. */
static void describe(const atr_param_spec *spec, int64_t row[ROW])
{
    memset(row, 0, ROW * sizeof *row);
    row[AT_TYPE] = spec->kind == ATR_PARAM_TRACKED ? PLACE_I64 : PLACE_F32;
    row[AT_RANK] = spec->rank;
    for (int i = 0; i < spec->rank; i++)
        row[AT_DIMS + i] = spec->dims[i];
}

atr_status atr_checkpoint_write_places(atr_h5 *file, const atr_params *params)
{
    atr_status status = ATR_OK;
    const int64_t count = atr_params_count(params), dims[2] = {count, ROW};
    char path[ATR_NAME_BYTES + 16];
    int64_t *rows = NULL, bytes = 0;

    ATR_TRY(ATR_NEW(count * ROW, &rows));
    for (int64_t i = 0; i < count; i++) {
        const atr_param_spec *spec = atr_params_spec(params, i);
        describe(spec, &rows[i * ROW]);
        snprintf(path, sizeof path, CKPT_PARAMS "/%s", spec->name);
        ATR_TRY(atr_h5_place(file, path, &rows[i * ROW + AT_OFFSET], &bytes));
    }
    const atr_tensor table = atr_tensor_make(ATR_I64, 2, dims, rows);
    ATR_TRY(atr_h5_write(file, PLACES, &table));
done:
    atr_free(rows);
    return status;
}

/* Whether the file holds the same entries in the same order, shapes and types. */
static bool same_entries(const atr_params *params, char *const *names, const int64_t *rows)
{
    int64_t row[ROW];

    for (int64_t i = 0; i < atr_params_count(params); i++) {
        const atr_param_spec *spec = atr_params_spec(params, i);
        describe(spec, row);
        if (strcmp(names[i], spec->name) != 0 ||
            memcmp(&row[AT_TYPE], &rows[i * ROW + AT_TYPE], (ROW - AT_TYPE) * sizeof *row) != 0)
            return false;
    }
    return true;
}

/* The table and the names, where they are those of `params`; NULL where they are not. */
static atr_status read_rows(const atr_h5 *file, const atr_params *params, int64_t **out)
{
    atr_status status = ATR_OK;
    const int64_t count = atr_params_count(params);
    char **names = NULL;
    int64_t name_count = 0;
    atr_tensor table = {0};

    *out = NULL;
    if (!is_little_endian() || !atr_h5_exists(file, PLACES))
        return ATR_OK;
    ATR_TRY(atr_h5_read_new(file, PLACES, ATR_I64, 0, &table));
    ATR_TRY(atr_h5_read_texts(file, CKPT_MODEL "/param_names", &names, &name_count));
    if (table.rank == 2 && table.dims[0] == count && table.dims[1] == ROW && name_count == count &&
        same_entries(params, names, table.data)) {
        *out = table.data;
        table.data = NULL;
    }
done:
    atr_h5_names_free(names, name_count);
    atr_free(table.data);
    return status;
}

/* Values of all parameters from their places. */
static atr_status read_values(int descriptor, const int64_t *rows, atr_params *params,
                              atr_load_report *report)
{
    for (int64_t i = 0; i < atr_params_count(params); i++) {
        const atr_param_spec *spec = atr_params_spec(params, i);
        const atr_tensor value = atr_params_value(params, i);
        const int64_t count = atr_tensor_count(&value);
        const atr_status status = atr_file_read_at(descriptor, rows[i * ROW + AT_OFFSET], value.data,
                                                   (size_t)count * atr_dtype_bytes(value.type));
        if (status != ATR_OK)
            return atr_fail_prefix(status, "%s", spec->name);
        report->loaded++;
        if (value.type == ATR_F32 && !atr_all_finite(value.data, count) && report->non_finite++ == 0)
            snprintf(report->non_finite_name, sizeof report->non_finite_name, "%s", spec->name);
    }
    return ATR_OK;
}

/* One parameter in the mapped file; what does not lie there as in memory, at an address for its type, is copied. */
static atr_status map_value(const atr_mapping *mapping, int64_t offset, atr_params *params, int64_t index)
{
    const atr_tensor value = atr_params_value(params, index);
    const size_t element = atr_dtype_bytes(value.type), bytes = (size_t)atr_tensor_count(&value) * element;
    void *const at = atr_mapping_at(mapping, offset, bytes);

    if (at == NULL)
        return atr_fail(ATR_ERR_DATA, "%s lies outside of the file", atr_params_spec(params, index)->name);
    if (offset % (int64_t)element == 0)
        atr_params_map_value(params, index, at);
    else
        memcpy(value.data, at, bytes);
    return ATR_OK;
}

static atr_status map_values(const char *path, const int64_t *rows, atr_params *params)
{
    atr_status status = ATR_OK;
    atr_mapping *mapping = NULL;

    ATR_TRY(atr_mapping_open(path, &mapping));
    atr_params_own_mapping(params, mapping);
    for (int64_t i = 0; i < atr_params_count(params); i++)
        ATR_TRY(map_value(mapping, rows[i * ROW + AT_OFFSET], params, i));
done:
    return status == ATR_OK ? ATR_OK : atr_fail_prefix(status, "%s", path);
}

atr_status atr_checkpoint_map_in_place(const atr_h5 *file, atr_params *params, bool *fits)
{
    atr_status status = ATR_OK;
    int64_t *rows = NULL;

    *fits = false;
    ATR_TRY(read_rows(file, params, &rows));
    if (rows == NULL)
        goto done;
    ATR_TRY(map_values(atr_h5_path(file), rows, params));
    atr_params_touch(params);
    *fits = true;
done:
    atr_free(rows);
    return status;
}

atr_status atr_checkpoint_read_in_place(const atr_h5 *file, atr_params *params, atr_load_report *report,
                                        bool *fits)
{
    atr_status status = ATR_OK;
    int64_t *rows = NULL;
    int descriptor = -1;

    *fits = false;
    ATR_TRY(read_rows(file, params, &rows));
    if (rows == NULL)
        goto done;
    descriptor = open(atr_h5_path(file), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
        status = atr_fail(ATR_ERR_IO, "%s: cannot open: %s", atr_h5_path(file), strerror(errno));
        goto done;
    }
    ATR_TRY(atr_fail_prefix(read_values(descriptor, rows, params, report), "%s", atr_h5_path(file)));
    atr_params_touch(params);
    *fits = true;
done:
    if (descriptor >= 0)
        close(descriptor);
    atr_free(rows);
    return status;
}
