#include "apps/bench_impl.h"
int atr_bench_scaling(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return 1;
}
