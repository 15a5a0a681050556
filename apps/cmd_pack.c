/* atrous pack: pictures and masks into one checked data set file; and the look at such a file. */
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "apps/cli.h"
#include "apps/pack_report.h"
#include "apps/runlog.h"
#include "core/progress.h"
#include "core/text.h"
#include "core/threads.h"
#include "core/timer.h"
#include "io/pack.h"

enum { SHOWN = 20 }; /* findings of each kind on the terminal */

typedef struct pack_options {
    const char *output, *to_voc, *format, *classes, *colours, *split, *group_regex;
    atr_list ignore, map;
    int64_t colour_tolerance, seed, threads, shards, shard_megabytes;
    int exif, missing; /* atr_exif_rule, atr_missing_mask */
    bool binary_255, strict, force, verify, stats, json;
} pack_options;

static const char *const exif_rules[] = {"ask", "apply", "ignore", NULL};
static const char *const missing_rules[] = {"error", "skip", "background", NULL};

static const atr_option rows[] = {
    {.name = "output",
     .letter = 'o',
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(pack_options, output),
     .argument = "DATA.h5",
     .help = "file to write; findings go to DATA.h5.report.json"},
    {.name = "shards",
     .kind = ATR_OPTION_INT,
     .offset = offsetof(pack_options, shards),
     .value = "0",
     .least = 0,
     .most = 99999,
     .argument = "N",
     .help = "write N files of about the same size, DATA-00001-of-0000N.h5 ..., instead of DATA.h5; 0: one"},
    {.name = "shard-size",
     .kind = ATR_OPTION_INT,
     .offset = offsetof(pack_options, shard_megabytes),
     .value = "0",
     .least = 0,
     .most = 1e9,
     .argument = "MB",
     .help = "the same by size: as many files as make each about this large; 0: one"},
    {.name = "to-voc",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(pack_options, to_voc),
     .argument = "DIR",
     .help = "write the set into DIR in VOC layout, with or without DATA.h5: JPEGImages, SegmentationClass "
             "(indexed PNG), ImageSets/Segmentation, classes.txt"},
    {.name = "format",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(pack_options, format),
     .argument = "FORMAT",
     .help = "of the annotations: voc or labelme; told by the folder's content unless given"},
    {.name = "classes",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(pack_options, classes),
     .argument = "N|FILE",
     .help = "number of classes with background, or a file with one name per line",
     .group = "Labels"},
    {.name = "ignore",
     .kind = ATR_OPTION_LIST,
     .offset = offsetof(pack_options, ignore),
     .least = 0,
     .most = 65535,
     .argument = "VALUES",
     .help = "mask values that mean ignore, such as 255,11; 255 where none is given"},
    {.name = "map",
     .kind = ATR_OPTION_LIST,
     .offset = offsetof(pack_options, map),
     .argument = "VALUE=CLASS",
     .help = "mask value, or label of an annotation, that means another class: 7=2,8=ignore,'Dog =dog'"},
    {.name = "binary-255",
     .kind = ATR_OPTION_FLAG,
     .offset = offsetof(pack_options, binary_255),
     .help = "255 is the object (class 1): masks of 0 and 255"},
    {.name = "colors",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(pack_options, colours),
     .argument = "FILE",
     .help = "classes of the colours of RGB masks: a line such as '0,255,0 leaf' for each"},
    {.name = "color-tolerance",
     .kind = ATR_OPTION_INT,
     .offset = offsetof(pack_options, colour_tolerance),
     .value = "0",
     .least = 0,
     .most = 441,
     .argument = "N",
     .help = "a colour this far (in R, G, B) from one of the table still counts as it; the nearest wins"},
    {.name = "missing-mask",
     .kind = ATR_OPTION_CHOICE,
     .offset = offsetof(pack_options, missing),
     .value = "error",
     .choices = missing_rules,
     .help = "what to do with pictures that have no mask"},
    {.name = "exif",
     .kind = ATR_OPTION_CHOICE,
     .offset = offsetof(pack_options, exif),
     .value = "ask",
     .choices = exif_rules,
     .help = "turn photos by their EXIF orientation; ask: refuse such photos and say what fits"},
    {.name = "split",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(pack_options, split),
     .argument = "SHARES",
     .help = "draw train:val or train:val:test by name, such as 0.9:0.1, instead of ImageSets/Segmentation",
     .group = "Parts"},
    {.name = "group-regex",
     .kind = ATR_OPTION_STRING,
     .offset = offsetof(pack_options, group_regex),
     .argument = "REGEX",
     .help = "names with the same first parenthesis stay in one part, such as '(.*)_tile'"},
    {.name = "seed",
     .kind = ATR_OPTION_INT,
     .offset = offsetof(pack_options, seed),
     .value = "1",
     .least = 0,
     .most = 9e15,
     .argument = "N",
     .help = "another seed draws another split"},
    {.name = "strict",
     .kind = ATR_OPTION_FLAG,
     .offset = offsetof(pack_options, strict),
     .help = "warnings are errors",
     .group = "Other"},
    {.name = "force",
     .kind = ATR_OPTION_FLAG,
     .offset = offsetof(pack_options, force),
     .help = "replace DATA.h5 if it exists"},
    {.name = "verify",
     .kind = ATR_OPTION_FLAG,
     .offset = offsetof(pack_options, verify),
     .help = "read everything back: checksums, pictures, labels (SOURCE may be a DATA.h5)"},
    {.name = "stats",
     .kind = ATR_OPTION_FLAG,
     .offset = offsetof(pack_options, stats),
     .help = "print sizes, class pixels and shares, mean and std (SOURCE may be a DATA.h5)"},
    {.name = "threads",
     .kind = ATR_OPTION_INT,
     .offset = offsetof(pack_options, threads),
     .value = "0",
     .least = 0,
     .most = 256,
     .argument = "N",
     .help = "threads that decode, at most as many as CPUs were given to this process; 0: all"},
    {.name = "json",
     .kind = ATR_OPTION_FLAG,
     .offset = offsetof(pack_options, json),
     .help = "one JSON object on the output instead of text"},
    {.name = NULL}};

