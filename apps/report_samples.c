/* Pictures on the report page: inside it, so that the page is one file. */
#include "apps/report.h"
#include "io/resample.h"

/* Pictures are shown with at most this many pixels on a side. */
enum { LARGEST_SIDE = 768 };

void atr_report_base64(const void *bytes, size_t size, atr_text *page)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *b = bytes;

    for (size_t i = 0; i < size; i += 3) {
        const uint32_t word = (uint32_t)b[i] << 16 | (i + 1 < size ? (uint32_t)b[i + 1] << 8 : 0) |
                              (i + 2 < size ? b[i + 2] : 0);
        const char group[4] = {digits[word >> 18], digits[word >> 12 & 63],
                               i + 1 < size ? digits[word >> 6 & 63] : '=',
                               i + 2 < size ? digits[word & 63] : '='};
        atr_text_append_bytes(page, group, 4);
    }
}

static void append_picture(const char *kind, const char *what, const void *bytes, size_t size, atr_text *page)
{
    atr_text_append(page, "<img class=\"%s\" alt=\"%s\" src=\"data:image/%s;base64,",
                    kind[0] == 'p' ? "ids" : "photo", what, kind);
    atr_report_base64(bytes, size, page);
    atr_text_append(page, "\">\n");
}

static atr_status append_photo(const atr_image *picture, const atr_resize *size, atr_workspace *workspace,
                               atr_text *page)
{
    atr_status status = ATR_OK;
    atr_image small = {size->to_width, size->to_height, 3, NULL};
    void *bytes = NULL;
    size_t length = 0;

    ATR_TRY(ATR_NEW(small.width * small.height * 3, &small.pixels));
    ATR_TRY(atr_resize_bicubic(size, 3, picture->pixels, small.pixels, small.width * 3, workspace));
    ATR_TRY(atr_jpeg_encode(&small, 88, &bytes, &length));
    append_picture("jpeg", "picture", bytes, length, page);
done:
    atr_free(bytes);
    atr_image_free(&small);
    return status;
}

static atr_status append_ids(const uint8_t *ids, const char *what, const atr_resize *size,
                             const atr_model_info *info, atr_workspace *workspace, atr_text *page)
{
    atr_status status = ATR_OK;
    uint8_t *small = NULL;
    void *bytes = NULL;
    size_t length = 0;

    ATR_TRY(ATR_NEW(size->to_width * size->to_height, &small));
    ATR_TRY(atr_resize_nearest(size, ids, small, size->to_width, workspace));
    ATR_TRY(atr_png_encode_indexed(small, size->to_width, size->to_height, info->palette, &bytes, &length));
    append_picture("png", what, bytes, length, page);
done:
    atr_free(bytes);
    atr_free(small);
    return status;
}

static atr_status append_sample(atr_segmenter *segmenter, const atr_dataset *dataset, int64_t index,
                                const atr_model_info *info, atr_workspace *workspace, atr_text *page)
{
    atr_status status = ATR_OK;
    atr_image picture = {0, 0, 0, NULL};
    uint8_t *truth = NULL, *ids = NULL;

    ATR_TRY(atr_dataset_read_image(dataset, index, &picture));
    ATR_TRY(atr_dataset_read_mask(dataset, index, &truth));
    ATR_TRY(ATR_NEW(picture.width * picture.height, &ids));
    ATR_TRY(atr_segmenter_run(segmenter, &picture, &(atr_segmentation){.ids = ids}));
    const atr_resize size = atr_resize_within(picture.width, picture.height, LARGEST_SIDE);
    atr_text_append(page, "<p>");
    atr_report_escape(atr_dataset_sample(dataset, index).name, page);
    atr_text_append(page, "</p>\n");
    ATR_TRY(append_photo(&picture, &size, workspace, page));
    ATR_TRY(append_ids(truth, "truth", &size, info, workspace, page));
    ATR_TRY(append_ids(ids, "prediction", &size, info, workspace, page));
done:
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
    const int64_t shown = count < there ? count : there;
    const uint8_t *ignored = info->palette[ATR_IGNORE];
    atr_workspace workspace = {0};

    if (shown == 0)
        return ATR_OK;
    atr_text_append(
        page,
        "<h2>Validation pictures</h2>\n<p class=\"note\">Colours as in the table above; pixels that the "
        "truth leaves open are <i style=\"background:#%02x%02x%02x;margin:0 .2rem\"></i>.</p>\n"
        "<div class=\"samples\"><b>picture</b><b>truth</b><b>prediction</b>\n",
        ignored[0], ignored[1], ignored[2]);
    /* Spread over the split: neighbours are often frames of one scene. */
    for (int64_t i = 0; i < shown; i++)
        ATR_TRY(append_sample(segmenter, dataset, indices[i * there / shown], info, &workspace, page));
done:
    atr_text_append(page, "</div>\n");
    atr_workspace_free(&workspace);
    return status;
}
