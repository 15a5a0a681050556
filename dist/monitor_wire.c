#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dist/monitor_impl.h"

/* Connections beside MPI: small packets over TCP, without blocking. */

/* A node may have bridges and networks on which rank 0 cannot be met: each address gets this long. */
enum { CONNECT_MS = 2000, BACKLOG = 4096 };

static uint32_t address_of(const struct ifaddrs *at)
{
    struct sockaddr_in address;

    memcpy(&address, at->ifa_addr, sizeof address);
    return address.sin_addr.s_addr;
}

/* The machine's addresses, those of other machines' interest first. */
static void list_addresses(atr_meeting_point *where)
{
    struct ifaddrs *all = NULL;

    if (getifaddrs(&all) != 0)
        return;
    for (const struct ifaddrs *at = all; at != NULL && where->count < ATR_PACKET_ADDRESSES; at = at->ifa_next)
        if (at->ifa_addr != NULL && at->ifa_addr->sa_family == AF_INET && (at->ifa_flags & IFF_UP) != 0 &&
            (at->ifa_flags & IFF_LOOPBACK) == 0)
            where->addresses[where->count++] = address_of(at);
    freeifaddrs(all);
}

int atr_monitor_wire_listen(const char *host, atr_meeting_point *where)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
    socklen_t length = sizeof address;
    const int file = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    *where = (atr_meeting_point){0};
    snprintf(where->host, sizeof where->host, "%s", host);
    if (file < 0)
        return -1;
    if (getrandom(&where->token, sizeof where->token, 0) != sizeof where->token ||
        bind(file, (const struct sockaddr *)&address, length) != 0 || listen(file, BACKLOG) != 0 ||
        getsockname(file, (struct sockaddr *)&address, &length) != 0) {
        close(file);
        return -1;
    }
    where->port = ntohs(address.sin_port);
    list_addresses(where);
    return file;
}

static bool connect_to(atr_monitor_wire *wire, uint32_t host, int port)
{
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = host, .sin_port = htons((uint16_t)port)};
    const int one = 1;
    int reason = 0;
    socklen_t length = sizeof reason;

    wire->file = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (wire->file < 0)
        return false;
    setsockopt(wire->file, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(wire->file, (const struct sockaddr *)&address, sizeof address) == 0)
        return true;
    struct pollfd wait = {.fd = wire->file, .events = POLLOUT};
    if (errno == EINPROGRESS && poll(&wait, 1, CONNECT_MS) == 1 &&
        getsockopt(wire->file, SOL_SOCKET, SO_ERROR, &reason, &length) == 0 && reason == 0)
        return true;
    atr_monitor_wire_close(wire);
    return false;
}

/* Rank 0 speaks first: another job's process on a like address says nothing of this job. */
static bool greeted(atr_monitor_wire *wire, const atr_meeting_point *where)
{
    struct pollfd wait = {.fd = wire->file, .events = POLLIN};
    atr_packet packet;
    char text[ATR_PACKET_TEXT + 1];
    bool died = false;

    if (poll(&wait, 1, CONNECT_MS) == 1 &&
        atr_monitor_wire_receive(wire, where->token, &packet, text, &died) == 1)
        return true;
    atr_monitor_wire_close(wire);
    return false;
}

bool atr_monitor_wire_connect(atr_monitor_wire *wire, const atr_meeting_point *where, const char *own_host,
                              const _Atomic bool *give_up)
{
    *wire = (atr_monitor_wire){.file = -1};
    if (where->port == 0)
        return false;
    if (strcmp(where->host, own_host) == 0 && connect_to(wire, htonl(INADDR_LOOPBACK), where->port) &&
        greeted(wire, where))
        return true;
    for (int i = 0; i < where->count && !atomic_load(give_up); i++)
        if (connect_to(wire, where->addresses[i], where->port) && greeted(wire, where))
            return true;
    return false;
}

bool atr_monitor_wire_accept(int listener, atr_monitor_wire *wire)
{
    *wire = (atr_monitor_wire){.file = -1};
    wire->file = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    return wire->file >= 0;
}

void atr_monitor_wire_send(atr_monitor_wire *wire, atr_packet *packet, const char *text)
{
    unsigned char bytes[sizeof *packet + ATR_PACKET_TEXT];
    size_t length = sizeof *packet;

    if (wire->file < 0 || wire->broken)
        return;
    packet->text_bytes = text != NULL ? (int32_t)strnlen(text, ATR_PACKET_TEXT) : 0;
    memcpy(bytes, packet, sizeof *packet);
    if (packet->text_bytes > 0)
        memcpy(bytes + sizeof *packet, text, (size_t)packet->text_bytes);
    length += (size_t)packet->text_bytes;
    const ssize_t sent = send(wire->file, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);
    wire->broken = sent > 0 && (size_t)sent < length;
}

/* A whole packet at the front of what came in. 1, 0 or, for a stranger, -1. */
static int take_packet(atr_monitor_wire *wire, uint64_t token, atr_packet *packet, char *text)
{
    if (wire->in_bytes < sizeof *packet)
        return 0;
    memcpy(packet, wire->in, sizeof *packet);
    if (packet->token != token || packet->text_bytes < 0 || packet->text_bytes > ATR_PACKET_TEXT)
        return -1;
    const size_t length = sizeof *packet + (size_t)packet->text_bytes;
    if (wire->in_bytes < length)
        return 0;
    memcpy(text, wire->in + sizeof *packet, (size_t)packet->text_bytes);
    text[packet->text_bytes] = '\0';
    packet->host[sizeof packet->host - 1] = '\0';
    wire->in_bytes -= length;
    memmove(wire->in, wire->in + length, wire->in_bytes);
    return 1;
}

int atr_monitor_wire_receive(atr_monitor_wire *wire, uint64_t token, atr_packet *packet,
                             char text[ATR_PACKET_TEXT + 1], bool *died)
{
    *died = false;
    if (wire->file < 0)
        return 0;
    for (;;) {
        const int taken = take_packet(wire, token, packet, text);
        if (taken != 0)
            return taken;
        const ssize_t got =
            recv(wire->file, wire->in + wire->in_bytes, sizeof wire->in - wire->in_bytes, MSG_DONTWAIT);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return 0;
        if (got <= 0) {
            *died = got == 0 ||
                    errno == ECONNRESET; /* the system closed it, as it does for a process that ends */
            return -1;
        }
        wire->in_bytes += (size_t)got;
    }
}

double atr_monitor_wire_unanswered(const atr_monitor_wire *wire)
{
    struct tcp_info info = {0};
    socklen_t length = sizeof info;

    if (wire->file < 0 || getsockopt(wire->file, IPPROTO_TCP, TCP_INFO, &info, &length) != 0)
        return 0;
    return info.tcpi_unacked > 0 ? 1e-3 * (double)info.tcpi_last_ack_recv : 0;
}

void atr_monitor_wire_close(atr_monitor_wire *wire)
{
    if (wire->file >= 0)
        close(wire->file);
    *wire = (atr_monitor_wire){.file = -1};
}
