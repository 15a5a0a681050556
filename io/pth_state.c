#include <stdio.h>
#include <string.h>

#include "io/pth_impl.h"

typedef atr_pickle_value value;

static const struct {
    const char *name; /* of the storage class, without "torch." and "Storage" */
    atr_dtype type;
} storage_types[] = {
    {"Float", ATR_F32}, {"Half", ATR_F16}, {"BFloat16", ATR_BF16}, {"Double", ATR_F64}, {"Long", ATR_I64},
    {"Int", ATR_I32},   {"Byte", ATR_U8},  {"Bool", ATR_U8},       {"Char", ATR_I8},
};

/* "torch.FloatStorage" or "torch.cuda.FloatStorage" -> row of storage_types, or -1. */
static int find_storage_type(const char *global)
{
    char name[ATR_PTH_TEXT];

    for (int i = 0; i < (int)(sizeof storage_types / sizeof storage_types[0]); i++) {
        snprintf(name, sizeof name, "torch.%sStorage", storage_types[i].name);
        if (strcmp(global, name) == 0)
            return i;
        snprintf(name, sizeof name, "torch.cuda.%sStorage", storage_types[i].name);
        if (strcmp(global, name) == 0)
            return i;
    }
    return -1;
}

/* Only names of plain data. Storage classes we cannot read are allowed here, so that the message names the tensor. */
bool atr_pth_allows(const char *global)
{
    static const char *const allowed[] = {
        "collections.OrderedDict",
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_parameter",
        "torch.Size",
        "torch.device",
        "torch.ShortStorage",
        "torch.ComplexFloatStorage",
        "torch.ComplexDoubleStorage",
        "torch.float32",
        "torch.float64",
        "torch.float16",
        "torch.bfloat16",
        "torch.int64",
        "torch.int32",
        "torch.int16",
        "torch.int8",
        "torch.uint8",
        "torch.bool",
    };

    for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++)
        if (strcmp(global, allowed[i]) == 0)
            return true;
    return find_storage_type(global) >= 0;
}

static bool is_call(const value *v, const char *global)
{
    return v->kind == ATR_PICKLE_CALL && strcmp(v->callee->text, global) == 0;
}

/* Parameters are tensors in a wrapping. */
static const value *unwrap(const value *v)
{
    if (is_call(v, "torch._utils._rebuild_parameter") && v->args->count > 0)
        return v->args->items[0];
    return v;
}

static bool is_tensor(const value *v)
{
    v = unwrap(v);
    return is_call(v, "torch._utils._rebuild_tensor_v2") || is_call(v, "torch._utils._rebuild_tensor");
}

static bool is_dictionary(const value *v)
{
    return v->kind == ATR_PICKLE_DICT || is_call(v, "collections.OrderedDict");
}

static bool holds_tensors(const value *v)
{
    if (!is_dictionary(v))
        return false;
    for (int64_t i = 0; i + 1 < v->count; i += 2)
        if (v->items[i]->kind == ATR_PICKLE_TEXT && is_tensor(v->items[i + 1]))
            return true;
    return false;
}

