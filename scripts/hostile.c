/* A hostile client for scripts/bench --abuse: cheap to run, bounded in rate and time, and on the loopback only.
 *
 * usage: hostile udp PORT FILE SECONDS RATE SOCKETS
 *        hostile spread PORT FILE SECONDS RATE SOCKETS
 *        hostile tcp PORT FILE SECONDS CONNECTIONS ADDRESSES
 *
 * FILE holds queries, each behind its length in two octets (RFC 1035 §4.2.2); at the end of the file it starts again.
 * Over UDP so many a second are sent, whatever comes back, by that many sockets in turn; spread, each is in a /24 of its
 * own: 127.9.0.1, 127.9.1.1 and so on.  Over TCP every connection
 * writes as fast as it is read, and reads all that it gets; the connections come from 127.0.9.1 and up, so many
 * addresses; one that is closed is opened again.  It prints how many queries it sent (over TCP: as far as the socket took
 * them) and replies it got, how many connections were opened and how many were open at the end, and the seconds.
 */
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "client.h"

enum { SOCKETS = 64, CONNECTIONS = 4096, EVENTS = 256, PIECE = 65536, REOPENED = 50 };
static const long PAUSE = 250000;          /* ns, when nothing is due */
static const unsigned SOURCE = 0x7F000900; /* 127.0.9.0 */
static const unsigned SPREAD = 0x7F090001; /* 127.9.0.1 */

struct connection {
    int fd;
    size_t at;             /* in the file, of what is to be written */
    unsigned needed, have; /* of the reply that is being read: octets, and how many of its length are known */
};

static const unsigned char *stream;
static size_t size;
static struct sockaddr_in server;
static unsigned long sent, octets_sent, replies, opened;

static size_t after(size_t at)
{
    at += 2 + length_at(stream + at);
    return at < size ? at : 0;
}

static void flood(double seconds, double rate, int sockets, int is_spread)
{
    static unsigned char queries[BATCH][PIECE], reply[BATCH][16];
    static struct batch out, in;
    int fds[SOCKETS], turn = 0;
    for (int i = 0; i < sockets; i++)
        fds[i] = udp_from(is_spread ? SPREAD + ((unsigned)i << 8) : INADDR_ANY, &server, 0);
    lay_out(&out, queries[0], sizeof queries[0]);
    lay_out(&in, reply[0], sizeof reply[0]);
    size_t at = 0;
    double start = now();
    for (double time; (time = now() - start) < seconds;) {
        long due = (long)(rate * time) - (long)sent;
        int count = due > BATCH ? BATCH : (int)due, fd = fds[turn++ % sockets];
        for (int i = 0; i < count; i++) {
            size_t length = length_at(stream + at);
            memcpy(queries[i], stream + at + 2, length);
            queries[i][0] = (unsigned char)(sent >> 8);
            queries[i][1] = (unsigned char)(sent + (unsigned)i);
            out.parts[i].iov_len = length;
            at = after(at);
        }
        /* A port that refuses is told by an error: the packet counts as sent all the same. */
        if (count > 0) {
            sendmmsg(fd, out.messages, (unsigned)count, 0);
            sent += (unsigned)count;
        }
        int got = recvmmsg(fd, in.messages, BATCH, MSG_DONTWAIT | MSG_TRUNC, NULL);
        if (got > 0)
            replies += (unsigned)got;
        else if (count <= 0)
            nanosleep(&(struct timespec){0, PAUSE}, NULL);
    }
    printf("sent %lu replies %lu opened 0 open 0 seconds %.3f\n", sent, replies, now() - start);
}

static void dial(struct connection *connection, unsigned address, int events)
{
    struct sockaddr_in source = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(address)};
    int yes = 1;
    *connection = (struct connection){.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)};
    if (connection->fd < 0)
        fail("socket");
    setsockopt(connection->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
    if (bind(connection->fd, (struct sockaddr *)&source, sizeof source) < 0)
        fail("bind");
    connect(connection->fd, (struct sockaddr *)&server, sizeof server);
    opened++;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = connection};
    epoll_ctl(events, EPOLL_CTL_ADD, connection->fd, &event);
}

