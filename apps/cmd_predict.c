/* atrous predict: label maps of pictures and video. */
#include <string.h>

#include "apps/cli.h"
#include "apps/predict_impl.h"
#include "apps/train_options.h"

atr_pipeline predict_pipeline(const predict_job *job)
{
    const predict_options *o = job->options;

    return (atr_pipeline){.segmenters = job->streams.segmenters,
                          .streams = job->streams.count,
                          .classes = job->session.info.classes,
                          .batch = o->batch,
                          .same_size = o->fit == ATR_RUN_NONE,
                          .probabilities = o->probabilities != PREDICT_MAP_NONE,
                          .confidence = o->confidence != PREDICT_MAP_NONE,
                          .logits = o->logits};
}

static atr_status choose_views(const predict_options *o, atr_views *out)
{
    *out = (atr_views){.mirror = (atr_mirror)o->mirror};
    if (o->scales.count > ATR_SCALES_MAX)
        return atr_fail(ATR_ERR_USAGE, "--tta-scales: %lld scales, at most %d are wanted",
                        (long long)o->scales.count, ATR_SCALES_MAX);
    for (int64_t i = 0; i < o->scales.count; i++)
        (void)atr_parse_real(o->scales.items[i], &out->scales[out->scale_count++]); /* checked by its row */
    return ATR_OK;
}

/* Which classes are cut out and whose probabilities are written. */
static atr_status choose_classes(predict_job *job)
{
    atr_status status = ATR_OK;
    const predict_options *o = job->options;
    const atr_model_info *info = &job->session.info;

    for (int64_t k = 0; k < info->classes; k++) {
        job->cutout[k] = o->cutout_classes.count == 0 && k > 0;
        job->probable[k] = o->probability_classes.count == 0;
    }
    ATR_TRY(predict_choose_classes(info, "cutout-classes", &o->cutout_classes, job->cutout));
    ATR_TRY(predict_choose_classes(info, "probability-classes", &o->probability_classes, job->probable));
done:
    return status;
}

/* Back end, model, network. */
static atr_status open_job(predict_job *job, const atr_options *parsed, predict_options *o, bool video,
                           int64_t pictures)
{
    atr_status status = ATR_OK;
    atr_session *session = &job->session;
    int64_t height = 0, width = 0;
    atr_fit_mode fit = (atr_fit_mode)o->fit;
    atr_views views;
    int streams = 1;

    if (o->size != NULL)
        ATR_TRY(atr_size_parse(o->size, &height, &width));
    ATR_TRY(choose_views(o, &views));
    ATR_TRY(atr_session_open(&o->session, NULL, session));
    ATR_TRY(atr_session_map(session, job->model));
    if (!atr_options_given(parsed, "fit"))
        ATR_TRY(atr_fail_prefix(atr_fit_mode_parse(session->info.fit, &fit), "%s", job->model));
    o->fit = (int)fit;
    ATR_TRY(choose_classes(job));
    if (o->speed == 0)
        ATR_TRY(atr_streams_choose(o->streams, session, (pictures + o->batch - 1) / o->batch, &streams));
    ATR_TRY(atr_streams_open(session, streams, fit, height, width, &views, &job->streams));
    job->counts = o->count || o->json || o->csv != NULL;
    ATR_TRY(atr_tally_open(&job->tally, &session->info, (o->count && !video) || o->json, o->csv));
done:
    return status;
}

static void close_job(predict_job *job)
{
    atr_tally_close(&job->tally);
    atr_streams_close(&job->streams);
    atr_session_close(&job->session);
}

/* Pictures, or --fps on the first of them. */
static atr_status run_pictures(predict_job *job, const atr_options *parsed, predict_options *o,
                               predict_result *result)
{
    atr_status status = ATR_OK;
    atr_inputs inputs = {0, NULL, NULL};
    const int64_t arguments = atr_options_positional_count(parsed);
    const char **names = NULL;

    ATR_TRY(ATR_NEW(arguments, &names));
    for (int64_t i = 1; i < arguments; i++)
        names[i - 1] = atr_options_positional(parsed, i);
    ATR_TRY(atr_inputs_collect(names, arguments - 1, &(atr_inputs_rules){o->recursive, o->out}, &inputs));
    ATR_TRY(open_job(job, parsed, o, false, inputs.count));
    if (o->speed > 0)
        ATR_TRY(predict_speed(job, &inputs));
    else
        ATR_TRY(predict_pictures(job, &inputs, result));
done:
    atr_free(names);
    atr_inputs_free(&inputs);
    return status;
}

static atr_status predict(const atr_options *parsed, predict_options *o, predict_result *result,
                          bool *stopped)
{
    atr_status status = ATR_OK;
    predict_job job = {.options = o, .model = atr_options_positional(parsed, 0)};
    const int64_t arguments = atr_options_positional_count(parsed);
    bool video = false;

    for (int64_t i = 1; i < arguments; i++)
        video = video || predict_is_video(o, atr_options_positional(parsed, i));
    if (video && arguments > 2)
        return atr_fail(ATR_ERR_USAGE, "a video is segmented alone: one input, not %lld",
                        (long long)arguments - 1);
    ATR_TRY(predict_check_options(parsed, o, video));
    if (video) {
        ATR_TRY(open_job(&job, parsed, o, true, 0));
        ATR_TRY(predict_video(&job, atr_options_positional(parsed, 1), result, stopped));
    } else {
        ATR_TRY(run_pictures(&job, parsed, o, result));
    }
done:
    close_job(&job);
    return status;
}

int atr_cmd_predict(int argc, char **argv)
{
    atr_status status = ATR_OK;
    atr_options *options = NULL;
    predict_options chosen;
    predict_result result = {0, 0};
    int exit_code = ATR_EXIT_DONE;
    bool stopped = false;

    ATR_TRY(atr_options_create(
        "atrous predict", "MODEL.h5 INPUT... -o DIR [OPTION...]",
        "Segments pictures (files, folders of them, patterns): STEM.png holds class ids with a palette, at "
        "the picture's own size. Goes on after a bad picture and then ends with code 3. Or segments one "
        "video: a "
        "file or camera (by ffmpeg), or frames on a pipe: MODEL.h5 - -o -.",
        &options));
    ATR_TRY(atr_options_add(options, predict_rows, &chosen));
    ATR_TRY(atr_options_add(options, atr_session_rows, &chosen.session));
    if (!atr_cli_parse(options, argc, argv, false, &exit_code))
        goto done;
    atr_cli_log();
    ATR_TRY(atr_cli_positional(options, 2, -1));
    ATR_TRY(predict(options, &chosen, &result, &stopped));
    if (result.failed > 0)
        exit_code = result.done > 0 ? ATR_EXIT_PARTLY : ATR_EXIT_FAILED;
    else if (stopped)
        exit_code = ATR_EXIT_STOPPED;
done:
    if (status != ATR_OK) {
        atr_cli_error("predict", atr_status_message());
        exit_code = atr_cli_exit_code(status);
    }
    atr_options_destroy(options);
    return exit_code;
}
