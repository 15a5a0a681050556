#ifndef ATR_DNN_MODEL_H
#define ATR_DNN_MODEL_H

#include "core/graph.h"

/* DeepLabV3+ (Chen et al., ECCV 2018) as the public PyTorch reference builds it, under its parameter names. */

typedef struct atr_model_config {
    char backbone[32];      /* a name of the table of backbones, "mobilenetv2" */
    int64_t classes;        /* 1..255 */
    int64_t input_channels; /* 1.. */
    int64_t output_stride;  /* 8 or 16 */
    double dropout[2];      /* behind the two decoder convolutions; 0: none */
} atr_model_config;

/* MobileNetV2, 21 classes, 3 channels, stride 16, dropout 0.5 and 0.1. */
atr_model_config atr_model_config_default(void);

/* Builds the graph. ATR_ERR_USAGE names the backbones there are, ATR_ERR_SHAPE the bad number. */
atr_status atr_model_build(const atr_model_config *config, atr_graph **out);

/* Names of the backbones, separated by ", ". */
const char *atr_model_backbones(void);

/* Weight initialisation of the reference: `normal` (std gain) for convolution weights, norm weights N(1, 0.02), biases 0.
 * Convolution biases as PyTorch's default, uniform in +-1/sqrt(fan_in); running mean 0, variance 1.
 * Number i of parameter p comes from stream (seed, ATR_RNG_INIT, fnv1a64(name)): the same for any number of ranks. */
typedef enum atr_init { ATR_INIT_NORMAL, ATR_INIT_XAVIER, ATR_INIT_KAIMING } atr_init;
atr_status atr_model_init(atr_params *params, atr_init init, double gain, uint64_t seed);

#endif
