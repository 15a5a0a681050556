#include <png.h>
#include <setjmp.h>
#include <string.h>

#include "io/exif.h"
#include "io/image_impl.h"

/* Deflate never packs more than 1032 bytes into one. */
enum { DEFLATE_RATIO = 1032, CHUNK_OVERHEAD = 12, SIGNATURE_BYTES = 8 };

/* One PNG being read or written. libpng reports errors by longjmp; every function with a setjmp touches only this struct, which
 * lives in its caller, so no local variable is in doubt after a jump. */
typedef struct png_job {
    png_structp png;
    png_infop info;
    const uint8_t *bytes; /* reading */
    size_t size, at;
    uint8_t **rows;      /* [height] pointers into the caller's pixels */
    atr_image_sink sink; /* writing */
    const atr_image *image;
    const uint8_t (*palette)[3];
    int bits;
    atr_status status; /* of what went wrong in a callback of ours */
} png_job;

static void on_error(png_structp png, png_const_charp text)
{
    png_job *job = png_get_error_ptr(png);

    if (job->status == ATR_OK && job->image != NULL)
        job->status = atr_fail(ATR_ERR_INTERNAL, "cannot encode PNG (%s)", text);
    else if (job->status == ATR_OK)
        job->status = atr_fail(ATR_ERR_DATA, "PNG is damaged or cut off (%s); copy or export it again", text);
    longjmp(png_jmpbuf(png), 1);
}

static void on_warning(png_structp png, png_const_charp text)
{
    (void)png;
    (void)text;
}

static void read_bytes(png_structp png, png_bytep out, size_t count)
{
    png_job *job = png_get_io_ptr(png);

    if (count > job->size - job->at)
        png_error(png, "it ends too early");
    memcpy(out, job->bytes + job->at, count);
    job->at += count;
}

static void write_bytes(png_structp png, png_bytep bytes, size_t count)
{
    png_job *job = png_get_io_ptr(png);

    job->status = atr_image_sink_put(&job->sink, bytes, count);
    if (job->status != ATR_OK)
        png_error(png, "no memory");
}

static void flush_bytes(png_structp png)
{
    (void)png;
}

static atr_status no_libpng(void)
{
    return atr_fail(ATR_ERR_MEMORY, "libpng cannot start (no memory, or another version than at build time)");
}

static atr_status open_reader(png_job *job)
{
    job->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, job, on_error, on_warning);
    job->info = job->png == NULL ? NULL : png_create_info_struct(job->png);
    if (job->info == NULL)
        return no_libpng();
    png_set_read_fn(job->png, job, read_bytes);
    png_set_user_limits(job->png, PNG_UINT_31_MAX, PNG_UINT_31_MAX); /* ours is on width * height */
    return ATR_OK;
}

static void close_reader(png_job *job)
{
    png_destroy_read_struct(&job->png, &job->info, NULL);
    atr_free(job->rows);
}

