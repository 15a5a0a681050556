#include <limits.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

#include "io/exif.h"
#include "io/image_impl.h"

/* A block of 8x8 pixels takes at least one bit. MAX_SCANS: a progressive file of many empty scans would take forever. */
enum { PIXELS_PER_BYTE = 512, MAX_SCANS = 200 };

/* One JPEG being read or written. libjpeg reports errors by longjmp; every function with a setjmp touches only this struct, which
 * lives in its caller, so no local variable is in doubt after a jump. */
typedef struct jpeg_job {
    struct jpeg_decompress_struct reader;
    struct jpeg_compress_struct writer;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf jump;
    const uint8_t *bytes;
    size_t size;
    J_COLOR_SPACE space; /* wanted of the decoder */
    int shrink;          /* sides are divided by it: 2, 4, 8; else not at all */
    uint8_t *line;       /* one decoded row where it is not decoded in place */
    uint8_t *pixels;     /* [height,width,channels] u8 */
    int64_t channels;    /* of pixels */
    unsigned char *written;
    unsigned long written_size;
} jpeg_job;

static void on_error(j_common_ptr common)
{
    jpeg_job *job = common->client_data;

    longjmp(job->jump, 1);
}

/* libjpeg goes on after damage and fills the rest with grey; a network would learn that grey. So damage is an error; only
 * oddities that lose no pixel are let through. */
static void on_message(j_common_ptr common, int level)
{
    switch (common->err->msg_code) {
    case JWRN_EXTRANEOUS_DATA:
    case JWRN_ADOBE_XFORM:
    case JWRN_JFIF_MAJOR:
        return;
    default:
        if (level < 0)
            on_error(common);
    }
}

static void on_progress(j_common_ptr common)
{
    const jpeg_job *job = common->client_data;

    if (common->is_decompressor && job->reader.input_scan_number > MAX_SCANS) {
        common->err->msg_code = JERR_BAD_PROGRESSION;
        on_error(common);
    }
}

static atr_status damaged(jpeg_job *job)
{
    char text[JMSG_LENGTH_MAX];
    const j_common_ptr common = (j_common_ptr)&job->reader;

    job->errors.format_message(common, text);
    switch (job->errors.msg_code) {
    case JERR_OUT_OF_MEMORY:
        return atr_fail(ATR_ERR_MEMORY, "JPEG: %s", text);
    case JERR_BAD_PRECISION:
    case JERR_SOF_UNSUPPORTED:
    case JERR_CONVERSION_NOTIMPL:
        return atr_fail(ATR_ERR_DATA, "this kind of JPEG is not read (%s); convert it to PNG", text);
    default:
        break;
    }
    return atr_fail(ATR_ERR_DATA, "JPEG is damaged or cut off (%s); copy or export it again", text);
}

/* Decoder made, header read, APP1 kept for the orientation. */
static atr_status read_header(jpeg_job *job)
{
    job->reader.err = jpeg_std_error(&job->errors);
    job->reader.client_data = job;
    job->errors.error_exit = on_error;
    job->errors.emit_message = on_message;
    if (setjmp(job->jump))
        return damaged(job);
    jpeg_create_decompress(&job->reader);
    job->progress.progress_monitor = on_progress;
    job->reader.progress = &job->progress;
    if (job->size > ULONG_MAX)
        return atr_fail(ATR_ERR_DATA, "JPEG of %zu bytes is too large", job->size);
    jpeg_mem_src(&job->reader, job->bytes, (unsigned long)job->size);
    jpeg_save_markers(&job->reader, JPEG_APP0 + 1, 0xffff);
    jpeg_read_header(&job->reader, TRUE);
    job->reader.scale_num = 1;
    job->reader.scale_denom = job->shrink > 1 ? (unsigned)job->shrink : 1;
    jpeg_calc_output_dimensions(&job->reader);
    return atr_image_check_size("JPEG", job->reader.image_width, job->reader.image_height, PIXELS_PER_BYTE,
                                job->size);
}

static void close_job(jpeg_job *job)
{
    jpeg_destroy_decompress(&job->reader);
    jpeg_destroy_compress(&job->writer);
    atr_free(job->line);
}

static int find_orientation(const jpeg_job *job)
{
    static const char start[6] = "Exif\0";

    for (jpeg_saved_marker_ptr marker = job->reader.marker_list; marker != NULL; marker = marker->next)
        if (marker->data_length > sizeof start && memcmp(marker->data, start, sizeof start) == 0)
            return atr_exif_orientation(marker->data + sizeof start, marker->data_length - sizeof start);
    return 1;
}

atr_status atr_jpeg_probe(const void *bytes, size_t size, atr_image_info *out)
{
    jpeg_job job = {.bytes = bytes, .size = size};
    atr_status status = ATR_OK;

    ATR_TRY(read_header(&job));
    out->format = ATR_IMAGE_JPEG;
    out->width = job.reader.image_width;
    out->height = job.reader.image_height;
    out->channels = job.reader.num_components;
    out->bits = job.reader.data_precision;
    out->orientation = find_orientation(&job);

done:
    close_job(&job);
    return status;
}

/* CMYK to RGB. Adobe's programs, and everybody after them, store ink inverted: 255 is no ink. */
static void cmyk_to_rgb(const uint8_t *cmyk, int64_t count, uint8_t *rgb)
{
    for (int64_t i = 0; i < count; i++)
        for (int c = 0; c < 3; c++)
            rgb[3 * i + c] = (uint8_t)((cmyk[4 * i + c] * cmyk[4 * i + 3] + 127) / 255);
}

