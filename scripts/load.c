/* A load generator for scripts/bench --generator load: it sends prebuilt queries over one UDP socket in batches, at less
 * than half of dnsperf's price per query, so that the server's core is the busy one even under the fastest servers.
 *
 * usage: load PORT FILE SECONDS OUTSTANDING
 *
 * FILE holds queries, each behind its length in two octets (RFC 1035 §4.2.2); the ids are overwritten; at the end of the
 * file it starts again.  OUTSTANDING queries are on the way at any time.  A query is lost when its id comes round again,
 * or when nothing at all has come back for SILENCE ms.  The figures are printed in dnsperf's words.
 */
#include <poll.h>
#include <stdbool.h>

#include "client.h"

enum { LARGEST = 4096, IDS = 65536, RCODES = 16, SILENCE = 2000 };

static unsigned char queries[BATCH][LARGEST], replies[BATCH][LARGEST];
static struct batch out, in;
static bool waiting[IDS];
static const char *const names[RCODES] = {"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"};

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: load PORT FILE SECONDS OUTSTANDING\n");
        return 2;
    }
    size_t size, at = 0;
    const unsigned char *stream = map(argv[2], &size);
    struct sockaddr_in server = loopback(argv[1]);
    int fd = udp_to(&server, 0);
    lay_out(&out, queries[0], LARGEST);
    lay_out(&in, replies[0], LARGEST);

    long window = atol(argv[4]), outstanding = 0, sent = 0, completed = 0, lost = 0, rcodes[RCODES] = {0};
    unsigned long long octets = 0;
    unsigned short id = 0;
    double start = now(), end = start + atof(argv[3]), last = start;
    for (double time; (time = now()) < end || outstanding > 0;) {
        int count = 0;
        while (time < end && count < BATCH && outstanding < window) {
            size_t length = length_at(stream + at);
            if (length > LARGEST)
                return fprintf(stderr, "a query of %zu octets is too long\n", length), 1;
            memcpy(queries[count], stream + at + 2, length);
            at = at + 2 + length < size ? at + 2 + length : 0;
            queries[count][0] = (unsigned char)(id >> 8);
            queries[count][1] = (unsigned char)id;
            out.parts[count++].iov_len = length;
            if (waiting[id])
                lost++;
            else
                outstanding++;
            waiting[id++] = true;
        }
        for (int done = 0, more; done < count; done += more, sent += more)
            if ((more = sendmmsg(fd, out.messages + done, (unsigned)(count - done), 0)) < 0)
                fail("send");

        count = recvmmsg(fd, in.messages, BATCH, MSG_DONTWAIT, NULL);
        if (count <= 0) {
            struct pollfd readable = {fd, POLLIN, 0};
            if (poll(&readable, 1, SILENCE) == 0) {
                lost += outstanding;
                outstanding = 0;
                memset(waiting, 0, sizeof waiting);
            }
            continue;
        }
        last = now();
        for (int i = 0; i < count; i++) {
            unsigned reply = (unsigned)replies[i][0] << 8 | replies[i][1];
            if (in.messages[i].msg_len < HEADER || !waiting[reply])
                continue;
            waiting[reply] = false;
            outstanding--;
            completed++;
            octets += in.messages[i].msg_len;
            rcodes[replies[i][3] & 15]++;
        }
    }

    printf("Queries sent: %ld\nQueries completed: %ld\nQueries lost: %ld\nResponse codes:", sent, completed, lost);
    for (int rcode = 0; rcode < RCODES; rcode++)
        if (rcodes[rcode] && names[rcode])
            printf(" %s %ld (%.2f%%)", names[rcode], rcodes[rcode], 100.0 * (double)rcodes[rcode] / (double)completed);
        else if (rcodes[rcode])
            printf(" RCODE%d %ld (%.2f%%)", rcode, rcodes[rcode], 100.0 * (double)rcodes[rcode] / (double)completed);
    printf("\nAverage packet size: response %llu\n", completed ? octets / (unsigned long long)completed : 0);
    printf("Run time (s): %.6f\nQueries per second: %.6f\n", last - start, (double)completed / (last - start));
    return 0;
}
