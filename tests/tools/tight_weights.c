/* tight_weights FILE.safetensors CLASSES: weights of the golden `_tight` cases for a script's test. Their batch norms keep hardly any
 * input of a ReLU near its kink, so that rounding stays rounding over many steps; a fresh network magnifies it thousandfold. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/safetensors.h"
#include "tests/support/network.h"

int main(int count, char **arguments)
{
    parity_case c = {.group = "tight",
                     .backbone = "mobilenet",
                     .output_stride = 16,
                     .batch = 1,
                     .height = 33,
                     .width = 33,
                     .seed = 2030,
                     .norm_weight_offset = 1,
                     .norm_bias_offset = 2};
    atr_model_info info = {.architecture = "deeplabv3plus",
                           .backbone = "mobilenetv2",
                           .fit = "letterbox",
                           .output_stride = 16,
                           .align_corners = true,
                           .channels = 3,
                           .scale = {1.0 / 255, 1.0 / 255, 1.0 / 255},
                           .height = 33,
                           .width = 33};
    network net;

    if (count != 3)
        return 2;
    info.classes = c.classes = atoi(arguments[2]);
    for (int64_t k = 0; k < info.classes; k++)
        snprintf(info.class_names[k], sizeof info.class_names[k], "class%d", (int)k);
    network_open(&net, &c, "ref", -1);
    const atr_status status = atr_safetensors_write(arguments[1], &info, net.params);
    if (status != ATR_OK)
        fprintf(stderr, "%s\n", atr_status_message());
    network_close(&net);
    return status == ATR_OK ? 0 : 1;
}
