#ifndef ATR_DNN_CPU_INT8_IMPL_H
#define ATR_DNN_CPU_INT8_IMPL_H

#include "dnn/cpu/cpu_impl.h"
#include "dnn/int8.h"

/* What int8.c and int8_winograd.c share. */

/* The end of the sums of output pixel `p` and those behind it. */
atr_cpu_int8_end atr_cpu_int8_end_at(const atr_step *step, const atr_int8_form *form, int64_t p);

/* A 3x3 convolution of stride 1, padded by its dilation, without groups, by minimal filtering: the same sums. create() reserves scratch
 * memory; free() takes half-made ones. */
typedef struct atr_cpu_int8_filter atr_cpu_int8_filter;
atr_status atr_cpu_int8_filter_create(const atr_backend *backend, atr_step *step, atr_cpu_int8_filter **out);
void atr_cpu_int8_filter_free(atr_cpu_int8_filter *filter);

/* Numbers of its form of the weights; pack() makes it. False: some picture may make sums that would be lost, and nothing is packed. */
int64_t atr_cpu_int8_filter_weights(const atr_cpu_int8_filter *filter);
bool atr_cpu_int8_filter_pack(const atr_backend *backend, const atr_step *step,
                              const atr_cpu_int8_filter *filter, const atr_int8_form *form, int16_t *weights);

void atr_cpu_int8_filter_run(const atr_backend *backend, const atr_step *step,
                             const atr_cpu_int8_filter *filter, const atr_int8_form *form,
                             const int16_t *weights);

#endif
