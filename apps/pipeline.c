#include "apps/pipeline.h"

#include <errno.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/threads.h"

/* ---- queues ------------------------------------------------------------------------------------------------------------- */

/* Pieces from one thread to another; with room for all there are, so that only taking waits. What bounds memory is that a piece
 * comes back to the reader only when it was written. */
typedef struct queue {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    atr_piece **pieces; /* ring of `room` */
    int64_t room, first, count;
    bool ordered;  /* taken by index: a piece that comes early waits */
    int64_t next;  /* index to be taken, where ordered */
    bool finished; /* nothing more will come: what is there may still be taken */
    bool aborted;  /* nothing may be taken any more */
} queue;

static atr_status queue_open(queue *q, int64_t room, bool ordered)
{
    q->ordered = ordered;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->filled, NULL);
    q->room = room;
    return ATR_NEW(room, &q->pieces);
}

static void queue_close(queue *q)
{
    if (q->room == 0)
        return;
    atr_free(q->pieces);
    pthread_cond_destroy(&q->filled);
    pthread_mutex_destroy(&q->lock);
}

static void queue_put(queue *q, atr_piece *piece)
{
    pthread_mutex_lock(&q->lock);
    q->pieces[(q->first + q->count++) % q->room] = piece;
    pthread_cond_signal(&q->filled);
    pthread_mutex_unlock(&q->lock);
}

/* Where in the ring the piece stands that may be taken, or -1. */
static int64_t queue_find(const queue *q)
{
    if (!q->ordered)
        return q->count > 0 ? 0 : -1;
    for (int64_t i = 0; i < q->count; i++)
        if (q->pieces[(q->first + i) % q->room]->index == q->next)
            return i;
    return -1;
}

/* Waits for a piece; NULL when there will be none. */
static atr_piece *queue_take(queue *q)
{
    atr_piece *piece = NULL;
    int64_t at = -1;

    pthread_mutex_lock(&q->lock);
    while ((at = queue_find(q)) < 0 && !q->finished && !q->aborted)
        pthread_cond_wait(&q->filled, &q->lock);
    if (at >= 0 && !q->aborted) {
        atr_piece **const found = &q->pieces[(q->first + at) % q->room];
        piece = *found;
        *found = q->pieces[q->first]; /* where order does not come from the ring, any place will do */
        q->first = (q->first + 1) % q->room;
        q->count--;
        q->next++;
    }
    pthread_mutex_unlock(&q->lock);
    return piece;
}

static void queue_end(queue *q, bool abort)
{
    pthread_mutex_lock(&q->lock);
    q->finished = true;
    q->aborted = q->aborted || abort;
    pthread_cond_broadcast(&q->filled);
    pthread_mutex_unlock(&q->lock);
}

/* ---- pieces ------------------------------------------------------------------------------------------------------------- */

void atr_piece_fail(atr_piece *piece, atr_status status)
{
    piece->status = status;
    atr_free(piece->message);
    piece->message = NULL;
    (void)atr_strdup(atr_status_message(), &piece->message);
}

atr_status atr_piece_reserve(atr_piece *piece, int64_t width, int64_t height)
{
    atr_status status = ATR_OK;
    atr_image *p = &piece->picture;

    if (p->pixels == NULL || p->width * p->height != width * height) {
        atr_image_free(p);
        ATR_TRY(ATR_NEW(width * height * 3, &p->pixels));
    }
    *p = (atr_image){width, height, 3, p->pixels};
done:
    return status;
}

static atr_status reserve(int64_t wanted, size_t element, int64_t *room, void **buffer)
{
    atr_status status = ATR_OK;

    if (wanted <= *room)
        return ATR_OK;
    atr_free(*buffer);
    *buffer = NULL;
    *room = 0;
    ATR_TRY(atr_alloc(wanted, element, buffer));
    *room = wanted;
done:
    return status;
}

/* Buffers for what is wanted of the piece's picture. */
static atr_status reserve_result(const atr_pipeline *p, atr_piece *piece)
{
    atr_status status = ATR_OK;
    atr_segmentation *r = &piece->result;
    const int64_t pixels = piece->picture.width * piece->picture.height;
    int64_t height = 0, width = 0;

    ATR_TRY(reserve(pixels, 1, &piece->room[0], (void **)&r->ids));
    if (p->probabilities)
        ATR_TRY(reserve(p->classes * pixels, sizeof(float), &piece->room[1], (void **)&r->probabilities));
    if (p->confidence)
        ATR_TRY(reserve(pixels, sizeof(float), &piece->room[2], (void **)&r->confidence));
    atr_segmenter_logits_size(p->segmenters[0], &piece->picture, &height, &width);
    if (p->logits)
        ATR_TRY(reserve(p->classes * height * width, sizeof(float), &piece->room[3], (void **)&r->logits));
done:
    return status;
}

static void free_piece(atr_piece *piece)
{
    atr_image_free(&piece->picture);
    atr_free(piece->result.ids);
    atr_free(piece->result.probabilities);
    atr_free(piece->result.confidence);
    atr_free(piece->result.logits);
    atr_free(piece->message);
}

