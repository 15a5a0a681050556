/* libatrous: the public functions over session and segmenter. */
#include <atrous/atrous.h>

#include <pthread.h>
#include <string.h>

#include "apps/segmenter.h"
#include "apps/session.h"

struct atrous_model {
    atr_session session;
    atr_segmenter *segmenter;
    pthread_mutex_t lock;
};

static atr_status choose_fit(const atrous_settings *settings, const atr_model_info *info, atr_fit_mode *out)
{
    static const atr_fit_mode modes[] = {[ATROUS_FIT_LETTERBOX] = ATR_RUN_LETTERBOX,
                                         [ATROUS_FIT_STRETCH] = ATR_RUN_STRETCH,
                                         [ATROUS_FIT_NONE] = ATR_RUN_NONE};

    if (settings->fit == ATROUS_FIT_MODEL)
        return atr_fit_mode_parse(info->fit, out);
    if ((unsigned)settings->fit >= sizeof modes / sizeof modes[0])
        return atr_fail(ATR_ERR_USAGE, "%d is no way to fit a picture", (int)settings->fit);
    *out = modes[settings->fit];
    return ATR_OK;
}

static atr_status choose_precision(const atrous_settings *settings, int *out)
{
    static const atr_precision types[] = {[ATROUS_PRECISION_MODEL] = ATR_PRECISION_MODEL,
                                          [ATROUS_PRECISION_INT8] = ATR_PRECISION_INT8,
                                          [ATROUS_PRECISION_F32] = ATR_PRECISION_F32,
                                          [ATROUS_PRECISION_BF16] = ATR_PRECISION_BF16,
                                          [ATROUS_PRECISION_AUTO] = ATR_PRECISION_AUTO};

    if ((unsigned)settings->precision >= sizeof types / sizeof types[0])
        return atr_fail(ATR_ERR_USAGE, "%d is no precision", (int)settings->precision);
    *out = (int)types[settings->precision];
    return ATR_OK;
}

int atrous_open(const char *path, const atrous_settings *settings, atrous_model **model)
{
    const atrous_settings chosen = settings != NULL ? *settings : (atrous_settings){0};
    atr_status status = ATR_OK;
    atr_session_options options = {.backend = "auto", .threads = chosen.threads};
    atrous_model *m = NULL;
    atr_fit_mode fit = ATR_RUN_LETTERBOX;

    if (model == NULL)
        return (int)atr_fail(ATR_ERR_USAGE, "atrous_open: nowhere to put the model");
    *model = NULL;
    if (path == NULL || chosen.threads < 0 || chosen.height < 0 || chosen.width < 0)
        return (int)atr_fail(ATR_ERR_USAGE, "atrous_open: no path, or a negative setting");
    ATR_TRY(ATR_NEW(1, &m));
    pthread_mutex_init(&m->lock, NULL);
    ATR_TRY(choose_precision(&chosen, &options.precision));
    ATR_TRY(atr_session_open(&options, NULL, &m->session));
    ATR_TRY(atr_session_load(&m->session, path));
    ATR_TRY(choose_fit(&chosen, &m->session.info, &fit));
    ATR_TRY(atr_segmenter_create(&m->session.info, m->session.graph, m->session.params, m->session.backend,
                                 fit, chosen.height, chosen.width, &m->segmenter));
    atr_segmenter_set_quant(m->segmenter, &m->session.quant);
    *model = m;
    m = NULL;
done:
    atrous_close(m);
    return (int)status;
}

void atrous_close(atrous_model *model)
{
    if (model == NULL)
        return;
    atr_segmenter_destroy(model->segmenter);
    atr_session_close(&model->session);
    pthread_mutex_destroy(&model->lock);
    atr_free(model);
}

int atrous_class_count(const atrous_model *model)
{
    return model != NULL ? (int)model->session.info.classes : 0;
}

const char *atrous_class_name(const atrous_model *model, int class_id)
{
    if (model == NULL || class_id < 0 || class_id >= model->session.info.classes)
        return NULL;
    return model->session.info.class_names[class_id];
}

void atrous_class_colour(const atrous_model *model, int class_id, uint8_t rgb[3])
{
    if (model != NULL && class_id >= 0 && class_id < model->session.info.classes)
        memcpy(rgb, model->session.info.palette[class_id], 3);
    else
        memset(rgb, 0, 3);
}

int atrous_segment(atrous_model *model, const atrous_picture *picture, uint8_t *ids, float *probabilities)
{
    atr_status status = ATR_OK;

    if (model == NULL || picture == NULL || picture->pixels == NULL)
        return (int)atr_fail(ATR_ERR_USAGE, "atrous_segment: no model, or no pixels");
    if (picture->width < 1 || picture->height < 1 || picture->width > ATR_IMAGE_MAX_PIXELS / picture->height)
        return (int)atr_fail(ATR_ERR_USAGE, "atrous_segment: a picture of %dx%d pixels", picture->width,
                             picture->height);
    /* The segmenter only reads pixels; an atr_image owns them elsewhere, hence its plain pointer. */
    const atr_image image = {picture->width, picture->height, 3, (uint8_t *)(uintptr_t)picture->pixels};
    pthread_mutex_lock(&model->lock);
    status = atr_segmenter_run(model->segmenter, &image,
                               &(atr_segmentation){.ids = ids, .probabilities = probabilities});
    pthread_mutex_unlock(&model->lock);
    return (int)status;
}

const char *atrous_message(void)
{
    return atr_status_message();
}

const char *atrous_version(void)
{
    return ATR_VERSION;
}
