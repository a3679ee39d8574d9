/* A load generator for scripts/bench --generator load: it sends prebuilt queries over one UDP socket in batches, at less
 * than half of dnsperf's price per query, so that the server's core is the busy one even under the fastest servers.
 *
 * usage: load PORT FILE SECONDS OUTSTANDING
 *
 * FILE holds queries, each behind its length in two octets (RFC 1035 §4.2.2); the ids are overwritten; at the end of the
 * file it starts again.  OUTSTANDING queries are on the way at any time.  A query is lost when its id comes round again,
 * or when nothing at all has come back for SILENCE ms.  The figures are printed in dnsperf's words.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

enum { BATCH = 64, LARGEST = 4096, HEADER = 12, IDS = 65536, RCODES = 16, SILENCE = 2000 };

static unsigned char queries[BATCH][LARGEST], replies[BATCH][LARGEST];
static struct iovec query_parts[BATCH], reply_parts[BATCH];
static struct mmsghdr query_messages[BATCH], reply_messages[BATCH];
static bool waiting[IDS];
static const char *const names[RCODES] = {"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"};

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: load PORT FILE SECONDS OUTSTANDING\n");
        return 2;
    }
    struct stat status;
    int file = open(argv[2], O_RDONLY);
    if (file < 0 || fstat(file, &status) < 0)
        fail(argv[2]);
    size_t size = (size_t)status.st_size, at = 0;
    const unsigned char *stream = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
    if (stream == MAP_FAILED)
        fail(argv[2]);

    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[1]))};
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&server, sizeof server) < 0)
        fail("connect");
    for (int i = 0; i < BATCH; i++) {
        query_parts[i].iov_base = queries[i];
        reply_parts[i] = (struct iovec){replies[i], LARGEST};
        query_messages[i].msg_hdr = (struct msghdr){.msg_iov = &query_parts[i], .msg_iovlen = 1};
        reply_messages[i].msg_hdr = (struct msghdr){.msg_iov = &reply_parts[i], .msg_iovlen = 1};
    }

    long window = atol(argv[4]), outstanding = 0, sent = 0, completed = 0, lost = 0, rcodes[RCODES] = {0};
    unsigned long long octets = 0;
    unsigned short id = 0;
    double start = now(), end = start + atof(argv[3]), last = start;
    for (double time; (time = now()) < end || outstanding > 0;) {
        int count = 0;
        while (time < end && count < BATCH && outstanding < window) {
            size_t length = (size_t)stream[at] << 8 | stream[at + 1];
            if (length > LARGEST)
                return fprintf(stderr, "a query of %zu octets is too long\n", length), 1;
            memcpy(queries[count], stream + at + 2, length);
            at = at + 2 + length < size ? at + 2 + length : 0;
            queries[count][0] = (unsigned char)(id >> 8);
            queries[count][1] = (unsigned char)id;
            query_parts[count++].iov_len = length;
            if (waiting[id])
                lost++;
            else
                outstanding++;
            waiting[id++] = true;
        }
        for (int done = 0, more; done < count; done += more, sent += more)
            if ((more = sendmmsg(fd, query_messages + done, (unsigned)(count - done), 0)) < 0)
                fail("send");

        count = recvmmsg(fd, reply_messages, BATCH, MSG_DONTWAIT, NULL);
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
            if (reply_messages[i].msg_len < HEADER || !waiting[reply])
                continue;
            waiting[reply] = false;
            outstanding--;
            completed++;
            octets += reply_messages[i].msg_len;
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
