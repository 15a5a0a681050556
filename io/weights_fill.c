#include <stdio.h>
#include <string.h>

#include "io/weights_impl.h"

static bool is_float(atr_dtype type)
{
    return type == ATR_F32 || type == ATR_F16 || type == ATR_BF16 || type == ATR_F64;
}

/* [] and [1] are the same counter: PyTorch has written both. */
static bool same_shape(const atr_tensor *tensor, const atr_param_spec *spec)
{
    const bool scalars = atr_tensor_count(tensor) == 1 && tensor->rank <= 1 && spec->rank == 0;

    if (tensor->rank != spec->rank)
        return scalars;
    for (int i = 0; i < spec->rank; i++)
        if (tensor->dims[i] != spec->dims[i])
            return false;
    return true;
}

static void note(atr_load_report *report, atr_load_kind kind, const char *name, const atr_tensor *tensor,
                 const atr_param_spec *spec)
{
    atr_load_issue *issue = &report->issues[report->issue_count++];

    *issue = (atr_load_issue){.kind = kind};
    snprintf(issue->name, sizeof issue->name, "%s", name);
    if (tensor != NULL) {
        issue->file_rank = tensor->rank;
        memcpy(issue->file_dims, tensor->dims, (size_t)tensor->rank * sizeof tensor->dims[0]);
    }
    if (spec != NULL) {
        issue->rank = spec->rank;
        memcpy(issue->dims, spec->dims, (size_t)spec->rank * sizeof spec->dims[0]);
    }
}

static bool starts_with(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

static bool in_part(const atr_load_part *part, const char *name)
{
    return (part->only == NULL || starts_with(name, part->only)) &&
           (part->but == NULL || !starts_with(name, part->but));
}

/* Compares names, shapes and types, and decides what each entry takes: sources[i] is a tensor of the file, or -1. used[k]: the
 * network has an entry of that name. */
static atr_status match(const atr_weights *weights, const atr_load_part *part, const atr_params *params,
                        int64_t *sources, bool *used, atr_load_report *report)
{
    for (int64_t i = 0; i < atr_params_count(params); i++) {
        const atr_param_spec *spec = atr_params_spec(params, i);
        const bool counter = spec->kind == ATR_PARAM_TRACKED;
        const int64_t at = atr_weights_find(weights, spec->name);
        const atr_tensor *tensor = at >= 0 ? atr_weights_tensor(weights, at) : NULL;

        sources[i] = -1;
        if (at >= 0)
            used[at] = true;
        if (!in_part(part, spec->name))
            continue;
        if (tensor == NULL) {
            if (!counter) {
                note(report, ATR_LOAD_MISSING, spec->name, NULL, spec);
                report->missing++;
            }
            continue;
        }
        if (!same_shape(tensor, spec)) {
            note(report, ATR_LOAD_SHAPE, spec->name, tensor, spec);
            report->mismatched++;
        } else if (is_float(tensor->type) == counter) {
            return atr_fail(ATR_ERR_DATA, "tensor %s is %s, wanted are %s", spec->name,
                            atr_dtype_name(tensor->type), counter ? "integers" : "floats");
        } else {
            sources[i] = at;
        }
    }
    for (int64_t i = 0; i < atr_weights_count(weights); i++) {
        if (used[i])
            continue;
        note(report, ATR_LOAD_UNEXPECTED, atr_weights_name(weights, i), atr_weights_tensor(weights, i), NULL);
        report->unexpected++;
    }
    return ATR_OK;
}

/* What is left over on both sides once every entry has its source. */
static void count_rest(const atr_weights *weights, const atr_params *params, const int64_t *sources,
                       bool *taken, atr_load_report *report)
{
    for (int64_t i = 0; i < atr_params_count(params); i++) {
        if (sources[i] >= 0)
            taken[sources[i]] = true;
        else if (report->fresh++ == 0)
            snprintf(report->fresh_name, sizeof report->fresh_name, "%s", atr_params_spec(params, i)->name);
    }
    for (int64_t i = 0; i < atr_weights_count(weights); i++)
        if (!taken[i] && report->unused++ == 0)
            snprintf(report->unused_name, sizeof report->unused_name, "%s", atr_weights_name(weights, i));
}

/* The first issues in words: "2 tensors missing (first: a.weight), …". Tensors that only the file has are none where a part
 * of the network is asked for. */
static atr_status refuse(const atr_load_report *report, bool whole)
{
    static const char *const words[] = {"missing in the file", "unknown to the network", "of another shape"};
    const int64_t counts[] = {report->missing, report->unexpected, report->mismatched};
    char text[1024] = "", shapes[300], file_shape[128], shape[128];
    size_t length = 0;

    for (int kind = 0; kind < 3; kind++) {
        const atr_load_issue *first = report->issues;
        if (counts[kind] == 0 || (kind == ATR_LOAD_UNEXPECTED && !whole))
            continue;
        while ((int)first->kind != kind)
            first++;
        snprintf(shapes, sizeof shapes, " is %s in the file, %s in the network",
                 atr_shape_text(first->file_rank, first->file_dims, file_shape),
                 atr_shape_text(first->rank, first->dims, shape));
        length += (size_t)snprintf(text + length, sizeof text - length, "%s%lld %s (first: %s%s)",
                                   length > 0 ? ", " : "", (long long)counts[kind], words[kind], first->name,
                                   kind == ATR_LOAD_SHAPE ? shapes : "");
    }
    return atr_fail(report->mismatched > 0 ? ATR_ERR_SHAPE : ATR_ERR_NOT_FOUND,
                    "weights do not fit the network: %s", text);
}

/* By the largest magnitude as bits: infinity and NaN have all exponent bits set. */
bool atr_all_finite(const float *values, int64_t count)
{
    uint32_t largest = 0;

    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        bits &= 0x7FFFFFFF;
        largest = bits > largest ? bits : largest;
    }
    return largest < 0x7F800000;
}

