#include "dist/monitor.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/fault.h"
#include "core/threads.h"
#include "core/timer.h"
#include "dist/monitor_impl.h"

/* Seconds: between reports; until a failure that was announced must have been agreed on; between rank 1's complaint about rank 0 and
 * that of the others, so that one of them speaks. */
static const double report_s = 1, grace_s = 5, stagger_s = 3;

enum { FEW = 64, GUESTS = 32, REPORTS_PER_SECOND = 1000, STEP_SHIFT = 8 };

/* A connection and whose it is. */
typedef struct peer {
    atr_monitor_wire wire;
    int rank;        /* -1: it has not said so yet */
    double answered; /* clock at which all that was sent had arrived */
} peer;

struct atr_monitor {
    int rank, size;
    char host[ATR_HOST_BYTES];
    atr_watch_options options;
    double interval, spacing; /* seconds between reports: without news at most, with news at least */
    pthread_t thread;
    bool running;
    int wake; /* an eventfd */

    /* Written by the thread that trains. */
    _Atomic int64_t position, beats;
    _Atomic uint64_t place; /* activity + step << STEP_SHIFT */
    _Atomic bool ending, agreed, aborting;
    pthread_mutex_t lock;
    bool failed; /* to be told: */
    char failure[ATR_PACKET_TEXT + 1];

    /* Of the watching thread. */
    atr_meeting_point where;
    int listener;
    peer *peers; /* rank 0: [peer_room]; else one, of rank 0 */
    struct pollfd *polls;
    int peer_count, peer_room;
    atr_sighting *ranks; /* [size], `still` and `silent` as of `heard` */
    double *heard;       /* [size], by `clock` */
    double clock, last;  /* running time, without that in which this process did not run; atr_seconds() */
    double reported;     /* clock */
    int64_t seen_position, seen_beats;
    double moved;     /* clock of the last progress */
    bool lost;        /* a node is */
    double end_at;    /* clock; 0: not planned */
    char *end_reason; /* to be said then; NULL: nothing */
};

static double least(double a, double b)
{
    return a < b ? a : b;
}

static atr_packet make_packet(const atr_monitor *m, atr_packet_kind kind)
{
    const uint64_t place = atomic_load(&m->place);
    atr_packet packet = {
        .token = m->where.token,
        .kind = (int32_t)kind,
        .rank = m->rank,
        .activity = (int32_t)(place & ((1u << STEP_SHIFT) - 1)),
        .process = getpid(),
        .position = atomic_load(&m->position),
        .step = (int64_t)(place >> STEP_SHIFT),
        .still = m->clock - m->moved,
    };

    snprintf(packet.host, sizeof packet.host, "%s", m->host);
    return packet;
}

static void note(atr_monitor *m, const atr_packet *packet)
{
    atr_sighting *const s = &m->ranks[packet->rank];

    s->heard_of = true;
    s->process = packet->process;
    s->position = packet->position;
    s->step = packet->step;
    s->activity = (atr_activity)packet->activity;
    s->still = packet->still;
    memcpy(s->host, packet->host, sizeof s->host);
    m->heard[packet->rank] = m->clock;
}

static void send_all(atr_monitor *m, atr_packet_kind kind, const char *text)
{
    atr_packet packet = make_packet(m, kind);

    for (int i = 0; i < m->peer_count; i++)
        atr_monitor_wire_send(&m->peers[i].wire, &packet, text);
}

/* Ends all ranks and this process; what is said by this rank is said by none else. What they still send is read: a connection that is closed over unread bytes loses those that are on
 * their way to the other end, too. */
