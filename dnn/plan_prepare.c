/* Steps made ready by several threads at once: creating oneDNN's primitives means generating machine code, which is most of what a
 * plan costs. */
#include <pthread.h>
#include <stdatomic.h>

#include "core/threads.h"
#include "dnn/plan_impl.h"

enum { MOST_WORKERS = 16, STEPS_A_WORKER = 8 };

typedef struct preparation {
    atr_plan *plan;
    atomic_int next; /* step to be made ready */
} preparation;

typedef struct worker {
    preparation *shared;
    pthread_t thread;
    atr_status status;
    int step;      /* where it failed */
    char *message; /* its words */
} worker;

static void prepare_steps(worker *w)
{
    preparation *p = w->shared;

    atr_backend_enter(p->plan->backend); /* primitives are made for the team that will run them */
    for (int s = 0; (s = atomic_fetch_add(&p->next, 1)) < p->plan->step_count;) {
        w->status = plan_prepare_step(p->plan, s);
        if (w->status == ATR_OK)
            continue;
        w->step = s;
        (void)atr_strdup(atr_status_message(), &w->message);
        atomic_store(&p->next, p->plan->step_count); /* the others end, too */
        return;
    }
}

static void *run_worker(void *argument)
{
    atr_threads_unbind();
    prepare_steps(argument);
    return NULL;
}

/* Several may have failed: the first step's message is the one that a single thread would have given. */
static atr_status first_failure(const worker *workers, int count)
{
    const worker *first = NULL;

    for (int i = 0; i < count; i++)
        if (workers[i].status != ATR_OK && (first == NULL || workers[i].step < first->step))
            first = &workers[i];
    return first == NULL ? ATR_OK
                         : atr_fail(first->status, "%s", first->message != NULL ? first->message : "");
}

atr_status plan_prepare(atr_plan *plan)
{
    preparation shared = {.plan = plan};
    worker workers[MOST_WORKERS] = {{0}};
    int wanted = plan->step_count / STEPS_A_WORKER, count = 1;

    atomic_init(&shared.next, 0);
    wanted = wanted < plan->backend->threads ? wanted : plan->backend->threads;
    wanted = wanted < MOST_WORKERS ? wanted : MOST_WORKERS;
    for (int i = 0; i < MOST_WORKERS; i++)
        workers[i].shared = &shared;
    while (count < wanted && pthread_create(&workers[count].thread, NULL, run_worker, &workers[count]) == 0)
        count++;
    prepare_steps(&workers[0]);
    for (int i = 1; i < count; i++)
        pthread_join(workers[i].thread, NULL);
    const atr_status status = first_failure(workers, count);
    for (int i = 0; i < count; i++)
        atr_free(workers[i].message);
    return status;
}