/* Index of the storage that a persistent id ('storage', class, key, location, count[, view]) names; a new one is noted. */
static atr_status read_storage(pth_state *state, const value *persid, int64_t *out)
{
    atr_status status = ATR_OK;
    const value *id = persid->kind == ATR_PICKLE_PERSID ? persid->items[0] : NULL;

    if (id == NULL || id->kind != ATR_PICKLE_TUPLE || id->count < 5 ||
        !atr_pickle_is_text(id->items[0], "storage") || id->items[1]->kind != ATR_PICKLE_GLOBAL ||
        id->items[2]->kind != ATR_PICKLE_TEXT || id->items[4]->kind != ATR_PICKLE_INT)
        return atr_fail(ATR_ERR_DATA, "a storage is not described as PyTorch does it");
    if (id->count > 5 && id->items[5]->kind != ATR_PICKLE_NONE)
        return atr_fail(ATR_ERR_UNSUPPORTED, "a storage that is a view of another one (PyTorch before 0.4)");

    const value *key = id->items[2];
    const int row = find_storage_type(id->items[1]->text);
    const int64_t count = id->items[4]->integer;
    int64_t bytes = 0;
    if (row < 0)
        return atr_fail(ATR_ERR_UNSUPPORTED, "elements of type %s", id->items[1]->text);
    const atr_dtype type = storage_types[row].type;
    if (key->length == 0 || key->length >= ATR_PTH_TEXT || memchr(key->text, '\0', key->length) != NULL ||
        count < 0 || __builtin_mul_overflow(count, (int64_t)atr_dtype_bytes(type), &bytes))
        return atr_fail(ATR_ERR_DATA, "a storage with an absurd key or size");

    *out = atr_names_find(state->keys, key->text, key->length);
    if (*out >= 0) {
        const pth_storage *known = &state->storages[*out];
        if (known->type != type || known->count != count)
            return atr_fail(ATR_ERR_DATA, "one storage is described in two ways");
        return ATR_OK;
    }
    if (state->storage_count == state->storage_capacity) {
        const int64_t capacity = state->storage_capacity == 0 ? 512 : state->storage_capacity * 2;
        ATR_TRY(
            atr_grow(state->storage_capacity, capacity, sizeof *state->storages, (void **)&state->storages));
        state->storage_capacity = capacity;
    }
    ATR_TRY(atr_names_add(state->keys, key->text, key->length, state->storage_count));
    pth_storage *storage = &state->storages[state->storage_count];
    memcpy(storage->key, key->text, key->length);
    storage->type = type;
    storage->count = count;
    *out = state->storage_count++;

done:
    return status;
}

/* A tuple of integers, plain or inside torch.Size(…). */
static atr_status read_integers(const value *v, int64_t *out, int64_t *count)
{
    if (is_call(v, "torch.Size") && v->args->count == 1)
        v = v->args->items[0];
    if (v->kind != ATR_PICKLE_TUPLE)
        return atr_fail(ATR_ERR_DATA, "its shape is no tuple");
    if (v->count > ATR_MAX_RANK)
        return atr_fail(ATR_ERR_UNSUPPORTED, "%lld dimensions, %d are supported", (long long)v->count,
                        ATR_MAX_RANK);
    for (int64_t i = 0; i < v->count; i++) {
        if (v->items[i]->kind != ATR_PICKLE_INT)
            return atr_fail(ATR_ERR_DATA, "its shape holds something that is no integer");
        out[i] = v->items[i]->integer;
    }
    *count = v->count;
    return ATR_OK;
}

/* Last element of the view + 1 must not lie behind the storage's end: offset + sum of (dim-1)*stride < count. */
static atr_status check_bounds(const pth_view *view, const pth_storage *storage)
{
    int64_t last = view->offset, elements = 0, reach = 0;
    const atr_status status = atr_shape_elements(view->rank, view->dims, storage->type, &elements);
    bool overflow = false;

    if (status != ATR_OK)
        return status;
    if (view->offset < 0)
        return atr_fail(ATR_ERR_DATA, "it starts before its storage");
    for (int i = 0; i < view->rank; i++) {
        if (view->strides[i] < 0)
            return atr_fail(ATR_ERR_DATA, "a negative stride (%lld)", (long long)view->strides[i]);
        if (elements > 0)
            overflow = overflow || __builtin_mul_overflow(view->dims[i] - 1, view->strides[i], &reach) ||
                       __builtin_add_overflow(last, reach, &last);
    }
    if (overflow || (elements > 0 && last >= storage->count))
        return atr_fail(ATR_ERR_DATA, "it reaches beyond its storage of %lld elements",
                        (long long)storage->count);
    return ATR_OK;
}

