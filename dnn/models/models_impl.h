#ifndef ATR_DNN_MODELS_IMPL_H
#define ATR_DNN_MODELS_IMPL_H

#include "dnn/model.h"

/* The backbones' `build`. */
atr_status atr_build_mobilenetv2(atr_graph *graph, int x, int64_t output_stride, atr_features *out);
atr_status atr_build_xception(atr_graph *graph, int x, int64_t output_stride, atr_features *out);

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