static void end_job(atr_monitor *m, const char *message)
{
    enum { ROUNDS = 20 };
    atr_packet packet;
    char text[ATR_PACKET_TEXT + 1];
    bool died = false;

    if (message != NULL)
        m->options.say(m->options.user, message);
    send_all(m, ATR_PACKET_END, NULL);
    for (int round = 0; m->rank == 0 && m->size > 1 && round < ROUNDS; round++) {
        for (int i = 0; i < m->peer_count; i++)
            if (atr_monitor_wire_receive(&m->peers[i].wire, m->where.token, &packet, text, &died) < 0)
                atr_monitor_wire_close(&m->peers[i].wire);
        nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
    }
    if (m->lost && m->options.lost != NULL)
        m->options.lost(m->options.user);
    m->options.end(m->options.user, m->options.code);
}

/* The first reason stays. */
static void plan_end(atr_monitor *m, double seconds, const char *reason)
{
    if (m->end_at > 0)
        return;
    m->end_at = m->clock + seconds;
    if (reason != NULL)
        (void)atr_strdup(reason, &m->end_reason);
}

static void plan_end_of_failure(atr_monitor *m, int rank, const char *host, const char *why)
{
    const size_t length = strlen(why);
    const bool sentence = length > 0 && strchr(".!?", why[length - 1]) != NULL;
    char *reason = NULL;

    if (atr_format(&reason, "R01: rank %d on node %s: %s%s Stopping all %d ranks.", rank, host, why,
                   sentence ? "" : ".", m->size) == ATR_OK)
        plan_end(m, grace_s, reason);
    atr_free(reason);
}

/* Whether it matters that this rank is gone. */
static bool missed(const atr_monitor *m, int rank)
{
    return rank >= 0 && !m->ranks[rank].left && !atomic_load(&m->agreed) && !atomic_load(&m->aborting);
}

static void end_without(atr_monitor *m, const char *message)
{
    if (m->rank <= 1)
        end_job(m, message);
    else
        plan_end(m, stagger_s, message); /* rank 0 is gone, and rank 1 says so */
}

/* A connection has ended without a goodbye. */
static void lose(atr_monitor *m, int rank)
{
    atr_text text = {0};

    if (!missed(m, rank))
        return;
    atr_monitor_lost(&m->ranks[rank], rank, m->size, &text);
    end_without(m, text.bytes);
    atr_free(text.bytes);
}

/* Ranks whose node no longer answers. Before a report is sent: what the last one was has had the time between two. */
static void look_for_lost(atr_monitor *m)
{
    const double timeout = m->options.lost_timeout;
    double seconds = 0;
    int lost = -1, others = 0;
    atr_text text = {0};

    for (int i = 0; i < m->peer_count && timeout > 0; i++) {
        peer *const p = &m->peers[i];
        const double unanswered = atr_monitor_wire_unanswered(&p->wire);
        if (unanswered <= 0)
            p->answered = m->clock;
        const double waited =
            least(unanswered, m->clock - p->answered); /* of its last answer, too, it may be long */
        if (waited < timeout || !missed(m, p->rank))
            continue;
        others += lost >= 0;
        if (lost < 0 || p->rank < lost) {
            lost = p->rank;
            seconds = waited;
        }
    }
    if (lost < 0)
        return;
    m->lost = true;
    atr_monitor_unreachable(&m->ranks[lost], lost, others, seconds, m->size, &text);
    end_without(m, text.bytes);
    atr_free(text.bytes);
}

static void obey(atr_monitor *m, peer *from, const atr_packet *packet, const char *text)
{
    if (packet->rank < 0 || packet->rank >= m->size || packet->activity < 0 ||
        packet->activity >= ATR_ACTIVITIES)
        return;
    from->rank = packet->rank;
    note(m, packet);
    switch ((atr_packet_kind)packet->kind) {
    case ATR_PACKET_FAILED:
        plan_end_of_failure(m, packet->rank, packet->host, text);
        break;
    case ATR_PACKET_BYE:
        m->ranks[packet->rank].left = true;
        break;
    case ATR_PACKET_END: /* who sends it has said why, where there is something to say */
        m->ranks[packet->rank].left = true;
        if (m->rank == 0)
            plan_end(m, 1, NULL); /* MPI's own end of the job comes first, where it works */
        else
            m->options.end(m->options.user, m->options.code);
        break;
    case ATR_PACKET_BEAT:
        break;
    }
}

