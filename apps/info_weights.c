/* `atrous info` of weight files: .pth of any age, .safetensors. */
#include "apps/info.h"
#include "apps/recognise.h"
#include "apps/runlog.h"

/* What is read off names and shapes; `why` says why nothing is, where nothing is. */
typedef struct found {
    bool network, stripped;
    atr_model_info info;
    char why[512];
} found;

static atr_status look(atr_weights *weights, const atr_info_request *request, found *f)
{
    const atr_status status = atr_weights_strip_prefix(weights, "module.", &f->stripped);

    if (status != ATR_OK)
        return status;
    const atr_status recognised = atr_recognise(weights, request->output_stride, &f->info);
    f->network = recognised == ATR_OK;
    if (!f->network)
        atr_printable(atr_status_message(), f->why, sizeof f->why);
    return request->layers ? recognised : ATR_OK;
}

static atr_status append_text(const atr_weights *weights, const found *f, const atr_info_request *request,
                              atr_text *out)
{
    char value[80]; /* a line's worth; --json has all of it */

    atr_text_append(out, "%s: weights, %s, ", request->path, atr_weights_format(weights));
    atr_info_bytes(out, request->bytes);
    atr_text_append(out, ", %lld tensors%s\n", (long long)atr_weights_count(weights),
                    f->stripped ? ", names begin with 'module.'" : "");
    atr_info_label(out, "network");
    if (f->network)
        atr_text_append(out, "%s, %lld classes, %lld input channels; `atrous import` makes it a model\n",
                        f->info.backbone, (long long)f->info.classes, (long long)f->info.channels);
    else
        atr_text_append(out, "%s\n", f->why);
    for (int64_t i = 0; i < atr_weights_meta_count(weights); i++) {
        atr_info_label(out, i == 0 ? "beside them" : "");
        atr_info_printable(out, atr_weights_meta_key(weights, i));
        atr_text_append(out, " = ");
        atr_text_append(out, "%s\n", atr_printable(atr_weights_meta_value(weights, i), value, sizeof value));
    }
    atr_info_tensors(weights, request, out);
    return request->layers ? atr_info_layers(&f->info, request, out) : ATR_OK;
}

static atr_status append_json(const atr_weights *weights, const found *f, const atr_info_request *request,
                              atr_text *out)
{
    atr_status status = ATR_OK;

    atr_text_append(out, "{\"kind\":\"weights\",\"path\":");
    atr_json_string(out, request->path);
    atr_text_append(out, ",\"bytes\":%lld,\"format\":", (long long)request->bytes);
    atr_json_string(out, atr_weights_format(weights));
    atr_text_append(out, ",\"network\":");
    if (f->network) {
        atr_text_append(out, "{\"backbone\":");
        atr_json_string(out, f->info.backbone);
        atr_text_append(out, ",\"classes\":%lld,\"channels\":%lld}", (long long)f->info.classes,
                        (long long)f->info.channels);
    } else {
        atr_text_append(out, "null");
    }
    atr_text_append(out, ",\"metadata\":{");
    for (int64_t i = 0; i < atr_weights_meta_count(weights); i++) {
        atr_text_append(out, i == 0 ? "" : ",");
        atr_json_string(out, atr_weights_meta_key(weights, i));
        atr_text_append(out, ":");
        atr_json_string(out, atr_weights_meta_value(weights, i));
    }
    atr_text_append(out, "},\"tensor_count\":%lld,", (long long)atr_weights_count(weights));
    atr_info_tensors(weights, request, out);
    if (request->layers)
        ATR_TRY(atr_info_layers(&f->info, request, out));
    atr_text_append(out, "}\n");
done:
    return status;
}

atr_status atr_info_weights(const atr_info_request *request, atr_text *out)
{
    atr_status status = ATR_OK;
    atr_weights *weights = NULL;
    found *f = NULL;

    ATR_TRY(atr_weights_read(request->path, &weights));
    ATR_TRY(ATR_NEW(1, &f));
    ATR_TRY(look(weights, request, f));
    status = request->json ? append_json(weights, f, request, out) : append_text(weights, f, request, out);
done:
    atr_free(f);
    atr_weights_destroy(weights);
    return status;
}
