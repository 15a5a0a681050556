#include "dist/monitor_impl.h"

/* Setting up reads files and compiles plans, which tells nothing of how long a step may take. */
static const double start_patience_s = 600;

const char *atr_activity_name(atr_activity activity)
{
    static const char *const names[ATR_ACTIVITIES] = {"start",      "data",       "agreement", "forward",
                                                      "backward",   "all-reduce", "update",    "checkpoint",
                                                      "evaluation", "end"};

    return (unsigned)activity < ATR_ACTIVITIES ? names[activity] : "?";
}

static bool counts(const atr_sighting *rank)
{
    return rank->heard_of && !rank->left;
}

/* How far the last ranks are. */
static int64_t least_position(const atr_sighting *ranks, int count)
{
    int64_t least = INT64_MAX;

    for (int r = 0; r < count; r++)
        if (counts(&ranks[r]) && ranks[r].position < least)
            least = ranks[r].position;
    return least;
}

static void append_rank(const atr_sighting *rank, int number, double quiet, atr_text *text)
{
    atr_text_append(text, "rank %d on node %s (process %lld)", number, rank->host, (long long)rank->process);
    if (rank->silent > quiet)
        atr_text_append(text, ", without a sign of life for %.0f s, last seen in \"%s\" of step %lld",
                        rank->silent, atr_activity_name(rank->activity), (long long)rank->step);
    else
        atr_text_append(text, ", in \"%s\" of step %lld for %.0f s", atr_activity_name(rank->activity),
                        (long long)rank->step, rank->still);
}

/* What the ranks in front wait in: any of them tells it. */
static const atr_sighting *one_in_front(const atr_sighting *ranks, int count, int64_t least)
{
    for (int r = 0; r < count; r++)
        if (counts(&ranks[r]) && ranks[r].position > least)
            return &ranks[r];
    return NULL;
}

/* Ranks that stand where all stand, but are stopped or cut off, are the ones that are waited for. */
static bool is_late(const atr_sighting *rank, int64_t least, bool only_quiet, double quiet)
{
    return counts(rank) && rank->position == least && (!only_quiet || rank->silent > quiet);
}

static void append_late(const atr_sighting *ranks, int count, int64_t least, bool only_quiet, double quiet,
                        atr_text *text)
{
    enum { SHOWN = 8 };
    int shown = 0, late = 0;

    for (int r = 0; r < count; r++) {
        if (!is_late(&ranks[r], least, only_quiet, quiet))
            continue;
        late++;
        if (shown == SHOWN)
            continue;
        atr_text_append(text, "%s", shown++ > 0 ? "; " : "");
        append_rank(&ranks[r], r, quiet, text);
    }
    if (late > shown)
        atr_text_append(text, "; and %d more", late - shown);
}

static void append_unheard(const atr_sighting *ranks, int count, atr_text *text)
{
    int first = -1, unheard = 0;

    for (int r = 0; r < count; r++)
        if (!ranks[r].heard_of && !ranks[r].left && unheard++ == 0)
            first = r;
    if (unheard > 0)
        atr_text_append(text, " Rank %d%s could not be heard at all.", first,
                        unheard > 1 ? " and others" : "");
}

double atr_monitor_patience(const atr_sighting *rank, double timeout)
{
    return rank->activity == ATR_DOING_START && timeout < start_patience_s ? start_patience_s : timeout;
}

bool atr_monitor_stalled(const atr_sighting *ranks, int count, double timeout, double quiet,
                         atr_text *message)
{
    const int64_t least = least_position(ranks, count);
    const atr_sighting *const front = one_in_front(ranks, count, least);
    double shortest = -1;
    int quiet_ones = 0;

    for (int r = 0; r < count; r++) {
        if (!is_late(&ranks[r], least, false, quiet))
            continue;
        if (ranks[r].still < atr_monitor_patience(&ranks[r], timeout))
            return false;
        if (shortest < 0 || ranks[r].still < shortest)
            shortest = ranks[r].still;
        quiet_ones += ranks[r].silent > quiet;
    }
    if (shortest < timeout)
        return false;
    const bool only_quiet = front == NULL && quiet_ones > 0;
    if (count == 1) {
        atr_text_append(message, "R01: stalled %.0f s in \"%s\" of step %lld", shortest,
                        atr_activity_name(ranks[0].activity), (long long)ranks[0].step);
    } else if (front != NULL || only_quiet) {
        const atr_sighting *const waiting = front != NULL ? front : &ranks[0];
        atr_text_append(message, "R01: stalled %.0f s at step %lld in \"%s\": waiting for ", shortest,
                        (long long)waiting->step, atr_activity_name(waiting->activity));
        append_late(ranks, count, least, only_quiet, quiet, message);
    } else {
        atr_text_append(message, "R01: stalled %.0f s: all ranks that are heard are in \"%s\" of step %lld",
                        shortest, atr_activity_name(ranks[0].activity), (long long)ranks[0].step);
    }
    atr_text_append(message, ". Stopping all %d rank%s (--stall-timeout %.0f).", count, count == 1 ? "" : "s",
                    timeout);
    append_unheard(ranks, count, message);
    return true;
}

void atr_monitor_lost(const atr_sighting *rank, int number, int count, atr_text *message)
{
    atr_text_append(
        message,
        "R01: rank %d on node %s: process %lld ended without a word in \"%s\" of step %lld: killed, or "
        "out of memory. Stopping all %d ranks.",
        number, rank->host, (long long)rank->process, atr_activity_name(rank->activity),
        (long long)rank->step, count);
}

void atr_monitor_unreachable(const atr_sighting *rank, int number, int others, double seconds, int count,
                             atr_text *message)
{
    atr_text_append(message, "R01: node %s has not answered for %.0f s (node or network down): rank %d on it",
                    rank->host, seconds, number);
    if (others > 0)
        atr_text_append(message, " and %d other%s", others, others > 1 ? "s" : "");
    atr_text_append(message, ", last seen in \"%s\" of step %lld. Stopping all %d ranks (--lost-timeout).",
                    atr_activity_name(rank->activity), (long long)rank->step, count);
}

void atr_monitor_blind(const atr_sighting *own, int number, const atr_sighting *zero, atr_text *message)
{
    atr_text_append(message, "R01: rank %d on node %s: stalled %.0f s in \"%s\" of step %lld", number,
                    own->host, own->still, atr_activity_name(own->activity), (long long)own->step);
    if (zero != NULL) {
        atr_text_append(message, ": waiting for ");
        append_rank(zero, 0, 0, message);
        atr_text_append(message, ".");
    } else {
        atr_text_append(message, "; it has no connection to rank 0 that could tell whom it waits for.");
    }
    atr_text_append(message, " Stopping all ranks.");
}