static void listen_to(atr_monitor *m, peer *from)
{
    atr_packet packet;
    char text[ATR_PACKET_TEXT + 1];
    bool died = false;
    int got = 0;

    while ((got = atr_monitor_wire_receive(&from->wire, m->where.token, &packet, text, &died)) == 1)
        obey(m, from, &packet, text);
    if (got == 0)
        return;
    atr_monitor_wire_close(&from->wire);
    if (died)
        lose(m, from->rank);
}

static void accept_all(atr_monitor *m)
{
    atr_packet hello = make_packet(m, ATR_PACKET_BEAT);
    atr_monitor_wire wire;

    while (m->peer_count < m->peer_room && atr_monitor_wire_accept(m->listener, &wire)) {
        atr_monitor_wire_send(&wire, &hello, NULL);
        m->peers[m->peer_count++] = (peer){wire, -1, m->clock};
    }
}

/* Closed connections leave the list; nobody remembers their places. */
static void sweep(atr_monitor *m)
{
    int kept = 0;

    for (int i = 0; i < m->peer_count; i++)
        if (m->peers[i].wire.file >= 0)
            m->peers[kept++] = m->peers[i];
    m->peer_count = kept;
}

/* The running time goes on, by three reports at most: more than that this process did not run. */
static void wind(atr_monitor *m)
{
    const double now = atr_seconds();

    m->clock += least(now - m->last, 3 * m->interval);
    m->last = now;
    const int64_t position = atomic_load(&m->position), beats = atomic_load(&m->beats);
    if (position != m->seen_position || beats != m->seen_beats)
        m->moved = m->clock;
    m->seen_position = position;
    m->seen_beats = beats;
}

/* Sightings as of now. */
static atr_status look(const atr_monitor *m, atr_sighting **out)
{
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW(m->size, out));
    for (int r = 0; r < m->size; r++) {
        (*out)[r] = m->ranks[r];
        (*out)[r].silent = m->clock - m->heard[r];
        (*out)[r].still += (*out)[r].silent;
    }

done:
    return status;
}

/* What another rank than 0 thinks when nothing moves: it speaks only where rank 0 cannot. */
static bool blind(const atr_monitor *m, const atr_sighting *ranks, atr_text *message)
{
    const atr_sighting *const own = &ranks[m->rank];
    const double wait = atr_monitor_patience(own, m->options.stall_timeout) + (m->rank == 1 ? 0 : stagger_s);

    if (own->still < wait || (ranks[0].heard_of && ranks[0].silent < wait))
        return false;
    atr_monitor_blind(own, m->rank, ranks[0].heard_of ? &ranks[0] : NULL, message);
    return true;
}

static void judge(atr_monitor *m)
{
    const double quiet = 5 * m->interval > 5 ? 5 * m->interval : 5;
    const double timeout = m->options.stall_timeout;
    atr_sighting *ranks = NULL;
    atr_text message = {0};

    if (timeout <= 0 || look(m, &ranks) != ATR_OK)
        return;
    if (m->rank == 0
            ? atr_monitor_stalled(ranks, m->size, timeout, quiet < timeout ? quiet : timeout / 2, &message)
            : blind(m, ranks, &message))
        end_job(m, message.bytes);
    atr_free(message.bytes);
    atr_free(ranks);
}

/* What the training thread wants to be told. */
static void tell_failure(atr_monitor *m)
{
    char why[ATR_PACKET_TEXT + 1];

    pthread_mutex_lock(&m->lock);
    const bool failed = m->failed;
    memcpy(why, m->failure, sizeof why);
    m->failed = false;
    pthread_mutex_unlock(&m->lock);
    if (!failed)
        return;
    if (m->rank == 0)
        plan_end_of_failure(m, 0, m->host, why);
    else
        send_all(m, ATR_PACKET_FAILED, why);
}

