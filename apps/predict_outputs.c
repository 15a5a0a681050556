/* What `atrous predict` writes of a picture: a kind of file is a row of the table. */
#include <string.h>

#include "apps/predict_impl.h"
#include "apps/render.h"
#include "io/npy.h"

/* Writes an encoded picture and frees its bytes. */
static atr_status write_encoded(atr_status encoded, void *bytes, size_t size, const char *path)
{
    const atr_status status = encoded == ATR_OK ? atr_file_write(path, bytes, size) : encoded;

    atr_free(bytes);
    return status;
}

static int64_t pixels_of(const atr_piece *piece)
{
    return piece->picture.width * piece->picture.height;
}

static atr_status write_ids(const predict_job *job, const atr_piece *piece, int class_id, const char *path)
{
    void *bytes = NULL;
    size_t size = 0;
    const atr_status status =
        atr_png_encode_indexed(piece->result.ids, piece->picture.width, piece->picture.height,
                               job->session.info.palette, &bytes, &size);

    (void)class_id;
    return write_encoded(status, bytes, size, path);
}

/* A picture of the input's size, to be drawn on. */
static atr_status blank(const atr_piece *piece, int64_t channels, atr_image *out)
{
    *out = (atr_image){piece->picture.width, piece->picture.height, channels, NULL};
    return ATR_NEW(pixels_of(piece) * channels, &out->pixels);
}

/* Encodes, writes and frees a drawn picture. */
static atr_status write_drawn(atr_image *drawn, const char *path)
{
    void *bytes = NULL;
    size_t size = 0;
    const atr_status status = atr_png_encode(drawn, &bytes, &size);

    atr_image_free(drawn);
    return write_encoded(status, bytes, size, path);
}

static atr_status write_overlay(const predict_job *job, const atr_piece *piece, int class_id,
                                const char *path)
{
    atr_image drawn;
    const atr_status status = blank(piece, 3, &drawn);

    (void)class_id;
    if (status != ATR_OK)
        return status;
    atr_render_overlay(piece->picture.pixels, piece->result.ids, pixels_of(piece), job->session.info.palette,
                       job->options->alpha, drawn.pixels);
    return write_drawn(&drawn, path);
}

static atr_status write_colour(const predict_job *job, const atr_piece *piece, int class_id, const char *path)
{
    atr_image drawn;
    const atr_status status = blank(piece, 3, &drawn);

    (void)class_id;
    if (status != ATR_OK)
        return status;
    atr_render_colour(piece->result.ids, pixels_of(piece), job->session.info.palette, drawn.pixels);
    return write_drawn(&drawn, path);
}

static atr_status write_cutout(const predict_job *job, const atr_piece *piece, int class_id, const char *path)
{
    atr_image drawn;
    const atr_status status = blank(piece, 4, &drawn);

    (void)class_id;
    if (status != ATR_OK)
        return status;
    atr_render_cutout(piece->picture.pixels, piece->result.ids, pixels_of(piece), job->cutout, 4,
                      drawn.pixels);
    return write_drawn(&drawn, path);
}

static atr_status write_grey8(const atr_piece *piece, const float *shares, const char *path)
{
    atr_image drawn;
    const atr_status status = blank(piece, 1, &drawn);

    if (status != ATR_OK)
        return status;
    atr_render_grey8(shares, pixels_of(piece), drawn.pixels);
    return write_drawn(&drawn, path);
}

static atr_status write_grey16(const atr_piece *piece, const float *shares, const char *path)
{
    atr_status status = ATR_OK;
    uint16_t *levels = NULL;
    void *bytes = NULL;
    size_t size = 0;

    ATR_TRY(ATR_NEW(pixels_of(piece), &levels));
    atr_render_grey16(shares, pixels_of(piece), levels);
    status = atr_png_encode_grey16(levels, piece->picture.width, piece->picture.height, &bytes, &size);
    status = write_encoded(status, bytes, size, path);
done:
    atr_free(levels);
    return status;
}

static atr_status write_confidence8(const predict_job *job, const atr_piece *piece, int class_id,
                                    const char *path)
{
    (void)job, (void)class_id;
    return write_grey8(piece, piece->result.confidence, path);
}

static atr_status write_confidence16(const predict_job *job, const atr_piece *piece, int class_id,
                                     const char *path)
{
    (void)job, (void)class_id;
    return write_grey16(piece, piece->result.confidence, path);
}

static atr_status write_confidence(const predict_job *job, const atr_piece *piece, int class_id,
                                   const char *path)
{
    const int64_t dims[] = {piece->picture.height, piece->picture.width};
    const atr_tensor tensor = atr_tensor_make(ATR_F32, 2, dims, piece->result.confidence);

    (void)job, (void)class_id;
    return atr_npy_write(path, &tensor);
}

static atr_status write_probability8(const predict_job *job, const atr_piece *piece, int class_id,
                                     const char *path)
{
    (void)job;
    return write_grey8(piece, piece->result.probabilities + class_id * pixels_of(piece), path);
}

