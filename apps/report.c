#include "apps/report.h"

#include <math.h>
#include <stdio.h>

static const char style[] =
    "body{font:15px/1.5 system-ui,sans-serif;color:#222;background:#fff;max-width:76rem;margin:2rem "
    "auto;padding:0 1rem}"
    "h1{font-size:1.6rem;margin-bottom:.2rem}h2{font-size:1.2rem;margin-top:2.2rem;border-bottom:1px solid "
    "#ddd}"
    "p.when{color:#666;margin-top:0}p.missing{background:#fff3cd;padding:.5rem .8rem;border-left:4px solid "
    "#d9a400}"
    "figure{display:inline-block;margin:0 .5rem .5rem 0;max-width:100%}figure svg{max-width:100%;height:auto}"
    "table{border-collapse:collapse;margin:.8rem 0}th,td{padding:.25rem "
    ".6rem;text-align:right;border-bottom:1px solid #eee}"
    "th{font-weight:600;color:#555}td.name,th.name{text-align:left;white-space:nowrap}"
    "td.bar{width:14rem;padding:.25rem 0}td.bar div{background:#2a6f97;height:.8rem}"
    "i.swatch{display:inline-block;width:.8rem;height:.8rem;margin-right:.4rem;border:1px solid "
    "#999;vertical-align:-1px}"
    "table.confusion td{font-size:.8rem;padding:.2rem .35rem;min-width:2.4rem}"
    "table.samples td{border:0;padding:.2rem}table.samples "
    "img{display:block;max-width:24rem;width:100%;image-rendering:auto}";

void atr_report_escape(const char *text, atr_text *page)
{
    for (; *text != '\0'; text++)
        switch (*text) {
        case '&':
            atr_text_append(page, "&amp;");
            break;
        case '<':
            atr_text_append(page, "&lt;");
            break;
        case '>':
            atr_text_append(page, "&gt;");
            break;
        case '"':
            atr_text_append(page, "&quot;");
            break;
        default:
            atr_text_append_bytes(page, text, 1);
        }
}

void atr_report_begin(const char *run, const char *when, atr_text *page)
{
    atr_text_append(page, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                          "<meta name=\"viewport\" content=\"width=device-width\"><title>");
    atr_report_escape(run, page);
    atr_text_append(page, "</title><style>%s</style></head><body>\n<h1>", style);
    atr_report_escape(run, page);
    atr_text_append(page, "</h1>\n<p class=\"when\">%s</p>\n", when);
}

void atr_report_end(atr_text *page)
{
    atr_text_append(page, "</body></html>\n");
}

/* "87.3", or "n/a" for what has no value. */
static void append_percent(double fraction, atr_text *page)
{
    if (isfinite(fraction))
        atr_text_append(page, "%.1f", 100 * fraction);
    else
        atr_text_append(page, "n/a");
}

void atr_report_summary(const atr_run_history *h, atr_text *page)
{
    const atr_run_eval *best = NULL;
    double speed = 0;
    int64_t timed = 0;

    for (int64_t i = 0; i < h->eval_count; i++)
        if (isfinite(h->evals[i].miou) && (best == NULL || h->evals[i].miou > best->miou))
            best = &h->evals[i];
    for (int64_t i = 0; i < h->step_count; i++)
        if (isfinite(h->images_per_s[i])) {
            speed += h->images_per_s[i];
            timed++;
        }
    atr_text_append(page, "<table>\n<tr><th class=\"name\">steps logged</th><td>%lld</td></tr>\n",
                    (long long)h->step_count);
    if (h->step_count > 0)
        atr_text_append(page, "<tr><th class=\"name\">last loss</th><td>%.4f</td></tr>\n",
                        h->loss[h->step_count - 1]);
    if (timed > 0)
        atr_text_append(page, "<tr><th class=\"name\">pictures per second, mean</th><td>%.1f</td></tr>\n",
                        speed / (double)timed);
    if (best != NULL) {
        atr_text_append(page, "<tr><th class=\"name\">best mIoU, percent</th><td>");
        append_percent(best->miou, page);
        atr_text_append(page, " (epoch %.0f)</td></tr>\n", best->epoch);
    }
    if (h->data != NULL) {
        atr_text_append(page, "<tr><th class=\"name\">data set</th><td class=\"name\">");
        atr_report_escape(h->data, page);
        atr_text_append(page, "</td></tr>\n");
    }
    atr_text_append(page, "</table>\n");
}

/* Colour and name of a class, or its number where it has no name. */
static void append_class(const atr_model_info *info, int64_t k, atr_text *page)
{
    const uint8_t *rgb = info->palette[k];

    atr_text_append(page, "<i class=\"swatch\" style=\"background:#%02x%02x%02x\"></i>", rgb[0], rgb[1],
                    rgb[2]);
    if (info->class_names[k][0] != '\0')
        atr_report_escape(info->class_names[k], page);
    else
        atr_text_append(page, "class %lld", (long long)k);
}

void atr_report_scores(const atr_scores *s, const atr_model_info *info, atr_text *page)
{
    atr_text_append(
        page,
        "<table>\n<tr><th class=\"name\">class</th><th>IoU %%</th><th></th><th>recall</th><th>precision</th>"
        "<th>pixels</th></tr>\n");
    for (int64_t k = 0; k < s->classes; k++) {
        atr_text_append(page, "<tr><td class=\"name\">");
        append_class(info, k, page);
        atr_text_append(page, "</td><td>");
        append_percent(s->iou[k], page);
        atr_text_append(page, "</td><td class=\"bar\"><div style=\"width:%.1f%%\"></div></td><td>",
                        isfinite(s->iou[k]) ? 100 * s->iou[k] : 0);
        append_percent(s->recall[k], page);
        atr_text_append(page, "</td><td>");
        append_percent(s->precision[k], page);
        atr_text_append(page, "</td><td>%lld</td></tr>\n", (long long)s->truth_pixels[k]);
    }
    atr_text_append(page, "</table>\n<p>mIoU <b>");
    append_percent(s->miou, page);
    atr_text_append(page, " %%</b> over the %lld classes present, pixel accuracy <b>", (long long)s->present);
    append_percent(s->pixel_accuracy, page);
    atr_text_append(
        page, " %%</b>. Classes absent from truth and prediction are n/a and left out of the mean.</p>\n");
}