static void report(atr_monitor *m)
{
    const atr_packet own = make_packet(m, ATR_PACKET_BEAT);

    m->reported = m->clock;
    note(m, &own);
    look_for_lost(m);
    send_all(m, ATR_PACKET_BEAT, NULL);
    judge(m);
}

static void wait_for_news(atr_monitor *m)
{
    const double left = m->reported + m->interval - m->clock;
    int count = 0;

    m->polls[count++] = (struct pollfd){.fd = m->wake, .events = POLLIN};
    const bool room = m->peer_count < m->peer_room;
    m->polls[count++] =
        (struct pollfd){.fd = room ? m->listener : -1, .events = POLLIN}; /* -1 is passed by */
    for (int i = 0; i < m->peer_count; i++)
        m->polls[count++] = (struct pollfd){.fd = m->peers[i].wire.file, .events = POLLIN};
    if (poll(m->polls, (nfds_t)count, left > 0 ? (int)(1000 * left) + 1 : 0) < 0 && errno != EINTR)
        nanosleep(&(struct timespec){.tv_nsec = 100 * 1000 * 1000}, NULL);
}

static void *watch(void *argument)
{
    atr_monitor *const m = argument;
    uint64_t woken = 0;

    if (m->rank > 0 && atr_monitor_wire_connect(&m->peers[0].wire, &m->where, m->host, &m->ending))
        m->peer_count = 1;
    m->last = atr_seconds();
    report(m);
    while (!atomic_load(&m->ending)) {
        wait_for_news(m);
        if (read(m->wake, &woken, sizeof woken) < 0)
            errno = 0; /* it was something else */
        wind(m);
        if (m->listener >= 0)
            accept_all(m);
        for (int i = 0; i < m->peer_count; i++)
            listen_to(m, &m->peers[i]);
        sweep(m);
        tell_failure(m);
        if (atomic_load(&m->aborting))
            send_all(m, ATR_PACKET_END, NULL);
        if (m->clock - m->reported >= (m->moved == m->clock ? m->spacing : m->interval))
            report(m);
        if (m->end_at > 0 && m->clock >= m->end_at && !atomic_load(&m->agreed))
            end_job(m, m->end_reason);
    }
    send_all(m, ATR_PACKET_BYE, NULL);
    return NULL;
}

/* A file for each connection: rank 0's to all, and two of MPI to each rank that this one exchanges with over TCP. */
static void raise_file_limit(int wanted)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= (rlim_t)wanted)
        return;
    limit.rlim_cur = limit.rlim_max < (rlim_t)wanted ? limit.rlim_max : (rlim_t)wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        errno = 0; /* ranks that find no room are not heard, and train all the same */
}

static atr_status create(const atr_comm *comm, const atr_watch_options *options, atr_monitor **out)
{
    const double scale = comm->size > REPORTS_PER_SECOND ? (double)comm->size / REPORTS_PER_SECOND : 1;
    atr_monitor *m = NULL;
    atr_status status = ATR_OK;

    ATR_TRY(ATR_NEW(1, &m));
    *out = m;
    pthread_mutex_init(&m->lock, NULL);
    m->listener = m->wake = -1;
    m->rank = comm->rank;
    m->size = comm->size;
    m->options = *options;
    snprintf(m->host, sizeof m->host, "%s", comm->host);
    m->interval =
        scale * (options->stall_timeout > 0 ? least(report_s, options->stall_timeout / 5) : report_s);
    m->spacing = m->size > FEW ? m->interval / 10 : 0;
    m->peer_room = m->rank == 0 && m->size > 1 ? m->size + GUESTS : 1;
    ATR_TRY(ATR_NEW(m->peer_room, &m->peers));
    ATR_TRY(ATR_NEW(m->peer_room + 2, &m->polls));
    ATR_TRY(ATR_NEW(m->size, &m->ranks));
    ATR_TRY(ATR_NEW(m->size, &m->heard));
    m->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (m->wake < 0)
        status = atr_fail(ATR_ERR_MEMORY, "cannot watch the ranks: %s", strerror(errno));

done:
    return status;
}

