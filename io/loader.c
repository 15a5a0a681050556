#include "io/loader.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/deal.h"
#include "core/rng.h"
#include "core/timer.h"
#include "io/loader_impl.h"

/* A ring of batches. Threads take one sample at a time from the batch that is being filled, so that all of them work on the
 * batch that is needed next; the order in which they finish changes nothing but time. */

enum { MOST_THREADS = 256 };

/* One batch of the ring; its arrays hold `capacity` samples. */
typedef struct slot {
    atr_batch batch;
    int64_t *samples;
    uint64_t *keys;
    atr_box *boxes;
    int64_t *valid;   /* [capacity] labels that are not ignored */
    int64_t given;    /* samples that threads have taken */
    int64_t finished; /* of these, done */
    int64_t room;     /* pixels that images and labels hold */
    int64_t failed;   /* first failed sample of the batch, -1: none */
    atr_status status;
    char *message; /* of the failed sample */
} slot;

typedef struct worker {
    atr_loader *loader;
    pthread_t thread;
} worker;

struct atr_loader {
    const atr_dataset *dataset;
    atr_loader_config config;
    const int64_t *members; /* [count] sample numbers of the split */
    int64_t count, steps, capacity;
    int64_t *order; /* [count] positions in `members`, of epoch `order_epoch` */
    int64_t order_epoch;

    pthread_mutex_t lock;
    pthread_cond_t ready, room; /* a batch is complete; a batch was given back */
    bool have_lock, stop, lent;
    slot *slots;     /* [config.prefetch + 1]: one is lent */
    int64_t filling; /* running number of the batch being filled */
    int64_t next;    /* of the batch to be lent next */
    worker *workers;
    int started;
    double waited;
    atr_status status; /* of the failed batch, for all further calls */
    char *message;
};

static int64_t slot_count(const atr_loader *loader)
{
    return loader->config.prefetch + 1;
}

static slot *slot_of(atr_loader *loader, int64_t number)
{
    return &loader->slots[number % slot_count(loader)];
}

int64_t atr_epoch_steps(int64_t samples, int64_t batch, bool drop_last)
{
    return (samples + (drop_last ? 0 : batch - 1)) / batch;
}

int64_t atr_epoch_last(int64_t samples, int64_t batch, bool drop_last)
{
    const int64_t rest = samples % batch;

    return drop_last || rest == 0 ? batch : rest;
}

/* How many samples of a global batch of `count` are this rank's. */
static int64_t own_count(const atr_loader_config *c, int64_t count)
{
    const int64_t passes = atr_deal_passes(count, c->global_batch, c->parts);
    int64_t own = 0;

    for (int64_t pass = 0; pass < passes; pass++)
        own += atr_deal_pass(count, passes, pass, c->ranks, c->rank, c->rank + 1).count;
    return own;
}

/* This rank's samples of a global batch that begins at position `first` of the order, pass by pass. */
static void assign_samples(const atr_loader *loader, int64_t first, slot *s)
{
    const atr_loader_config *c = &loader->config;
    atr_batch *b = &s->batch;
    const int64_t passes = atr_deal_passes(b->global_count, c->global_batch, c->parts);

    b->count = 0;
    for (int64_t pass = 0; pass < passes; pass++) {
        const atr_share share = atr_deal_pass(b->global_count, passes, pass, c->ranks, c->rank, c->rank + 1);
        for (int64_t i = 0; i < share.count; i++, b->count++) {
            const int64_t sample = loader->members[loader->order[first + share.first + i]];
            s->samples[b->count] = sample;
            s->keys[b->count] = atr_rng_key(c->seed, ATR_RNG_DROPOUT, (uint64_t)b->epoch, (uint64_t)sample);
        }
    }
}

/* Which samples batch `number` (counted from where the loader began) holds for this rank. */
static void assign(atr_loader *loader, int64_t number, slot *s)
{
    const atr_loader_config *c = &loader->config;
    const int64_t step = c->step + number;
    const int64_t epoch = c->epoch + step / loader->steps;
    atr_batch *b = &s->batch;

    b->epoch = epoch;
    b->step = step % loader->steps;
    if (c->mode == ATR_LOADER_TRAIN && loader->order_epoch != epoch) {
        atr_rng_shuffle(atr_rng_key(c->seed, ATR_RNG_SHUFFLE, (uint64_t)epoch, 0), loader->count,
                        loader->order);
        loader->order_epoch = epoch;
    }
    const int64_t first = b->step * c->global_batch, left = loader->count - first;
    b->global_count = left < c->global_batch ? left : c->global_batch;
    assign_samples(loader, first, s);
    s->given = s->finished = 0;
    s->failed = -1;
}

