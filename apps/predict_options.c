/* The options of `atrous predict`. */
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "apps/predict_impl.h"
#include "io/y4m.h"

static const char *const shows[] = {"overlay", "colour", "cutout", "ids", NULL};
static const char *const matrices[] = {"601", "709", NULL};
static const char *const maps[] = {"none", "png8", "png16", "npy", NULL};

#define AT(field) offsetof(predict_options, field)

const atr_option predict_rows[] = {
    {.name = "output",
     .letter = 'o',
     .kind = ATR_OPTION_STRING,
     .offset = AT(out),
     .argument = "DIR",
     .help = "folder for the results, made where it does not exist; of a video the file (mp4, mkv, y4m, "
             "...), - is the "
             "standard output",
     .group = "Input and output"},
    {.name = "recursive",
     .letter = 'r',
     .kind = ATR_OPTION_FLAG,
     .offset = AT(recursive),
     .help = "also the pictures in folders below a named folder; results keep these folders"},
    {.name = "ids",
     .kind = ATR_OPTION_FLAG,
     .offset = AT(ids),
     .value = "true",
     .help = "write STEM.png: class ids with the model's palette",
     .group = "Results of pictures"},
    {.name = "overlay",
     .kind = ATR_OPTION_FLAG,
     .offset = AT(overlay),
     .help = "write STEM.overlay.png: the picture with its classes in colour over it"},
    {.name = "alpha",
     .kind = ATR_OPTION_REAL,
     .offset = AT(alpha),
     .value = "0.6",
     .least = 0,
     .most = 1,
     .argument = "SHARE",
     .help = "how much of an overlay is colour"},
    {.name = "colour",
     .kind = ATR_OPTION_FLAG,
     .offset = AT(colour),
     .help = "write STEM.colour.png: the classes' colours alone, RGB"},
    {.name = "cutout",
     .kind = ATR_OPTION_FLAG,
     .offset = AT(cutout),
     .help =
         "write STEM.cutout.png: the picture where its class is chosen, transparent black elsewhere, RGBA"},
    {.name = "cutout-classes",
     .kind = ATR_OPTION_LIST,
     .offset = AT(cutout_classes),
     .argument = "CLASS,...",
     .help = "classes that are cut out, by number or name (default: all but class 0, the background)"},
    {.name = "confidence",
     .kind = ATR_OPTION_CHOICE,
     .offset = AT(confidence),
     .choices = maps,
     .value = "none",
     .help =
         "write STEM.confidence.png (8 or 16 bit grey) or .npy (f32): the probability of the class that was "
         "chosen"},
    {.name = "probabilities",
     .kind = ATR_OPTION_CHOICE,
     .offset = AT(probabilities),
     .choices = maps,
     .value = "none",
     .help = "write the probability of each class: one STEM.probability-CLASS.png for each (8 or 16 bit "
             "grey), or "
             "one STEM.probabilities.npy, f32 [classes,height,width]"},
    {.name = "probability-classes",
     .kind = ATR_OPTION_LIST,
     .offset = AT(probability_classes),
     .argument = "CLASS,...",
     .help = "classes whose probability is written, by number or name (default: all)"},
    {.name = "logits",
     .kind = ATR_OPTION_FLAG,
     .offset = AT(logits),
     .help = "write STEM.logits.npy: f32 [classes,height,width] before softmax, at the network's output "
             "size"},
    {.name = "count",
     .kind = ATR_OPTION_FLAG,
     .offset = AT(count),
     .help = "print a table of the pixels of each class, by picture and in total",
     .group = "Counts and speed"},
    {.name = "csv",
     .kind = ATR_OPTION_STRING,
     .offset = AT(csv),
     .argument = "FILE",
     .help = "write the same as CSV; - is the standard output"},
    {.name = "json",
     .kind = ATR_OPTION_FLAG,
     .offset = AT(json),
     .help = "print one JSON object with counts, failures and speed in place of text"},
    {.name = "fps",
     .kind = ATR_OPTION_INT,
     .offset = AT(speed),
     .least = 1,
     .most = 1000000,
     .argument = "N",
     .help =
         "only measure: predict the first picture (--batch of it) N times and print the time of one pass and "
         "pictures a second"},
    {.name = "fit",
     .kind = ATR_OPTION_CHOICE,
     .offset = AT(fit),
     .choices = atr_fit_mode_names,
     .help = "how a picture meets the network, unless given as the model was evaluated: resized with its "
             "aspect kept "
             "and padded, resized, or run at its own size",
     .group = "Network"},
    {.name = "size",
     .kind = ATR_OPTION_STRING,
     .offset = AT(size),
     .argument = "HxW",
     .help = "network's input size for letterbox and stretch (default: the model's)"},
    {.name = "batch",
     .letter = 'b',
     .kind = ATR_OPTION_INT,
     .offset = AT(batch),
     .value = "1",
     .least = 1,
     .most = 256,
     .argument = "N",
     .help =
         "pictures in one pass of the network (with --fit none only neighbours of one size); the results are "
         "the same"},
    {.name = "streams",
     .kind = ATR_OPTION_STRING,
     .offset = AT(streams),
     .value = "auto",
     .argument = "N",
     .help = "passes of the network at once, each on its share of the threads and in memory of its own; "
             "auto: a thread each where "
             "there are pictures enough; the results are the same"},
    {.name = "tta",
     .kind = ATR_OPTION_CHOICE,
     .offset = AT(mirror),
     .choices = atr_mirror_names,
     .value = "none",
     .help = "test-time augmentation: class scores are averaged with those of the mirrored picture: left to "
             "right, "
             "or also upside down and both"},
    {.name = "tta-scales",
     .kind = ATR_OPTION_LIST,
     .offset = AT(scales),
     .least = 0.0625,
     .most = 16,
     .argument = "S,...",
     .help = "and over these scales of the network's input size, such as 0.5,0.75,1,1.25 (default: 1)"},
    {.name = "video",
     .kind = ATR_OPTION_FLAG,
     .offset = AT(video),
     .help = "the input is video, whatever its name: a file, an address or a device that ffmpeg reads",
     .group = "Video"},
    {.name = "input-format",
     .kind = ATR_OPTION_STRING,
     .offset = AT(input_format),
     .argument = "NAME",
     .help = "ffmpeg's name for the kind of input, such as v4l2 (cameras; the default for devices) or lavfi"},
    {.name = "raw",
     .kind = ATR_OPTION_STRING,
     .offset = AT(raw),
     .argument = "WxH",
     .help =
         "the input is raw frames of this width and height, 8-bit RGB (ffmpeg: -f rawvideo -pix_fmt rgb24)"},
    {.name = "show",
     .kind = ATR_OPTION_CHOICE,
     .offset = AT(show),
     .choices = shows,
     .value = "overlay",
     .help = "what the frames of the output show; ids are one byte a pixel"},
    {.name = "frame-rate",
     .kind = ATR_OPTION_REAL,
     .offset = AT(frame_rate),
     .least = 0.001,
     .most = 1000,
     .argument = "R",
     .help = "frames a second: of a video or camera those that are taken, of frames on a pipe those of the "
             "output "
             "(default: as the input says, else 25)"},
    {.name = "frames",
     .kind = ATR_OPTION_INT,
     .offset = AT(frames),
     .least = 1,
     .most = 1e12,
     .argument = "N",
     .help = "stop after this many (default: at the input's end)"},
    {.name = "matrix",
     .kind = ATR_OPTION_CHOICE,
     .offset = AT(matrix),
     .choices = matrices,
     .value = "601",
     .help = "colour matrix of YUV4MPEG, which does not say it: BT.601, or BT.709 as most HD video"},
    {.name = "encode",
     .kind = ATR_OPTION_LIST,
     .offset = AT(encode),
     .argument = "ARG,...",
     .help = "arguments for ffmpeg before the output's name, such as --encode=-c:v,libx264,-crf,20"},
    {.name = NULL}};

