#include <math.h>
#include <stdio.h>

#include "apps/train_curves.h"
#include "apps/train_impl.h"
#include "apps/train_overlay.h"
#include "io/events.h"
#include "io/path.h"

/* What a run shows of itself beside its log: event files for TensorBoard, and two pictures of curves. Neither may stop the run: a fault
 * is said once, and that part goes without. */

struct atr_train_watch {
    atr_events *events;       /* NULL: none wanted, or given up */
    atr_train_curves *curves; /* NULL: so too */
};

static void give_up_events(atr_trainer *trainer, atr_status status)
{
    if (status == ATR_OK)
        return;
    atr_train_say(trainer, "no more events for TensorBoard: %s", atr_status_message());
    atr_events_close(trainer->watch->events);
    trainer->watch->events = NULL;
}

static void give_up_curves(atr_trainer *trainer, const char *why)
{
    atr_train_say(trainer, "no curves in %s: %s", trainer->options->out, why);
    atr_train_curves_close(trainer->watch->curves);
    trainer->watch->curves = NULL;
}

atr_status atr_train_watch_open(atr_trainer *trainer)
{
    const atr_train_options *const options = trainer->options;
    atr_train_watch *watch = NULL;
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW(1, &watch));
    trainer->watch = watch;
    if (options->tensorboard)
        give_up_events(trainer, atr_events_open(options->out, trainer->cursor.global_step, &watch->events));
    if (options->curves && atr_train_curves_open(options->out, &watch->curves) != ATR_OK)
        give_up_curves(trainer, atr_status_message());

done:
    return status;
}

void atr_train_watch_close(atr_train_watch *watch)
{
    if (watch == NULL)
        return;
    atr_events_close(watch->events);
    atr_train_curves_close(watch->curves);
    atr_free(watch);
}

void atr_train_watch_step(atr_trainer *trainer, const atr_log_step *record)
{
    atr_train_watch *const watch = trainer->watch;
    const atr_event_scalar scalars[] = {
        {"train/loss", record->loss},
        {"train/f_score", record->f_score},
        {"train/learning_rate", record->lr},
        {"train/gradient_norm", record->gradient_norm},
        {"speed/images_per_s", record->images_per_s},
        {"speed/load_s", record->times.load},
        {"speed/exposed_communication_s", record->times.exposed},
    };

    if (watch->events != NULL)
        give_up_events(trainer, atr_events_scalars(watch->events, record->step, scalars,
                                                   sizeof scalars / sizeof scalars[0]));
    if (watch->curves != NULL && atr_train_curves_step(watch->curves, record) != ATR_OK)
        give_up_curves(trainer, atr_status_message());
}

/* One scalar for each class that has a value: "iou/sky". */
static atr_status write_class_scores(atr_events *events, int64_t step, const atr_scores *scores,
                                     const atr_class_list *classes)
{
    atr_status status = ATR_OK;

    for (int64_t k = 0; k < scores->classes; k++) {
        char *tag = NULL;
        ATR_TRY(atr_format(&tag, "iou/%s%s", classes->named ? "" : "class ", classes->names[k]));
        status = atr_events_scalars(events, step, &(atr_event_scalar){tag, scores->iou[k]}, 1);
        atr_free(tag);
        ATR_TRY(status);
    }

done:
    return status;
}

/* Some validation pictures with truth and prediction, spread over the split, the same each time. */
static atr_status write_overlays(atr_trainer *trainer, int64_t step)
{
    const atr_session *const session = &trainer->session;
    const int64_t *samples = NULL;
    const int64_t there = atr_dataset_split(trainer->dataset, ATR_SPLIT_VAL, &samples);
    const int64_t wanted = trainer->options->tensorboard_images;
    const int64_t count = wanted < there ? wanted : there;
    atr_segmenter *segmenter = NULL;
    atr_status status = ATR_OK;

    if (count == 0)
        return ATR_OK;
    ATR_TRY(atr_segmenter_create(&session->info, session->graph, atr_train_shown_params(trainer),
                                 session->backend, (atr_fit_mode)trainer->options->eval_fit, 0, 0,
                                 &segmenter));
    for (int64_t i = 0; i < count; i++) {
        const int64_t sample = samples[i * there / count];
        atr_event_image image = {.channels = 3};
        char *tag = NULL;
        void *bytes = NULL;
        ATR_TRY(atr_train_overlay(segmenter, trainer->dataset, sample, &session->info, &bytes, &image.size,
                                  &image.width, &image.height));
        status = atr_format(&tag, "val/%s", atr_dataset_sample(trainer->dataset, sample).name);
        image.tag = tag;
        image.encoded = bytes;
        if (status == ATR_OK)
            status = atr_events_image(trainer->watch->events, step, &image);
        atr_free(tag);
        atr_free(bytes);
        ATR_TRY(status);
    }

done:
    atr_segmenter_destroy(segmenter);
    return status;
}

static atr_status write_eval(atr_trainer *trainer, const atr_log_eval *record)
{
    atr_events *const events = trainer->watch->events;
    const atr_event_scalar scalars[] = {
        {"val/miou", record->scores->miou},
        {"val/pixel_accuracy", record->scores->pixel_accuracy},
        {"val/mean_recall", record->scores->mean_recall},
        {"val/mean_precision", record->scores->mean_precision},
        {"val/loss", record->loss},
    };
    atr_status status = ATR_OK;

    ATR_TRY(atr_events_scalars(events, record->step, scalars, sizeof scalars / sizeof scalars[0]));
    ATR_TRY(write_class_scores(events, record->step, record->scores, atr_dataset_classes(trainer->dataset)));
    ATR_TRY(write_overlays(trainer, record->step));

done:
    return status;
}

void atr_train_watch_eval(atr_trainer *trainer, const atr_log_eval *record)
{
    atr_train_watch *const watch = trainer->watch;

    if (watch->events != NULL)
        give_up_events(trainer, write_eval(trainer, record));
    if (watch->curves != NULL && atr_train_curves_eval(watch->curves, record) != ATR_OK)
        give_up_curves(trainer, atr_status_message());
}

/* Values of all parameters, and gradients of the last step where they learn. */
static atr_status write_histograms(atr_trainer *trainer)
{
    const atr_params *const params = trainer->session.params;
    const int64_t step = trainer->cursor.global_step;
    atr_status status = ATR_OK;

    for (int64_t i = 0; i < atr_params_count(params); i++) {
        const atr_param_spec *const spec = atr_params_spec(params, i);
        const atr_tensor value = atr_params_value(params, i), gradient = atr_params_gradient(params, i);
        char tag[ATR_NAME_BYTES + 16];
        if (atr_param_is_buffer(spec->kind))
            continue;
        snprintf(tag, sizeof tag, "values/%s", spec->name);
        ATR_TRY(
            atr_events_histogram(trainer->watch->events, step, tag, value.data, atr_tensor_count(&value)));
        if (atr_params_frozen(params, i))
            continue;
        snprintf(tag, sizeof tag, "gradients/%s", spec->name);
        ATR_TRY(atr_events_histogram(trainer->watch->events, step, tag, gradient.data,
                                     atr_tensor_count(&gradient)));
    }

done:
    return status;
}

void atr_train_watch_epoch(atr_trainer *trainer)
{
    atr_train_watch *const watch = trainer->watch;

    if (watch->events != NULL && trainer->options->tensorboard_histograms && trainer->epoch_steps > 0)
        give_up_events(trainer, write_histograms(trainer));
    if (watch->curves != NULL && !atr_train_curves_draw(watch->curves))
        give_up_curves(trainer, atr_status_message());
}