/* Empty places of a batch: black pictures without labels. */
static void clear_rest(slot *s)
{
    const atr_batch *b = &s->batch;
    const int64_t pixels = b->height * b->width, rest = (b->capacity - b->count) * pixels;

    if (rest == 0)
        return;
    memset(b->images + 3 * b->count * pixels, 0, (size_t)(3 * rest) * sizeof *b->images);
    memset(b->labels + b->count * pixels, ATR_IGNORE, (size_t)rest);
}

static void note_failure(slot *s, int64_t index, atr_status status)
{
    if (s->failed >= 0 && s->failed < index)
        return; /* the first one in the batch is told, whichever thread was faster */
    s->failed = index;
    s->status = status;
    atr_free(s->message);
    s->message = NULL;
    (void)atr_strdup(atr_status_message(), &s->message);
}

/* Makes sample `index` of the batch in slot `s`. Only the own-size loader, with one sample a batch, changes the slot's size. */
static atr_status make_sample(atr_loader *loader, slot *s, int64_t index, atr_sample_workspace *workspace)
{
    atr_status status = ATR_OK;
    atr_batch *b = &s->batch;
    const bool own_size = loader->config.height == 0;

    if (own_size) {
        const atr_sample sample = atr_dataset_sample(loader->dataset, s->samples[index]);
        const int64_t pixels = sample.width * sample.height;
        if (pixels > s->room) {
            atr_free(b->images);
            atr_free(b->labels);
            b->images = NULL;
            b->labels = NULL;
            s->room = 0;
            ATR_TRY(ATR_NEW(3 * pixels, &b->images));
            ATR_TRY(ATR_NEW(pixels, &b->labels));
            s->room = pixels;
        }
        b->width = sample.width;
        b->height = sample.height;
    }
    const int64_t pixels = b->height * b->width;
    const atr_sample_target target = {
        b->height,        b->width,        b->images + 3 * index * pixels, b->labels + index * pixels,
        &s->boxes[index], &s->valid[index]};
    ATR_TRY(
        atr_sample_make(loader->dataset, &loader->config, s->samples[index], b->epoch, &target, workspace));

done:
    return status;
}

/* Waits for a sample to be made and takes it: slot and index in its batch. False: the loader ends. Called with the lock. */
static bool take_sample(atr_loader *loader, slot **out, int64_t *index)
{
    while (!loader->stop) {
        if (loader->filling - loader->next >= slot_count(loader)) {
            pthread_cond_wait(&loader->room, &loader->lock);
            continue;
        }
        slot *s = slot_of(loader, loader->filling);
        if (s->given == 0 && s->finished == 0)
            assign(loader, loader->filling, s);
        if (s->given < s->batch.count) {
            *out = s;
            *index = s->given++;
            if (s->given == s->batch.count)
                loader->filling++;
            return true;
        }
        loader->filling++; /* an empty part: complete as it is */
        pthread_cond_signal(&loader->ready);
    }
    return false;
}

/* Threads that compute use every core; the loader's take what these leave (in Linux niceness belongs to the thread). */
static void be_nice(void)
{
    const int calm = 10;

    if (setpriority(PRIO_PROCESS, (id_t)gettid(), calm) != 0)
        errno = 0; /* as nice as can be already */
}

static void *work(void *argument)
{
    atr_loader *loader = ((worker *)argument)->loader;
    atr_sample_workspace workspace = {0};
    slot *s = NULL;
    int64_t index = 0;

    be_nice();
    pthread_mutex_lock(&loader->lock);
    while (take_sample(loader, &s, &index)) {
        pthread_mutex_unlock(&loader->lock);
        const atr_status status = make_sample(loader, s, index, &workspace);
        pthread_mutex_lock(&loader->lock);
        if (status != ATR_OK)
            note_failure(s, index, status);
        if (++s->finished == s->batch.count)
            pthread_cond_signal(&loader->ready);
    }
    pthread_mutex_unlock(&loader->lock);
    atr_sample_workspace_free(&workspace);
    return NULL;
}