/* Arguments of _rebuild_tensor(_v2): storage, offset, size, stride, and more that views do not need. */
static atr_status read_view(pth_state *state, const value *call, pth_view *view)
{
    atr_status status = ATR_OK;
    const value *args = unwrap(call)->args;
    int64_t rank = 0, strides = 0;

    if (args->count < 4 || args->items[1]->kind != ATR_PICKLE_INT)
        return atr_fail(ATR_ERR_DATA, "it is not described as PyTorch does it");
    ATR_TRY(read_storage(state, args->items[0], &view->storage));
    view->offset = args->items[1]->integer;
    ATR_TRY(read_integers(args->items[2], view->dims, &rank));
    ATR_TRY(read_integers(args->items[3], view->strides, &strides));
    if (rank != strides)
        return atr_fail(ATR_ERR_DATA, "%lld dimensions and %lld strides", (long long)rank,
                        (long long)strides);
    view->rank = (int)rank;
    for (int i = 0; i < view->rank; i++)
        if (view->dims[i] == 1)
            view->strides[i] = 0; /* never walked, may be anything */
    ATR_TRY(check_bounds(view, &state->storages[view->storage]));

done:
    return status;
}

static atr_status read_tensors(pth_state *state, const value *dictionary)
{
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW(dictionary->count / 2, &state->views));
    for (int64_t i = 0; i + 1 < dictionary->count; i += 2) {
        const value *key = dictionary->items[i], *v = dictionary->items[i + 1];
        if (key->kind != ATR_PICKLE_TEXT || !is_tensor(v))
            continue;
        pth_view *view = &state->views[state->view_count++];
        view->name = key->text;
        view->length = key->length;
        status = atr_fail_prefix(read_view(state, v, view), "tensor '%.*s'",
                                 key->length < ATR_PTH_TEXT ? (int)key->length : ATR_PTH_TEXT, key->text);
        if (status != ATR_OK)
            goto done;
    }

done:
    return status;
}

/* Scalars of a dictionary become metadata as text: {'epoch': 3} -> "epoch", "3". */
static atr_status read_meta(const value *dictionary, atr_weights *weights)
{
    atr_status status = ATR_OK;

    for (int64_t i = 0; i + 1 < dictionary->count; i += 2) {
        const value *key = dictionary->items[i], *v = dictionary->items[i + 1];
        char number[64] = "";
        if (key->kind != ATR_PICKLE_TEXT)
            continue;
        if (v->kind == ATR_PICKLE_INT)
            snprintf(number, sizeof number, "%lld", (long long)v->integer);
        else if (v->kind == ATR_PICKLE_FLOAT)
            snprintf(number, sizeof number, "%.17g", v->real);
        else if (v->kind == ATR_PICKLE_BOOL)
            snprintf(number, sizeof number, "%s", v->integer ? "true" : "false");
        else if (v->kind != ATR_PICKLE_TEXT)
            continue;
        const bool text = v->kind == ATR_PICKLE_TEXT;
        ATR_TRY(atr_weights_add_meta(weights, key->text, key->length, text ? v->text : number,
                                     text ? v->length : strlen(number)));
    }

done:
    return status;
}

/* The dictionary of tensors: the file's whole content, or one that lies in it under a usual name. */
static const value *find_tensors(const value *root)
{
    static const char *const wrappers[] = {"state_dict", "model_state_dict", "model",
                                           "net",        "weights",          "params"};

    if (holds_tensors(root))
        return root;
    if (!is_dictionary(root))
        return NULL;
    for (size_t w = 0; w < sizeof wrappers / sizeof wrappers[0]; w++)
        for (int64_t i = 0; i + 1 < root->count; i += 2)
            if (atr_pickle_is_text(root->items[i], wrappers[w]) && holds_tensors(root->items[i + 1]))
                return root->items[i + 1];
    return NULL;
}

