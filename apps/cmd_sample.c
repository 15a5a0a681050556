/* atrous sample: a small VOC-style data set of drawn shapes, for trying the program without a download. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "apps/cli.h"
#include "apps/shapes.h"
#include "io/path.h"

typedef struct sample_options {
    int64_t count, width, height, seed;
    double val_share, rare;
    bool force;
} sample_options;

static const atr_option rows[] = {{.name = "count",
                                   .letter = 'n',
                                   .kind = ATR_OPTION_INT,
                                   .offset = offsetof(sample_options, count),
                                   .value = "240",
                                   .least = 2,
                                   .most = 100000,
                                   .argument = "N",
                                   .help = "pictures to draw"},
                                  {.name = "width",
                                   .kind = ATR_OPTION_INT,
                                   .offset = offsetof(sample_options, width),
                                   .value = "128",
                                   .least = 16,
                                   .most = 8192,
                                   .argument = "PIXELS",
                                   .help = "width of a picture"},
                                  {.name = "height",
                                   .kind = ATR_OPTION_INT,
                                   .offset = offsetof(sample_options, height),
                                   .value = "128",
                                   .least = 16,
                                   .most = 8192,
                                   .argument = "PIXELS",
                                   .help = "height of a picture"},
                                  {.name = "val",
                                   .kind = ATR_OPTION_REAL,
                                   .offset = offsetof(sample_options, val_share),
                                   .value = "0.2",
                                   .least = 0.01,
                                   .most = 0.9,
                                   .argument = "SHARE",
                                   .help = "share of the pictures listed in val.txt instead of train.txt"},
                                  {.name = "rare",
                                   .kind = ATR_OPTION_REAL,
                                   .offset = offsetof(sample_options, rare),
                                   .value = "0",
                                   .least = 0,
                                   .most = 0.05,
                                   .argument = "SHARE",
                                   .help =
                                       "a sixth class, small dots in every third picture, with this share of "
                                       "all pixels, such as 0.003; 0: none"},
                                  {.name = "seed",
                                   .kind = ATR_OPTION_INT,
                                   .offset = offsetof(sample_options, seed),
                                   .value = "1",
                                   .least = 0,
                                   .most = 9e15,
                                   .argument = "N",
                                   .help = "another seed draws other pictures"},
                                  {.name = "force",
                                   .kind = ATR_OPTION_FLAG,
                                   .offset = offsetof(sample_options, force),
                                   .help = "draw over what is in DIR"},
                                  {.name = NULL}};

/* DIR and the folders of the VOC layout in it. */
static atr_status make_folders(const char *dir, bool force)
{
    static const char *const folders[] = {"JPEGImages", "SegmentationClass", "ImageSets",
                                          "ImageSets/Segmentation"};
    atr_status status = ATR_OK;
    char *path = NULL;

    ATR_TRY(atr_path_join(dir, "JPEGImages", &path));
    if (atr_path_exists(path) && !force)
        status = atr_fail(ATR_ERR_USAGE, "%s holds pictures already; --force draws over them", dir);
    atr_free(path);
    path = NULL;
    if (status != ATR_OK)
        goto done;
    ATR_TRY(atr_path_make_folder(dir));
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        ATR_TRY(atr_path_join(dir, folders[i], &path));
        ATR_TRY(atr_path_make_folder(path));
        atr_free(path);
        path = NULL;
    }
done:
    atr_free(path);
    return status;
}

/* Writes `size` bytes to DIR/FOLDER/shape_NNNNN.SUFFIX. */
static atr_status write_numbered(const char *dir, const char *folder, int64_t index, const char *suffix,
                                 const void *bytes, size_t size)
{
    atr_status status = ATR_OK;
    char *path = NULL;

    ATR_TRY(atr_format(&path, "%s/%s/shape_%05lld.%s", dir, folder, (long long)index, suffix));
    ATR_TRY(atr_file_write(path, bytes, size));
done:
    atr_free(path);
    return status;
}

