#include "tests/support/network.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/rng.h"

void must(atr_status status)
{
    if (status != ATR_OK)
        fail_msg("%s: %s", atr_status_name(status), atr_status_message());
}

/* The golden `eval_logits_m1` wants momentum 1 in every batch norm; a graph is constant to everybody but this test. */
static void set_momentum(atr_graph *graph, double momentum)
{
    for (int i = 0; i < atr_graph_count(graph); i++) {
        atr_node *node = (atr_node *)(uintptr_t)atr_graph_node(graph, i);
        if (node->op == ATR_OP_NORM)
            node->norm.momentum = momentum;
    }
}

void network_open_on(network *net, const parity_case *c, const char *backend, int threads, double momentum)
{
    atr_model_config config = atr_model_config_default();

    memset(net, 0, sizeof *net);
    net->c = *c;
    snprintf(config.backbone, sizeof config.backbone, "%s",
             strcmp(c->backbone, "mobilenet") == 0 ? "mobilenetv2" : c->backbone);
    config.classes = c->classes;
    config.output_stride = c->output_stride;
    config.dropout[0] = config.dropout[1] = 0;
    must(atr_backend_open(backend, threads, &net->backend));
    must(atr_model_build(&config, &net->graph));
    if (momentum >= 0)
        set_momentum(net->graph, momentum);
    must(atr_params_create(atr_graph_param_specs(net->graph), atr_graph_param_count(net->graph),
                           atr_backend_allocator(net->backend), &net->params));
    parity_fill(net->params, c);
    net->images = parity_images(c);
    net->labels = parity_labels(c);
    for (int64_t i = 0; i < c->batch * c->height * c->width; i++)
        net->valid += net->labels[i] < c->classes;
}

void network_open(network *net, const parity_case *c, const char *backend, double momentum)
{
    network_open_on(net, c, backend, 2, momentum);
}

void network_close(network *net)
{
    atr_free(net->images);
    atr_free(net->labels);
    atr_params_destroy(net->params);
    atr_graph_destroy(net->graph);
    atr_backend_close(net->backend);
}

atr_plan *network_plan(const network *net, atr_mode mode, int rewrites, bool keep_taps)
{
    const atr_plan_options options = {.mode = mode,
                                      .batch = net->c.batch,
                                      .height = net->c.height,
                                      .width = net->c.width,
                                      .keep_taps = keep_taps,
                                      .rewrites = rewrites};
    atr_plan *plan = NULL;

    must(atr_plan_create(net->graph, net->params, net->backend, &options, &plan));
    return plan;
}

float *network_logits(const network *net, atr_plan *plan)
{
    const int64_t one = net->c.classes * net->c.height * net->c.width;
    float *logits = NULL;

    must(ATR_NEW(net->c.batch * one, &logits));
    for (int64_t n = 0; n < net->c.batch; n++)
        must(atr_plan_enlarge(plan, n, logits + n * one));
    return logits;
}

void network_fill(float *values, int64_t count, const char *name)
{
    for (int64_t i = 0; i < count; i++)
        values[i] = (float)(2 * atr_rng_unit(atr_fnv1a64(name), (uint64_t)i) - 1);
}

float *network_copy(const float *from, int64_t count)
{
    float *to = NULL;

    must(ATR_NEW(count, &to));
    memcpy(to, from, (size_t)count * sizeof *to);
    return to;
}

double network_relative(const float *got, const float *want, int64_t count)
{
    double apart = 0, size = 0;

    for (int64_t i = 0; i < count; i++) {
        const double d = (double)got[i] - (double)want[i];
        apart += d * d;
        size += (double)want[i] * (double)want[i];
    }
    return sqrt(apart / size);
}
