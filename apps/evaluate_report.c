#include <math.h>
#include <stdio.h>
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

/* Classes without weights are what most often makes a network so. */
static void advise_weights(const atr_dataset *dataset, int64_t only, atr_text *out)
{
    const int64_t *const pixels = atr_dataset_statistics(dataset)->pixels[ATR_SPLIT_TRAIN];
    int64_t all = 0;

    for (int64_t k = 0; k < atr_dataset_classes(dataset)->count; k++)
        all += pixels[k];
    atr_text_append(out,
                    " The other classes are %.3g %% of train pixels. Early in training that passes; if it "
                    "stays, try --class-weights median or --loss ce+dice.",
                    all > 0 ? 100.0 * (double)(all - pixels[only]) / (double)all : 0.0);
}

void atr_warn_only_class(const atr_scores *scores, const atr_dataset *dataset, const atr_class_list *classes,
                         const char *where)
{
    const int64_t only = atr_only_class(scores);
    atr_text advice = {0};

    if (only < 0)
        return;
    if (dataset != NULL)
        advise_weights(dataset, only, &advice);
    atr_log(
        ATR_LOG_WARN,
        "T02: the network predicts one class only ('%s', 100 %% of %s pixels; accuracy %.1f, mIoU %.1f).%s",
        classes->names[only], where, 100 * scores->pixel_accuracy, 100 * scores->miou,
        advice.status == ATR_OK && advice.bytes != NULL ? advice.bytes : "");
    atr_free(advice.bytes);
}

static void print_cell(double value)
{
    if (isnan(value))
        printf(" %9s", "n/a");
    else
        printf(" %9.2f", 100 * value);
}

