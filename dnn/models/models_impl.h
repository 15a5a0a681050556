#ifndef ATR_DNN_MODELS_IMPL_H
#define ATR_DNN_MODELS_IMPL_H

#include "core/graph.h"

/* What a backbone gives the decoder: node indices. */
typedef struct atr_features {
    int low_level; /* stride 4 */
    int high_level;
} atr_features;

/* One backbone is one file and one row of the table in deeplabv3plus.c. `build` appends to the graph behind node `x`. */
typedef struct atr_backbone {
    const char *name;
    atr_status (*build)(atr_graph *graph, int x, int64_t output_stride, atr_features *out);
} atr_backbone;

atr_status atr_build_mobilenetv2(atr_graph *graph, int x, int64_t output_stride, atr_features *out);

/* conv -> batch norm -> activation under the three given module names (act NONE: no third node). */
typedef struct atr_conv_block {
    const char *conv_name, *norm_name, *act_name;
    atr_conv_spec conv;
    double norm_momentum;
    atr_act act;
} atr_conv_block;
atr_status atr_build_conv_block(atr_graph *graph, int x, const atr_conv_block *block, int *out);

#define ATR_NORM_EPS 1e-5

#endif
