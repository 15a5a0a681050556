#include "apps/evaluate.h"

#include <math.h>
#include <string.h>

#include "dist/monitor.h"

/* Pictures per rank between two agreements; that many decoded ones are in memory at once. */
enum { ROUND = 8 };

/* A sample on its way through the network. */
typedef struct picture {
    atr_image image;
    uint8_t *truth; /* [height,width] */
    atr_status status;
    char message[512]; /* messages are per thread; this one crosses threads */
} picture;

/* One rank's part of an evaluation. */
typedef struct evaluation {
    const atr_session *session;
    const atr_dataset *dataset;
    const int64_t *samples; /* [count], all ranks' */
    int64_t count;
    atr_segmenter *segmenter;
    atr_confusion *confusion;
    picture pictures[ROUND];
    uint8_t *ids; /* prediction, grows */
    int64_t ids_count;
    const float *class_weights;
    double
        *losses; /* [2,count] sum and weight of each sample, 0 for those of other ranks; NULL: not wanted */
} evaluation;

static int rank_of(const atr_session *session)
{
    return session->comm != NULL ? atr_comm_rank(session->comm) : 0;
}

static int size_of(const atr_session *session)
{
    return session->comm != NULL ? atr_comm_size(session->comm) : 1;
}

static void free_picture(picture *p)
{
    atr_image_free(&p->image);
    atr_free(p->truth);
    p->truth = NULL;
}

static atr_status load_picture(const evaluation *e, int64_t sample, picture *out)
{
    atr_status status = ATR_OK;

    ATR_TRY(atr_dataset_read_image(e->dataset, sample, &out->image));
    ATR_TRY(atr_dataset_read_mask(e->dataset, sample, &out->truth));

done:
    return status;
}

/* Samples are dealt like cards: picture i of this rank is number i * size + rank. */
static int64_t dealt(const evaluation *e, int64_t i)
{
    return i * size_of(e->session) + rank_of(e->session);
}

/* Decodes pictures first..first+ROUND-1 of this rank on all threads. */
static atr_status load_round(evaluation *e, int64_t first)
{
    const int threads = e->session->threads.count;

#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (int i = 0; i < ROUND; i++) {
        picture *const p = &e->pictures[i];
        const int64_t number = dealt(e, first + i);
        p->status = ATR_OK;
        if (number >= e->count)
            continue;
        p->status = load_picture(e, e->samples[number], p);
        if (p->status != ATR_OK) {
            strncpy(p->message, atr_status_message(), sizeof p->message - 1);
            p->message[sizeof p->message - 1] = '\0';
        }
    }
    for (int i = 0; i < ROUND; i++)
        if (e->pictures[i].status != ATR_OK)
            return atr_fail(e->pictures[i].status, "%s", e->pictures[i].message);
    return ATR_OK;
}

static atr_status score_picture(evaluation *e, int64_t number, const picture *p)
{
    const int64_t count = p->image.height * p->image.width;
    atr_status status = ATR_OK;

    if (count > e->ids_count) {
        atr_free(e->ids);
        e->ids = NULL;
        e->ids_count = 0;
        ATR_TRY(ATR_NEW(count, &e->ids));
        e->ids_count = count;
    }
    ATR_TRY(atr_segmenter_run(e->segmenter, &p->image, &(atr_segmentation){.ids = e->ids}));
    atr_confusion_add(e->confusion, p->truth, e->ids, count);
    if (e->session->comm != NULL)
        atr_comm_beat(e->session->comm);
    if (e->losses != NULL)
        ATR_TRY(atr_segmenter_loss(e->segmenter, p->truth, p->image.width, p->image.height, e->class_weights,
                                   &e->losses[number], &e->losses[e->count + number]));

done:
    return status;
}

static atr_status run_round(evaluation *e, int64_t first)
{
    atr_status status = ATR_OK;

    ATR_TRY(load_round(e, first));
    for (int i = 0; i < ROUND; i++)
        if (dealt(e, first + i) < e->count)
            ATR_TRY(score_picture(e, dealt(e, first + i), &e->pictures[i]));

done:
    for (int i = 0; i < ROUND; i++)
        free_picture(&e->pictures[i]);
    return status;
}

