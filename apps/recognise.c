#include "apps/recognise.h"

#include <stdio.h>

#include "apps/session.h"
#include "core/text.h"

static const char classifier[] = "cls_conv.weight";

static const char prefix[] = "backbone.";

/* A tensor of a backbone, all of whose names begin with the prefix; a file of a backbone alone, `bare`, may leave that out. */
static int64_t find(const atr_weights *weights, const char *name, bool bare)
{
    return atr_weights_find(weights, name + (bare ? sizeof prefix - 1 : 0));
}

static const atr_backbone *find_backbone(const atr_weights *weights, bool bare)
{
    const atr_backbone *backbone;

    for (int i = 0; (backbone = atr_backbone_at(i)) != NULL; i++)
        if (find(weights, backbone->mark, bare) >= 0)
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
static atr_status find_stem(const atr_weights *weights, const atr_backbone *backbone, bool bare,
                            const atr_tensor **out)
{
    atr_model_config config = atr_model_config_default();
    atr_status status = ATR_OK;
    atr_graph *graph = NULL;

    snprintf(config.backbone, sizeof config.backbone, "%s", backbone->name);
    ATR_TRY(atr_model_build(&config, &graph));
    const char *name = atr_graph_param_specs(graph)[0].name;
    const int64_t index = find(weights, name, bare);
    if (index < 0)
        status =
            atr_fail(ATR_ERR_DATA, "there is no tensor '%s', which %s begins with", name, backbone->name);
    else
        *out = atr_weights_tensor(weights, index);
done:
    atr_graph_destroy(graph);
    return status;
}

static atr_status recognise(const atr_weights *weights, const atr_backbone *backbone, bool bare,
                            int64_t output_stride, atr_model_info *out)
{
    const atr_tensor *stem = NULL;
    atr_status status = ATR_OK;

    ATR_TRY(find_stem(weights, backbone, bare, &stem));
    if (stem->rank != 4 || stem->dims[1] < 1 || stem->dims[1] > ATR_CHANNELS_MAX) {
        status = atr_fail(ATR_ERR_DATA, "the first convolution of %s has a shape that no network here has",
                          backbone->name);
        goto done;
    }
    atr_session_describe(backbone->name, 1, output_stride, out);
    out->channels = stem->dims[1];
    for (int64_t c = 0; c < out->channels; c++)
        out->scale[c] = 1.0 / 255.0;
done:
    return status;
}

atr_status atr_recognise_backbone(const atr_weights *weights, int64_t output_stride, atr_model_info *out)
{
    const atr_backbone *const whole = find_backbone(weights, false), *const alone =
                                                                         find_backbone(weights, true);

    if (whole == NULL && alone == NULL)
        return refuse(weights);
    return recognise(weights, whole != NULL ? whole : alone, whole == NULL, output_stride, out);
}

atr_status atr_recognise(const atr_weights *weights, int64_t output_stride, atr_model_info *out)
{
    const atr_backbone *const found = find_backbone(weights, false);
    const int64_t head = atr_weights_find(weights, classifier);
    atr_status status = ATR_OK;

    if (found == NULL)
        return refuse(weights);
    if (head < 0)
        return atr_fail(ATR_ERR_DATA, "there is no tensor '%s': a backbone alone, or another network's head",
                        classifier);
    ATR_TRY(recognise(weights, found, false, output_stride, out));
    const atr_tensor *const classes = atr_weights_tensor(weights, head);
    if (classes->rank != 4 || classes->dims[0] < 1 || classes->dims[0] > 255)
        status = atr_fail(ATR_ERR_DATA, "'%s' has a shape that no network here has", classifier);
    else
        out->classes = classes->dims[0];
done:
    return status;
}
