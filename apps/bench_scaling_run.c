#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "apps/bench_scaling_impl.h"
#include "apps/process.h"
#include "apps/stop.h"
#include "core/text.h"

/* An argument vector that grows; all strings are its own. */
typedef struct arguments {
    char **items;
    int64_t count, room;
    atr_status status;
} arguments;

static void add_bytes(arguments *a, const char *text, size_t bytes)
{
    if (a->status == ATR_OK && a->count + 1 >= a->room) {
        a->status = atr_grow(a->room, a->room + 32, sizeof *a->items, (void **)&a->items);
        a->room += a->status == ATR_OK ? 32 : 0;
    }
    if (a->status == ATR_OK)
        a->status = atr_format(&a->items[a->count], "%.*s", (int)bytes, text);
    a->count += a->status == ATR_OK;
}

static void add(arguments *a, const char *text)
{
    add_bytes(a, text, strlen(text));
}

static void add_number(arguments *a, const char *option, int64_t value)
{
    char text[32];

    snprintf(text, sizeof text, "%lld", (long long)value);
    add(a, option);
    add(a, text);
}

static void arguments_free(arguments *a)
{
    for (int64_t i = 0; i < a->count; i++)
        atr_free(a->items[i]);
    atr_free(a->items);
}

/* The launcher's words, split at blanks, with the number of ranks for each "{ranks}". */
static void add_launcher(arguments *a, const char *launcher, int64_t ranks)
{
    static const char mark[] = "{ranks}";

    for (const char *at = launcher + strspn(launcher, " "); *at != '\0'; at += strspn(at, " ")) {
        const size_t length = strcspn(at, " ");
        const char *const found = strstr(at, mark);
        atr_text word = {0};
        if (found != NULL && found < at + length)
            atr_text_append(&word, "%.*s%lld%.*s", (int)(found - at), at, (long long)ranks,
                            (int)(at + length - found) - (int)strlen(mark), found + strlen(mark));
        else
            atr_text_append_bytes(&word, at, (int64_t)length);
        if (a->status == ATR_OK)
            a->status = word.status;
        if (a->status == ATR_OK)
            add(a, word.bytes);
        atr_free(word.bytes);
        at += length;
    }
}

static void make_arguments(const atr_scaling *s, const atr_scaling_point *point, arguments *a)
{
    const atr_scaling_options *const o = s->options;
    char self[4096];
    const ssize_t length = readlink("/proc/self/exe", self, sizeof self);

    if (length <= 0 || length == sizeof self) {
        a->status = atr_fail(ATR_ERR_IO, "cannot find this program's own path: %s", strerror(errno));
        return;
    }
    add_launcher(a, o->launcher, point->ranks);
    add_bytes(a, self, (size_t)length);
    add(a, "bench");
    add(a, "train");
    add(a, "--json");
    add_number(a, "--batch", point->batch);
    add_number(a, "--repeats", o->repeats);
    add_number(a, "--warmup", o->warmup);
    if (o->threads > 0)
        add_number(a, "--threads", o->threads);
    if (point->sweep == ATR_SWEEP_WEAK)
        add(a, "--against-alone");
    for (int64_t i = 0; i < s->pass_count; i++)
        add(a, s->pass[i]);
}

/* All that comes out of `from`. A wish to stop is passed on to the process once. */
static void read_all(int from, const atr_process *process, atr_text *text)
{
    char block[4096];
    bool told = false;
    ssize_t got = 1;

    while (got > 0 || (got < 0 && errno == EINTR)) {
        struct pollfd waiting = {from, POLLIN, 0};
        const int ready = poll(&waiting, 1, 200);
        if (atr_stop_wanted() && !told) {
            atr_process_stop(process);
            told = true;
        }
        if (ready <= 0)
            continue;
        got = read(from, block, sizeof block);
        if (got > 0)
            atr_text_append_bytes(text, block, got);
    }
}

