/* `atrous info --layers`: what a network costs at one picture size, layer by layer. */
#include <stdio.h>

#include "apps/info.h"
#include "apps/runlog.h"
#include "apps/session.h"

typedef struct cost {
    int64_t parameters, macs, bytes;
} cost;

typedef struct ledger {
    const atr_graph *graph;
    int64_t height, width;
    int64_t (*shapes)[4]; /* by node */
    cost *costs;          /* by node */
} ledger;

/* A part is the nodes behind the part before it up to a tap: a graph is written front to back. */
static const struct {
    const char *name;
    atr_tap last;
} parts[] = {{"backbone", ATR_TAP_BACKBONE},
             {"aspp", ATR_TAP_ASPP},
             {"decoder", ATR_TAP_DECODER},
             {"head", ATR_TAP_LOGITS}};

enum { PARTS = sizeof parts / sizeof parts[0], KIND_BYTES = 96 };

static int part_of(const atr_graph *graph, int node)
{
    int part = 0;

    while (part < PARTS - 1 && node > atr_graph_tap(graph, parts[part].last))
        part++;
    return part;
}

static int64_t elements_of(const atr_graph *graph, int64_t param)
{
    const atr_param_spec *spec;
    int64_t count = 1;

    if (param < 0)
        return 0;
    spec = &atr_graph_param_specs(graph)[param];
    for (int i = 0; i < spec->rank; i++)
        count *= spec->dims[i];
    return count;
}

static cost cost_of(const atr_graph *graph, int index, const int64_t y[4])
{
    const atr_node *node = atr_graph_node(graph, index);
    cost c = {0, 0, y[0] * y[1] * y[2] * y[3] * (int64_t)sizeof(float)};

    if (node->op == ATR_OP_CONV) {
        c.parameters = elements_of(graph, node->conv.weight) + elements_of(graph, node->conv.bias);
        c.macs = atr_conv_macs(&node->conv, y);
    }
    if (node->op == ATR_OP_NORM)
        c.parameters = elements_of(graph, node->norm.weight) + elements_of(graph, node->norm.bias);
    return c;
}

static void add(cost *sum, const cost *c)
{
    sum->parameters += c->parameters;
    sum->macs += c->macs;
    sum->bytes += c->bytes;
}

/* The picture itself is no layer. */
static bool is_layer(const ledger *l, int node)
{
    return atr_graph_node(l->graph, node)->op != ATR_OP_INPUT;
}

static cost sum_of(const ledger *l, int part, int64_t *layers)
{
    cost sum = {0};

    *layers = 0;
    for (int i = 0; i < atr_graph_count(l->graph); i++)
        if (is_layer(l, i) && (part < 0 || part == part_of(l->graph, i))) {
            add(&sum, &l->costs[i]);
            ++*layers;
        }
    return sum;
}

static const char *op_name(const atr_node *node)
{
    static const char *const names[ATR_OPS] = {
        [ATR_OP_CONV] = "conv",     [ATR_OP_NORM] = "batch norm", [ATR_OP_ACT] = "relu",
        [ATR_OP_ADD] = "add",       [ATR_OP_CONCAT] = "concat",   [ATR_OP_GLOBAL_POOL] = "mean",
        [ATR_OP_RESIZE] = "resize", [ATR_OP_DROPOUT] = "dropout"};

    if (node->op == ATR_OP_CONV && node->conv.groups > 1)
        return node->conv.groups == node->conv.in_channels ? "depthwise" : "grouped conv";
    return node->op == ATR_OP_ACT && node->act == ATR_ACT_RELU6 ? "relu6" : names[node->op];
}

/* "depthwise 3x3 stride 2 rate 4" */
static const char *kind_text(const atr_node *node, char *text)
{
    const atr_conv_attr *conv = &node->conv;
    int used = snprintf(text, KIND_BYTES, "%s", op_name(node));

    if (node->op != ATR_OP_CONV)
        return text;
    used += snprintf(text + used, (size_t)(KIND_BYTES - used), " %lldx%lld", (long long)conv->kernel,
                     (long long)conv->kernel);
    if (conv->stride > 1)
        used += snprintf(text + used, (size_t)(KIND_BYTES - used), " stride %lld", (long long)conv->stride);
    if (conv->dilation > 1)
        snprintf(text + used, (size_t)(KIND_BYTES - used), " rate %lld", (long long)conv->dilation);
    return text;
}

/* ---- text --------------------------------------------------------------------------------------------------------------- */

static double share(int64_t part, int64_t whole)
{
    return whole == 0 ? 0.0 : 100.0 * (double)part / (double)whole;
}

static void append_sums(const ledger *l, atr_text *out)
{
    int64_t layers;
    const cost total = sum_of(l, -1, &layers);

    atr_text_append(out, "\n  %-10s %7s %12s %8s %14s %8s %12s %8s\n", "part", "layers", "parameters",
                    "share", "M mult-adds", "share", "output MB", "share");
    for (int part = 0; part <= PARTS; part++) {
        const cost c = sum_of(l, part < PARTS ? part : -1, &layers);
        atr_text_append(out, "  %-10s %7lld %12lld %6.2f %% %14.1f %6.2f %% %12.2f %6.2f %%\n",
                        part < PARTS ? parts[part].name : "total", (long long)layers, (long long)c.parameters,
                        share(c.parameters, total.parameters), 1e-6 * (double)c.macs,
                        share(c.macs, total.macs), 1e-6 * (double)c.bytes, share(c.bytes, total.bytes));
    }
}