/* ---- stages ------------------------------------------------------------------------------------------------------------- */

/* What ended a stage. */
typedef struct ending {
    atr_status status;
    char *message;
} ending;

typedef struct run {
    const atr_pipeline *pipeline;
    atr_piece *pieces;
    int64_t piece_count;
    queue idle, fresh, done; /* to the reader, to the network, to the writer */
    atomic_bool stop;
    pthread_t reader, writer;
    bool reading, writing; /* the threads were started */
    ending read_end, write_end;
    pthread_mutex_t collecting; /* one stream at a time takes the pieces of a pass */
    atr_piece *held;            /* taken, but for the next pass */
    struct stream *streams;     /* [pipeline->streams] */
} run;

/* What runs the network: one pass at a time. */
typedef struct stream {
    run *run;
    int index;
    pthread_t thread;
    atr_segmenter *segmenter;
    /* One pass, all [batch]: */
    atr_piece **pass;
    const atr_image **pictures;
    atr_segmentation *wanted;
} stream;

static void end_with(ending *end, atr_status status)
{
    end->status = status;
    if (status != ATR_OK)
        (void)atr_strdup(atr_status_message(), &end->message);
}

static void stop_all(run *r)
{
    atomic_store(&r->stop, true);
    queue_end(&r->idle, true);
    queue_end(&r->fresh, true);
    queue_end(&r->done, true);
}

/* Reading and writing take the CPU time that the network's threads leave, on all CPUs of the process: a thread inherits the one
 * place that OpenMP may have tied its maker to. */
static void step_back(void)
{
    const int calm = 10;
    const bool anywhere = atr_threads_unbind();

    if (setpriority(PRIO_PROCESS, (id_t)gettid(), calm) != 0 || !anywhere)
        errno = 0; /* it works as well, only not as smoothly */
}

static void *read_all(void *argument)
{
    run *r = argument;
    const atr_pipeline *p = r->pipeline;
    atr_status status = ATR_OK;
    int64_t index = 0;

    step_back();
    for (atr_piece *piece = NULL; (piece = queue_take(&r->idle)) != NULL;) {
        bool end = false;
        piece->index = index++;
        piece->status = ATR_OK;
        status = p->read(p->user, &r->stop, piece, &end);
        if (status != ATR_OK || end)
            break;
        queue_put(&r->fresh, piece);
    }
    end_with(&r->read_end, status);
    queue_end(&r->fresh, false);
    return NULL;
}

static void *write_all(void *argument)
{
    run *r = argument;
    const atr_pipeline *p = r->pipeline;
    atr_status status = ATR_OK;

    step_back();
    for (atr_piece *piece = NULL; (piece = queue_take(&r->done)) != NULL;) {
        status = p->write(p->user, piece);
        if (status != ATR_OK)
            break;
        queue_put(&r->idle, piece);
    }
    end_with(&r->write_end, status);
    if (status != ATR_OK)
        stop_all(r);
    return NULL;
}

/* The next pieces for one pass, in order: bad ones are carried along, a picture of another size waits for the next pass. */
static int64_t collect(run *r, atr_piece **pass)
{
    const atr_pipeline *p = r->pipeline;
    const atr_image *first = NULL;
    int64_t count = 0;

    pthread_mutex_lock(&r->collecting);
    while (count < p->batch) {
        atr_piece *piece = r->held != NULL ? r->held : queue_take(&r->fresh);
        r->held = NULL;
        if (piece == NULL)
            break;
        const bool good = piece->status == ATR_OK;
        if (good && p->same_size && first != NULL &&
            (piece->picture.width != first->width || piece->picture.height != first->height)) {
            r->held = piece;
            break;
        }
        if (good && first == NULL)
            first = &piece->picture;
        pass[count++] = piece;
    }
    pthread_mutex_unlock(&r->collecting);
    return count;
}

/* One pass over the good ones of `count` pieces. Where it fails each goes alone, so that one picture does not spoil others. */
static void run_pass(const stream *s, int64_t count)
{
    atr_status status = ATR_OK;
    int64_t good = 0;

    for (int64_t i = 0; i < count; i++) {
        atr_piece *piece = s->pass[i];
        if (piece->status != ATR_OK)
            continue;
        status = reserve_result(s->run->pipeline, piece);
        if (status != ATR_OK) {
            atr_piece_fail(piece, status);
            continue;
        }
        s->pictures[good] = &piece->picture;
        s->wanted[good++] = piece->result;
    }
    status = atr_segmenter_run_batch(s->segmenter, s->pictures, s->wanted, good);
    for (int64_t i = 0; status != ATR_OK && i < count; i++) {
        atr_piece *piece = s->pass[i];
        if (piece->status != ATR_OK)
            continue;
        const atr_status alone = atr_segmenter_run(s->segmenter, &piece->picture, &piece->result);
        if (alone != ATR_OK)
            atr_piece_fail(piece, alone);
    }
}

/* Makes the plan of the first pass while its pictures are read. Where that fails, the pass will tell. */
static void prepare_first(const stream *s)
{
    const atr_pipeline *p = s->run->pipeline;
    const int64_t first = p->expected == 0 || p->expected > p->batch ? p->batch : p->expected;

    (void)atr_segmenter_prepare(s->segmenter, first);
}