static atr_status write_probability16(const predict_job *job, const atr_piece *piece, int class_id,
                                      const char *path)
{
    (void)job;
    return write_grey16(piece, piece->result.probabilities + class_id * pixels_of(piece), path);
}

/* The chosen classes, in order of their number, moved to the front: nobody reads probabilities after this. */
static atr_status write_probabilities(const predict_job *job, const atr_piece *piece, int class_id,
                                      const char *path)
{
    const int64_t pixels = pixels_of(piece);
    float *maps = piece->result.probabilities;
    int64_t chosen = 0;

    (void)class_id;
    for (int64_t k = 0; k < job->session.info.classes; k++)
        if (job->probable[k])
            memmove(maps + chosen++ * pixels, maps + k * pixels, (size_t)pixels * sizeof *maps);
    const int64_t dims[] = {chosen, piece->picture.height, piece->picture.width};
    const atr_tensor tensor = atr_tensor_make(ATR_F32, 3, dims, maps);
    return atr_npy_write(path, &tensor);
}

static atr_status write_logits(const predict_job *job, const atr_piece *piece, int class_id, const char *path)
{
    int64_t height = 0, width = 0;

    (void)class_id;
    atr_segmenter_logits_size(job->streams.segmenters[0], &piece->picture, &height, &width);
    const atr_tensor tensor = atr_tensor_make(
        ATR_F32, 3, (const int64_t[]){job->session.info.classes, height, width}, piece->result.logits);
    return atr_npy_write(path, &tensor);
}

/* A row is wanted where the option at `option` is the flag true, or the format `map`. */
static const struct {
    const char *suffix; /* with the class's number in place of %d */
    size_t option;
    predict_map map; /* PREDICT_MAP_NONE: the option is a flag */
    bool each_class; /* one file for each class that probabilities are written of */
    atr_status (*write)(const predict_job *job, const atr_piece *piece, int class_id, const char *path);
} kinds[] = {
    {".png", offsetof(predict_options, ids), PREDICT_MAP_NONE, false, write_ids},
    {".overlay.png", offsetof(predict_options, overlay), PREDICT_MAP_NONE, false, write_overlay},
    {".colour.png", offsetof(predict_options, colour), PREDICT_MAP_NONE, false, write_colour},
    {".cutout.png", offsetof(predict_options, cutout), PREDICT_MAP_NONE, false, write_cutout},
    {".confidence.png", offsetof(predict_options, confidence), PREDICT_MAP_PNG8, false, write_confidence8},
    {".confidence.png", offsetof(predict_options, confidence), PREDICT_MAP_PNG16, false, write_confidence16},
    {".confidence.npy", offsetof(predict_options, confidence), PREDICT_MAP_NPY, false, write_confidence},
    {".probability-%d.png", offsetof(predict_options, probabilities), PREDICT_MAP_PNG8, true,
     write_probability8},
    {".probability-%d.png", offsetof(predict_options, probabilities), PREDICT_MAP_PNG16, true,
     write_probability16},
    {".probabilities.npy", offsetof(predict_options, probabilities), PREDICT_MAP_NPY, false,
     write_probabilities},
    {".logits.npy", offsetof(predict_options, logits), PREDICT_MAP_NONE, false, write_logits},
};

enum { KINDS = sizeof kinds / sizeof kinds[0] };

static bool is_wanted(const predict_options *o, int kind)
{
    const char *field = (const char *)o + kinds[kind].option;

    return kinds[kind].map == PREDICT_MAP_NONE ? *(const bool *)field
                                               : *(const int *)field == (int)kinds[kind].map;
}

/* ".probability-%d.png" with the number: the table's text is no format string of unknown origin, but need not be one at all. */
static atr_status make_suffix(const char *pattern, int class_id, char **out)
{
    const char *gap = strstr(pattern, "%d");

    return gap == NULL ? atr_strdup(pattern, out)
                       : atr_format(out, "%.*s%d%s", (int)(gap - pattern), pattern, class_id, gap + 2);
}

atr_status predict_outputs_choose(const predict_job *job, predict_outputs *out)
{
    atr_status status = ATR_OK;
    predict_outputs chosen = {0};

    *out = chosen;
    ATR_TRY(ATR_NEW(KINDS + ATR_CLASSES_MAX, &chosen.items));
    for (int i = 0; i < KINDS; i++) {
        const int files = kinds[i].each_class ? (int)job->session.info.classes : 1;
        for (int k = 0; is_wanted(job->options, i) && k < files; k++) {
            predict_output *item = &chosen.items[chosen.count];
            if (kinds[i].each_class && !job->probable[k])
                continue;
            ATR_TRY(make_suffix(kinds[i].suffix, k, &item->suffix));
            item->class_id = k;
            item->write = kinds[i].write;
            chosen.count++;
        }
    }
    *out = chosen;
    chosen = (predict_outputs){0};
done:
    predict_outputs_free(&chosen);
    return status;
}

void predict_outputs_free(predict_outputs *outputs)
{
    for (int64_t i = 0; i < outputs->count; i++)
        atr_free(outputs->items[i].suffix);
    atr_free(outputs->items);
    *outputs = (predict_outputs){0};
}