static void append_text(const ledger *l, atr_text *out)
{
    char kind[KIND_BYTES], shape[128];

    atr_info_label(out, "layers");
    atr_text_append(out,
                    "for one picture of %lldx%lld (height x width); outputs are [height,width,channels] of "
                    "32-bit numbers\n\n",
                    (long long)l->height, (long long)l->width);
    atr_text_append(out, "  %-40s %-24s %-16s %11s %12s %10s\n", "layer", "kind", "output", "parameters",
                    "M mult-adds", "output MB");
    for (int i = 0; i < atr_graph_count(l->graph); i++) {
        const atr_node *node = atr_graph_node(l->graph, i);
        if (!is_layer(l, i))
            continue;
        atr_text_append(out, "  %-40s %-24s %-16s %11lld %12.3f %10.3f\n", node->name, kind_text(node, kind),
                        atr_shape_text(3, l->shapes[i] + 1, shape), (long long)l->costs[i].parameters,
                        1e-6 * (double)l->costs[i].macs, 1e-6 * (double)l->costs[i].bytes);
    }
    append_sums(l, out);
}

/* ---- JSON --------------------------------------------------------------------------------------------------------------- */

static void append_json_cost(const cost *c, atr_text *out)
{
    atr_text_append(out, "\"parameters\":%lld,\"macs\":%lld,\"output_bytes\":%lld}", (long long)c->parameters,
                    (long long)c->macs, (long long)c->bytes);
}

static void append_json(const ledger *l, atr_text *out)
{
    bool first = true;
    int64_t layers;

    atr_text_append(out, ",\"cost\":{\"batch\":1,\"height\":%lld,\"width\":%lld,\"layers\":[",
                    (long long)l->height, (long long)l->width);
    for (int i = 0; i < atr_graph_count(l->graph); i++) {
        const atr_node *node = atr_graph_node(l->graph, i);
        if (!is_layer(l, i))
            continue;
        atr_text_append(out, "%s\n{\"name\":", first ? "" : ",");
        atr_json_string(out, node->name);
        atr_text_append(out, ",\"part\":\"%s\",\"op\":\"%s\",\"output\":", parts[part_of(l->graph, i)].name,
                        op_name(node));
        atr_json_integers(out, l->shapes[i], 4);
        if (node->op == ATR_OP_CONV)
            atr_text_append(out, ",\"kernel\":%lld,\"stride\":%lld,\"dilation\":%lld,\"groups\":%lld",
                            (long long)node->conv.kernel, (long long)node->conv.stride,
                            (long long)node->conv.dilation, (long long)node->conv.groups);
        atr_text_append(out, ",");
        append_json_cost(&l->costs[i], out);
        first = false;
    }
    atr_text_append(out, "],\"parts\":{");
    for (int part = 0; part < PARTS; part++) {
        const cost c = sum_of(l, part, &layers);
        atr_text_append(out, "%s\"%s\":{\"layers\":%lld,", part > 0 ? "," : "", parts[part].name,
                        (long long)layers);
        append_json_cost(&c, out);
    }
    const cost total = sum_of(l, -1, &layers);
    atr_text_append(out, "},\"total\":{\"layers\":%lld,", (long long)layers);
    append_json_cost(&total, out);
    atr_text_append(out, "}");
}

/* ---- both --------------------------------------------------------------------------------------------------------------- */

atr_status atr_info_layers(const atr_model_info *info, const atr_info_request *request, atr_text *out)
{
    enum { SIDE = 512 };
    const bool own = request->height == 0 && info->height > 0 && info->width > 0;
    atr_status status = ATR_OK;
    atr_graph *graph = NULL;
    ledger l = {.height = own                   ? info->height
                          : request->height > 0 ? request->height
                                                : SIDE,
                .width = own                  ? info->width
                         : request->width > 0 ? request->width
                                              : SIDE};

    ATR_TRY(atr_session_graph(info, NULL, &graph));
    l.graph = graph;
    ATR_TRY(ATR_NEW(atr_graph_count(graph), &l.shapes));
    ATR_TRY(ATR_NEW(atr_graph_count(graph), &l.costs));
    ATR_TRY(atr_graph_shapes(graph, 1, l.height, l.width, l.shapes));
    for (int i = 0; i < atr_graph_count(graph); i++)
        l.costs[i] = cost_of(graph, i, l.shapes[i]);
    if (request->json)
        append_json(&l, out);
    else
        append_text(&l, out);
    if (request->memory)
        ATR_TRY(atr_info_memory(info, request, l.height, l.width, out));
done:
    atr_free(l.shapes);
    atr_free(l.costs);
    atr_graph_destroy(graph);
    return status;
}

atr_status atr_info_network(const char *backbone, int64_t classes, const atr_info_request *request,
                            atr_text *out)
{
    atr_status status = ATR_OK;
    atr_model_info *info = NULL;

    ATR_TRY(ATR_NEW(1, &info));
    atr_session_describe(backbone, classes, request->output_stride, info);
    if (request->json) {
        atr_text_append(out, "{\"kind\":\"network\",\"architecture\":");
        atr_json_string(out, info->architecture);
        atr_text_append(out, ",\"backbone\":");
        atr_json_string(out, info->backbone);
        atr_text_append(out, ",\"output_stride\":%lld,\"classes\":%lld,\"channels\":%lld",
                        (long long)info->output_stride, (long long)info->classes, (long long)info->channels);
    } else {
        atr_text_append(out, "%s %s, output stride %lld, %lld classes, %lld input channels\n",
                        info->architecture, info->backbone, (long long)info->output_stride,
                        (long long)info->classes, (long long)info->channels);
    }
    ATR_TRY(atr_info_layers(info, request, out));
    if (request->json)
        atr_text_append(out, "}\n");
done:
    atr_free(info);
    return status;
}
