/* The floor of scripts/bench: a nameserver that does nothing.  It sends every UDP packet back with the QR bit set, at
 * the price of one recvfrom and one sendto per packet; what a server costs above that is its own work.
 *
 * usage: echo PORT        (on 127.0.0.1; runs until it is killed)
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

enum { HEADER = 12, LARGEST = 65535, QR = 0x80 };

int main(int argc, char **argv)
{
    static unsigned char packet[LARGEST];

    if (argc != 2) {
        fprintf(stderr, "usage: echo PORT\n");
        return 2;
    }
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[1]))};
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || bind(fd, (struct sockaddr *)&here, sizeof here) < 0) {
        perror("echo");
        return 1;
    }
    for (;;) {
        struct sockaddr_in client;
        socklen_t length = sizeof client;
        ssize_t size = recvfrom(fd, packet, sizeof packet, 0, (struct sockaddr *)&client, &length);
        if (size < HEADER || packet[2] & QR)
            continue;
        packet[2] |= QR;
        sendto(fd, packet, (size_t)size, 0, (struct sockaddr *)&client, length);
    }
}