/* Replies are counted by their lengths; nothing else of them is looked at. */
static void count_replies(struct connection *connection, const unsigned char *octets, size_t length)
{
    while (length) {
        if (connection->have < 2) {
            connection->needed = connection->needed << 8 | *octets++;
            connection->have++;
            length--;
            continue;
        }
        unsigned part = connection->needed < length ? connection->needed : (unsigned)length;
        connection->needed -= part;
        octets += part;
        length -= part;
        if (!connection->needed) {
            connection->have = 0;
            replies++;
        }
    }
}

/* -1 when the connection has come to its end. */
static int serve(struct connection *connection, unsigned events)
{
    static unsigned char octets[PIECE];
    ssize_t done = 0;
    if (events & (EPOLLERR | EPOLLHUP))
        return -1;
    if (events & EPOLLIN) {
        while ((done = recv(connection->fd, octets, sizeof octets, 0)) > 0)
            count_replies(connection, octets, (size_t)done);
        if (done == 0 || errno != EAGAIN)
            return -1;
    }
    /* One write a turn: no connection keeps the others waiting. */
    if (events & EPOLLOUT) {
        size_t end = connection->at + PIECE < size ? connection->at + PIECE : size;
        done = send(connection->fd, stream + connection->at, end - connection->at, MSG_NOSIGNAL);
        if (done < 0 && errno != EAGAIN)
            return -1;
        octets_sent += done > 0 ? (size_t)done : 0;
        connection->at += done > 0 ? (size_t)done : 0;
        if (connection->at == size)
            connection->at = 0;
    }
    return 0;
}

static void connect_all(double seconds, int wanted, unsigned addresses)
{
    static struct connection connections[CONNECTIONS];
    struct epoll_event ready[EVENTS];
    int events = epoll_create1(0), open = wanted;
    for (int i = 0; i < wanted; i++)
        dial(&connections[i], SOURCE + 1 + (unsigned)i % addresses, events);
    double start = now();
    while (now() - start < seconds) {
        int count = epoll_wait(events, ready, EVENTS, 10), reopened = 0;
        for (int i = 0; i < count; i++) {
            struct connection *connection = ready[i].data.ptr;
            if (serve(connection, ready[i].events) == 0 || ++reopened > REOPENED)
                continue;
            close(connection->fd);
            dial(connection, SOURCE + 1 + (unsigned)(connection - connections) % addresses, events);
        }
        if (reopened)
            nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    for (int i = 0; i < wanted; i++) {
        struct tcp_info info;
        socklen_t length = sizeof info;
        if (getsockopt(connections[i].fd, IPPROTO_TCP, TCP_INFO, &info, &length) < 0 || info.tcpi_state != TCP_ESTABLISHED)
            open--;
    }
    unsigned long in_file = 0;
    for (size_t at = 0; in_file == 0 || at; at = after(at))
        in_file++;
    sent = (unsigned long)((double)octets_sent / (double)size * (double)in_file);
    printf("sent %lu replies %lu opened %lu open %d seconds %.3f\n", sent, replies, opened, open, now() - start);
}

int main(int argc, char **argv)
{
    int is_tcp = argc == 7 && !strcmp(argv[1], "tcp"), is_spread = argc == 7 && !strcmp(argv[1], "spread");
    if (argc != 7 || (!is_tcp && !is_spread && strcmp(argv[1], "udp") != 0)) {
        fprintf(stderr, "usage: hostile udp|spread PORT FILE SECONDS RATE SOCKETS | tcp PORT FILE SECONDS CONNECTIONS ADDRESSES\n");
        return 2;
    }
    int first = atoi(argv[5]), second = atoi(argv[6]);
    stream = map(argv[3], &size);
    server = loopback(argv[2]);
    if (first < 1 || second < 1 || second > (is_tcp ? 250 : SOCKETS) || (is_tcp && first > CONNECTIONS))
        return fprintf(stderr, "out of bounds\n"), 2;
    if (is_tcp)
        connect_all(atof(argv[4]), first, (unsigned)second);
    else
        flood(atof(argv[4]), first, second, is_spread);
    return 0;
}
