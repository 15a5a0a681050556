/* `atrous info` of pictures. */
#include "apps/info.h"
#include "apps/runlog.h"
#include "io/image.h"

static void append_picture(const atr_info_request *request, const atr_image_info *p, atr_text *out)
{
    static const char *const colours[] = {"?", "grey", "grey and alpha", "RGB", "RGB and alpha"};
    const char *format = p->format == ATR_IMAGE_PNG ? "PNG" : "JPEG";
    const char *colour = p->palette                    ? "palette"
                         : p->format == ATR_IMAGE_JPEG ? (p->channels == 1 ? "grey" : "colour")
                                                       : colours[p->channels <= 4 ? p->channels : 0];

    if (request->json) {
        atr_text_append(out, "{\"kind\":\"picture\",\"path\":");
        atr_json_string(out, request->path);
        atr_text_append(
            out,
            ",\"bytes\":%lld,\"format\":\"%s\",\"width\":%lld,\"height\":%lld,\"channels\":%d,\"bits\":%d,"
            "\"palette\":%s,\"orientation\":%d}\n",
            (long long)request->bytes, format, (long long)p->width, (long long)p->height, p->channels,
            p->bits, p->palette ? "true" : "false", p->orientation);
        return;
    }
    atr_text_append(out, "%s: picture, %s, ", request->path, format);
    atr_info_bytes(out, request->bytes);
    atr_text_append(out, ", %lld wide, %lld high, %s, %d bit", (long long)p->width, (long long)p->height,
                    colour, p->bits);
    if (p->orientation != 1)
        atr_text_append(out, ", EXIF orientation %d", p->orientation);
    atr_text_append(out, "\n");
}

atr_status atr_info_picture(const atr_info_request *request, atr_text *out)
{
    atr_status status = ATR_OK;
    atr_image picture = {0, 0, 0, NULL};
    atr_image_info info;
    void *bytes = NULL;
    size_t size = 0;

    ATR_TRY(atr_file_read(request->path, 0, &bytes, &size));
    ATR_TRY(atr_fail_prefix(atr_image_probe(bytes, size, &info), "%s", request->path));
    ATR_TRY(atr_fail_prefix(atr_image_decode_rgb(bytes, size, false, &picture), "%s", request->path));
    append_picture(request, &info, out);
done:
    atr_image_free(&picture);
    atr_free(bytes);
    return status;
}