static void compute_all(const stream *s)
{
    run *r = s->run;

    prepare_first(s);
    for (int64_t count = 0; (count = collect(r, s->pass)) > 0;) {
        run_pass(s, count);
        for (int64_t i = 0; i < count; i++)
            queue_put(&r->done, s->pass[i]);
    }
}

/* Each stream keeps to its part of the CPUs, and so do the threads that OpenMP makes for it. */
static void *run_stream(void *argument)
{
    const stream *s = argument;
    const atr_cpu_mask all = atr_cpu_mask_get();
    const atr_cpu_mask part = atr_cpu_mask_part(&all, s->run->pipeline->streams, s->index);

    (void)atr_threads_bind(&part); /* it works as well, only not as smoothly */
    compute_all(s);
    return NULL;
}

/* ---- the whole ---------------------------------------------------------------------------------------------------------- */

static atr_status open_streams(run *r)
{
    atr_status status = ATR_OK;
    const atr_pipeline *p = r->pipeline;

    ATR_TRY(ATR_NEW(p->streams, &r->streams));
    for (int i = 0; i < p->streams; i++) {
        stream *s = &r->streams[i];
        s->run = r;
        s->index = i;
        s->segmenter = p->segmenters[i];
        ATR_TRY(ATR_NEW(p->batch, &s->pass));
        ATR_TRY(ATR_NEW(p->batch, &s->pictures));
        ATR_TRY(ATR_NEW(p->batch, &s->wanted));
    }
done:
    return status;
}

/* One pass being read and one being written, besides those in the network. */
static atr_status open_run(run *r)
{
    atr_status status = ATR_OK;

    pthread_mutex_init(&r->collecting, NULL);
    r->piece_count = (2 + 2 * r->pipeline->streams - 1) * r->pipeline->batch + 1;
    ATR_TRY(ATR_NEW(r->piece_count, &r->pieces));
    ATR_TRY(open_streams(r));
    ATR_TRY(queue_open(&r->idle, r->piece_count, false));
    ATR_TRY(queue_open(&r->fresh, r->piece_count, false));
    ATR_TRY(queue_open(&r->done, r->piece_count, true));
    for (int64_t i = 0; i < r->piece_count; i++)
        queue_put(&r->idle, &r->pieces[i]);
    r->reading = pthread_create(&r->reader, NULL, read_all, r) == 0;
    r->writing = r->reading && pthread_create(&r->writer, NULL, write_all, r) == 0;
    if (!r->writing)
        status = atr_fail(ATR_ERR_MEMORY, "cannot start a thread");
done:
    return status;
}

/* Runs the network until the input ends. Where the system gives fewer threads, there are fewer streams. */
static atr_status run_streams(run *r)
{
    int started = 0;

    if (r->pipeline->streams == 1) {
        compute_all(&r->streams[0]);
    } else {
        while (started < r->pipeline->streams &&
               pthread_create(&r->streams[started].thread, NULL, run_stream, &r->streams[started]) == 0)
            started++;
        for (int i = 0; i < started; i++)
            pthread_join(r->streams[i].thread, NULL);
        if (started == 0) {
            stop_all(r);
            return atr_fail(ATR_ERR_MEMORY, "cannot start a thread");
        }
    }
    queue_end(&r->done, false);
    return ATR_OK;
}

static void close_run(run *r)
{
    queue_close(&r->idle);
    queue_close(&r->fresh);
    queue_close(&r->done);
    for (int64_t i = 0; r->pieces != NULL && i < r->piece_count; i++)
        free_piece(&r->pieces[i]);
    atr_free(r->pieces);
    for (int i = 0; r->streams != NULL && i < r->pipeline->streams; i++) {
        atr_free(r->streams[i].pass);
        atr_free(r->streams[i].pictures);
        atr_free(r->streams[i].wanted);
    }
    atr_free(r->streams);
    pthread_mutex_destroy(&r->collecting);
    atr_free(r->read_end.message);
    atr_free(r->write_end.message);
}

static atr_status fail_again(const ending *end)
{
    return end->status == ATR_OK ? ATR_OK
                                 : atr_fail(end->status, "%s", end->message != NULL ? end->message : "");
}

atr_status atr_pipeline_run(const atr_pipeline *pipeline)
{
    atr_status status = ATR_OK;
    run r = {.pipeline = pipeline};

    atomic_init(&r.stop, false);
    status = open_run(&r);
    if (status == ATR_OK)
        status = run_streams(&r);
    else if (r.reading)
        stop_all(&r);
    if (r.writing)
        pthread_join(r.writer, NULL);
    if (r.writing) /* nothing is written any more: the reader need not wait for what nobody wants */
        atomic_store(&r.stop, true);
    if (r.reading)
        pthread_join(r.reader, NULL);
    ATR_TRY(status);
    ATR_TRY(fail_again(&r.write_end));
    ATR_TRY(fail_again(&r.read_end));
done:
    close_run(&r);
    return status;
}
