#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/cpu.h"
#include "dnn/cpu/cpu.h"
#include "dnn/model.h"
#include "dnn/plan.h"
#include "tests/support/network.h"

/* No convolution of the networks runs on a slow path of oneDNN: its general loops ("ref"), or its detour over a matrix of
 * unrolled pictures ("gemm"). */

enum { THREADS = 2 };

static bool is_slow(const char *implementation)
{
    return strstr(implementation, "ref") != NULL || strstr(implementation, "gemm") != NULL;
}

static void check_step(const atr_step *step)
{
    char shape[128];

    atr_shape_text(4, step->y.dims, shape);
    if (step->kernel->forward != atr_backend_cpu.op[ATR_OP_CONV].forward) {
        /* Behind image pooling there is one pixel, summed in double on purpose. */
        if (step->y.dims[1] * step->y.dims[2] != 1)
            fail_msg("%s, %s: not on the cpu back end", step->name, shape);
        return;
    }
    const atr_cpu_conv_names names = atr_cpu_conv_names_of(step);
    const char *const all[] = {names.forward, names.data_gradient, names.weight_gradient};
    const char *const what[] = {"forward", "data gradient", "weight gradient"};
    for (int i = 0; i < 3; i++)
        if (is_slow(all[i]))
            fail_msg("%s, %s: %s runs on %s", step->name, shape, what[i], all[i]);
}

static void check_network(const atr_backbone *backbone, int64_t output_stride, int64_t height, int64_t width,
                          int64_t batch, atr_mode mode)
{
    const atr_plan_options options = {
        .mode = mode, .batch = batch, .height = height, .width = width, .rewrites = ATR_REWRITE_ALL};
    atr_model_config config = atr_model_config_default();
    atr_backend *backend = NULL;
    atr_graph *graph = NULL;
    atr_params *params = NULL;
    atr_plan *plan = NULL;

    snprintf(config.backbone, sizeof config.backbone, "%s", backbone->name);
    config.output_stride = output_stride;
    must(atr_backend_open("cpu", THREADS, &backend));
    must(atr_model_build(&config, &graph));
    must(atr_params_create(atr_graph_param_specs(graph), atr_graph_param_count(graph), &atr_host_allocator,
                           &params));
    must(atr_plan_create(graph, params, backend, &options, &plan));
    for (int i = 0; i < atr_plan_step_count(plan); i++)
        if (atr_plan_step(plan, i)->op == ATR_OP_CONV)
            check_step(atr_plan_step(plan, i));
    atr_plan_destroy(plan);
    atr_params_destroy(params);
    atr_graph_destroy(graph);
    atr_backend_close(backend);
}

/* oneDNN itself has fast code from AVX2 on. */
static void skip_old_machines(void)
{
    if (atr_isa_level() < ATR_ISA_AVX2) {
        printf("this machine, or ATR_ISA, has no AVX2\n");
        skip();
    }
}

static void no_layer_predicts_on_a_slow_path(void **state)
{
    const atr_backbone *backbone;

    (void)state;
    skip_old_machines();
    for (int i = 0; (backbone = atr_backbone_at(i)) != NULL; i++) {
        check_network(backbone, 16, 512, 512, 1, ATR_INFER);
        check_network(backbone, 8, 512, 512, 1, ATR_INFER);
        check_network(backbone, 16, 360, 480, 1, ATR_INFER);
        check_network(backbone, 16, 256, 256, 8, ATR_INFER);
    }
}

static void no_layer_trains_on_a_slow_path(void **state)
{
    const atr_backbone *backbone;

    (void)state;
    skip_old_machines();
    for (int i = 0; (backbone = atr_backbone_at(i)) != NULL; i++) {
        check_network(backbone, 16, 512, 512, 1, ATR_TRAIN);
        check_network(backbone, 8, 256, 256, 2, ATR_TRAIN);
        check_network(backbone, 16, 256, 256, 2, ATR_TRAIN);
        check_network(backbone, 16, 97, 129, 4, ATR_TRAIN);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_layer_predicts_on_a_slow_path),
        cmocka_unit_test(no_layer_trains_on_a_slow_path),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
