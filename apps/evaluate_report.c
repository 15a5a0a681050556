#include <math.h>
#include <string.h>

#include "apps/evaluate.h"
#include "apps/runlog.h"
#include "core/log.h"
#include "io/path.h"

int64_t atr_only_class(const atr_scores *scores)
{
    int64_t only = -1, predicted = 0, true_classes = 0;

    for (int64_t k = 0; k < scores->classes; k++) {
        true_classes += scores->truth_pixels[k] > 0;
        if (scores->predicted_pixels[k] > 0) {
            predicted++;
            only = k;
        }
    }
    return predicted == 1 && true_classes > 1 ? only : -1;
}

void atr_warn_only_class(const atr_scores *scores, const atr_dataset *dataset, atr_split split)
{
    const int64_t only = atr_only_class(scores);
    const int64_t *const pixels = atr_dataset_statistics(dataset)->pixels[ATR_SPLIT_TRAIN];
    int64_t all = 0;

    if (only < 0)
        return;
    for (int64_t k = 0; k < scores->classes; k++)
        all += pixels[k];
    atr_log(ATR_LOG_WARN,
            "T02: the network predicts one class only ('%s', 100 %% of %s pixels; accuracy %.1f, mIoU %.1f). "
            "The other classes "
            "are %.3g %% of train pixels. Early in training that passes; if it stays, try --class-weights "
            "median or "
            "--loss ce+dice.",
            atr_dataset_classes(dataset)->names[only], atr_split_name(split), 100 * scores->pixel_accuracy,
            100 * scores->miou, all > 0 ? 100.0 * (double)(all - pixels[only]) / (double)all : 0.0);
}

static void reals(atr_text *text, const char *name, const double *values, int64_t count)
{
    atr_text_append(text, ",\n  \"%s\": ", name);
    atr_json_reals(text, values, count);
}

static void integers(atr_text *text, const char *name, const int64_t *values, int64_t count)
{
    atr_text_append(text, ",\n  \"%s\": ", name);
    atr_json_integers(text, values, count);
}

static void real(atr_text *text, const char *name, double value)
{
    atr_text_append(text, ",\n  \"%s\": ", name);
    atr_json_real(text, value);
}

static void describe(atr_text *text, const atr_dataset *dataset, const atr_evaluate_options *options)
{
    const atr_class_list *const classes = atr_dataset_classes(dataset);
    const int64_t *samples = NULL;

    atr_text_append(text, "{\n  \"data\": ");
    atr_json_string(text, atr_dataset_path(dataset));
    atr_text_append(text, ",\n  \"split\": ");
    atr_json_string(text, atr_split_name(options->split));
    atr_text_append(text, ",\n  \"fit\": ");
    atr_json_string(text, atr_fit_mode_names[options->fit]);
    atr_text_append(text, ",\n  \"images\": %lld",
                    (long long)atr_dataset_split(dataset, options->split, &samples));
    atr_text_append(text, ",\n  \"classes\": [");
    for (int64_t k = 0; k < classes->count; k++) {
        atr_text_append(text, k > 0 ? "," : "");
        atr_json_string(text, classes->names[k]);
    }
    atr_text_append(text, "]");
}

static atr_status write_text(const char *folder, const char *name, atr_text *text)
{
    char *path = NULL;
    atr_status status = ATR_OK;

    ATR_TRY(text->status);
    ATR_TRY(atr_path_join(folder, name, &path));
    ATR_TRY(atr_file_write(path, text->bytes, (size_t)text->used));

done:
    atr_free(path);
    atr_free(text->bytes);
    *text = (atr_text){0};
    return status;
}

void atr_evaluate_json(const atr_dataset *dataset, const atr_evaluate_options *options,
                       const atr_confusion *confusion, atr_text *text)
{
    const int64_t count = confusion->classes;
    atr_scores scores;

    atr_scores_from(confusion, &scores);
    describe(text, dataset, options);
    real(text, "miou", scores.miou);
    real(text, "miou_all", scores.miou_all);
    real(text, "pixel_accuracy", scores.pixel_accuracy);
    real(text, "frequency_iou", scores.frequency_iou);
    reals(text, "iou", scores.iou, count);
    reals(text, "recall", scores.recall, count);
    reals(text, "precision", scores.precision, count);
    reals(text, "f1", scores.f1, count);
    integers(text, "truth_pixels", scores.truth_pixels, count);
    integers(text, "predicted_pixels", scores.predicted_pixels, count);
    atr_text_append(text, ",\n  \"ignored_pixels\": %lld\n}\n", (long long)confusion->ignored);
}

static atr_status write_confusion(const char *folder, const atr_confusion *confusion)
{
    const int64_t count = confusion->classes;
    atr_text text = {0};

    for (int64_t i = 0; i < count * count; i++)
        atr_text_append(&text, "%lld%s", (long long)confusion->counts[i], (i + 1) % count == 0 ? "\n" : ",");
    return write_text(folder, "confusion.csv", &text);
}

atr_status atr_evaluate_write(const char *folder, const atr_dataset *dataset,
                              const atr_evaluate_options *options, const atr_confusion *confusion)
{
    atr_text metrics = {0};
    atr_status status = ATR_OK;

    atr_evaluate_json(dataset, options, confusion, &metrics);
    ATR_TRY(write_text(folder, "metrics.json", &metrics));
    ATR_TRY(write_confusion(folder, confusion));

done:
    return status;
}