static atr_status draw_one(const char *dir, const sample_options *o, int64_t index,
                           const uint8_t palette[256][3])
{
    atr_status status = ATR_OK;
    atr_image picture = {0, 0, 0, NULL};
    uint8_t *ids = NULL;
    void *bytes = NULL;
    size_t size = 0;

    ATR_TRY(atr_shapes_draw((uint64_t)o->seed, index, o->width, o->height, o->rare, &picture, &ids));
    ATR_TRY(atr_jpeg_encode(&picture, 92, &bytes, &size));
    ATR_TRY(write_numbered(dir, "JPEGImages", index, "jpg", bytes, size));
    atr_free(bytes);
    bytes = NULL;
    ATR_TRY(atr_png_encode_indexed(ids, o->width, o->height, palette, &bytes, &size));
    ATR_TRY(write_numbered(dir, "SegmentationClass", index, "png", bytes, size));
done:
    atr_free(bytes);
    atr_free(ids);
    atr_image_free(&picture);
    return status;
}

/* Writes one list, of the pictures from `first` to before `end`. */
static atr_status write_list(const char *dir, const char *name, int64_t first, int64_t end)
{
    enum { LINE = 16 };
    atr_status status = ATR_OK;
    char *text = NULL, *path = NULL;
    size_t used = 0;

    ATR_TRY(ATR_NEW((end - first) * LINE + 1, &text));
    for (int64_t i = first; i < end; i++)
        used += (size_t)snprintf(text + used, LINE, "shape_%05lld\n", (long long)i);
    ATR_TRY(atr_format(&path, "%s/ImageSets/Segmentation/%s.txt", dir, name));
    ATR_TRY(atr_file_write(path, text, used));
done:
    atr_free(text);
    atr_free(path);
    return status;
}

/* Classes of the set: the last one where it is asked for. */
static int class_count(const sample_options *o)
{
    return o->rare > 0 ? ATR_SHAPE_CLASSES : ATR_SHAPE_DOT;
}

static atr_status write_classes(const char *dir, int count)
{
    atr_status status = ATR_OK;
    char *path = NULL, text[128] = "";

    for (int i = 0; i < count; i++) {
        strncat(text, atr_shape_names[i], sizeof text - strlen(text) - 1);
        strncat(text, "\n", sizeof text - strlen(text) - 1);
    }
    ATR_TRY(atr_path_join(dir, "classes.txt", &path));
    ATR_TRY(atr_file_write(path, text, strlen(text)));
done:
    atr_free(path);
    return status;
}

static atr_status sample(const char *dir, const sample_options *o)
{
    atr_status status = ATR_OK;
    uint8_t palette[256][3];
    int64_t val = (int64_t)((double)o->count * o->val_share + 0.5);

    val = val < 1 ? 1 : val;
    atr_palette_voc(palette);
    ATR_TRY(make_folders(dir, o->force));
    for (int64_t i = 0; i < o->count; i++)
        ATR_TRY(draw_one(dir, o, i, (const uint8_t(*)[3])palette));
    ATR_TRY(write_list(dir, "train", 0, o->count - val));
    ATR_TRY(write_list(dir, "val", o->count - val, o->count));
    ATR_TRY(write_classes(dir, class_count(o)));
    printf("%s: %lld pictures of %lldx%lld pixels, %lld of them for validation, %d classes (classes.txt)\n"
           "Next: atrous pack %s -o DATA.h5 --classes %s/classes.txt\n",
           dir, (long long)o->count, (long long)o->width, (long long)o->height, (long long)val,
           class_count(o), dir, dir);
done:
    return status;
}

int atr_cmd_sample(int argc, char **argv)
{
    atr_status status = ATR_OK;
    atr_options *options = NULL;
    sample_options chosen;
    int exit_code = ATR_EXIT_DONE;

    ATR_TRY(atr_options_create(
        "atrous sample", "DIR [OPTION...]",
        "Draws pictures of discs, boxes, triangles and rings with their label maps into DIR, in VOC layout: "
        "a data set for trying the program, without a download.",
        &options));
    ATR_TRY(atr_options_add(options, rows, &chosen));
    if (!atr_cli_parse(options, argc, argv, false, &exit_code))
        goto done;
    ATR_TRY(atr_cli_positional(options, 1, 1));
    ATR_TRY(sample(atr_options_positional(options, 0), &chosen));
done:
    if (status != ATR_OK) {
        atr_cli_error("sample", atr_status_message());
        exit_code = atr_cli_exit_code(status);
    }
    atr_options_destroy(options);
    return exit_code;
}
