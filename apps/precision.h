#ifndef ATR_APPS_PRECISION_H
#define ATR_APPS_PRECISION_H

#include "core/cpu.h"
#include "dist/comm.h"
#include "dnn/backend.h"

/* --precision: the type of activations between layers. */
typedef enum atr_precision {
    ATR_PRECISION_F32,
    ATR_PRECISION_BF16,
    ATR_PRECISION_AUTO, /* bf16 where the machine multiplies it natively and a measurement says that it is faster */
    ATR_PRECISION_INT8, /* f32, and 8-bit integers in the layers that the model file knows them for (core/quant.h) */
    ATR_PRECISION_MODEL /* int8 where the model file is a quantised one, else f32 */
} atr_precision;

/* "f32", "bf16", "auto", "int8", "model", NULL: for options. */
extern const char *const atr_precision_names[];

/* Sets the back end's precision. Auto: the layers of a small network are run in both types, once for each processor, instruction level,
 * version of oneDNN and number of threads; the times are remembered in the file atrous/precision of the user's cache folder
 * ($XDG_CACHE_HOME, or ~/.cache). Where that file cannot be read or written, or says nothing sensible, they are taken anew. `comm` may
 * be NULL; collective: bf16 only where all ranks find it faster. */
atr_status atr_precision_choose(atr_precision wanted, atr_comm *comm, atr_backend *backend);

/* "f32" or "bf16". */
const char *atr_precision_text(const atr_backend *backend);

/* What auto does, with the instruction level to go by, the file to remember times in (NULL: none) and how to measure: seconds of a pass
 * in a type. Sets the back end's precision. For tests of what this machine cannot do. */
typedef atr_status (*atr_precision_measure)(atr_backend *backend, atr_dtype type, double *seconds);
/* The measurement: the shortest forward and backward pass of a small network, in seconds. */
atr_status atr_precision_sample(atr_backend *backend, atr_dtype type, double *seconds);
atr_status atr_precision_auto(atr_backend *backend, atr_isa level, const char *path,
                              atr_precision_measure measure);

#endif