static volatile sig_atomic_t stop_asked;

static void ask_stop(int signal_number)
{
    (void)signal_number;
    stop_asked = 1;
}

/* Progress on the error output: a bar on a terminal, a line each few seconds in a log. */
typedef struct progress {
    const char *stage;
    double started, printed;
    int columns;
} progress;

static bool say(void *user, const char *stage, int64_t done, int64_t total)
{
    progress *p = user;
    const double now = atr_seconds();
    const double pause = p->columns > 0 ? 0.1 : 5;
    char line[512];

    if (p->stage != stage) {
        p->stage = stage;
        p->started = now;
        p->printed = p->columns > 0 ? 0 : now;
    }
    if (now - p->printed < pause && (done < total || p->columns == 0))
        return !stop_asked;
    p->printed = now;
    const atr_progress state = {
        .label = stage, .unit = "images", .done = done, .total = total, .seconds = now - p->started};
    atr_progress_line(&state, p->columns > 0 ? p->columns - 1 : 0, line, sizeof line);
    fprintf(stderr, p->columns > 0 ? "\r%s%s" : "%s%s\n", line, p->columns > 0 && done == total ? "\n" : "");
    fflush(stderr);
    return !stop_asked;
}

static atr_status parse_ignore(const atr_list *list, int64_t **values)
{
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW(list->count, values));
    for (int64_t i = 0; i < list->count; i++)
        if (!atr_parse_int(list->items[i], &(*values)[i]))
            status = atr_fail(ATR_ERR_USAGE, "--ignore '%s': not a whole number", list->items[i]);

done:
    return status;
}

/* What --map says: of stored values, "7=2" or "7=ignore", and of labels, "dog =dog". */
typedef struct map_rules {
    atr_label_pair *pairs;     /* [pair_count] */
    atr_label_rename *renames; /* [rename_count] */
    int64_t pair_count, rename_count;
} map_rules;

static void map_rules_free(map_rules *map)
{
    for (int64_t i = 0; i < map->rename_count; i++)
        atr_free((char *)map->renames[i].from);
    atr_free(map->pairs);
    atr_free(map->renames);
}

static atr_status parse_map_item(const char *text, map_rules *map)
{
    const char *equals = strrchr(text, '=');
    atr_label_pair pair = {.to = ATR_IGNORE};
    atr_status status = ATR_OK;
    char *from = NULL;

    if (equals == NULL || equals == text || equals[1] == '\0')
        return atr_fail(ATR_ERR_USAGE, "--map '%s': write VALUE=CLASS or VALUE=ignore", text);
    ATR_TRY(atr_format(&from, "%.*s", (int)(equals - text), text));
    if (atr_parse_int(from, &pair.from) &&
        (strcmp(equals + 1, "ignore") == 0 || atr_parse_int(equals + 1, &pair.to))) {
        map->pairs[map->pair_count++] = pair;
    } else {
        map->renames[map->rename_count++] = (atr_label_rename){from, equals + 1};
        from = NULL;
    }

done:
    atr_free(from);
    return status;
}

static atr_status parse_map(const atr_list *list, map_rules *map)
{
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW(list->count, &map->pairs));
    ATR_TRY(ATR_NEW(list->count, &map->renames));
    for (int64_t i = 0; i < list->count; i++)
        ATR_TRY(parse_map_item(list->items[i], map));