/* Which options have no meaning with the other kind of input. */
static const char *const of_pictures[] = {
    "recursive",           "ids",    "overlay", "colour", "cutout", "confidence", "probabilities",
    "probability-classes", "logits", "fps",     NULL};
static const char *const of_video[] = {"show", "frame-rate", "frames", "matrix", "encode", NULL};

static atr_status refuse(const atr_options *parsed, const char *const *names, const char *kind,
                         const char *hint)
{
    for (; *names != NULL; names++)
        if (atr_options_given(parsed, *names))
            return atr_fail(ATR_ERR_USAGE, "--%s is for %s%s", *names, kind, hint);
    return ATR_OK;
}

static bool writes_pictures(const predict_options *o)
{
    return o->overlay || o->colour || o->cutout || o->logits || o->confidence != PREDICT_MAP_NONE ||
           o->probabilities != PREDICT_MAP_NONE;
}

/* Where everything goes. */
static atr_status check_output(const predict_options *o)
{
    const bool counts = o->count || o->json || o->csv != NULL;
    const bool frames_out = o->out != NULL && strcmp(o->out, "-") == 0;

    if (o->csv != NULL && strcmp(o->csv, "-") == 0 && (o->json || o->count || frames_out))
        return atr_fail(ATR_ERR_USAGE, "--csv - and %s would both write to the standard output",
                        frames_out ? "-o -"
                        : o->json  ? "--json"
                                   : "--count");
    if (frames_out && (o->json || o->count))
        return atr_fail(ATR_ERR_USAGE, "-o - and --%s would both write to the standard output",
                        o->json ? "json" : "count");
    if (o->speed > 0)
        return o->out == NULL && !o->count && o->csv == NULL
                   ? ATR_OK
                   : atr_fail(ATR_ERR_USAGE, "--fps only measures: without %s",
                              o->out != NULL ? "-o" : "counts");
    if (o->out == NULL && !counts)
        return atr_fail(ATR_ERR_USAGE, "say where the results go: -o DIR");
    if (o->out == NULL && writes_pictures(o))
        return atr_fail(ATR_ERR_USAGE, "say where the pictures go: -o DIR (only counts can do without)");
    if (o->out != NULL && !o->ids && !writes_pictures(o))
        return atr_fail(ATR_ERR_USAGE, "--no-ids and no other result: nothing would be written to %s",
                        o->out);
    return ATR_OK;
}