/* Everything before the pixels. Only what pixels need is looked at: colour profiles, texts and times are skipped unread. */
static atr_status read_header(png_job *job)
{
    if (setjmp(png_jmpbuf(job->png)))
        return job->status;
    png_set_keep_unknown_chunks(job->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    png_read_info(job->png, job->info);
    return ATR_OK;
}

/* Bits per sample, and samples per pixel, as stored. */
static int stored_bits(const png_job *job)
{
    return png_get_bit_depth(job->png, job->info);
}

static int stored_channels(const png_job *job)
{
    return png_get_channels(job->png, job->info);
}

static atr_status check_header(const png_job *job)
{
    return atr_image_check_size(
        "PNG", png_get_image_width(job->png, job->info), png_get_image_height(job->png, job->info),
        (int64_t)DEFLATE_RATIO * 8 / (stored_bits(job) * stored_channels(job)), job->size);
}

static atr_status prepare_rgb(png_job *job)
{
    if (setjmp(png_jmpbuf(job->png)))
        return job->status;
    png_set_expand(job->png); /* palette to RGB, 1-4 bit grey to 8 */
    png_set_strip_16(job->png);
    png_set_strip_alpha(job->png);
    png_set_gray_to_rgb(job->png);
    png_set_interlace_handling(job->png);
    png_read_update_info(job->png, job->info);
    return ATR_OK;
}

/* Raw values: one byte each up to 8 bits, two in the machine's order for 16. */
static atr_status prepare_values(png_job *job)
{
    const uint16_t one = 1;

    if (setjmp(png_jmpbuf(job->png)))
        return job->status;
    png_set_packing(job->png);
    png_set_strip_alpha(job->png);
    if (*(const uint8_t *)&one == 1)
        png_set_swap(job->png);
    png_set_interlace_handling(job->png);
    png_read_update_info(job->png, job->info);
    return ATR_OK;
}

/* To the end of the file, so that a cut tail is noticed too. */
static atr_status read_rows(png_job *job)
{
    if (setjmp(png_jmpbuf(job->png)))
        return job->status;
    png_read_image(job->png, job->rows);
    png_read_end(job->png, NULL);
    return ATR_OK;
}

/* Pixels of `row_bytes` per row into `pixels`. */
static atr_status read_pixels(png_job *job, uint8_t *pixels, size_t row_bytes)
{
    const int64_t height = png_get_image_height(job->png, job->info);
    atr_status status = ATR_OK;

    if (png_get_rowbytes(job->png, job->info) != row_bytes)
        return atr_fail(ATR_ERR_INTERNAL, "libpng makes rows of %zu bytes, %zu were expected",
                        png_get_rowbytes(job->png, job->info), row_bytes);
    ATR_TRY(ATR_NEW(height, &job->rows));
    for (int64_t y = 0; y < height; y++)
        job->rows[y] = pixels + (size_t)y * row_bytes;
    ATR_TRY(read_rows(job));

done:
    return status;
}

/* eXIf may stand before or after the pixels, so the chunks are walked without decoding them. */
static int find_orientation(const uint8_t *bytes, size_t size)
{
    size_t at = SIGNATURE_BYTES;

    while (size - at >= CHUNK_OVERHEAD) {
        const size_t length = png_get_uint_32(bytes + at);
        if (length > size - at - CHUNK_OVERHEAD)
            break;
        if (memcmp(bytes + at + 4, "eXIf", 4) == 0)
            return atr_exif_orientation(bytes + at + 8, length);
        at += length + CHUNK_OVERHEAD;
    }
    return 1;
}

atr_status atr_png_probe(const void *bytes, size_t size, atr_image_info *out)
{
    png_job job = {.bytes = bytes, .size = size};
    atr_status status = ATR_OK;

    ATR_TRY(open_reader(&job));
    ATR_TRY(read_header(&job));
    ATR_TRY(check_header(&job));
    out->format = ATR_IMAGE_PNG;
    out->width = png_get_image_width(job.png, job.info);
    out->height = png_get_image_height(job.png, job.info);
    out->channels = stored_channels(&job);
    out->bits = stored_bits(&job);
    out->palette = png_get_color_type(job.png, job.info) == PNG_COLOR_TYPE_PALETTE;
    out->orientation = find_orientation(bytes, size);

done:
    close_reader(&job);
    return status;
}

atr_status atr_png_decode_rgb(const void *bytes, size_t size, atr_image *out)
{
    png_job job = {.bytes = bytes, .size = size};
    atr_status status = ATR_OK;

    *out = (atr_image){0};
    ATR_TRY(open_reader(&job));
    ATR_TRY(read_header(&job));
    ATR_TRY(check_header(&job));
    ATR_TRY(prepare_rgb(&job));
    out->width = png_get_image_width(job.png, job.info);
    out->height = png_get_image_height(job.png, job.info);
    out->channels = 3;
    ATR_TRY(ATR_NEW(out->width * out->height * 3, &out->pixels));
    ATR_TRY(read_pixels(&job, out->pixels, (size_t)out->width * 3));

done:
    close_reader(&job);
    if (status != ATR_OK)
        atr_image_free(out);
    return status;
}

/* Up to 8 bits libpng writes bytes: they are read into the second half of the values' memory and widened from there, front
 * to back: value i ends at byte 2i+1, which is never beyond its source at count+i. */
static atr_status read_values(png_job *job, atr_mask *out)
{
    const int64_t count = out->width * out->height;
    uint8_t *narrow = (uint8_t *)out->values + count;
    atr_status status = ATR_OK;

    if (stored_bits(job) == 16)
        return read_pixels(job, (uint8_t *)out->values, (size_t)out->width * 2);
    ATR_TRY(read_pixels(job, narrow, (size_t)out->width));
    for (int64_t i = 0; i < count; i++)
        out->values[i] = narrow[i];

done:
    return status;
}

atr_status atr_png_decode_mask(const void *bytes, size_t size, atr_mask *out)
{
    png_job job = {.bytes = bytes, .size = size};
    atr_status status = ATR_OK;

    *out = (atr_mask){0};
    ATR_TRY(open_reader(&job));
    ATR_TRY(read_header(&job));
    ATR_TRY(check_header(&job));
    if (stored_channels(&job) > 2) {
        status = atr_fail(ATR_ERR_DATA,
                          "this mask is an RGB picture: class ids must be palette indices or grey levels");
        goto done;
    }
    ATR_TRY(prepare_values(&job));
    out->width = png_get_image_width(job.png, job.info);
    out->height = png_get_image_height(job.png, job.info);
    ATR_TRY(ATR_NEW(out->width * out->height, &out->values));
    ATR_TRY(read_values(&job, out));

done:
    close_reader(&job);
    if (status != ATR_OK)
        atr_mask_free(out);
    return status;
}

static int colour_type(const png_job *job)
{
    if (job->palette != NULL)
        return PNG_COLOR_TYPE_PALETTE;
    switch (job->image->channels) {
    case 3:
        return PNG_COLOR_TYPE_RGB;
    case 4:
        return PNG_COLOR_TYPE_RGB_ALPHA;
    default:
        return PNG_COLOR_TYPE_GRAY;
    }
}

static void set_palette(png_job *job)
{
    png_color colours[256];

    for (int i = 0; i < 256; i++)
        colours[i] = (png_color){job->palette[i][0], job->palette[i][1], job->palette[i][2]};
    png_set_PLTE(job->png, job->info, colours, 256);
}

/* Deflate's level for label maps, whose runs any level finds: 2 takes a quarter of the time of the usual 6, for files half as large again
 * that are still a fiftieth of the pixels. */
enum { ID_MAP_LEVEL = 2 };

static atr_status write_all(png_job *job)
{
    const atr_image *image = job->image;
    const size_t row_bytes = (size_t)(image->width * image->channels) * (size_t)(job->bits / 8);
    const uint16_t one = 1;

    if (setjmp(png_jmpbuf(job->png)))
        return job->status;
    png_set_write_fn(job->png, job, write_bytes, flush_bytes);
    png_set_user_limits(job->png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_set_IHDR(job->png, job->info, (png_uint_32)image->width, (png_uint_32)image->height, job->bits,
                 colour_type(job), PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (job->palette != NULL) {
        set_palette(job);
        png_set_compression_level(job->png, ID_MAP_LEVEL);
    }
    png_write_info(job->png, job->info);
    if (job->bits == 16 && *(const uint8_t *)&one == 1)
        png_set_swap(job->png);
    for (int64_t y = 0; y < image->height; y++)
        png_write_row(job->png, image->pixels + (size_t)y * row_bytes);
    png_write_end(job->png, job->info);
    return ATR_OK;
}

static atr_status encode(const atr_image *image, int bits, const uint8_t (*palette)[3], void **bytes,
                         size_t *size)
{
    png_job job = {.image = image, .bits = bits, .palette = palette};
    int64_t pixels = 0;
    atr_status status = ATR_OK;

    *bytes = NULL;
    *size = 0;
    if (image->width < 1 || image->height < 1 ||
        __builtin_mul_overflow(image->width, image->height, &pixels) || pixels > ATR_IMAGE_MAX_PIXELS ||
        (image->channels != 1 && image->channels != 3 && image->channels != 4))
        return atr_fail(ATR_ERR_USAGE, "cannot write a PNG of %lldx%lld pixels with %lld channels",
                        (long long)image->width, (long long)image->height, (long long)image->channels);
    job.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &job, on_error, on_warning);
    job.info = job.png == NULL ? NULL : png_create_info_struct(job.png);
    if (job.info == NULL) {
        status = no_libpng();
        goto done;
    }
    ATR_TRY(write_all(&job));
    *bytes = job.sink.bytes;
    *size = (size_t)job.sink.used;

done:
    png_destroy_write_struct(&job.png, &job.info);
    if (status != ATR_OK)
        atr_free(job.sink.bytes);
    return status;
}

atr_status atr_png_encode(const atr_image *image, void **bytes, size_t *size)
{
    return encode(image, 8, NULL, bytes, size);
}

/* The encoder only reads, so dropping const to fill an atr_image is safe. */
atr_status atr_png_encode_grey16(const uint16_t *values, int64_t width, int64_t height, void **bytes,
                                 size_t *size)
{
    const atr_image view = {width, height, 1, (uint8_t *)(uintptr_t)values};

    return encode(&view, 16, NULL, bytes, size);
}

atr_status atr_png_encode_indexed(const uint8_t *ids, int64_t width, int64_t height,
                                  const uint8_t palette[256][3], void **bytes, size_t *size)
{
    const atr_image view = {width, height, 1, (uint8_t *)(uintptr_t)ids};

    return encode(&view, 8, palette, bytes, size);
}
