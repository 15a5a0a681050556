#include "io/run_writer.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/threads.h"
#include "core/timer.h"

/* A checkpoint with everything that it points to, but for `unsent`, which is the caller's. */
typedef struct copy {
    atr_checkpoint ckpt;
    atr_model_info info;
    atr_optim_state optim;
    atr_train_state state;
    atr_params *params, *trained;
    int64_t moment_count, step_count; /* elements in each slot; in entry_steps */
    int64_t *entry_steps;
    float *moments[ATR_SLOTS_MAX];
} copy;

struct atr_run_writer {
    char *folder;
    copy copied;
    bool best;
    pthread_t thread;
    bool running; /* the thread is to be joined */

    pthread_mutex_t lock; /* of what follows, which the thread sets at its end */
    atr_status status;
    char message[4096];
    int64_t step;
    double seconds;
};

static void free_copy(copy *c)
{
    atr_params_destroy(c->params);
    atr_params_destroy(c->trained);
    for (int i = 0; i < ATR_SLOTS_MAX; i++)
        atr_free(c->moments[i]);
    atr_free(c->entry_steps);
    atr_free(c->state.extras);
    atr_free(c->state.config);
    *c = (copy){0};
}

/* Values and buffers of `from` in `*to`, which is made where it is not there yet. */
static atr_status copy_params(const atr_params *from, atr_params **to)
{
    const int64_t count = atr_params_count(from);
    atr_param_spec *specs = NULL;
    atr_status status = ATR_OK;

    if (*to == NULL) {
        ATR_TRY(ATR_NEW(count, &specs));
        for (int64_t i = 0; i < count; i++)
            specs[i] = *atr_params_spec(from, i);
        ATR_TRY(atr_params_create_plain(specs, count, &atr_host_allocator, to));
    }
    ATR_TRY(atr_params_copy(from, *to));

done:
    atr_free(specs);
    return status;
}

static atr_status copy_optim(copy *c, const atr_optim_state *from, const atr_params *params)
{
    const int64_t flat = atr_params_flat_count(params), entries = atr_params_count(params);
    atr_status status = ATR_OK;

    c->optim = *from;
    for (int i = 0; i < from->slot_count; i++) {
        if (c->moments[i] == NULL)
            ATR_TRY(ATR_NEW(flat, &c->moments[i]));
        memcpy(c->moments[i], from->slots[i].flat, (size_t)flat * sizeof(float));
        c->optim.slots[i].flat = c->moments[i];
    }
    if (from->entry_steps != NULL) {
        if (c->entry_steps == NULL)
            ATR_TRY(ATR_NEW(entries, &c->entry_steps));
        memcpy(c->entry_steps, from->entry_steps, (size_t)entries * sizeof(int64_t));
        c->optim.entry_steps = c->entry_steps;
    }

done:
    return status;
}

static atr_status copy_state(copy *c, const atr_train_state *from)
{
    atr_status status = ATR_OK;

    atr_free(c->state.extras);
    atr_free(c->state.config);
    c->state = *from;
    c->state.extras = NULL;
    c->state.config = NULL;
    if (from->config != NULL)
        ATR_TRY(atr_strdup(from->config, &c->state.config));
    ATR_TRY(ATR_NEW(from->extra_count, &c->state.extras));
    if (from->extra_count > 0)
        memcpy(c->state.extras, from->extras, (size_t)from->extra_count * sizeof *from->extras);

done:
    return status;
}

/* A block of the copy is used again where it has the right size: in one run it always has. */
static void drop_other_sizes(copy *c, const atr_params *params)
{
    if (c->moment_count != atr_params_flat_count(params) || c->step_count != atr_params_count(params))
        free_copy(c);
    c->moment_count = atr_params_flat_count(params);
    c->step_count = atr_params_count(params);
}

