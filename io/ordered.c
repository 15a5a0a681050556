#include "io/ordered.h"

#include <pthread.h>
#include <string.h>

enum { AHEAD_PER_THREAD = 4, MOST_THREADS = 256 };

typedef struct slot {
    bool ready;
    atr_status status;
    char *message; /* of a failed piece; the message slot is the thread's own */
    void *result;
} slot;

typedef struct pool {
    const atr_ordered *job;
    int64_t count;
    int64_t next;  /* piece to be started */
    int64_t taken; /* pieces handed to `take` */
    int64_t ahead; /* slots: piece i waits in slot i % ahead */
    bool stop;
    slot *slots; /* [ahead] */
    pthread_mutex_t lock;
    pthread_cond_t finished, room;
} pool;

typedef struct worker {
    pool *pool;
    int number;
    pthread_t thread;
} worker;

static void *work(void *argument)
{
    const worker *self = argument;
    pool *p = self->pool;

    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (!p->stop && p->next < p->count && p->next - p->taken >= p->ahead)
            pthread_cond_wait(&p->room, &p->lock);
        if (p->stop || p->next >= p->count)
            break;
        const int64_t index = p->next++;
        pthread_mutex_unlock(&p->lock);
        slot done = {.ready = true};
        done.status = p->job->work(p->job->user, self->number, index, &done.result);
        if (done.status != ATR_OK)
            (void)atr_strdup(atr_status_message(), &done.message);
        pthread_mutex_lock(&p->lock);
        p->slots[index % p->ahead] = done;
        pthread_cond_signal(&p->finished);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* Takes results in order until all are taken or one fails. */
static atr_status take_all(pool *p)
{
    atr_status status = ATR_OK;

    for (int64_t i = 0; i < p->count && status == ATR_OK; i++) {
        slot *s = &p->slots[i % p->ahead];
        pthread_mutex_lock(&p->lock);
        while (!s->ready)
            pthread_cond_wait(&p->finished, &p->lock);
        pthread_mutex_unlock(&p->lock);
        if (s->status != ATR_OK) {
            status = atr_fail(s->status, "%s", s->message == NULL ? "out of memory" : s->message);
            break;
        }
        void *result = s->result;
        s->result = NULL;
        status = p->job->take(p->job->user, i, result);
        pthread_mutex_lock(&p->lock);
        s->ready = false;
        p->taken++;
        pthread_cond_broadcast(&p->room);
        pthread_mutex_unlock(&p->lock);
    }
    return status;
}

atr_status atr_ordered_run(const atr_ordered *job, int64_t count, int threads)
{
    atr_status status = ATR_OK;
    pool p = {.job = job, .count = count};
    worker *workers = NULL;
    int started = 0;

    threads = threads < 1 ? 1 : threads > MOST_THREADS ? MOST_THREADS : threads;
    p.ahead = AHEAD_PER_THREAD * threads;
    pthread_mutex_init(&p.lock, NULL);
    pthread_cond_init(&p.finished, NULL);
    pthread_cond_init(&p.room, NULL);
    ATR_TRY(ATR_NEW(p.ahead, &p.slots));
    ATR_TRY(ATR_NEW(threads, &workers));
    for (; started < threads; started++) {
        workers[started] = (worker){&p, started, 0};
        const int reason = pthread_create(&workers[started].thread, NULL, work, &workers[started]);
        if (reason == 0)
            continue;
        if (started == 0)
            status = atr_fail(ATR_ERR_MEMORY, "cannot start a thread: %s", strerror(reason));
        break; /* fewer threads do the same work */
    }
    if (status == ATR_OK)
        status = take_all(&p);

done:
    pthread_mutex_lock(&p.lock);
    p.stop = true;
    pthread_cond_broadcast(&p.room);
    pthread_mutex_unlock(&p.lock);
    for (int i = 0; i < started; i++)
        pthread_join(workers[i].thread, NULL);
    for (int64_t i = 0; p.slots != NULL && i < p.ahead; i++) {
        if (p.slots[i].result != NULL)
            job->drop(job->user, p.slots[i].result);
        atr_free(p.slots[i].message);
    }
    atr_free(p.slots);
    atr_free(workers);
    pthread_cond_destroy(&p.room);
    pthread_cond_destroy(&p.finished);
    pthread_mutex_destroy(&p.lock);
    return status;
}

atr_status atr_watch_say(const atr_watch *watch, const char *stage, int64_t done, int64_t total)
{
    if (watch == NULL || watch->say == NULL || watch->say(watch->user, stage, done, total))
        return ATR_OK;
    return atr_fail(ATR_ERR_STOPPED, "stopped while %s, after %lld of %lld", stage, (long long)done,
                    (long long)total);
}
