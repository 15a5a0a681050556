#include "apps/recognise.h"

#include <stdio.h>

#include "apps/session.h"
#include "core/text.h"

static const char classifier[] = "cls_conv.weight";

static const atr_backbone *find_backbone(const atr_weights *weights)
{
    const atr_backbone *backbone;

    for (int i = 0; (backbone = atr_backbone_at(i)) != NULL; i++)
        if (atr_weights_find(weights, backbone->mark) >= 0)
            return backbone;
    return NULL;
}

static atr_status refuse(const atr_weights *weights)
{
    const int64_t count = atr_weights_count(weights);
    const atr_backbone *backbone;
    atr_status status = ATR_OK;
    atr_text marks = {0};
    char *text = NULL;

    for (int i = 0; (backbone = atr_backbone_at(i)) != NULL; i++)
        atr_text_append(&marks, "%s'%s' (%s)", i > 0 ? ", " : "", backbone->mark, backbone->name);
    ATR_TRY(atr_text_take(&marks, &text));
    status = atr_fail(ATR_ERR_DATA,
                      "no backbone that is known here: there is none of the tensors %s (%lld tensors, first: "
                      "'%s')",
                      text, (long long)count, count > 0 ? atr_weights_name(weights, 0) : "");
done:
    atr_free(text);
    return status;
}

/* The tensor that reads the picture: by its name, the first of the network's parameters. */
static atr_status find_stem(const atr_weights *weights, const atr_backbone *backbone, const atr_tensor **out)
{
    atr_model_config config = atr_model_config_default();
    atr_status status = ATR_OK;
    atr_graph *graph = NULL;

    snprintf(config.backbone, sizeof config.backbone, "%s", backbone->name);
    ATR_TRY(atr_model_build(&config, &graph));
    const char *name = atr_graph_param_specs(graph)[0].name;
    const int64_t index = atr_weights_find(weights, name);
    if (index < 0)
        status =
            atr_fail(ATR_ERR_DATA, "there is no tensor '%s', which %s begins with", name, backbone->name);
    else
        *out = atr_weights_tensor(weights, index);
done:
    atr_graph_destroy(graph);
    return status;
}

atr_status atr_recognise(const atr_weights *weights, int64_t output_stride, atr_model_info *out)
{
    const atr_backbone *const found = find_backbone(weights);
    const int64_t head = atr_weights_find(weights, classifier);
    const atr_tensor *stem = NULL, *classes = NULL;
    atr_status status = ATR_OK;

    if (found == NULL)
        return refuse(weights);
    if (head < 0)
        return atr_fail(ATR_ERR_DATA, "there is no tensor '%s': a backbone alone, or another network's head",
                        classifier);
    ATR_TRY(find_stem(weights, found, &stem));
    classes = atr_weights_tensor(weights, head);
    if (stem->rank != 4 || classes->rank != 4 || stem->dims[1] < 1 || stem->dims[1] > ATR_CHANNELS_MAX ||
        classes->dims[0] < 1 || classes->dims[0] > 255)
        return atr_fail(ATR_ERR_DATA,
                        "the first convolution of %s and '%s' have shapes that no network here has",
                        found->name, classifier);
    atr_session_describe(found->name, classes->dims[0], output_stride, out);
    out->channels = stem->dims[1];
    for (int64_t c = 0; c < out->channels; c++)
        out->scale[c] = 1.0 / 255.0;
done:
    return status;
}