void atr_report_confusion(const atr_confusion *c, const atr_model_info *info, atr_text *page)
{
    atr_text_append(
        page,
        "<h2>Confusion: where the pixels of each class went, percent</h2>\n<table class=\"confusion\">\n<tr>"
        "<th class=\"name\">truth \\ prediction</th>");
    for (int64_t k = 0; k < c->classes; k++) {
        atr_text_append(page, "<th>");
        append_class(info, k, page);
        atr_text_append(page, "</th>");
    }
    atr_text_append(page, "</tr>\n");
    for (int64_t t = 0; t < c->classes; t++) {
        int64_t total = 0;
        for (int64_t k = 0; k < c->classes; k++)
            total += c->counts[t * c->classes + k];
        atr_text_append(page, "<tr><td class=\"name\">");
        append_class(info, t, page);
        atr_text_append(page, "</td>");
        for (int64_t k = 0; k < c->classes; k++) {
            const double share = total > 0 ? (double)c->counts[t * c->classes + k] / (double)total : NAN;
            const double shade = isfinite(share) ? share : 0;
            atr_text_append(page, "<td style=\"background:rgba(%s,%.3f)\">",
                            t == k ? "42,111,151" : "200,85,61", 0.85 * shade);
            append_percent(share, page);
            atr_text_append(page, "</td>");
        }
        atr_text_append(page, "</tr>\n");
    }
    atr_text_append(page, "</table>\n");
}

/* RFC 4648. */
static void append_base64(const uint8_t *bytes, size_t size, atr_text *page)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < size; i += 3) {
        const uint32_t word = (uint32_t)bytes[i] << 16 | (i + 1 < size ? (uint32_t)bytes[i + 1] << 8 : 0) |
                              (i + 2 < size ? bytes[i + 2] : 0);
        const char group[4] = {digits[word >> 18], digits[word >> 12 & 63],
                               i + 1 < size ? digits[word >> 6 & 63] : '=',
                               i + 2 < size ? digits[word & 63] : '='};
        atr_text_append_bytes(page, group, 4);
    }
}

static void append_picture(const char *kind, const void *bytes, size_t size, atr_text *page)
{
    atr_text_append(page, "<td><img alt=\"\" src=\"data:image/%s;base64,", kind);
    append_base64(bytes, size, page);
    atr_text_append(page, "\"></td>");
}

static atr_status append_ids(const uint8_t *ids, const atr_image *picture, const atr_model_info *info,
                             atr_text *page)
{
    void *bytes = NULL;
    size_t size = 0;
    const atr_status status =
        atr_png_encode_indexed(ids, picture->width, picture->height, info->palette, &bytes, &size);

    if (status == ATR_OK)
        append_picture("png", bytes, size, page);
    atr_free(bytes);
    return status;
}

static atr_status append_sample(atr_segmenter *segmenter, const atr_dataset *dataset, int64_t index,
                                const atr_model_info *info, atr_text *page)
{
    atr_status status = ATR_OK;
    atr_image picture = {0, 0, 0, NULL};
    uint8_t *truth = NULL, *ids = NULL;
    void *bytes = NULL;
    size_t size = 0;

    ATR_TRY(atr_dataset_read_image(dataset, index, &picture));
    ATR_TRY(atr_dataset_read_mask(dataset, index, &truth));
    ATR_TRY(ATR_NEW(picture.width * picture.height, &ids));
    ATR_TRY(atr_segmenter_run(segmenter, &picture, &(atr_segmentation){.ids = ids}));
    ATR_TRY(atr_jpeg_encode(&picture, 85, &bytes, &size));
    atr_text_append(page, "<tr><td class=\"name\">");
    atr_report_escape(atr_dataset_sample(dataset, index).name, page);
    atr_text_append(page, "</td>");
    append_picture("jpeg", bytes, size, page);
    ATR_TRY(append_ids(truth, &picture, info, page));
    ATR_TRY(append_ids(ids, &picture, info, page));
    atr_text_append(page, "</tr>\n");
done:
    atr_free(bytes);
    atr_free(ids);
    atr_free(truth);
    atr_image_free(&picture);
    return status;
}

atr_status atr_report_samples(atr_segmenter *segmenter, const atr_dataset *dataset,
                              const atr_model_info *info, int64_t count, atr_text *page)
{
    atr_status status = ATR_OK;
    const int64_t *indices = NULL;
    const int64_t there = atr_dataset_split(dataset, ATR_SPLIT_VAL, &indices);

    if (count == 0 || there == 0)
        return ATR_OK;
    atr_text_append(page, "<h2>Validation pictures</h2>\n<table class=\"samples\">\n<tr><th></th><th "
                          "class=\"name\">picture</th>"
                          "<th class=\"name\">truth</th><th class=\"name\">prediction</th></tr>\n");
    /* Spread over the split: neighbours are often frames of one scene. */
    for (int64_t i = 0; i < count && i < there; i++)
        ATR_TRY(append_sample(segmenter, dataset, indices[i * there / (count < there ? count : there)], info,
                              page));
    atr_text_append(page, "</table>\n");
done:
    return status;
}
