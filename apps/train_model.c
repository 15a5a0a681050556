#include <stdio.h>
#include <string.h>

#include "apps/adopt.h"
#include "apps/train_impl.h"

static void describe(const atr_trainer *trainer, atr_model_info *out)
{
    const atr_class_list *const classes = atr_dataset_classes(trainer->dataset);

    atr_session_describe(trainer->options->backbone, classes->count, trainer->options->output_stride, out);
    for (int64_t k = 0; k < classes->count; k++)
        snprintf(out->class_names[k], sizeof out->class_names[k], "%s", classes->names[k]);
    memcpy(out->palette, atr_dataset_palette(trainer->dataset), sizeof out->palette);
    out->height = trainer->config.height;
    out->width = trainer->config.width;
    snprintf(out->fit, sizeof out->fit, "%s", atr_fit_mode_names[trainer->options->eval_fit]);
}

/* Loads --weights over the fresh values; what is to start fresh keeps them. Rank 0 only. */
static atr_status load_weights(atr_trainer *trainer)
{
    const char *const path = trainer->options->weights;
    const atr_adopt_part part = trainer->options->backbone_only ? ATR_ADOPT_BACKBONE
                                : trainer->options->new_head    ? ATR_ADOPT_BODY
                                                                : ATR_ADOPT_ALL;
    char text[ATR_ADOPT_TEXT_BYTES];
    atr_weights *weights = NULL;
    atr_load_report report = {0};
    atr_status status = ATR_OK;

    ATR_TRY(atr_weights_read(path, &weights));
    ATR_TRY(atr_adopt(path, weights, part, &trainer->session.info, trainer->session.params, &report));
    if (report.non_finite > 0) {
        status = atr_fail(ATR_ERR_DATA, "%s: %lld tensors hold values that are not finite (first: %s)", path,
                          (long long)report.non_finite, report.non_finite_name);
        goto done;
    }
    atr_train_say(trainer, "weights: %s: %s", path, atr_adopt_text(&report, text));

done:
    atr_load_report_free(&report);
    atr_weights_destroy(weights);
    return status;
}

atr_status atr_train_model_fresh(atr_trainer *trainer)
{
    const atr_train_options *const options = trainer->options;
    atr_model_info *info = NULL;
    atr_status status = ATR_OK;

    status = ATR_NEW(1, &info);
    if (status == ATR_OK) {
        describe(trainer, info);
        status = atr_session_build(&trainer->session, info, trainer->config.dropout);
    }
    if (status == ATR_OK)
        status = atr_model_init(trainer->session.params, (atr_init)options->init, options->init_gain,
                                (uint64_t)options->seed);
    if (status == ATR_OK && trainer->root && options->weights != NULL)
        status = load_weights(trainer);
    ATR_TRY(atr_comm_agree(trainer->comm, status));
    ATR_TRY(atr_comm_broadcast_params(trainer->comm, trainer->session.params, 0));

done:
    atr_free(info);
    return status;
}