/* job->pixels holds the whole picture; job->line, if not NULL, one row of CMYK. */
static atr_status read_rows(jpeg_job *job)
{
    struct jpeg_decompress_struct *reader = &job->reader;

    if (setjmp(job->jump))
        return damaged(job);
    reader->out_color_space = job->space;
    jpeg_start_decompress(reader);
    while (reader->output_scanline < reader->output_height) {
        const size_t row_bytes = (size_t)reader->output_width * (size_t)job->channels;
        uint8_t *row = job->pixels + (size_t)reader->output_scanline * row_bytes;
        JSAMPROW target = job->line != NULL ? job->line : row;
        jpeg_read_scanlines(reader, &target, 1);
        if (job->line != NULL)
            cmyk_to_rgb(job->line, reader->output_width, row);
    }
    jpeg_finish_decompress(reader);
    return ATR_OK;
}

/* `job` after read_header; colour space and channels chosen; pixels allocated here and owned by the caller even on failure. */
static atr_status decode(jpeg_job *job, uint8_t **pixels)
{
    const int64_t width = job->reader.output_width, height = job->reader.output_height;
    atr_status status = ATR_OK;

    if (job->space == JCS_CMYK)
        ATR_TRY(ATR_NEW(width * 4, &job->line));
    ATR_TRY(ATR_NEW(width * height * job->channels, pixels));
    job->pixels = *pixels;
    ATR_TRY(read_rows(job));

done:
    return status;
}

atr_status atr_jpeg_decode_rgb(const void *bytes, size_t size, int shrink, atr_image *out)
{
    jpeg_job job = {.bytes = bytes, .size = size, .channels = 3, .shrink = shrink};
    atr_status status = ATR_OK;

    *out = (atr_image){0};
    ATR_TRY(read_header(&job));
    const bool inks = job.reader.jpeg_color_space == JCS_CMYK || job.reader.jpeg_color_space == JCS_YCCK;
    job.space = inks ? JCS_CMYK : JCS_RGB;
    ATR_TRY(decode(&job, &out->pixels));
    out->width = job.reader.output_width;
    out->height = job.reader.output_height;
    out->channels = 3;

done:
    close_job(&job);
    if (status != ATR_OK)
        atr_image_free(out);
    return status;
}

atr_status atr_jpeg_decode_mask(const void *bytes, size_t size, atr_mask *out)
{
    jpeg_job job = {.bytes = bytes, .size = size, .channels = 1, .space = JCS_GRAYSCALE};
    uint8_t *grey = NULL; /* [height,width] u8 */
    atr_status status = ATR_OK;

    *out = (atr_mask){0};
    ATR_TRY(read_header(&job));
    ATR_TRY(decode(&job, &grey));
    out->width = job.reader.image_width;
    out->height = job.reader.image_height;
    ATR_TRY(ATR_NEW(out->width * out->height, &out->values));
    for (int64_t i = 0; i < out->width * out->height; i++)
        out->values[i] = grey[i];

done:
    close_job(&job);
    atr_free(grey);
    if (status != ATR_OK)
        atr_mask_free(out);
    return status;
}

static atr_status write_all(jpeg_job *job, const atr_image *image, int quality)
{
    struct jpeg_compress_struct *writer = &job->writer;

    writer->err = jpeg_std_error(&job->errors);
    writer->client_data = job;
    job->errors.error_exit = on_error;
    if (setjmp(job->jump))
        return atr_fail(ATR_ERR_MEMORY, "libjpeg cannot write a picture of %lldx%lld pixels",
                        (long long)image->width, (long long)image->height);
    jpeg_create_compress(writer);
    jpeg_mem_dest(writer, &job->written, &job->written_size);
    writer->image_width = (JDIMENSION)image->width;
    writer->image_height = (JDIMENSION)image->height;
    writer->input_components = (int)image->channels;
    writer->in_color_space = image->channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(writer);
    jpeg_set_quality(writer, quality, TRUE);
    jpeg_start_compress(writer, TRUE);
    while (writer->next_scanline < writer->image_height) {
        JSAMPROW row =
            image->pixels + (size_t)writer->next_scanline * (size_t)(image->width * image->channels);
        jpeg_write_scanlines(writer, &row, 1);
    }
    jpeg_finish_compress(writer);
    return ATR_OK;
}

atr_status atr_jpeg_encode(const atr_image *image, int quality, void **bytes, size_t *size)
{
    jpeg_job job = {0};
    atr_image_sink sink = {0};
    atr_status status = ATR_OK;

    *bytes = NULL;
    *size = 0;
    if (image->width < 1 || image->height < 1 || image->width > JPEG_MAX_DIMENSION ||
        image->height > JPEG_MAX_DIMENSION || (image->channels != 1 && image->channels != 3) || quality < 1 ||
        quality > 100)
        return atr_fail(ATR_ERR_USAGE, "cannot write a JPEG of %lldx%lld pixels, %lld channels, quality %d",
                        (long long)image->width, (long long)image->height, (long long)image->channels,
                        quality);
    ATR_TRY(write_all(&job, image, quality));
    ATR_TRY(atr_image_sink_put(&sink, job.written,
                               job.written_size)); /* libjpeg's block is not one of atr_alloc's */
    *bytes = sink.bytes;
    *size = (size_t)sink.used;

done:
    close_job(&job);
    free(job.written);
    return status;
}
