#include "apps/pack_report.h"

#include <stdio.h>

#include "apps/runlog.h"
#include "core/text.h"

static int64_t members(const atr_dataset *dataset, int split)
{
    const int64_t *indices = NULL;

    return atr_dataset_split(dataset, (atr_split)split, &indices);
}

/* Smallest and largest width and height: [0] width, [1] height. */
static void size_range(const atr_dataset *dataset, int64_t least[2], int64_t most[2])
{
    for (int64_t i = 0; i < atr_dataset_count(dataset); i++) {
        const atr_sample sample = atr_dataset_sample(dataset, i);
        const int64_t size[2] = {sample.width, sample.height};
        for (int side = 0; side < 2; side++) {
            if (i == 0 || size[side] < least[side])
                least[side] = size[side];
            if (i == 0 || size[side] > most[side])
                most[side] = size[side];
        }
    }
}

static int64_t split_pixels(const atr_dataset_stats *stats, int split)
{
    int64_t total = 0;

    for (int id = 0; id < 256; id++)
        total += stats->pixels[split][id];
    return total;
}

static void print_class(const atr_dataset *dataset, int64_t id, const char *name)
{
    const atr_dataset_stats *stats = atr_dataset_statistics(dataset);
    char shown[32];

    printf("%5lld  %-20s", (long long)id, atr_printable(name, shown, 21));
    for (int split = 0; split < ATR_SPLITS; split++) {
        const int64_t total = split_pixels(stats, split), pixels = stats->pixels[split][id];
        if (members(dataset, split) > 0)
            printf("  %14lld %6.2f %% %7lld", (long long)pixels,
                   total == 0 ? 0.0 : 100.0 * (double)pixels / (double)total,
                   (long long)stats->images[split][id]);
    }
    printf("\n");
}

void atr_dataset_print(const atr_dataset *dataset)
{
    const atr_dataset_stats *stats = atr_dataset_statistics(dataset);
    const atr_class_list *classes = atr_dataset_classes(dataset);
    int64_t least[2] = {0}, most[2] = {0};

    size_range(dataset, least, most);
    if (atr_dataset_file_count(dataset) > 1)
        printf("%lld files: ", (long long)atr_dataset_file_count(dataset));
    printf("%s: %lld samples (train %lld, val %lld, test %lld), %lld classes, fingerprint %016llx\n",
           atr_dataset_path(dataset), (long long)atr_dataset_count(dataset), (long long)members(dataset, 0),
           (long long)members(dataset, 1), (long long)members(dataset, 2), (long long)classes->count,
           (unsigned long long)atr_dataset_fingerprint(dataset));
    printf("sizes %lldx%lld to %lldx%lld; mean R G B %.2f %.2f %.2f, std %.2f %.2f %.2f (of 255)\n",
           (long long)least[0], (long long)least[1], (long long)most[0], (long long)most[1], stats->mean[0],
           stats->mean[1], stats->mean[2], stats->std[0], stats->std[1], stats->std[2]);
    printf("class  %-20s", "name");
    for (int split = 0; split < ATR_SPLITS; split++)
        if (members(dataset, split) > 0)
            printf("  %8s pixels  share  images", atr_split_name((atr_split)split));
    printf("\n");
    for (int64_t id = 0; id < classes->count; id++)
        print_class(dataset, id, classes->named ? classes->names[id] : "");
    print_class(dataset, ATR_IGNORE, "(ignored)");
}

static void append_split(atr_text *text, const atr_dataset *dataset, int split)
{
    const atr_dataset_stats *stats = atr_dataset_statistics(dataset);
    const int64_t classes = atr_dataset_classes(dataset)->count;

    atr_text_append(text, "%s\"%s\":{\"samples\":%lld,\"pixels\":", split == 0 ? "" : ",",
                    atr_split_name((atr_split)split), (long long)members(dataset, split));
    atr_json_integers(text, stats->pixels[split], classes);
    atr_text_append(text, ",\"images\":");
    atr_json_integers(text, stats->images[split], classes);
    atr_text_append(text, ",\"area\":");
    atr_json_integers(text, stats->area[split], classes);
    atr_text_append(text, ",\"ignored\":%lld}", (long long)stats->pixels[split][ATR_IGNORE]);
}

atr_status atr_dataset_json(const atr_dataset *dataset, char **text)
{
    const atr_dataset_stats *stats = atr_dataset_statistics(dataset);
    const atr_class_list *classes = atr_dataset_classes(dataset);
    int64_t least[2] = {0}, most[2] = {0};
    atr_text built = {0};

    size_range(dataset, least, most);
    atr_text_append(&built, "{\"path\":");
    atr_json_string(&built, atr_dataset_path(dataset));
    atr_text_append(&built, ",\"samples\":%lld,\"fingerprint\":\"%016llx\",\"classes\":[",
                    (long long)atr_dataset_count(dataset),
                    (unsigned long long)atr_dataset_fingerprint(dataset));
    for (int64_t id = 0; id < classes->count; id++) {
        atr_text_append(&built, id == 0 ? "" : ",");
        atr_json_string(&built, classes->names[id]);
    }
    atr_text_append(&built, "],\"width\":[%lld,%lld],\"height\":[%lld,%lld],\"mean\":", (long long)least[0],
                    (long long)most[0], (long long)least[1], (long long)most[1]);
    atr_json_reals(&built, stats->mean, 3);
    atr_text_append(&built, ",\"std\":");
    atr_json_reals(&built, stats->std, 3);
    atr_text_append(&built, ",\"splits\":{");
    for (int split = 0; split < ATR_SPLITS; split++)
        append_split(&built, dataset, split);
    atr_text_append(&built, "}}");
    return atr_text_take(&built, text);
}
