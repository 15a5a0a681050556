/* A thread that looks after the buckets while the others compute. It sleeps between looks: a blocking call of Open MPI would spin and take
 * a core from them. */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "dist/reducer_impl.h"

/* A look costs microseconds, a bucket on the wire takes milliseconds. */
enum { SLEEP_NS = 50000 };

struct atr_reducer_thread {
    pthread_t id;
    pthread_mutex_t lock;
    pthread_cond_t work, idle;
    int64_t full; /* buckets to look after */
    bool active;  /* there are some */
    bool hurry;   /* the others wait: no sleep */
    bool stop;
    atr_status status; /* of this backward */
    char message[ATR_MESSAGE_BYTES];
};

/* Where it runs: on the last of this process's cores, which is free where there are more cores than threads. Wandering about it would
 * push computing threads off theirs. */
static void pin(pthread_t id)
{
    cpu_set_t own, last;

    if (sched_getaffinity(0, sizeof own, &own) != 0)
        return;
    CPU_ZERO(&last);
    for (int i = CPU_SETSIZE - 1; i >= 0; i--)
        if (CPU_ISSET(i, &own)) {
            CPU_SET(i, &last);
            break;
        }
    pthread_setaffinity_np(id, sizeof last, &last);
}

static void rest(bool hurry)
{
    const struct timespec pause = {0, SLEEP_NS};

    if (hurry)
        sched_yield();
    else
        nanosleep(&pause, NULL);
}

/* Until all buckets of this backward are done, or MPI refuses. */
static void look_after(atr_reducer *reducer)
{
    atr_reducer_thread *const thread = reducer->thread;
    atr_status status = ATR_OK;

    while (status == ATR_OK && !atr_reducer_done(reducer)) {
        bool moved = false;
        pthread_mutex_lock(&thread->lock);
        const int64_t full = thread->full;
        const bool hurry = thread->hurry;
        pthread_mutex_unlock(&thread->lock);
        status = atr_reducer_advance(reducer, full, &moved);
        if (status == ATR_OK && !moved)
            rest(hurry);
    }
    pthread_mutex_lock(&thread->lock);
    thread->status = status;
    snprintf(thread->message, sizeof thread->message, "%s", atr_status_message());
    thread->active = false;
    pthread_cond_signal(&thread->idle);
    pthread_mutex_unlock(&thread->lock);
}

static void *run(void *user)
{
    atr_reducer *const reducer = user;
    atr_reducer_thread *const thread = reducer->thread;

    for (;;) {
        pthread_mutex_lock(&thread->lock);
        while (!thread->active && !thread->stop)
            pthread_cond_wait(&thread->work, &thread->lock);
        const bool stop = thread->stop;
        pthread_mutex_unlock(&thread->lock);
        if (stop)
            return NULL;
        look_after(reducer);
    }
}

atr_status atr_reducer_thread_start(atr_reducer *reducer)
{
    atr_reducer_thread *thread = NULL;
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW(1, &thread));
    pthread_mutex_init(&thread->lock, NULL);
    pthread_cond_init(&thread->work, NULL);
    pthread_cond_init(&thread->idle, NULL);
    reducer->thread = thread;
    const int code = pthread_create(&thread->id, NULL, run, reducer);
    if (code != 0) {
        atr_free(thread);
        reducer->thread = NULL;
        return atr_fail(ATR_ERR_MEMORY, "no thread for the sums of gradients: %s", strerror(code));
    }
    pin(thread->id);

done:
    return status;
}

void atr_reducer_thread_stop(atr_reducer *reducer)
{
    atr_reducer_thread *const thread = reducer->thread;

    if (thread == NULL)
        return;
    pthread_mutex_lock(&thread->lock);
    thread->stop = true;
    pthread_cond_signal(&thread->work);
    pthread_mutex_unlock(&thread->lock);
    pthread_join(thread->id, NULL);
    pthread_cond_destroy(&thread->work);
    pthread_cond_destroy(&thread->idle);
    pthread_mutex_destroy(&thread->lock);
    atr_free(thread);
    reducer->thread = NULL;
}

void atr_reducer_thread_tell(atr_reducer *reducer, int64_t full)
{
    atr_reducer_thread *const thread = reducer->thread;

    pthread_mutex_lock(&thread->lock);
    thread->full = full;
    thread->active = thread->status == ATR_OK;
    pthread_cond_signal(&thread->work);
    pthread_mutex_unlock(&thread->lock);
}

atr_status atr_reducer_thread_wait(atr_reducer *reducer)
{
    atr_reducer_thread *const thread = reducer->thread;
    atr_status status = ATR_OK;

    pthread_mutex_lock(&thread->lock);
    thread->hurry = true;
    while (thread->active)
        pthread_cond_wait(&thread->idle, &thread->lock);
    thread->hurry = false;
    status = thread->status;
    pthread_mutex_unlock(&thread->lock);
    return status == ATR_OK ? ATR_OK : atr_fail(status, "%s", thread->message);
}
