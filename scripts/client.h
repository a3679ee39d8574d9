/* What the clients of scripts/bench have in common: a clock, a file of queries, a socket to the server, batches. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

enum { BATCH = 64, HEADER = 12 };

struct batch {
    struct iovec parts[BATCH];
    struct mmsghdr messages[BATCH];
};

static inline double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static inline void fail(const char *what)
{
    perror(what);
    exit(1);
}

static inline const unsigned char *map(const char *path, size_t *size)
{
    struct stat status;
    int file = open(path, O_RDONLY);
    if (file < 0 || fstat(file, &status) < 0)
        fail(path);
    *size = (size_t)status.st_size;
    const unsigned char *octets = mmap(NULL, *size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
    if (octets == MAP_FAILED)
        fail(path);
    return octets;
}

static inline size_t length_at(const unsigned char *entry)
{
    return (size_t)entry[0] << 8 | entry[1];
}

static inline struct sockaddr_in loopback(const char *port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)
    };
}

static inline int udp_from(unsigned address, const struct sockaddr_in *server, int flags)
{
    struct sockaddr_in source = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(address)};
    int fd = socket(AF_INET, SOCK_DGRAM | flags, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&source, sizeof source) < 0
        || connect(fd, (const struct sockaddr *)server, sizeof *server) < 0)
        fail("connect");
    return fd;
}

static inline int udp_to(const struct sockaddr_in *server, int flags)
{
    return udp_from(INADDR_ANY, server, flags);
}

/* Each message of the batch has a slot of so many octets. */
static inline void lay_out(struct batch *batch, unsigned char *octets, size_t slot)
{
    for (int i = 0; i < BATCH; i++) {
        batch->parts[i] = (struct iovec){octets + (size_t)i * slot, slot};
        batch->messages[i].msg_hdr = (struct msghdr){.msg_iov = &batch->parts[i], .msg_iovlen = 1};
    }
}