static atr_status check_config(const atr_dataset *dataset, const atr_loader_config *c, int64_t count)
{
    const bool own_size = c->height == 0 && c->width == 0;

    if (c->ranks < 1 || c->rank < 0 || c->rank >= c->ranks || c->prefetch < 1 || c->threads < 1 ||
        c->epoch < 0 || c->step < 0)
        return atr_fail(
            ATR_ERR_USAGE, "loader: rank %d of %d, %d threads, %lld batches ahead, from epoch %lld step %lld",
            c->rank, c->ranks, c->threads, (long long)c->prefetch, (long long)c->epoch, (long long)c->step);
    if (!own_size && (c->height < 1 || c->width < 1 || c->height > ATR_IMAGE_MAX_PIXELS / c->width))
        return atr_fail(ATR_ERR_USAGE, "loader: %lldx%lld is no picture size", (long long)c->width,
                        (long long)c->height);
    if (c->global_batch < 1 || (c->mode == ATR_LOADER_TRAIN && c->global_batch < c->ranks))
        return atr_fail(ATR_ERR_USAGE,
                        "a batch of %lld over all ranks leaves some of the %d ranks without a sample; "
                        "give a larger batch or fewer ranks",
                        (long long)c->global_batch, c->ranks);
    if (own_size && (c->mode == ATR_LOADER_TRAIN || c->global_batch > c->ranks))
        return atr_fail(ATR_ERR_USAGE, "loader: pictures at their own size come one by one, not in batches");
    if (count == 0)
        return atr_fail(ATR_ERR_DATA, "%s has no sample in %s; pack it with a list or with --split 0.9:0.1",
                        atr_dataset_path(dataset), atr_split_name(c->split));
    if (c->mode == ATR_LOADER_TRAIN && c->parts > c->global_batch)
        return atr_fail(ATR_ERR_USAGE, "loader: a batch of %lld in %lld parts", (long long)c->global_batch,
                        (long long)c->parts);
    if (c->drop_last && count < c->global_batch)
        return atr_fail(ATR_ERR_DATA,
                        "%s is too small: %lld samples in %s, one step needs %lld; give a smaller --batch or "
                        "fewer ranks, or pack more pictures",
                        atr_dataset_path(dataset), (long long)count, atr_split_name(c->split),
                        (long long)c->global_batch);
    return ATR_OK;
}

static atr_status create_slot(const atr_loader *loader, slot *s)
{
    const atr_loader_config *c = &loader->config;
    const int64_t n = loader->capacity;
    atr_status status = ATR_OK;

    s->batch.capacity = n;
    s->batch.height = c->height;
    s->batch.width = c->width;
    s->room = n * c->height * c->width;
    ATR_TRY(ATR_NEW(3 * s->room, &s->batch.images));
    ATR_TRY(ATR_NEW(s->room, &s->batch.labels));
    ATR_TRY(ATR_NEW(n, &s->samples));
    ATR_TRY(ATR_NEW(n, &s->keys));
    ATR_TRY(ATR_NEW(n, &s->boxes));
    ATR_TRY(ATR_NEW(n, &s->valid));
    s->batch.samples = s->samples;
    s->batch.keys = s->keys;
    s->batch.boxes = s->boxes;

done:
    return status;
}

static atr_status start_workers(atr_loader *loader)
{
    const int threads = loader->config.threads < MOST_THREADS ? loader->config.threads : MOST_THREADS;
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW(threads, &loader->workers));
    for (; loader->started < threads; loader->started++) {
        worker *w = &loader->workers[loader->started];
        w->loader = loader;
        const int reason = pthread_create(&w->thread, NULL, work, w);
        if (reason == 0)
            continue;
        if (loader->started == 0)
            status = atr_fail(ATR_ERR_MEMORY, "cannot start a loader thread: %s", strerror(reason));
        break; /* fewer threads make the same batches */
    }

done:
    return status;
}

/* Of any step, at least 1. */
static int64_t largest_share(const atr_loader *loader)
{
    const atr_loader_config *c = &loader->config;
    const int64_t full = loader->count < c->global_batch ? 0 : own_count(c, c->global_batch);
    const int64_t last = own_count(c, atr_epoch_last(loader->count, c->global_batch, c->drop_last));
    const int64_t most = full > last ? full : last;

    return most > 1 ? most : 1;
}

