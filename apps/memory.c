#include "apps/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "core/machine.h"
#include "core/text.h"

/* ---- sizes -------------------------------------------------------------------------------------------------------------- */

static atr_status find_own_limit(int64_t *out)
{
    atr_machine *machine = NULL;
    const atr_status status = ATR_NEW(1, &machine);

    if (status != ATR_OK)
        return status;
    atr_machine_read("", machine);
    *out = machine->memory_limit > 0 ? machine->memory_limit : machine->memory_bytes;
    atr_free(machine);
    return ATR_OK;
}

atr_status atr_memory_limit_parse(const char *text, int64_t *out)
{
    static const char units[] = "KMGT";
    char number[64];
    double value = 0, unit = 1;

    *out = 0;
    if (text == NULL)
        return ATR_OK;
    if (strcmp(text, "auto") == 0)
        return find_own_limit(out);
    const size_t length = strcspn(text, "KMGTkmgtBb");
    const char *rest = text + length;
    snprintf(number, sizeof number, "%.*s", (int)(length < sizeof number ? length : sizeof number - 1), text);
    for (int i = 0; units[i] != '\0' && *rest != '\0'; i++)
        if (strncasecmp(rest, &units[i], 1) == 0) {
            unit = ldexp(1, 10 * (i + 1));
            rest++;
            break;
        }
    const bool ended =
        *rest == '\0' || strcasecmp(rest, "B") == 0 || (unit > 1 && strcasecmp(rest, "iB") == 0);
    if (!ended || !atr_parse_real(number, &value) || !(value * unit >= 1 && value * unit < 0x1p62))
        return atr_fail(ATR_ERR_USAGE, "--memory-limit %s: a size such as 500M or 8G is wanted, or auto",
                        text);
    *out = (int64_t)(value * unit);
    return ATR_OK;
}

int64_t atr_memory_resident(void)
{
    char line[256];
    long long all = 0, resident = 0;

    if (!atr_first_line("/proc/self/statm", line, sizeof line) ||
        sscanf(line, "%lld %lld", &all, &resident) != 2)
        return 0;
    return resident * sysconf(_SC_PAGESIZE);
}

char *atr_memory_text(int64_t bytes, char *text)
{
    const double mib = (double)bytes / (1 << 20);

    if (mib < 1024)
        snprintf(text, ATR_MEMORY_TEXT_BYTES, "%.0f MiB", mib);
    else
        snprintf(text, ATR_MEMORY_TEXT_BYTES, "%.2f GiB", mib / 1024);
    return text;
}

/* ---- what would fit ----------------------------------------------------------------------------------------------------- */

/* A search for something smaller that fits into `free` bytes. */
typedef struct search {
    const atr_memory_request *request;
    int64_t free, packed; /* of the present plan */
    atr_text found;
} search;

static int64_t pixels_of(const atr_plan_options *plan)
{
    return plan->batch * plan->height * plan->width;
}

/* Bytes that a plan takes besides what the process holds already; packed weights of the present one lie there. */
static atr_status bytes_of(const search *s, const atr_plan_options *plan, int64_t *out)
{
    const atr_memory_request *const r = s->request;
    atr_plan_options measured = *plan;
    atr_plan_needs needs = {0};

    measured.norm_batch = measured.batch + 1; /* no word of T03 about a plan that nobody runs */
    const atr_status status = atr_plan_measure(r->graph, r->params, r->backend, &measured, &needs);

    *out = (int64_t)needs.arena + ((int64_t)needs.packed - s->packed) + r->others +
           r->each_pixel * (pixels_of(plan) - pixels_of(r->plan));
    return status;
}

static void append_found(search *s, const char *option, int64_t bytes)
{
    char text[ATR_MEMORY_TEXT_BYTES];

    atr_text_append(&s->found, "%s%s (%s)", s->found.used > 0 ? ", " : "", option,
                    atr_memory_text(s->request->guard->limit - s->free + bytes, text));
}

/* Fewer pictures: as many as fit, judged by the last try. */
static atr_status try_batch(search *s, int64_t needed)
{
    const atr_memory_request *const r = s->request;
    atr_plan_options plan = *r->plan;
    atr_status status = ATR_OK;
    char option[64];

    if (r->batch_step < 1)
        return ATR_OK;
    while (plan.batch > 1) {
        const double share = fmax(0, (double)s->free) / (double)needed;
        const int64_t guess = (int64_t)((double)plan.batch * share);
        plan.batch = guess < 1 ? 1 : guess < plan.batch ? guess : plan.batch - 1;
        ATR_TRY(bytes_of(s, &plan, &needed));
        if (needed > s->free)
            continue;
        snprintf(option, sizeof option, "--batch %lld", (long long)(plan.batch * r->batch_step));
        append_found(s, option, needed);
        break;
    }
done:
    return status;
}

