#include "apps/recognise.h"

#include <string.h>

#include "apps/session.h"

/* One backbone: the convolution that sees the picture tells it apart and knows the input channels. */
typedef struct mark {
    const char *backbone, *first_conv;
} mark;

static const mark marks[] = {
    {"mobilenetv2", "backbone.features.0.0.weight"},
};

static const char classifier[] = "cls_conv.weight";

atr_status atr_recognise(const atr_weights *weights, int64_t output_stride, atr_model_info *out)
{
    const mark *found = NULL;
    int64_t first = -1;

    for (size_t i = 0; i < sizeof marks / sizeof marks[0] && found == NULL; i++) {
        first = atr_weights_find(weights, marks[i].first_conv);
        if (first >= 0)
            found = &marks[i];
    }
    if (found == NULL)
        return atr_fail(ATR_ERR_DATA,
                        "no backbone that is known here: there is no tensor '%s' (%lld tensors, first: '%s')",
                        marks[0].first_conv, (long long)atr_weights_count(weights),
                        atr_weights_count(weights) > 0 ? atr_weights_name(weights, 0) : "");
    const int64_t head = atr_weights_find(weights, classifier);
    if (head < 0)
        return atr_fail(ATR_ERR_DATA, "there is no tensor '%s': a backbone alone, or another network's head",
                        classifier);
    const atr_tensor *stem = atr_weights_tensor(weights, first), *classes = atr_weights_tensor(weights, head);
    if (stem->rank != 4 || classes->rank != 4 || stem->dims[1] < 1 || stem->dims[1] > ATR_CHANNELS_MAX ||
        classes->dims[0] < 1 || classes->dims[0] > 255)
        return atr_fail(ATR_ERR_DATA, "'%s' and '%s' have shapes that no network here has", found->first_conv,
                        classifier);
    atr_session_describe(found->backbone, classes->dims[0], output_stride, out);
    out->channels = stem->dims[1];
    for (int64_t c = 0; c < out->channels; c++)
        out->scale[c] = 1.0 / 255.0;
    return ATR_OK;
}