atr_status atr_loader_create(const atr_dataset *dataset, const atr_loader_config *config, atr_loader **out)
{
    atr_status status = ATR_OK;
    atr_loader *loader = NULL;

    *out = NULL;
    ATR_TRY(ATR_NEW(1, &loader));
    loader->dataset = dataset;
    loader->config = *config;
    loader->config.parts = config->mode == ATR_LOADER_TRAIN && config->parts > 1 ? config->parts : 1;
    loader->config.drop_last = config->drop_last && config->mode == ATR_LOADER_TRAIN;
    loader->count = atr_dataset_split(dataset, config->split, &loader->members);
    ATR_TRY(check_config(dataset, &loader->config, loader->count));
    loader->steps = atr_epoch_steps(loader->count, config->global_batch, loader->config.drop_last);
    loader->capacity = largest_share(loader);
    loader->order_epoch = -1;
    ATR_TRY(ATR_NEW(loader->count, &loader->order));
    for (int64_t i = 0; i < loader->count; i++)
        loader->order[i] = i;
    ATR_TRY(ATR_NEW(slot_count(loader), &loader->slots));
    for (int64_t i = 0; i < slot_count(loader); i++)
        ATR_TRY(create_slot(loader, &loader->slots[i]));
    pthread_mutex_init(&loader->lock, NULL);
    pthread_cond_init(&loader->ready, NULL);
    pthread_cond_init(&loader->room, NULL);
    loader->have_lock = true;
    ATR_TRY(start_workers(loader));
    *out = loader;
    loader = NULL;

done:
    atr_loader_destroy(loader);
    return status;
}

static void free_slot(slot *s)
{
    atr_free(s->batch.images);
    atr_free(s->batch.labels);
    atr_free(s->samples);
    atr_free(s->keys);
    atr_free(s->boxes);
    atr_free(s->valid);
    atr_free(s->message);
}

void atr_loader_destroy(atr_loader *loader)
{
    if (loader == NULL)
        return;
    if (loader->have_lock) {
        pthread_mutex_lock(&loader->lock);
        loader->stop = true;
        pthread_cond_broadcast(&loader->room);
        pthread_mutex_unlock(&loader->lock);
        for (int i = 0; i < loader->started; i++)
            pthread_join(loader->workers[i].thread, NULL);
        pthread_cond_destroy(&loader->room);
        pthread_cond_destroy(&loader->ready);
        pthread_mutex_destroy(&loader->lock);
    }
    for (int64_t i = 0; loader->slots != NULL && i < slot_count(loader); i++)
        free_slot(&loader->slots[i]);
    atr_free(loader->slots);
    atr_free(loader->workers);
    atr_free(loader->order);
    atr_free(loader->message);
    atr_free(loader);
}

int64_t atr_loader_steps(const atr_loader *loader)
{
    return loader->steps;
}

double atr_loader_waited(const atr_loader *loader)
{
    return loader->waited;
}

/* Gives the lent batch back and waits until the next one is complete. */
static slot *exchange(atr_loader *loader)
{
    pthread_mutex_lock(&loader->lock);
    if (loader->lent) {
        slot *returned = slot_of(loader, loader->next);
        returned->given = returned->finished = 0;
        loader->next++;
        loader->lent = false;
        pthread_cond_broadcast(&loader->room);
    }
    slot *s = slot_of(loader, loader->next);
    const double start = atr_seconds();
    while (loader->filling <= loader->next || s->finished < s->batch.count)
        pthread_cond_wait(&loader->ready, &loader->lock);
    loader->waited += atr_seconds() - start;
    loader->lent = true;
    pthread_mutex_unlock(&loader->lock);
    return s;
}

atr_status atr_loader_next(atr_loader *loader, atr_batch *out)
{
    *out = (atr_batch){0};
    if (loader->status != ATR_OK)
        return atr_fail(loader->status, "%s", loader->message == NULL ? "out of memory" : loader->message);
    slot *s = exchange(loader);
    if (s->failed >= 0) {
        loader->status = s->status;
        loader->message = s->message;
        s->message = NULL;
        return atr_fail(loader->status, "%s", loader->message == NULL ? "out of memory" : loader->message);
    }
    clear_rest(s);
    s->batch.valid_pixels = 0;
    for (int64_t i = 0; i < s->batch.count; i++)
        s->batch.valid_pixels += s->valid[i];
    *out = s->batch;
    return ATR_OK;
}
