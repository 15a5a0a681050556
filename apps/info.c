#include "apps/info.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "apps/runlog.h"
#include "io/dataset.h"
#include "io/h5.h"
#include "io/h5_guard.h"
#include "io/image.h"
#include "io/path.h"

/* Parts of a network that are told apart; further ones are counted together. */
enum { PARTS = 24 };

typedef struct part {
    const char *name; /* borrowed, not ended by a zero */
    int length;
    int64_t elements, tensors;
} part;

typedef struct tally {
    part parts[PARTS];
    int count;
    int64_t parameters, parameter_tensors, buffers, buffer_tensors;
} tally;

/* Reads the first bytes; `*got` of `room`. */
static atr_status read_head(const char *path, uint8_t *head, size_t room, size_t *got)
{
    FILE *file = fopen(path, "rb");

    if (file == NULL)
        return atr_fail(ATR_ERR_IO, "%s: %s", path, strerror(errno));
    *got = fread(head, 1, room, file);
    fclose(file);
    return ATR_OK;
}

/* Data sets and models are sealed HDF5 files that name their format. */
static atr_status sniff_ours(const char *path, atr_file_kind *out)
{
    atr_status status = ATR_OK;
    atr_h5 *file = NULL;
    char *format = NULL;

    ATR_TRY(atr_h5_check_seal(path));
    ATR_TRY(atr_h5_open(path, &file));
    if (atr_h5_has_attr(file, "/", "format"))
        ATR_TRY(atr_h5_get_text(file, "/", "format", &format));
    *out = format != NULL && strcmp(format, "atrous data set") == 0 ? ATR_FILE_DATASET : ATR_FILE_MODEL;
done:
    atr_free(format);
    atr_h5_destroy(file);
    return status;
}

static atr_status sniff_file(const char *path, atr_file_kind *out)
{
    static const uint8_t hdf5[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1A, '\n'};
    atr_status status = ATR_OK;
    uint8_t head[ATR_H5_USER_BLOCK + sizeof hdf5] = {0};
    int64_t bytes = 0;
    size_t got = 0;

    ATR_TRY(atr_path_size(path, &bytes));
    ATR_TRY(read_head(path, head, sizeof head, &got));
    /* An unfinished file of ours has an empty user block and HDF5's mark behind it. */
    if (memcmp(head, "ATRSEAL1", 8) == 0 || memcmp(head, hdf5, sizeof hdf5) == 0 ||
        memcmp(head + ATR_H5_USER_BLOCK, hdf5, sizeof hdf5) == 0)
        ATR_TRY(sniff_ours(path, out));
    else
        *out = atr_image_sniff(head, got) != ATR_IMAGE_UNKNOWN ? ATR_FILE_PICTURE : ATR_FILE_WEIGHTS;
done:
    return status;
}

atr_status atr_file_sniff(const char *path, atr_file_kind *out)
{
    char **files = NULL;
    int64_t count = 0;
    const bool folder = atr_path_is_folder(path);
    atr_status status = atr_dataset_files(&path, 1, &files, &count);

    if (status == ATR_OK)
        status = sniff_file(files[0], out);
    if (count > 0 && strcmp(files[0], path) != 0)
        status = atr_fail_prefix(status, "%s", path);
    if (folder && (count == 0 || (status == ATR_OK && *out != ATR_FILE_DATASET)))
        status =
            atr_fail(ATR_ERR_USAGE,
                     "%s is a folder; name a file, or a folder of data sets (of a run: last.h5 or best.h5; "
                     "`atrous report` "
                     "shows a whole run)",
                     path);
    atr_dataset_files_free(files, count);
    return status;
}

atr_status atr_info_check(const char *path, atr_file_kind kind)
{
    const atr_info_request request = {.path = path, .output_stride = 16};
    atr_text text = {0};
    const atr_status status = kind == ATR_FILE_MODEL     ? atr_info_model(&request, &text)
                              : kind == ATR_FILE_PICTURE ? atr_info_picture(&request, &text)
                                                         : atr_info_weights(&request, &text);

    atr_free(text.bytes);
    return status;
}

void atr_info_label(atr_text *out, const char *name)
{
    atr_text_append(out, "  %-14s", name);
}

void atr_info_bytes(atr_text *out, int64_t bytes)
{
    static const char *const units[] = {"kB", "MB", "GB", "TB"};
    double value = (double)bytes / 1000;
    int unit = 0;

    if (bytes < 1000) {
        atr_text_append(out, "%lld bytes", (long long)bytes);
        return;
    }
    while (value >= 999.95 && unit < 3) {
        value /= 1000;
        unit++;
    }
    atr_text_append(out, "%.1f %s", value, units[unit]);
}

