#ifndef ATR_DIST_MONITOR_IMPL_H
#define ATR_DIST_MONITOR_IMPL_H

#include "core/text.h"
#include "dist/comm_impl.h"
#include "dist/monitor.h"

/* What is known of a rank. */
typedef struct atr_sighting {
    bool heard_of; /* it has told of itself at least once */
    bool left;     /* it said goodbye: it waits for nobody, and nobody for it */
    char host[ATR_HOST_BYTES];
    int64_t process;
    int64_t position; /* activities that it noted */
    int64_t step;
    atr_activity activity;
    double still;  /* seconds without progress, as far as is known */
    double silent; /* seconds since it was heard of */
} atr_sighting;

/* Whether the job stands still: every rank that is furthest behind has made no progress for `timeout` seconds. Then R01's words
 * are appended to `message`. `ranks` [count]; a rank that is silent for longer than `quiet` seconds gives no sign of life. */
bool atr_monitor_stalled(const atr_sighting *ranks, int count, double timeout, double quiet,
                         atr_text *message);

/* The timeout for a rank in this activity: a run that is set up gets 10 minutes at least. */
double atr_monitor_patience(const atr_sighting *rank, double timeout);

/* R01 of a rank that has ended without a goodbye, appended to `message`. */
void atr_monitor_lost(const atr_sighting *rank, int number, int count, atr_text *message);

/* R01 of rank `number`, and of `others` beside it, whose machine has not answered for `seconds`, appended to `message`. */
void atr_monitor_unreachable(const atr_sighting *rank, int number, int others, double seconds, int count,
                             atr_text *message);

/* R01 of rank `number`, which has stood still for a while and hears nothing of rank 0: it says what it knows, of itself and, where
 * `zero` is not NULL, of rank 0. Appended to `message`. */
void atr_monitor_blind(const atr_sighting *own, int number, const atr_sighting *zero, atr_text *message);

/* What goes over a connection, both ends being the same program on machines of one kind. `text_bytes` of text follow. */
typedef enum atr_packet_kind {
    ATR_PACKET_BEAT,
    ATR_PACKET_FAILED,
    ATR_PACKET_BYE,
    ATR_PACKET_END
} atr_packet_kind;

typedef struct atr_packet {
    uint64_t token; /* of this job: who does not know it is a stranger */
    int32_t kind, rank, activity, text_bytes;
    int64_t process, position, step;
    double still;
    char host[ATR_HOST_BYTES];
} atr_packet;

enum { ATR_PACKET_TEXT = 1024, ATR_PACKET_ADDRESSES = 16 };

/* Where rank 0 listens. A plain value, broadcast. */
typedef struct atr_meeting_point {
    uint64_t token;
    int32_t port; /* 0: it could not listen */
    int32_t count;
    uint32_t addresses[ATR_PACKET_ADDRESSES]; /* IPv4, network order */
    char host[ATR_HOST_BYTES];
} atr_meeting_point;

/* A connection; `file` is -1 when there is none. */
typedef struct atr_monitor_wire {
    int file;
    unsigned char in[sizeof(atr_packet) + ATR_PACKET_TEXT];
    size_t in_bytes;
    bool broken; /* a packet went out in part: nothing more can */
} atr_monitor_wire;

/* Listens on all addresses of this machine. The socket, or -1; then `where->port` is 0. */
int atr_monitor_wire_listen(const char *host, atr_meeting_point *where);
/* Connects to the first address that answers, each within some seconds; `give_up` is looked at between them. */
bool atr_monitor_wire_connect(atr_monitor_wire *wire, const atr_meeting_point *where, const char *own_host,
                              const _Atomic bool *give_up);
/* A waiting connection from `listener`; false: none is waiting. */
bool atr_monitor_wire_accept(int listener, atr_monitor_wire *wire);
/* Never waits: what does not fit into the system's buffer is dropped. `text` may be NULL. */
void atr_monitor_wire_send(atr_monitor_wire *wire, atr_packet *packet, const char *text);
/* 1: a whole packet of this job, `text` with a closing zero; 0: nothing yet; -1: the other end is gone (`*died`: its process has ended,
 * as opposed to the network), or it is a stranger. */
int atr_monitor_wire_receive(atr_monitor_wire *wire, uint64_t token, atr_packet *packet,
                             char text[ATR_PACKET_TEXT + 1], bool *died);
/* Seconds for which the machine at the other end has not taken what was sent to it; 0: it has, or nothing was sent. A process that
 * is stopped or busy changes nothing: its system answers. */
double atr_monitor_wire_unanswered(const atr_monitor_wire *wire);
void atr_monitor_wire_close(atr_monitor_wire *wire);

/* monitor.c, for comm.c; all take NULL. */
void atr_monitor_destroy(atr_monitor *monitor);
/* This rank has failed with its message, and may not reach the agreement that tells it. */
void atr_monitor_failed(atr_monitor *monitor);
/* All ranks know of the failure, and will end by themselves. */
void atr_monitor_agreed(atr_monitor *monitor);
/* This rank has said why it ends the job. */
void atr_monitor_aborting(atr_monitor *monitor);

#endif