/* ATR_ERR_STOPPED on all ranks where one of them was asked to stop. */
static atr_status ask_to_stop(const evaluation *e, const atr_evaluate_options *options)
{
    int64_t votes = options->stop != NULL && options->stop(options->user);
    atr_status status = ATR_OK;

    if (options->stop != NULL && e->session->comm != NULL)
        ATR_TRY(atr_comm_sum_i64(e->session->comm, &votes, 1));
    if (votes > 0)
        status = atr_fail(ATR_ERR_STOPPED, "the evaluation was stopped");

done:
    return status;
}

/* For ranks that watch each other. */
static atr_status enter(const evaluation *e, atr_activity activity, const atr_evaluate_options *options)
{
    return e->session->comm != NULL ? atr_comm_enter(e->session->comm, activity, options->step) : ATR_OK;
}

/* All ranks do the same number of rounds, the last ones perhaps with nothing to do, so that agreements meet. */
static atr_status run_rounds(evaluation *e, const atr_evaluate_options *options)
{
    const int64_t size = size_of(e->session), shares = (e->count + size - 1) / size;
    atr_status status = ATR_OK;

    for (int64_t first = 0; first < shares; first += ROUND) {
        ATR_TRY(ask_to_stop(e, options));
        atr_status ran = enter(e, ATR_DOING_EVALUATION, options);
        if (ran == ATR_OK)
            ran = run_round(e, first);
        (void)enter(e, ATR_DOING_AGREEMENT, options);
        ATR_TRY(atr_session_agree(e->session, ran));
        const int64_t done_count = (first + ROUND) * size;
        if (options->progress != NULL && rank_of(e->session) == 0)
            options->progress(options->user, done_count < e->count ? done_count : e->count, e->count);
    }

done:
    return status;
}

static atr_status check_data(const atr_session *session, const atr_dataset *dataset,
                             const atr_evaluate_options *options, int64_t count)
{
    const int64_t classes = atr_dataset_classes(dataset)->count;

    if (classes != session->info.classes)
        return atr_fail(ATR_ERR_USAGE, "%s has %lld classes, the model %lld", atr_dataset_path(dataset),
                        (long long)classes, (long long)session->info.classes);
    if (count == 0)
        return atr_fail(ATR_ERR_DATA, "%s has no samples in split %s", atr_dataset_path(dataset),
                        atr_split_name(options->split));
    return ATR_OK;
}

static atr_status set_up(evaluation *e, const atr_evaluate_options *options)
{
    const atr_session *const s = e->session;
    atr_status status = ATR_OK;

    ATR_TRY(check_data(s, e->dataset, options, e->count));
    ATR_TRY(atr_segmenter_create(&s->info, s->graph, s->params, s->backend, options->fit, options->height,
                                 options->width, &e->segmenter));
    if (options->memory != NULL)
        atr_segmenter_set_memory(e->segmenter, options->memory);
    atr_segmenter_set_quant(e->segmenter, &s->quant);
    if (options->loss != NULL)
        ATR_TRY(ATR_NEW(2 * e->count, &e->losses));

done:
    return status;
}

/* Each sample's share comes from one rank, so sums over ranks are exact; then the samples are summed in their order. */
static atr_status sum_losses(evaluation *e, double *out)
{
    double loss = 0, weight = 0;
    atr_status status = ATR_OK;

    if (e->session->comm != NULL)
        ATR_TRY(atr_comm_sum_f64(e->session->comm, e->losses, 2 * e->count));
    for (int64_t i = 0; i < e->count; i++) {
        loss += e->losses[i];
        weight += e->losses[e->count + i];
    }
    *out = weight > 0 ? loss / weight : NAN;

done:
    return status;
}

atr_status atr_evaluate(const atr_session *session, const atr_dataset *dataset,
                        const atr_evaluate_options *options, atr_confusion *out)
{
    evaluation e = {
        .session = session, .dataset = dataset, .confusion = out, .class_weights = options->class_weights};
    atr_status status = ATR_OK;

    atr_confusion_clear(out);
    e.count = atr_dataset_split(dataset, options->split, &e.samples);
    ATR_TRY(atr_session_agree(session, set_up(&e, options)));
    ATR_TRY(run_rounds(&e, options));
    if (session->comm != NULL) {
        ATR_TRY(atr_comm_sum_i64(session->comm, out->counts, out->classes * out->classes));
        ATR_TRY(atr_comm_sum_i64(session->comm, &out->ignored, 1));
    }
    if (options->loss != NULL)
        ATR_TRY(sum_losses(&e, options->loss));

done:
    atr_free(e.losses);
    atr_free(e.ids);
    atr_segmenter_destroy(e.segmenter);
    return status;
}
