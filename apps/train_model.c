#include <stdio.h>
#include <string.h>

#include "apps/recognise.h"
#include "apps/train_impl.h"

/* The classifier: what a change of classes changes. */
static const char HEAD[] = "cls_conv.";

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

static bool in_head(const char *name)
{
    return strncmp(name, HEAD, sizeof HEAD - 1) == 0;
}

/* M01: what the file holds against what was asked for. */
static atr_status compare_models(const char *path, const atr_weights *weights, const atr_trainer *trainer)
{
    const atr_model_info *const asked = &trainer->session.info;
    atr_model_info *found = NULL;
    int64_t head = 0;
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW(1, &found));
    status = atr_fail_prefix(atr_recognise(weights, asked->output_stride, found), "%s", path);
    if (status != ATR_OK)
        goto done;
    for (int64_t i = 0; i < atr_weights_count(weights); i++)
        head += in_head(atr_weights_name(weights, i));
    if (strcmp(found->backbone, asked->backbone) != 0 || found->channels != asked->channels)
        status = atr_fail(ATR_ERR_USAGE,
                          "M01: %s: %s, %lld classes, %lld channels. Asked: %s, %lld classes, %lld channels. "
                          "Backbone differs: "
                          "refused.",
                          path, found->backbone, (long long)found->classes, (long long)found->channels,
                          asked->backbone, (long long)asked->classes, (long long)asked->channels);
    else if (found->classes != asked->classes && !trainer->options->new_head)
        status = atr_fail(ATR_ERR_USAGE,
                          "M01: %s: %s, %lld classes. Asked: %lld classes. Same backbone, head %lld -> %lld: "
                          "the head would start "
                          "fresh (%lld tensors), %lld be loaded; say --new-head.",
                          path, found->backbone, (long long)found->classes, (long long)asked->classes,
                          (long long)found->classes, (long long)asked->classes, (long long)head,
                          (long long)(atr_weights_count(weights) - head));

done:
    atr_free(found);
    return status;
}

/* Nothing but a head that is to start fresh may be left out. */
static atr_status check_report(const char *path, const atr_load_report *report, bool new_head)
{
    for (int64_t i = 0; i < report->issue_count; i++) {
        const atr_load_issue *const issue = &report->issues[i];
        if (issue->kind == ATR_LOAD_UNEXPECTED || (new_head && in_head(issue->name)))
            continue;
        return atr_fail(ATR_ERR_DATA, "M01: %s: tensor %s %s", path, issue->name,
                        issue->kind == ATR_LOAD_MISSING ? "is missing"
                                                        : "has another shape than the network's");
    }
    if (report->non_finite > 0)
        return atr_fail(ATR_ERR_DATA, "%s: %lld tensors hold values that are not finite (first: %s)", path,
                        (long long)report->non_finite, report->non_finite_name);
    return ATR_OK;
}

/* Loads --weights over the fresh values; a head that is to start fresh keeps them. Rank 0 only. */
static atr_status load_weights(atr_trainer *trainer)
{
    const char *const path = trainer->options->weights;
    const bool new_head = trainer->options->new_head;
    atr_weights *weights = NULL;
    atr_params *fresh = NULL;
    atr_load_report report = {0};
    bool wrapped = false;
    atr_params *const params = trainer->session.params;
    atr_status status = ATR_OK;

    ATR_TRY(atr_weights_read(path, &weights));
    ATR_TRY(atr_weights_strip_prefix(weights, "module.", &wrapped));
    ATR_TRY(compare_models(path, weights, trainer));
    ATR_TRY(atr_params_create(atr_graph_param_specs(trainer->session.graph),
                              atr_graph_param_count(trainer->session.graph), &atr_host_allocator, &fresh));
    ATR_TRY(atr_params_copy(params, fresh));
    ATR_TRY(atr_weights_fill(weights, ATR_LOAD_PARTIAL, params, &report));
    ATR_TRY(check_report(path, &report, new_head));
    for (int64_t i = 0; new_head && i < atr_params_count(params); i++) {
        const atr_tensor to = atr_params_value(params, i), from = atr_params_value(fresh, i);
        if (in_head(atr_params_spec(params, i)->name))
            memcpy(to.data, from.data, (size_t)atr_tensor_count(&to) * atr_dtype_bytes(to.type));
    }
    atr_params_touch(params);
    atr_train_say(trainer, "weights: %lld tensors of %s%s", (long long)report.loaded, path,
                  new_head ? ", the classifier starts fresh" : "");

done:
    atr_load_report_free(&report);
    atr_params_destroy(fresh);
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