void atr_evaluated_print(const atr_evaluated *what)
{
    atr_scores scores;

    atr_scores_from(what->confusion, &scores);
    printf("%-20s %9s %9s %9s %9s\n", "class", "IoU %", "recall", "precision", "F1");
    for (int64_t k = 0; k < scores.classes; k++) {
        char name[64];
        printf("%-20.20s", atr_printable(what->classes->names[k], name, sizeof name));
        print_cell(scores.iou[k]);
        print_cell(scores.recall[k]);
        print_cell(scores.precision[k]);
        print_cell(scores.f1[k]);
        printf("\n");
    }
    printf("%-20s", "mean");
    print_cell(scores.miou);
    print_cell(scores.mean_recall);
    print_cell(scores.mean_precision);
    print_cell(scores.mean_f1);
    printf(
        "\nmIoU %.2f %% over %lld of %lld classes, pixel accuracy %.2f %%, frequency-weighted IoU %.2f %%\n",
        100 * scores.miou, (long long)scores.present, (long long)scores.classes, 100 * scores.pixel_accuracy,
        100 * scores.frequency_iou);
    if (scores.present < scores.classes)
        printf("n/a: the class is neither in the truth nor predicted, or there is nothing to divide by; with "
               "absent classes as 0 the mIoU is %.2f %%\n",
               100 * scores.miou_all);
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

static void string(atr_text *text, const char *name, const char *value)
{
    atr_text_append(text, ",\n  \"%s\": ", name);
    if (value != NULL)
        atr_json_string(text, value);
    else
        atr_text_append(text, "null");
}

static void describe(const atr_evaluated *what, atr_text *text)
{
    atr_text_append(text, "{\n  \"data\": ");
    atr_json_string(text, what->data);
    string(text, "split", what->split);
    string(text, "fit", what->fit);
    string(text, "predictions", what->predictions);
    atr_text_append(text, ",\n  \"images\": %lld,\n  \"images_wanted\": %lld", (long long)what->images,
                    (long long)what->wanted);
    atr_text_append(text, ",\n  \"classes\": [");
    for (int64_t k = 0; k < what->classes->count; k++) {
        atr_text_append(text, k > 0 ? "," : "");
        atr_json_string(text, what->classes->names[k]);
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

void atr_evaluated_json(const atr_evaluated *what, atr_text *text)
{
    const int64_t count = what->confusion->classes;
    atr_scores scores;

    atr_scores_from(what->confusion, &scores);
    describe(what, text);
    real(text, "miou", scores.miou);
    real(text, "miou_all", scores.miou_all);
    real(text, "mean_recall", scores.mean_recall);
    real(text, "mean_precision", scores.mean_precision);
    real(text, "mean_f1", scores.mean_f1);
    real(text, "pixel_accuracy", scores.pixel_accuracy);
    real(text, "frequency_iou", scores.frequency_iou);
    real(text, "loss", what->loss);
    atr_text_append(text, ",\n  \"classes_present\": %lld", (long long)scores.present);
    reals(text, "iou", scores.iou, count);
    reals(text, "recall", scores.recall, count);
    reals(text, "precision", scores.precision, count);
    reals(text, "f1", scores.f1, count);
    integers(text, "truth_pixels", scores.truth_pixels, count);
    integers(text, "predicted_pixels", scores.predicted_pixels, count);
    atr_text_append(text, ",\n  \"ignored_pixels\": %lld\n}\n", (long long)what->confusion->ignored);
}

static atr_status write_confusion(const char *folder, const atr_confusion *confusion)
{
    const int64_t count = confusion->classes;
    atr_text text = {0};

    for (int64_t i = 0; i < count * count; i++)
        atr_text_append(&text, "%lld%s", (long long)confusion->counts[i], (i + 1) % count == 0 ? "\n" : ",");
    return write_text(folder, "confusion.csv", &text);
}

/* RFC 4180: in quotes, quotes inside doubled. */
static void csv_name(const char *name, atr_text *text)
{
    atr_text_append(text, "\"");
    for (; *name != '\0'; name++) {
        if (*name == '"')
            atr_text_append(text, "\"");
        atr_text_append_bytes(text, name, 1);
    }
    atr_text_append(text, "\"");
}

/* A name and four scores: "n/a" for what is NaN, nothing for NULL. */
static void csv_scores(const char *name, const double *const scores[4], atr_text *text)
{
    char number[ATR_REAL_TEXT_BYTES];

    csv_name(name, text);
    for (int i = 0; i < 4; i++) {
        atr_text_append(text, ",");
        if (scores[i] != NULL)
            atr_text_append(text, "%s", isnan(*scores[i]) ? "n/a" : atr_real_text(*scores[i], number));
    }
}

static atr_status write_csv(const char *folder, const atr_evaluated *what, const atr_scores *s)
{
    atr_text text = {0};

    atr_text_append(&text, "class,iou,recall,precision,f1,truth_pixels,predicted_pixels\n");
    for (int64_t k = 0; k < s->classes; k++) {
        csv_scores(what->classes->names[k],
                   (const double *[]){&s->iou[k], &s->recall[k], &s->precision[k], &s->f1[k]}, &text);
        atr_text_append(&text, ",%lld,%lld\n", (long long)s->truth_pixels[k],
                        (long long)s->predicted_pixels[k]);
    }
    const struct {
        const char *name;
        const double *scores[4];
    } rows[] = {
        {"mean", {&s->miou, &s->mean_recall, &s->mean_precision, &s->mean_f1}},
        {"mean over all classes", {&s->miou_all, NULL, NULL, NULL}},
        {"weighted by frequency", {&s->frequency_iou, NULL, NULL, NULL}},
        {"all pixels", {NULL, &s->pixel_accuracy, &s->pixel_accuracy, NULL}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        csv_scores(rows[i].name, rows[i].scores, &text);
        atr_text_append(&text, ",,\n");
    }
    return write_text(folder, "metrics.csv", &text);
}

atr_status atr_evaluated_write(const char *folder, const atr_evaluated *what)
{
    atr_text metrics = {0};
    atr_scores scores;
    atr_status status = ATR_OK;

    atr_scores_from(what->confusion, &scores);
    atr_evaluated_json(what, &metrics);
    ATR_TRY(write_text(folder, "metrics.json", &metrics));
    ATR_TRY(write_csv(folder, what, &scores));
    ATR_TRY(write_confusion(folder, what->confusion));

done:
    return status;
}
