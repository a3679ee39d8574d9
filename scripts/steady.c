/* A well-behaved client for scripts/bench --abuse, --outage and --hang: it asks at a steady rate, whatever becomes of its
 * queries, checks each reply, and tells when each query was due and how long its reply took.
 *
 * usage: steady PORT FILE SECONDS RATE SOCKETS
 *
 * FILE holds queries, each behind its length in two octets, the rcode that its reply must have in one, and the number of
 * answer records in two; the ids are overwritten; at the end of the file it starts again.  The queries go out over so
 * many sockets in turn, each with a port of its own.  One line for each query is printed at the end: when it was due
 * (CLOCK_MONOTONIC, s), how much later it was sent (s), and how long after it was due the reply came (s), or LOST, or
 * WRONG for one that was not right.  A reply that takes longer than PATIENCE is lost.
 */
#include <poll.h>
#include <stdbool.h>
#include <sys/prctl.h>

#include "client.h"

enum { BEFORE = 5, LARGEST = 65535, SOCKETS = 256, QR_TC = 0x82, AA = 0x04 };
static const double PATIENCE = 1.0, LOST = -1, WRONG = -2;  /* s */

struct query {
    const unsigned char *entry;  /* in the file */
    double due, sent, taken;
};

/* Whether it is the reply that its query calls for: an authoritative one, whole, to the same question. */
static bool is_right(const unsigned char *entry, const unsigned char *reply, size_t length)
{
    const unsigned char *query = entry + BEFORE;
    size_t end = HEADER;
    while (query[end])
        end += 1 + query[end];
    end += 5;
    return length >= end && (reply[2] & QR_TC) == 0x80 && (reply[2] & AA) && (reply[3] & 15) == entry[2]
        && reply[6] == entry[3] && reply[7] == entry[4] && !memcmp(reply + HEADER, query + HEADER, end - HEADER);
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fprintf(stderr, "usage: steady PORT FILE SECONDS RATE SOCKETS\n");
        return 2;
    }
    size_t size, at = 0;
    const unsigned char *entries = map(argv[2], &size);
    int sockets = atoi(argv[5]);
    double rate = atof(argv[4]);
    long total = (long)(atof(argv[3]) * rate);
    struct query *queries = calloc((size_t)total + 1, sizeof *queries);
    if (!queries || sockets < 1 || sockets > SOCKETS)
        return fprintf(stderr, "1 to %d sockets\n", SOCKETS), 2;

    struct sockaddr_in server = loopback(argv[1]);
    struct pollfd readable[SOCKETS];
    for (int i = 0; i < sockets; i++)
        readable[i] = (struct pollfd){udp_to(&server, SOCK_NONBLOCK), POLLIN, 0};
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);

    static unsigned char octets[LARGEST];
    double start = now(), end = start + (double)total / rate + PATIENCE;
    long sent = 0, replied = 0;
    for (double time; (time = now()) < end && !(sent == total && replied == total);) {
        while (sent < total && time >= start + (double)sent / rate) {
            struct query *query = &queries[sent];
            *query = (struct query){entries + at, start + (double)sent / rate, now(), LOST};
            size_t length = length_at(query->entry);
            at = at + BEFORE + length < size ? at + BEFORE + length : 0;
            memcpy(octets, query->entry + BEFORE, length);
            octets[0] = (unsigned char)(sent >> 8);
            octets[1] = (unsigned char)sent;
            /* A refused port (nobody listens) is told here; the query is lost, as the next one may not be. */
            int fd = readable[sent % sockets].fd;
            if (send(fd, octets, length, 0) < 0 && errno == ECONNREFUSED)
                send(fd, octets, length, 0);
            sent++;
        }
        double left = (sent < total ? start + (double)sent / rate : end) - now();
        struct timespec pause = {0, 0};
        if (left > 0)
            pause = (struct timespec){(time_t)left, (long)((left - (double)(time_t)left) * 1e9)};
        if (ppoll(readable, (nfds_t)sockets, &pause, NULL) <= 0)
            continue;
        for (int i = 0; i < sockets; i++) {
            if (!readable[i].revents)
                continue;
            for (ssize_t length; (length = recv(readable[i].fd, octets, sizeof octets, 0)) >= 0;) {
                if (length < HEADER)
                    continue;
                /* The last query with this id. */
                long id = octets[0] << 8 | octets[1], number = id + (sent - 1 - id) / 65536 * 65536;
                if (number >= sent || number % sockets != i)
                    continue;
                struct query *query = &queries[number];
                double taken = now() - query->due;
                if (query->taken != LOST || taken > PATIENCE)
                    continue;
                query->taken = is_right(query->entry, octets, (size_t)length) ? taken : WRONG;
                replied++;
            }
        }
    }
    for (long number = 0; number < sent; number++) {
        struct query *query = &queries[number];
        printf("%.6f %.6f %.6f\n", query->due, query->sent - query->due, query->taken);
    }
    return 0;
}