static atr_status try_recompute(search *s)
{
    atr_plan_options plan = *s->request->plan;
    atr_status status = ATR_OK;
    int64_t needed = 0;

    if (plan.mode != ATR_TRAIN || plan.recompute)
        return ATR_OK;
    plan.recompute = true;
    ATR_TRY(bytes_of(s, &plan, &needed));
    if (needed <= s->free)
        append_found(s, "--recompute", needed);
done:
    return status;
}

/* Smaller pictures of the same shape, sides in steps of 16. */
static atr_status try_size(search *s, int64_t needed)
{
    enum { STEP = 16, LEAST = 64 };
    const atr_memory_request *const r = s->request;
    atr_plan_options plan = *r->plan;
    double share = 1;
    atr_status status = ATR_OK;
    char option[96];

    while (r->size != NULL && plan.height > LEAST && plan.width > LEAST) {
        share *= fmin(0.95, sqrt(fmax(0.05, (double)s->free / (double)needed)));
        plan.height = (int64_t)((double)r->plan->height * share) / STEP * STEP;
        plan.width = (int64_t)((double)r->plan->width * share) / STEP * STEP;
        if (plan.height < LEAST || plan.width < LEAST)
            break;
        ATR_TRY(bytes_of(s, &plan, &needed));
        if (needed > s->free)
            continue;
        snprintf(option, sizeof option, "%s %lldx%lld", r->size, (long long)plan.height,
                 (long long)plan.width);
        append_found(s, option, needed);
        break;
    }
done:
    return status;
}

static atr_status refuse(const atr_memory_request *r, const atr_plan_needs *needs, int64_t before)
{
    char total[ATR_MEMORY_TEXT_BYTES], limit[ATR_MEMORY_TEXT_BYTES], arena[ATR_MEMORY_TEXT_BYTES];
    const int64_t wanted = (int64_t)needs->arena + r->others;
    search s = {.request = r, .free = r->guard->limit - before, .packed = (int64_t)needs->packed};
    atr_status status = ATR_OK;

    ATR_TRY(try_recompute(&s));
    ATR_TRY(try_batch(&s, wanted));
    ATR_TRY(try_size(&s, wanted));
    ATR_TRY(s.found.status);
    status = atr_fail(ATR_ERR_MEMORY,
                      "I02: %s needs %s of memory, %s of it for activations (limit %s): refused. %s%s%s",
                      r->work, atr_memory_text(before + wanted, total),
                      atr_memory_text((int64_t)needs->arena, arena), atr_memory_text(r->guard->limit, limit),
                      s.found.used > 0 ? "What would fit: " : "Nothing smaller was found to fit",
                      s.found.used > 0 ? s.found.bytes : "", ".");
done:
    atr_free(s.found.bytes);
    return status;
}

/* ---- asking ------------------------------------------------------------------------------------------------------------- */

/* What is resident at the first question; several threads may ask it at once. */
static int64_t resident_before(atr_memory_guard *guard)
{
    int64_t none = 0;
    const int64_t now = atr_memory_resident();

    return atomic_compare_exchange_strong(&guard->before, &none, now) ? now : none;
}

atr_status atr_memory_ask(const atr_memory_request *r, const atr_plan_needs *needs, int64_t *total)
{
    atr_memory_guard *const guard = r->guard;
    const int64_t arena = (int64_t)needs->arena;
    const bool first = atomic_load(&guard->before) == 0;
    const int64_t before = resident_before(guard);
    const int64_t own =
        arena + (first ? 0 : (int64_t)needs->packed); /* those of the first lie there already */
    const int64_t taken = atomic_fetch_add(&guard->taken, own);

    *total = before + taken + own + r->others;
    if (guard->limit == 0 || *total <= guard->limit)
        return ATR_OK;
    atomic_fetch_sub(&guard->taken, own);
    return refuse(r, needs, before + taken + (own - arena));
}

void atr_memory_return(atr_memory_guard *guard, size_t bytes)
{
    atomic_fetch_sub(&guard->taken, (int64_t)bytes);
}