done:
    return status;
}

/* The full report beside the data set, and the start of it on the error output. */
static atr_status report(const atr_findings *findings, const char *path)
{
    atr_status status = ATR_OK;
    char *file = NULL, *text = NULL;

    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/')
        length--;
    ATR_TRY(atr_format(&file, "%.*s.report.json", (int)length, path));
    ATR_TRY(atr_findings_text(findings, SHOWN, file, &text));
    fflush(stdout);
    fputs(text, stderr);
    ATR_TRY(atr_findings_write(findings, file));

done:
    atr_free(text);
    atr_free(file);
    return status;
}

/* A failed report must not hide why packing failed, and the other way round is not worth a second message. */
static atr_status report_after(atr_status status, const atr_findings *findings, const char *path)
{
    char *message = NULL;

    if (status != ATR_OK && atr_findings_count(findings) == 0)
        return status;
    if (status != ATR_OK)
        (void)atr_strdup(atr_status_message(), &message);
    const atr_status written = report(findings, path);
    if (status != ATR_OK && message != NULL)
        atr_fail(status, "%s", message);
    atr_free(message);
    return status != ATR_OK ? status : written;
}

/* `name` is that of the first of several files. */
static void say_result(const pack_options *o, const atr_pack_result *result, const char *name, bool warned)
{
    if (result->shards > 0)
        printf("%lld file%s, the first %s: ", (long long)result->shards, result->shards == 1 ? "" : "s",
               name);
    else
        printf("%s: ", o->output != NULL ? o->output : o->to_voc);
    printf("%lld samples (train %lld, val %lld, test %lld)", (long long)result->samples,
           (long long)result->members[ATR_SPLIT_TRAIN], (long long)result->members[ATR_SPLIT_VAL],
           (long long)result->members[ATR_SPLIT_TEST]);
    if (o->output != NULL)
        printf(", %.1f MB", (double)result->bytes / 1e6);
    printf("%s\n", warned ? ", with warnings" : "");
    if (o->output != NULL && o->to_voc != NULL)
        printf("%s: the same in VOC layout\n", o->to_voc);
}

static atr_status pack(const char *source, const pack_options *o, int threads, const atr_watch *watch,
                       atr_findings *findings, atr_pack_result *result)
{
    atr_status status = ATR_OK;
    int64_t *ignore = NULL;
    const char *target = o->output != NULL ? o->output : o->to_voc;
    map_rules map = {0};
    char *first = NULL;

    if ((o->output == NULL && o->to_voc == NULL) || o->classes == NULL) {
        status =
            atr_fail(ATR_ERR_USAGE, "%s is missing (see --help)",
                     o->output == NULL && o->to_voc == NULL ? "-o DATA.h5" : "--classes N or --classes FILE");
        goto done;
    }
    if (o->output == NULL && (o->verify || o->stats || o->json)) {
        status = atr_fail(ATR_ERR_USAGE,
                          "--verify, --stats and --json are about a packed file: give -o DATA.h5 too");
        goto done;
    }
    ATR_TRY(parse_ignore(&o->ignore, &ignore));
    ATR_TRY(parse_map(&o->map, &map));
    const atr_pack_config config = {
        .source = source,
        .format = o->format,
        .output = o->output,
        .shards = o->shards,
        .shard_bytes = 1000000 * o->shard_megabytes,
        .to_voc = o->to_voc,
        .classes = o->classes,
        .labels = {ignore, o->ignore.count, map.pairs, map.pair_count, o->binary_255, map.renames,
                   map.rename_count},
        .colours = o->colours,
        .colour_tolerance = o->colour_tolerance,
        .split = o->split,
        .group_regex = o->group_regex,
        .seed = (uint64_t)o->seed,
        .exif = (atr_exif_rule)o->exif,
        .missing = (atr_missing_mask)o->missing,
        .strict = o->strict,
        .force = o->force,
        .threads = threads,
    };
    ATR_TRY(report_after(atr_pack(&config, watch, findings, result), findings, target));
    if (result->shards > 0)
        ATR_TRY(atr_pack_shard_name(o->output, 1, result->shards, &first));
    if (!o->json)
        say_result(o, result, first, atr_findings_count(findings) > 0);
    if (!o->json && result->unlisted > 0)
        printf("%lld pictures are in no list and were left out\n", (long long)result->unlisted);

done:
    map_rules_free(&map);
    atr_free(first);
    atr_free(ignore);
    return status;
}

