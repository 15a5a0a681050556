#include "apps/reducer_options.h"

#include <stddef.h>

const atr_option atr_reducer_rows[] = {
    {.name = "allreduce",
     .kind = ATR_OPTION_CHOICE,
     .offset = offsetof(atr_reducer_choice, allreduce),
     .value = "auto",
     .choices = atr_allreduce_names,
     .help =
         "who sums gradients with whom; hierarchical: the ranks of a node through shared memory, one of each "
         "node over the network; auto: that, where a node has several ranks",
     .group = "Ranks"},
    {.name = "wire",
     .kind = ATR_OPTION_CHOICE,
     .offset = offsetof(atr_reducer_choice, wire),
     .value = "f32",
     .choices = atr_wire_names,
     .help = "numbers that gradients are sent as; bf16: half of the bytes, sums in f32, error feedback"},
    {.name = "bucket-mb",
     .kind = ATR_OPTION_REAL,
     .offset = offsetof(atr_reducer_choice, bucket_mb),
     .value = "4",
     .least = 0,
     .most = 1000,
     .argument = "MB",
     .help = "gradients are sent in pieces of this size while backward runs; 0: all after it"},
    {.name = "progress",
     .kind = ATR_OPTION_CHOICE,
     .offset = offsetof(atr_reducer_choice, progress),
     .value = "poll",
     .choices = atr_reducer_progress_names,
     .help = "who looks after them: the computing thread between steps of the plan, or a thread of its own, "
             "which wants a core"},
    {.name = NULL},
};

atr_reducer_options atr_reducer_options_from(const atr_reducer_choice *choice)
{
    return (atr_reducer_options){
        .allreduce = (atr_allreduce)choice->allreduce,
        .wire = (atr_wire)choice->wire,
        .progress = (atr_reducer_progress)choice->progress,
        .bucket_mb = choice->bucket_mb,
    };
}
