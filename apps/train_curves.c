#include "apps/train_curves.h"

#include <math.h>

#include "apps/plot.h"
#include "apps/runread.h"
#include "apps/smooth.h"
#include "io/path.h"

/* Points of a curve, in the order they came. */
typedef struct series {
    double *x, *y; /* [count] */
    int64_t count, room;
} series;

struct atr_train_curves {
    char *loss_path, *miou_path;
    series train, val, miou;
    double sum; /* of the losses of the epoch under way */
    int64_t steps;
    bool changed, off;
    atr_drawing *loss, *scores;
};

static atr_status add_point(series *s, double x, double y)
{
    atr_status status = ATR_OK;

    if (s->count == s->room) {
        const int64_t room = s->room == 0 ? 64 : 2 * s->room;
        ATR_TRY(atr_grow(s->count, room, sizeof *s->x, (void **)&s->x));
        ATR_TRY(atr_grow(s->count, room, sizeof *s->y, (void **)&s->y));
        s->room = room;
    }
    s->x[s->count] = x;
    s->y[s->count++] = y;

done:
    return status;
}

static void series_free(series *s)
{
    atr_free(s->x);
    atr_free(s->y);
}

/* The curve of an epoch is the mean of its steps so far. */
static atr_status add_step(atr_train_curves *c, double epoch, double loss)
{
    series *const s = &c->train;
    atr_status status = ATR_OK;

    if (!isfinite(loss))
        return ATR_OK;
    if (s->count == 0 || s->x[s->count - 1] != epoch) {
        ATR_TRY(add_point(s, epoch, loss));
        c->sum = 0;
        c->steps = 0;
    }
    c->sum += loss;
    c->steps++;
    s->y[s->count - 1] = c->sum / (double)c->steps;
    c->changed = true;

done:
    return status;
}

static atr_status add_eval(atr_train_curves *c, double epoch, double loss, double miou)
{
    atr_status status = ATR_OK;

    if (isfinite(loss))
        ATR_TRY(add_point(&c->val, epoch, loss));
    if (isfinite(miou))
        ATR_TRY(add_point(&c->miou, epoch, 100 * miou));
    c->changed = true;

done:
    return status;
}

atr_status atr_train_curves_step(atr_train_curves *curves, const atr_log_step *record)
{
    return add_step(curves, (double)record->epoch, record->loss);
}

atr_status atr_train_curves_eval(atr_train_curves *curves, const atr_log_eval *record)
{
    return add_eval(curves, (double)record->epoch, record->loss, record->scores->miou);
}

static atr_status read_log(atr_train_curves *c, const char *folder)
{
    atr_run_history history = {0};
    atr_status status = ATR_OK;

    ATR_TRY(atr_run_history_read(folder, &history));
    for (int64_t i = 0; i < history.step_count; i++)
        ATR_TRY(add_step(c, history.epoch[i], history.loss[i]));
    for (int64_t i = 0; i < history.eval_count; i++)
        ATR_TRY(add_eval(c, history.evals[i].epoch, history.evals[i].loss, history.evals[i].miou));
    c->changed = false;

done:
    atr_run_history_free(&history);
    return status;
}

atr_status atr_train_curves_open(const char *folder, atr_train_curves **out)
{
    atr_train_curves *c = NULL;
    atr_status status = ATR_OK;

    *out = NULL;
    ATR_TRY(ATR_NEW(1, &c));
    ATR_TRY(atr_path_join(folder, "epoch_loss.png", &c->loss_path));
    ATR_TRY(atr_path_join(folder, "epoch_miou.png", &c->miou_path));
    ATR_TRY(read_log(c, folder));
    *out = c;
    c = NULL;

done:
    atr_train_curves_close(c);
    return status;
}

/* A smoothed copy of `s` in fresh memory, windows as the reference's; NULL where there are too few points. */
static atr_status smooth(const series *s, double **out)
{
    enum { SHORT = 5, LONG = 15, MANY = 25 };
    const int window = s->count < MANY ? SHORT : LONG;
    atr_status status = ATR_OK;

    *out = NULL;
    if (s->count < window)
        return ATR_OK;
    ATR_TRY(ATR_NEW(s->count, out));
    ATR_TRY(atr_smooth_cubic(s->y, s->count, window, *out));

done:
    return status;
}

static atr_status draw_loss(atr_train_curves *c)
{
    double *train = NULL, *val = NULL;
    atr_status status = ATR_OK;

    ATR_TRY(smooth(&c->train, &train));
    ATR_TRY(smooth(&c->val, &val));
    const series *const t = &c->train, *const v = &c->val;
    const atr_curve curves[] = {
        {"train loss", t->x, t->y, t->count, t->count < 3, false},
        {"val loss", v->x, v->y, v->count, true, false},
        {"smooth train loss", t->x, train, train != NULL ? t->count : 0, false, true},
        {"smooth val loss", v->x, val, val != NULL ? v->count : 0, false, true},
    };
    ATR_TRY(atr_drawing_begin(&(atr_plot){"Loss", "epoch", "loss", curves, 4, .from_zero = false},
                              c->loss_path, &c->loss));

done:
    atr_free(train);
    atr_free(val);
    return status;
}

static atr_status draw_miou(atr_train_curves *c)
{
    const atr_curve curve = {"val mIoU", c->miou.x, c->miou.y, c->miou.count, true, false};

    return atr_drawing_begin(
        &(atr_plot){"mIoU on val", "epoch", "mIoU, percent", &curve, 1, .from_zero = false}, c->miou_path,
        &c->scores);
}

static atr_status draw(atr_train_curves *c, bool wait)
{
    atr_status status = ATR_OK;

    ATR_TRY(atr_drawing_end(&c->loss, wait));
    ATR_TRY(atr_drawing_end(&c->scores, wait));
    if (!c->changed || c->loss != NULL || c->scores != NULL)
        return ATR_OK;
    c->changed = false;
    if (c->train.count + c->val.count > 0)
        ATR_TRY(draw_loss(c));
    if (c->miou.count > 0)
        ATR_TRY(draw_miou(c));

done:
    return status;
}

bool atr_train_curves_draw(atr_train_curves *curves)
{
    if (curves->off || draw(curves, false) == ATR_OK)
        return true;
    curves->off = true;
    return false;
}

void atr_train_curves_close(atr_train_curves *c)
{
    if (c == NULL)
        return;
    if (!c->off && draw(c, true) != ATR_OK) /* nobody is left to tell */
        c->off = true;
    atr_drawing_end(&c->loss, true);
    atr_drawing_end(&c->scores, true);
    series_free(&c->train);
    series_free(&c->val);
    series_free(&c->miou);
    atr_free(c->loss_path);
    atr_free(c->miou_path);
    atr_free(c);
}