static void copy_floats(const atr_tensor *from, float *to, bool *finite)
{
    const int64_t count = atr_tensor_count(from);

    switch (from->type) {
    case ATR_F32:
        memcpy(to, from->data, (size_t)count * sizeof(float));
        break;
    case ATR_F64:
        for (int64_t i = 0; i < count; i++)
            to[i] = (float)((const double *)from->data)[i];
        break;
    case ATR_F16:
        for (int64_t i = 0; i < count; i++)
            to[i] = atr_f16_to_f32(((const uint16_t *)from->data)[i]);
        break;
    default:
        for (int64_t i = 0; i < count; i++)
            to[i] = atr_bf16_to_f32(((const uint16_t *)from->data)[i]);
    }
    *finite = atr_all_finite(to, count);
}

static int64_t read_integer(const atr_tensor *from)
{
    switch (from->type) {
    case ATR_I64:
        return *(const int64_t *)from->data;
    case ATR_I32:
        return *(const int32_t *)from->data;
    case ATR_I8:
        return *(const int8_t *)from->data;
    default:
        return *(const uint8_t *)from->data;
    }
}

static void copy_all(const atr_weights *weights, const int64_t *sources, atr_params *params,
                     atr_load_report *report)
{
    for (int64_t i = 0; i < atr_params_count(params); i++) {
        const atr_param_spec *spec = atr_params_spec(params, i);
        const atr_tensor to = atr_params_value(params, i);
        bool finite = true;

        if (sources[i] < 0)
            continue;
        const atr_tensor *from = atr_weights_tensor(weights, sources[i]);
        report->loaded++;
        if (spec->kind == ATR_PARAM_TRACKED)
            *(int64_t *)to.data = read_integer(from);
        else if (atr_tensor_count(from) > 0)
            copy_floats(from, to.data, &finite);
        if (!finite && report->non_finite++ == 0)
            snprintf(report->non_finite_name, sizeof report->non_finite_name, "%s", spec->name);
    }
    atr_params_touch(params);
}

/* `whole`: the file must hold nothing else; `strict`: all of the part must be there. */
static atr_status fill(const atr_weights *weights, const atr_load_part *part, bool whole, bool strict,
                       atr_params *params, atr_load_report *report)
{
    atr_status status = ATR_OK;
    const int64_t count = atr_params_count(params), file_count = atr_weights_count(weights);
    atr_load_report found = {0};
    int64_t *sources = NULL;
    bool *used = NULL, *taken = NULL;

    ATR_TRY(ATR_NEW(count + file_count, &found.issues));
    ATR_TRY(ATR_NEW(count, &sources));
    ATR_TRY(ATR_NEW(file_count, &used));
    ATR_TRY(ATR_NEW(file_count, &taken));
    ATR_TRY(match(weights, part, params, sources, used, &found));
    if (strict && (found.missing > 0 || found.mismatched > 0 || (whole && found.unexpected > 0))) {
        status = refuse(&found, whole);
        goto done;
    }
    count_rest(weights, params, sources, taken, &found);
    copy_all(weights, sources, params, &found);

done:
    atr_free(sources);
    atr_free(used);
    atr_free(taken);
    if (report != NULL)
        *report = found;
    else
        atr_load_report_free(&found);
    return status;
}

atr_status atr_weights_fill(const atr_weights *weights, atr_load_mode mode, atr_params *params,
                            atr_load_report *report)
{
    return fill(weights, &(atr_load_part){NULL, NULL}, true, mode == ATR_LOAD_STRICT, params, report);
}

atr_status atr_weights_fill_part(const atr_weights *weights, const atr_load_part *part, atr_params *params,
                                 atr_load_report *report)
{
    return fill(weights, part, false, true, params, report);
}

void atr_load_report_free(atr_load_report *report)
{
    atr_free(report->issues);
    *report = (atr_load_report){0};
}
