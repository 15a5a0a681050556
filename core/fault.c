#include "core/fault.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/text.h"

typedef struct fault {
    char action[16], place[32];
    int64_t rank, step; /* -1: any */
} fault;

/* The next part of `text` up to a colon into `part`; what is left behind it. NULL: there was none. */
static const char *next_part(const char *text, char *part, size_t bytes)
{
    const size_t length = strcspn(text, ":");

    if (length == 0 || length >= bytes)
        return NULL;
    memcpy(part, text, length);
    part[length] = '\0';
    return text + length + (text[length] == ':');
}

static bool read_fault(fault *out)
{
    const char *at = getenv("ATR_TEST_FAULT");
    char part[32];

    if (at == NULL)
        return false;
    *out = (fault){.rank = -1, .step = -1};
    at = next_part(at, out->action, sizeof out->action);
    if (at != NULL)
        at = next_part(at, out->place, sizeof out->place);
    while (at != NULL && *at != '\0') {
        at = next_part(at, part, sizeof part);
        if (at != NULL && strncmp(part, "rank=", 5) == 0 && atr_parse_int(part + 5, &out->rank))
            continue;
        if (at != NULL && strncmp(part, "step=", 5) == 0 && atr_parse_int(part + 5, &out->step))
            continue;
        return false;
    }
    return at != NULL;
}

static bool fits(int64_t wanted, int64_t here)
{
    return wanted < 0 || here < 0 || wanted == here;
}

static bool wanted_here(const char *place, int rank, int64_t step, fault *out)
{
    return read_fault(out) && strcmp(out->place, place) == 0 && fits(out->rank, rank) &&
           fits(out->step, step);
}

/* From then on the others have to notice. Past stdio, whose buffers die with the process. */
static void stamp(const char *action)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    dprintf(STDERR_FILENO, "ATR_TEST_FAULT: %s at %lld.%03ld\n", action, (long long)now.tv_sec,
            now.tv_nsec / 1000000);
}

atr_status atr_fault(const char *place, int rank, int64_t step)
{
    fault f;

    if (!wanted_here(place, rank, step, &f))
        return ATR_OK;
    nanosleep(&(struct timespec){.tv_nsec = 300 * 1000 * 1000},
              NULL); /* in the middle of it: others have seen it begin */
    stamp(f.action);
    if (strcmp(f.action, "kill") == 0)
        raise(SIGKILL);
    else if (strcmp(f.action, "stop") == 0)
        raise(SIGSTOP);
    else if (strcmp(f.action, "memory") == 0)
        return atr_fail(ATR_ERR_MEMORY, "out of memory, as ATR_TEST_FAULT asks for");
    while (strcmp(f.action, "hang") == 0)
        sleep(1);
    return ATR_OK;
}

bool atr_fault_nan(const char *place, int rank, int64_t step)
{
    fault f;

    return wanted_here(place, rank, step, &f) && strcmp(f.action, "nan") == 0;
}
