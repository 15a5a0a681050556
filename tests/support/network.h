#ifndef ATR_TESTS_SUPPORT_NETWORK_H
#define ATR_TESTS_SUPPORT_NETWORK_H

#include "dnn/model.h"
#include "dnn/plan.h"
#include "tests/support/parity.h"

/* A golden case as a network: weights, pictures and labels by formula, on one back end. */
typedef struct network {
    parity_case c;
    atr_backend *backend;
    atr_graph *graph;
    atr_params *params;
    float *images;
    uint8_t *labels;
    double valid; /* pixels with a class */
} network;

/* Fails the test with the message where the status is not ATR_OK. */
void must(atr_status status);
/* `momentum`: of every batch norm, negative: the model's own. Dropout is off. */
void network_open(network *net, const parity_case *c, const char *backend, double momentum);
/* The same with a number of threads; `network_open` takes 2. */
void network_open_on(network *net, const parity_case *c, const char *backend, int threads, double momentum);
void network_close(network *net);
atr_plan *network_plan(const network *net, atr_mode mode, int rewrites, bool keep_taps);
/* Enlarged logits of the whole batch, [N,K,H,W], to be freed with atr_free. */
float *network_logits(const network *net, atr_plan *plan);

/* Uniform numbers in -1..1 from `name`. */
void network_fill(float *values, int64_t count, const char *name);
/* A copy, to be freed with atr_free. */
float *network_copy(const float *from, int64_t count);
/* How far `got` is from `want`: L2 norm of the difference over that of `want`. */
double network_relative(const float *got, const float *want, int64_t count);

#endif