/* What went wrong: our own program's line, where a launcher's words stand around it. Into `words` [bytes]; returns it. */
static const char *complaint(const atr_process *process, char *words, size_t bytes)
{
    char line[512];

    rewind(process->words);
    while (fgets(line, sizeof line, process->words) != NULL)
        if (strncmp(line, "atrous ", strlen("atrous ")) == 0) {
            line[strcspn(line, "\n")] = '\0';
            return atr_printable(line, words, bytes);
        }
    return atr_process_last_words(process, words, bytes);
}

/* What the program said on its output. */
static atr_status run_program(char *const argv[], atr_text *text)
{
    atr_process process = {0};
    char words[512];
    int ends[2] = {-1, -1};
    atr_status status = ATR_OK;

    ATR_TRY(atr_process_pipe(&ends[0], &ends[1]));
    ATR_TRY(atr_process_start(argv, -1, ends[1], &process));
    close(ends[1]);
    ends[1] = -1;
    read_all(ends[0], &process, text);
    const int code = atr_process_wait(&process);
    if (atr_stop_wanted())
        status = atr_fail(ATR_ERR_STOPPED, "stopped by %s", atr_stop_signal());
    else if (code != 0)
        status = atr_fail(ATR_ERR_REMOTE, "%s ended with code %d: %s", argv[0], code,
                          complaint(&process, words, sizeof words));
    else
        status = text->status;

done:
    for (int i = 0; i < 2; i++)
        if (ends[i] >= 0)
            close(ends[i]);
    atr_process_close(&process);
    return status;
}

static atr_status no_figures(const char *what)
{
    return atr_fail(ATR_ERR_REMOTE, "a run of `atrous bench train` did not say its %s", what);
}

static atr_status take_title(atr_scaling *s, const json_t *object)
{
    if (s->title != NULL)
        return ATR_OK;
    return atr_format(&s->title, "%s output stride %lld, %lldx%lld, %s, %lld threads a rank",
                      json_string_value(json_object_get(object, "backbone")),
                      (long long)json_integer_value(json_object_get(object, "output_stride")),
                      (long long)json_integer_value(json_object_get(object, "height")),
                      (long long)json_integer_value(json_object_get(object, "width")),
                      json_string_value(json_object_get(object, "isa")),
                      (long long)json_integer_value(json_object_get(object, "threads")));
}

/* A launcher may say something in front of the object. */
static atr_status read_figures(atr_scaling *s, const atr_scaling_point *point, const char *text,
                               atr_scaling_run *out)
{
    const struct {
        const char *name;
        double *value;
    } figures[] = {{"min_ms", &out->min},
                   {"median_ms", &out->median},
                   {"alone_min_ms", &out->alone_min},
                   {"alone_median_ms", &out->alone_median}};
    const int count = point->sweep == ATR_SWEEP_WEAK ? 4 : 2;
    const char *const from = text != NULL ? strchr(text, '{') : NULL;
    json_t *const object = from != NULL ? json_loads(from, JSON_DISABLE_EOF_CHECK, NULL) : NULL;
    atr_status status = ATR_OK;

    for (int i = 0; i < count && status == ATR_OK; i++) {
        *figures[i].value = 1e-3 * json_number_value(json_object_get(object, figures[i].name));
        if (!(*figures[i].value > 0))
            status = no_figures(figures[i].name);
    }
    if (status == ATR_OK && json_integer_value(json_object_get(object, "ranks")) != point->ranks)
        status =
            atr_fail(ATR_ERR_USAGE,
                     "the launcher '%s' started a job of %lld ranks, not %lld: does it have {ranks} in it?",
                     s->options->launcher, (long long)json_integer_value(json_object_get(object, "ranks")),
                     (long long)point->ranks);
    if (status == ATR_OK)
        status = take_title(s, object);
    json_decref(object);
    return status;
}

atr_status atr_scaling_run_once(atr_scaling *scaling, const atr_scaling_point *point, atr_scaling_run *out)
{
    arguments a = {0};
    atr_text text = {0};
    atr_status status = ATR_OK;

    *out = (atr_scaling_run){0};
    make_arguments(scaling, point, &a);
    ATR_TRY(a.status);
    ATR_TRY(run_program(a.items, &text));
    ATR_TRY(read_figures(scaling, point, text.bytes, out));

done:
    arguments_free(&a);
    atr_free(text.bytes);
    return status;
}