atr_status atr_pth_note_storages(pth_state *state)
{
    atr_status status = ATR_OK;
    int64_t unused = 0;

    for (int64_t i = 0; i < atr_pickle_persid_count(state->pickle); i++)
        ATR_TRY(read_storage(state, atr_pickle_persid(state->pickle, i), &unused));

done:
    return status;
}

atr_status atr_pth_state_read(const void *bytes, size_t size, atr_weights *weights, size_t *used,
                              pth_state *state)
{
    atr_status status = ATR_OK;

    ATR_TRY(atr_names_create(&state->keys));
    ATR_TRY(atr_pickle_read(bytes, size, atr_pth_allows, used, &state->pickle));
    const value *root = atr_pickle_root(state->pickle);
    const value *tensors = find_tensors(root);
    if (tensors == NULL) {
        status = atr_fail(ATR_ERR_DATA,
                          "no tensors by name, neither at the top nor under 'state_dict' or 'model'. "
                          "Save model.state_dict() and read that");
        goto done;
    }
    ATR_TRY(read_tensors(state, tensors));
    ATR_TRY(read_meta(root, weights));

done:
    return status;
}

void atr_pth_state_free(pth_state *state)
{
    atr_pickle_destroy(state->pickle);
    atr_names_destroy(state->keys);
    atr_free(state->storages);
    atr_free(state->views);
}

/* Whether a view is its elements in C order without gaps; extents of 1 may have any stride. */
static bool view_contiguous(const pth_view *view)
{
    int64_t expected = 1;

    for (int i = view->rank - 1; i >= 0; i--) {
        if (view->dims[i] != 1 && view->strides[i] != expected)
            return false;
        expected *= view->dims[i];
    }
    return true;
}

/* out[c order of view] = storage[offset + sum index_i stride_i], by an odometer over the indices. */
static void gather_view(const pth_view *view, const pth_storage *storage, int64_t count, uint8_t *out)
{
    const size_t bytes = atr_dtype_bytes(storage->type);
    int64_t index[ATR_MAX_RANK] = {0}, at = view->offset;

    for (int64_t n = 0; n < count; n++) {
        memcpy(out + (size_t)n * bytes, (const uint8_t *)storage->data + (size_t)at * bytes, bytes);
        for (int i = view->rank - 1; i >= 0; i--) {
            at += view->strides[i];
            if (++index[i] < view->dims[i])
                break;
            at -= view->strides[i] * view->dims[i];
            index[i] = 0;
        }
    }
}

/* A contiguous view stays where it is; any other is gathered into a block of its own. */
static atr_status add_view(const pth_view *view, const pth_storage *storage, int64_t *budget,
                           atr_weights *weights)
{
    atr_status status = ATR_OK;
    const int64_t bytes = (int64_t)atr_dtype_bytes(storage->type);
    atr_tensor tensor = atr_tensor_make(storage->type, view->rank, view->dims, NULL);
    const int64_t count = atr_tensor_count(&tensor);
    void *block = NULL;

    if (count > 0 && view_contiguous(view)) {
        tensor.data = (uint8_t *)storage->data + view->offset * bytes;
    } else if (count > 0) {
        if (count > *budget / bytes)
            return atr_fail(ATR_ERR_DATA, "views of shared storages grow far beyond the file's size");
        *budget -= count * bytes;
        ATR_TRY(atr_alloc(count, (size_t)bytes, &block));
        gather_view(view, storage, count, block);
        tensor.data = block;
        ATR_TRY(atr_weights_own(weights, block));
    }
    ATR_TRY(atr_weights_add(weights, view->name, view->length, &tensor));

done:
    return status;
}

atr_status atr_pth_gather(const pth_state *state, int64_t budget, atr_weights *weights)
{
    atr_status status = ATR_OK;

    for (int64_t i = 0; i < state->view_count; i++) {
        const pth_view *view = &state->views[i];
        ATR_TRY(add_view(view, &state->storages[view->storage], &budget, weights));
    }

done:
    return status;
}
