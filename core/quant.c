#include "core/quant.h"

#include <math.h>
#include <string.h>

const atr_quant_steps *atr_quant_find(const atr_quant_list *list, const char *name)
{
    for (int64_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i].name, name) == 0)
            return &list->items[i];
    return NULL;
}

static atr_status check(const atr_quant_list *list, const char *name, const float *steps, int64_t count)
{
    if (name[0] == '\0' || strlen(name) >= ATR_NAME_BYTES)
        return atr_fail(ATR_ERR_DATA, "int8 steps under a name of %zu bytes", strlen(name));
    if (count < 1)
        return atr_fail(ATR_ERR_DATA, "%s: int8 steps of %lld channels", name, (long long)count);
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(steps[i]) || !(steps[i] > 0))
            return atr_fail(ATR_ERR_DATA, "%s: the int8 step of channel %lld is %g", name, (long long)i,
                            (double)steps[i]);
    if (atr_quant_find(list, name) != NULL)
        return atr_fail(ATR_ERR_DATA, "%s has int8 steps twice", name);
    return ATR_OK;
}

atr_status atr_quant_add(atr_quant_list *list, const char *name, bool has_negative, const float *steps,
                         int64_t count)
{
    atr_status status = ATR_OK;
    float *copy = NULL;

    ATR_TRY(check(list, name, steps, count));
    if (list->count == list->room) {
        const int64_t room = list->room == 0 ? 64 : 2 * list->room;
        ATR_TRY(atr_grow(list->count, room, sizeof *list->items, (void **)&list->items));
        list->room = room;
    }
    ATR_TRY(ATR_NEW(count, &copy));
    memcpy(copy, steps, (size_t)count * sizeof *copy);
    atr_quant_steps *item = &list->items[list->count++];
    strcpy(item->name, name);
    item->has_negative = has_negative;
    item->count = count;
    item->steps = copy;

done:
    return status;
}

void atr_quant_remove(atr_quant_list *list, const char *name)
{
    const atr_quant_steps *found = atr_quant_find(list, name);

    if (found == NULL)
        return;
    atr_quant_steps *item = &list->items[found - list->items];
    atr_free(item->steps);
    list->count--;
    memmove(item, item + 1, (size_t)(&list->items[list->count] - item) * sizeof *item);
}

static const atr_node *find_node(const atr_graph *graph, const char *name)
{
    for (int i = 0; i < atr_graph_count(graph); i++)
        if (strcmp(atr_graph_node(graph, i)->name, name) == 0)
            return atr_graph_node(graph, i);
    return NULL;
}

static atr_status check_list(const atr_quant_list *list, const atr_graph *graph, bool weights)
{
    for (int64_t i = 0; i < list->count; i++) {
        const atr_quant_steps *item = &list->items[i];
        const atr_node *node = find_node(graph, item->name);
        if (node == NULL || (weights && node->op != ATR_OP_CONV))
            return atr_fail(ATR_ERR_DATA, "int8 steps of '%s', which is no %s of this network", item->name,
                            weights ? "convolution" : "activation");
        if (node->channels != item->count)
            return atr_fail(ATR_ERR_DATA, "%s: %lld int8 steps for %lld channels", item->name,
                            (long long)item->count, (long long)node->channels);
    }
    return ATR_OK;
}

atr_status atr_quant_check(const atr_quant *quant, const atr_graph *graph)
{
    atr_status status = ATR_OK;

    ATR_TRY(check_list(&quant->activations, graph, false));
    ATR_TRY(check_list(&quant->weights, graph, true));

done:
    return status;
}

static void free_list(atr_quant_list *list)
{
    for (int64_t i = 0; i < list->count; i++)
        atr_free(list->items[i].steps);
    atr_free(list->items);
    *list = (atr_quant_list){0, 0, NULL};
}

void atr_quant_free(atr_quant *quant)
{
    free_list(&quant->activations);
    free_list(&quant->weights);
}