void atr_info_printable(atr_text *out, const char *text)
{
    char shown[512];

    atr_text_append(out, "%s", atr_printable(text, shown, sizeof shown));
}

/* What a network keeps but does not learn: PyTorch's names for it are the same everywhere. */
static bool is_buffer(const char *name)
{
    static const char *const endings[] = {".running_mean", ".running_var", ".num_batches_tracked"};
    const size_t length = strlen(name);

    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        const size_t tail = strlen(endings[i]);
        if (length > tail && strcmp(name + length - tail, endings[i]) == 0)
            return true;
    }
    return false;
}

static part *find_part(tally *t, const char *name)
{
    const int length = (int)strcspn(name, ".");

    for (int i = 0; i < t->count; i++)
        if (t->parts[i].length == length && strncmp(t->parts[i].name, name, (size_t)length) == 0)
            return &t->parts[i];
    if (t->count == PARTS - 1) {
        t->parts[PARTS - 1].name = "others";
        t->parts[PARTS - 1].length = 6;
        t->count = PARTS;
    }
    if (t->count == PARTS)
        return &t->parts[PARTS - 1];
    t->parts[t->count] = (part){name, length, 0, 0};
    return &t->parts[t->count++];
}

static void count_tensors(const atr_weights *weights, tally *out)
{
    memset(out, 0, sizeof *out);
    for (int64_t i = 0; i < atr_weights_count(weights); i++) {
        const int64_t elements = atr_tensor_count(atr_weights_tensor(weights, i));
        if (is_buffer(atr_weights_name(weights, i))) {
            out->buffers += elements;
            out->buffer_tensors++;
            continue;
        }
        part *p = find_part(out, atr_weights_name(weights, i));
        p->elements += elements;
        p->tensors++;
        out->parameters += elements;
        out->parameter_tensors++;
    }
}

static void append_parts(const tally *t, atr_text *out)
{
    atr_info_label(out, "parameters");
    atr_text_append(out, "%lld in %lld tensors; %lld running statistics and counters in %lld\n",
                    (long long)t->parameters, (long long)t->parameter_tensors, (long long)t->buffers,
                    (long long)t->buffer_tensors);
    for (int i = 0; i < t->count; i++) {
        const part *p = &t->parts[i];
        atr_info_label(out, "");
        atr_text_append(out, "%-24.*s %12lld %6.2f %%\n", p->length, p->name, (long long)p->elements,
                        t->parameters == 0 ? 0.0 : 100.0 * (double)p->elements / (double)t->parameters);
    }
}

static void append_list(const atr_weights *weights, atr_text *out)
{
    char shape[128];

    for (int64_t i = 0; i < atr_weights_count(weights); i++) {
        const atr_tensor *tensor = atr_weights_tensor(weights, i);
        atr_text_append(out, "  %-9s%-18s", atr_dtype_name(tensor->type),
                        atr_shape_text(tensor->rank, tensor->dims, shape));
        atr_text_append(out, " %s\n", atr_weights_name(weights, i));
    }
}

static void append_json_parts(const tally *t, atr_text *out)
{
    char name[128];

    atr_text_append(out, "\"parameters\":%lld,\"buffers\":%lld,\"parts\":{", (long long)t->parameters,
                    (long long)t->buffers);
    for (int i = 0; i < t->count; i++) {
        const part *p = &t->parts[i];
        const int length = p->length < (int)sizeof name - 1 ? p->length : (int)sizeof name - 1;
        memcpy(name, p->name, (size_t)length);
        name[length] = '\0';
        atr_text_append(out, i == 0 ? "" : ",");
        atr_json_string(out, name);
        atr_text_append(out, ":%lld", (long long)p->elements);
    }
    atr_text_append(out, "}");
}

static void append_json_list(const atr_weights *weights, atr_text *out)
{
    atr_text_append(out, ",\"tensors\":[");
    for (int64_t i = 0; i < atr_weights_count(weights); i++) {
        const atr_tensor *tensor = atr_weights_tensor(weights, i);
        atr_text_append(out, "%s\n{\"name\":", i == 0 ? "" : ",");
        atr_json_string(out, atr_weights_name(weights, i));
        atr_text_append(out, ",\"type\":\"%s\",\"shape\":", atr_dtype_name(tensor->type));
        atr_json_integers(out, tensor->dims, tensor->rank);
        atr_text_append(out, "}");
    }
    atr_text_append(out, "]");
}

void atr_info_tensors(const atr_weights *weights, const atr_info_request *request, atr_text *out)
{
    tally t;

    count_tensors(weights, &t);
    if (request->json)
        append_json_parts(&t, out);
    else
        append_parts(&t, out);
    if (request->tensors && request->json)
        append_json_list(weights, out);
    else if (request->tensors)
        append_list(weights, out);
}