static atr_status start_thread(atr_monitor *m)
{
    const int reason = atr_threads_start(&m->thread, watch, m);

    m->running = reason == 0;
    return reason == 0 ? ATR_OK : atr_fail(ATR_ERR_MEMORY, "cannot start a thread: %s", strerror(reason));
}

atr_status atr_comm_watch(atr_comm *comm, const atr_watch_options *options)
{
    atr_monitor *m = NULL;
    atr_meeting_point where = {0};
    atr_status status = create(comm, options, &m);

    comm->monitor = m;
    ATR_TRY(atr_comm_agree(comm, status));
    if (comm->size > 1)
        raise_file_limit(3 * comm->size + 2 * GUESTS);
    if (comm->rank == 0 && comm->size > 1)
        m->listener = atr_monitor_wire_listen(comm->host, &where);
    ATR_TRY(atr_comm_broadcast(comm, &where, sizeof where, 0));
    m->where = where;
    if (comm->size > 1 || options->stall_timeout > 0)
        status = start_thread(m);
    status = atr_comm_agree(comm, status);

done:
    return status;
}

static void wake_up(atr_monitor *m)
{
    const uint64_t one = 1;

    if (write(m->wake, &one, sizeof one) < 0)
        errno = 0; /* it is awake */
}

void atr_monitor_destroy(atr_monitor *m)
{
    if (m == NULL)
        return;
    if (m->running) {
        atomic_store(&m->ending, true);
        wake_up(m);
        pthread_join(m->thread, NULL);
    }
    for (int i = 0; m->peers != NULL && i < m->peer_count; i++)
        atr_monitor_wire_close(&m->peers[i].wire);
    if (m->listener >= 0)
        close(m->listener);
    if (m->wake >= 0)
        close(m->wake);
    pthread_mutex_destroy(&m->lock);
    atr_free(m->end_reason);
    atr_free(m->peers);
    atr_free(m->polls);
    atr_free(m->ranks);
    atr_free(m->heard);
    atr_free(m);
}

atr_status atr_comm_enter(atr_comm *comm, atr_activity activity, int64_t step)
{
    atr_monitor *const m = comm->monitor;

    if (m != NULL) {
        atomic_store(&m->place, (uint64_t)activity + ((uint64_t)step << STEP_SHIFT));
        atomic_fetch_add(&m->position, 1);
        if (m->running && m->size > 1)
            wake_up(m);
    }
    return atr_fault(atr_activity_name(activity), comm->rank, step);
}

void atr_comm_beat(atr_comm *comm)
{
    if (comm->monitor != NULL)
        atomic_fetch_add(&comm->monitor->beats, 1);
}

void atr_monitor_failed(atr_monitor *m)
{
    if (m == NULL || atomic_load(&m->agreed))
        return;
    pthread_mutex_lock(&m->lock);
    m->failed = true;
    snprintf(m->failure, sizeof m->failure, "%.*s", ATR_PACKET_TEXT, atr_status_message());
    pthread_mutex_unlock(&m->lock);
    wake_up(m);
}

void atr_monitor_agreed(atr_monitor *m)
{
    if (m != NULL)
        atomic_store(&m->agreed, true);
}

void atr_monitor_aborting(atr_monitor *m)
{
    if (m == NULL || !m->running)
        return;
    atomic_store(&m->aborting, true);
    wake_up(m);
    nanosleep(&(struct timespec){.tv_nsec = 100 * 1000 * 1000},
              NULL); /* so that rank 0 hears it before this process is gone */
}
