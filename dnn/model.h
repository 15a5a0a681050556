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

/* What a backbone gives the decoder: node indices. */
typedef struct atr_features {
    int low_level; /* stride 4 */
    int high_level;
} atr_features;

/* A feature extractor: one file of dnn/models and one row of the table in deeplabv3plus.c. All that tells one from another is here. */
typedef struct atr_backbone {
    const char *name;
    const char *mark;       /* a parameter that networks with this backbone have and others have not */
    double adam_least_rate; /* atr_schedule_fit(): limits of the learning rate with Adam */
    double adam_most_rate;
    /* Appends to the graph behind node `x` (the picture). The first parameter is the weight [O,C,k,k] that reads the picture. */
    atr_status (*build)(atr_graph *graph, int x, int64_t output_stride, atr_features *out);
} atr_backbone;

/* The backbones there are, from 0 on; NULL behind the last. */
const atr_backbone *atr_backbone_at(int index);
/* The one called `name`, or NULL. */
const atr_backbone *atr_backbone_find(const char *name);

/* Names of the backbone's parameters and buffers start so. */
#define ATR_BACKBONE_PREFIX "backbone."

/* Weight initialisation of the reference (its weights_init, which touches convolution weights and batch norms): `init` for
 * convolution weights, norm weights N(1, 0.02), norm biases 0. `normal` has standard deviation `gain`, `orthogonal` rows or columns
 * of length `gain`; formulas at the definition.
 * Convolution biases as PyTorch's default, uniform in +-1/sqrt(fan_in); running mean 0, variance 1.
 * Number i of parameter p comes from stream (seed, ATR_RNG_INIT, fnv1a64(name)): the same for any number of ranks. */
typedef enum atr_init { ATR_INIT_NORMAL, ATR_INIT_XAVIER, ATR_INIT_KAIMING, ATR_INIT_ORTHOGONAL } atr_init;
atr_status atr_model_init(atr_params *params, atr_init init, double gain, uint64_t seed);

#endif
