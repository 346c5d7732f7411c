/* A closed-loop load generator for one Unix socket: every connection keeps `depth` requests in flight.

   load PATH CONNECTIONS DEPTH SECONDS NEWLINES_PER_REPLY < one request

   Eight at-signs in the request become a counter of eight digits. One request is sent for every reply that was read,
   all those of one read in one write. Prints: requests, seconds, median and 99th percentile of the latency in us.
   The same binary drives every server that is compared, so that its own cost is in both numbers. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { DEPTH_MAX = 256, SAMPLES_MAX = 1 << 22, READ_BYTES = 1 << 18 };

struct client {
    int fd;
    int newlines;
    unsigned oldest, newest;
    uint64_t sent_ns[DEPTH_MAX];
};

static char request[4096], out[4096 * DEPTH_MAX], in[READ_BYTES];
static size_t request_bytes;
static char *counter;
static unsigned long sent_total;
static uint32_t *samples_ns;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void send_requests(struct client *c, int count) {
    size_t bytes = 0;
    uint64_t at = now_ns();
    for (int i = 0; i < count; i++) {
        if (counter) {
            unsigned long n = sent_total % 100000000u;
            for (int digit = 7; digit >= 0; digit--, n /= 10) counter[digit] = (char)('0' + n % 10);
        }
        sent_total++;
        memcpy(out + bytes, request, request_bytes);
        bytes += request_bytes;
        c->sent_ns[c->newest++ % DEPTH_MAX] = at;
    }
    for (size_t done = 0; done < bytes;) {
        ssize_t n = send(c->fd, out + done, bytes - done, MSG_NOSIGNAL);
        if (n < 0) die("send");
        done += (size_t)n;
    }
}

static int compare(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    if (argc != 6) return fprintf(stderr, "load PATH CONNECTIONS DEPTH SECONDS NEWLINES_PER_REPLY\n"), 2;
    int connections = atoi(argv[2]), depth = atoi(argv[3]), newlines_per_reply = atoi(argv[5]);
    double seconds = atof(argv[4]);
    if (depth < 1 || depth > DEPTH_MAX || connections < 1) return 2;
    request_bytes = fread(request, 1, sizeof request - 1, stdin);
    counter = strstr(request, "@@@@@@@@");
    samples_ns = malloc(SAMPLES_MAX * sizeof *samples_ns);
    struct client *clients = calloc((size_t)connections, sizeof *clients);
    int poll_fd = epoll_create1(0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, argv[1], sizeof address.sun_path - 1);
    for (int i = 0; i < connections; i++) {
        clients[i].fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (connect(clients[i].fd, (struct sockaddr *)&address, sizeof address)) die("connect");
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &clients[i]};
        epoll_ctl(poll_fd, EPOLL_CTL_ADD, clients[i].fd, &event);
    }
    for (int i = 0; i < connections; i++) send_requests(&clients[i], depth);
    uint64_t warm_ns = now_ns() + 200000000u, started_ns = 0, ended_ns = 0, now = 0;
    unsigned long served = 0;
    struct epoll_event events[256];
    while (!ended_ns) {
        int ready = epoll_wait(poll_fd, events, 256, 2000);
        if (ready == 0) return fprintf(stderr, "the server is silent\n"), 1;
        for (int i = 0; i < ready; i++) {
            struct client *c = events[i].data.ptr;
            ssize_t n = recv(c->fd, in, sizeof in, 0);
            if (n <= 0) die("recv");
            now = now_ns();
            int replies = 0;
            for (char *at = in, *end = in + n; (at = memchr(at, '\n', (size_t)(end - at))); at++)
                if (++c->newlines == newlines_per_reply) c->newlines = 0, replies++;
            for (int k = 0; k < replies; k++) {
                uint64_t sent = c->sent_ns[c->oldest++ % DEPTH_MAX];
                if (started_ns && served < SAMPLES_MAX) samples_ns[served] = (uint32_t)(now - sent);
                if (started_ns) served++;
            }
            if (replies) send_requests(c, replies);
        }
        if (!started_ns && now >= warm_ns) started_ns = now;
        if (started_ns && (double)(now - started_ns) / 1e9 >= seconds) ended_ns = now;
    }
    size_t sampled = served < SAMPLES_MAX ? served : SAMPLES_MAX;
    qsort(samples_ns, sampled, sizeof *samples_ns, compare);
    printf("%lu %.6f %.1f %.1f\n", served, (double)(ended_ns - started_ns) / 1e9,
           samples_ns[sampled / 2] / 1e3, samples_ns[sampled * 99 / 100] / 1e3);
    return 0;
}