/* Options that have no meaning without another one. */
static atr_status check_dependants(const atr_options *parsed, const predict_options *o, bool video)
{
    const struct {
        const char *name, *needs;
        bool there;
    } rows[] = {
        {"alpha", video ? "--show overlay" : "--overlay",
         video ? o->show == PREDICT_SHOW_OVERLAY : o->overlay},
        {"cutout-classes", video ? "--show cutout" : "--cutout",
         video ? o->show == PREDICT_SHOW_CUTOUT : o->cutout},
        {"probability-classes", "--probabilities FORMAT", o->probabilities != PREDICT_MAP_NONE},
        {"input-format", "a video that ffmpeg reads", o->raw == NULL},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (atr_options_given(parsed, rows[i].name) && !rows[i].there)
            return atr_fail(ATR_ERR_USAGE, "--%s has no meaning without %s", rows[i].name, rows[i].needs);
    return ATR_OK;
}

atr_status predict_check_options(const atr_options *parsed, const predict_options *o, bool video)
{
    atr_status status = ATR_OK;

    if (o->speed > 0 && atr_options_given(parsed, "streams"))
        return atr_fail(ATR_ERR_USAGE,
                        "--fps measures one pass at a time, on all threads: --streams has no meaning");
    if (o->size != NULL && atr_options_given(parsed, "fit") && o->fit == ATR_RUN_NONE)
        return atr_fail(ATR_ERR_USAGE, "--fit none runs at each picture's own size: --size has no meaning");
    if (video)
        ATR_TRY(refuse(parsed, of_pictures, "pictures", ": of video --show says what is written"));
    else
        ATR_TRY(refuse(parsed, of_video, "video", " (a file that does not look like one: --video)"));
    ATR_TRY(check_dependants(parsed, o, video));
    ATR_TRY(check_output(o));
    if (!video && o->out != NULL && strcmp(o->out, "-") == 0)
        status = atr_fail(ATR_ERR_USAGE, "only frames of video can go to the standard output: -o DIR");
done:
    return status;
}

bool predict_is_video(const predict_options *o, const char *input)
{
    static const char *const suffixes[] = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg",
                                           ".ts",  ".wmv", ".flv", ".ogv", ".y4m",  ".3gp", ".mts"};
    const char *dot = strrchr(input, '.');
    struct stat info;

    if (o->video || o->raw != NULL || o->input_format != NULL || strcmp(input, "-") == 0)
        return true;
    if (stat(input, &info) == 0 && (S_ISCHR(info.st_mode) || S_ISDIR(info.st_mode)))
        return S_ISCHR(info.st_mode);
    for (size_t i = 0; dot != NULL && i < sizeof suffixes / sizeof suffixes[0]; i++)
        if (strcasecmp(dot, suffixes[i]) == 0)
            return true;
    return false;
}

static int64_t find_class(const atr_model_info *info, const char *text)
{
    int64_t number = -1;

    for (int64_t k = 0; k < info->classes; k++)
        if (strcmp(info->class_names[k], text) == 0)
            return k;
    return atr_parse_int(text, &number) && number >= 0 && number < info->classes ? number : -1;
}

atr_status predict_choose_classes(const atr_model_info *info, const char *option, const atr_list *list,
                                  bool *chosen)
{
    const char *names[ATR_CLASSES_MAX];

    for (int64_t k = 0; k < info->classes; k++)
        names[k] = info->class_names[k];
    for (int64_t i = 0; i < list->count; i++) {
        const int64_t k = find_class(info, list->items[i]);
        if (k < 0) {
            const char *meant = atr_did_you_mean(list->items[i], names, info->classes);
            return atr_fail(ATR_ERR_USAGE, "--%s: the model has no class '%s' (numbers 0 to %lld%s%s%s)",
                            option, list->items[i], (long long)info->classes - 1,
                            meant != NULL ? "; did you mean '" : "", meant != NULL ? meant : "",
                            meant != NULL ? "'?" : "");
        }
        chosen[k] = true;
    }
    return ATR_OK;
}