static atr_status take_copy(copy *c, const atr_checkpoint *ckpt)
{
    atr_status status = ATR_OK;

    drop_other_sizes(c, ckpt->params);
    c->info = *ckpt->info;
    ATR_TRY(copy_params(ckpt->params, &c->params));
    c->ckpt = (atr_checkpoint){
        .info = &c->info, .params = c->params, .unsent_count = ckpt->unsent_count, .unsent = ckpt->unsent};
    if (ckpt->optim != NULL) {
        ATR_TRY(copy_optim(c, ckpt->optim, ckpt->params));
        c->ckpt.optim = &c->optim;
    }
    if (ckpt->state != NULL) {
        ATR_TRY(copy_state(c, ckpt->state));
        c->ckpt.state = &c->state;
    }
    if (ckpt->trained != NULL) {
        ATR_TRY(copy_params(ckpt->trained, &c->trained));
        c->ckpt.trained = c->trained;
    }

done:
    return status;
}

atr_status atr_run_writer_create(const char *folder, atr_run_writer **out)
{
    atr_run_writer *writer = NULL;
    atr_status status = ATR_OK;

    *out = NULL;
    ATR_TRY(ATR_NEW(1, &writer));
    pthread_mutex_init(&writer->lock, NULL);
    writer->step = -1;
    ATR_TRY(atr_strdup(folder, &writer->folder));
    *out = writer;
    writer = NULL;

done:
    atr_run_writer_destroy(writer);
    return status;
}

void atr_run_writer_destroy(atr_run_writer *writer)
{
    if (writer == NULL)
        return;
    (void)atr_run_writer_wait(writer);
    pthread_mutex_destroy(&writer->lock);
    free_copy(&writer->copied);
    atr_free(writer->folder);
    atr_free(writer);
}

static void save(atr_run_writer *writer, const atr_checkpoint *ckpt, bool best)
{
    const double started = atr_seconds();
    const atr_status status = atr_run_save(writer->folder, ckpt, best);

    pthread_mutex_lock(&writer->lock);
    writer->status = status;
    writer->seconds = atr_seconds() - started;
    if (status == ATR_OK)
        writer->step = ckpt->state != NULL ? ckpt->state->global_step : 0;
    else
        strncpy(writer->message, atr_status_message(), sizeof writer->message - 1);
    pthread_mutex_unlock(&writer->lock);
}

static void *write_copy(void *argument)
{
    atr_run_writer *const writer = argument;
    const int calm = 5;

    /* Training goes first, but a checkpoint should not take for ever on a full machine. */
    if (setpriority(PRIO_PROCESS, (id_t)gettid(), calm) != 0)
        errno = 0;
    save(writer, &writer->copied.ckpt, writer->best);
    return NULL;
}

atr_status atr_run_writer_start(atr_run_writer *writer, const atr_checkpoint *ckpt, bool best, bool behind)
{
    atr_status status = ATR_OK;

    ATR_TRY(atr_run_writer_wait(writer));
    writer->best = best;
    if (behind && take_copy(&writer->copied, ckpt) == ATR_OK &&
        atr_threads_start(&writer->thread, write_copy, writer) == 0) {
        writer->running = true;
        return ATR_OK;
    }
    save(writer, ckpt, best);
    status = atr_run_writer_check(writer);

done:
    return status;
}

atr_status atr_run_writer_check(atr_run_writer *writer)
{
    atr_status status = ATR_OK;

    pthread_mutex_lock(&writer->lock);
    if (writer->status != ATR_OK)
        status = atr_fail(writer->status, "%s", writer->message);
    pthread_mutex_unlock(&writer->lock);
    return status;
}

atr_status atr_run_writer_wait(atr_run_writer *writer)
{
    if (writer->running)
        pthread_join(writer->thread, NULL);
    writer->running = false;
    return atr_run_writer_check(writer);
}

int64_t atr_run_writer_step(atr_run_writer *writer)
{
    pthread_mutex_lock(&writer->lock);
    const int64_t step = writer->step;
    pthread_mutex_unlock(&writer->lock);
    return step;
}

double atr_run_writer_seconds(atr_run_writer *writer)
{
    pthread_mutex_lock(&writer->lock);
    const double seconds = writer->seconds;
    pthread_mutex_unlock(&writer->lock);
    return seconds;
}