static atr_status verify(const atr_dataset *dataset, const pack_options *o, int threads,
                         const atr_watch *watch, atr_findings *findings)
{
    atr_status status = ATR_OK;
    char *text = NULL;

    ATR_TRY(atr_dataset_verify(dataset, threads, watch, findings));
    const int64_t errors = atr_findings_of_severity(findings, ATR_ERROR);
    if (errors > 0) {
        ATR_TRY(atr_findings_text(findings, 1000, "", &text));
        fputs(text, stderr);
        status =
            atr_fail(ATR_ERR_DATA, "%s: %lld of %lld samples are damaged; pack again or copy the file again",
                     atr_dataset_path(dataset), (long long)errors, (long long)atr_dataset_count(dataset));
    } else if (!o->json) {
        printf("%s: all %lld samples are sound\n", atr_dataset_path(dataset),
               (long long)atr_dataset_count(dataset));
    }

done:
    atr_free(text);
    return status;
}

static atr_status print_json(const atr_dataset *dataset, const atr_findings *findings)
{
    atr_status status = ATR_OK;
    char *text = NULL;

    ATR_TRY(atr_dataset_json(dataset, &text));
    printf("{\"errors\":%lld,\"warnings\":%lld,\"dataset\":%s}\n",
           (long long)atr_findings_of_severity(findings, ATR_ERROR),
           (long long)atr_findings_of_severity(findings, ATR_WARNING), text);

done:
    atr_free(text);
    return status;
}

/* What was packed just now. */
static atr_status open_packed(const char *output, const atr_pack_result *result, atr_dataset **out)
{
    atr_status status = ATR_OK;
    char **names = NULL;

    if (result->shards == 0)
        return atr_dataset_open(output, out);
    ATR_TRY(ATR_NEW(result->shards, &names));
    for (int64_t i = 0; i < result->shards; i++)
        ATR_TRY(atr_pack_shard_name(output, i + 1, result->shards, &names[i]));
    ATR_TRY(atr_dataset_open_all((const char *const *)names, result->shards, out));

done:
    atr_dataset_files_free(names, result->shards);
    return status;
}

/* Packs if there is an output, then looks at the file as asked. */
static atr_status run(const char *source, const pack_options *o)
{
    const int given = atr_threads_given(1, 1).count;
    const int threads = o->threads > 0 && o->threads < given ? (int)o->threads : given;
    progress p = {.columns = atr_cli_columns(stderr)};
    const atr_watch watch = {say, &p};
    const bool look = o->output == NULL && o->to_voc == NULL && (o->verify || o->stats);
    atr_status status = ATR_OK;
    atr_findings *findings = NULL;
    atr_dataset *dataset = NULL;
    atr_pack_result result = {0};

    ATR_TRY(atr_findings_create(&findings));
    if (!look)
        ATR_TRY(pack(source, o, threads, &watch, findings, &result));
    if (!o->verify && !o->stats && !o->json)
        goto done;
    ATR_TRY(look ? atr_dataset_open(source, &dataset) : open_packed(o->output, &result, &dataset));
    if (o->verify)
        ATR_TRY(verify(dataset, o, threads, &watch, findings));
    if (o->json)
        ATR_TRY(print_json(dataset, findings));
    else if (o->stats)
        atr_dataset_print(dataset);

done:
    atr_dataset_close(dataset);
    atr_findings_destroy(findings);
    return status;
}

int atr_cmd_pack(int argc, char **argv)
{
    atr_status status = ATR_OK;
    atr_options *options = NULL;
    pack_options chosen;
    int exit_code = ATR_EXIT_DONE;

    ATR_TRY(
        atr_options_create("atrous pack", "SOURCE -o DATA.h5|--to-voc DIR --classes N|FILE [OPTION...]",
                           "Checks every pixel of every mask and packs pictures and masks into one file. "
                           "SOURCE is a folder in VOC "
                           "layout (JPEGImages, SegmentationClass, ImageSets/Segmentation), or the folder "
                           "above, or one of labelme "
                           "files. "
                           "With an error among the findings nothing is written. To look at a packed file:\n"
                           "    atrous pack DATA.h5 --verify --stats",
                           &options));
    ATR_TRY(atr_options_add(options, rows, &chosen));
    if (!atr_cli_parse(options, argc, argv, false, &exit_code))
        goto done;
    ATR_TRY(atr_cli_positional(options, 1, 1));
    signal(SIGINT, ask_stop);
    signal(SIGTERM, ask_stop);
    ATR_TRY(run(atr_options_positional(options, 0), &chosen));

done:
    if (status != ATR_OK) {
        atr_cli_error("pack", atr_status_message());
        exit_code = atr_cli_exit_code(status);
    }
    atr_options_destroy(options);
    return exit_code;
}
