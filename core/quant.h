#ifndef ATR_CORE_QUANT_H
#define ATR_CORE_QUANT_H

#include "core/graph.h"

/* With which steps a trained network's numbers become 8-bit integers: made by `atrous quantize`, kept in the model file, used by plans.
 *
 * An activation is stored as u8 with a step of its own for each channel:    x = (q - zero) step[c],   zero = 0, or 128 where values
 * may be negative. Weights are s8 with a step for each output channel, and take over the steps of the activation that they meet:
 *     w[o,i] x_step[i] = q[o,i] step[o]
 * so that a channel that is always small uses all 256 values at no cost: what cross-layer equalisation wants, without touching
 * the parameters, which stay those of the f32 network. A layer without weight steps runs in f32. */

typedef struct atr_quant_steps {
    char name[ATR_NAME_BYTES]; /* activations: the graph's node that makes it; weights: the convolution */
    bool has_negative;         /* activations: zero is 128 */
    int64_t count;             /* channels */
    float *steps;              /* [count], finite and positive */
} atr_quant_steps;

typedef struct atr_quant_list {
    int64_t count, room;
    atr_quant_steps *items;
} atr_quant_list;

typedef struct atr_quant {
    atr_quant_list activations, weights;
} atr_quant;

/* Appends steps [count] for `name`, copied. ATR_ERR_DATA: a step that is not finite and positive, a name twice. */
atr_status atr_quant_add(atr_quant_list *list, const char *name, bool has_negative, const float *steps,
                         int64_t count);

/* The steps of `name`, NULL: none. */
const atr_quant_steps *atr_quant_find(const atr_quant_list *list, const char *name);

/* Takes `name` out, where it is. */
void atr_quant_remove(atr_quant_list *list, const char *name);

/* Whether all names and counts are those of `graph`: activations of nodes, weights of convolutions. ATR_ERR_DATA names the first that
 * is not. */
atr_status atr_quant_check(const atr_quant *quant, const atr_graph *graph);

/* Frees what `quant` owns, not `quant` itself, which is empty then. */
void atr_quant_free(atr_quant *quant);

#endif
