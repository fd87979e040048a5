/*
 * The floor that the agent is compared with: one epoll loop that answers each NUL-terminated request with the same
 * bytes. It parses nothing, checks nobody and keeps nothing.
 *
 *   echo SOCKET REPLY_BYTES      (the NUL included; prints "ready" when it listens)
 */
#include "bench.h"

#include <sys/epoll.h>

enum { ECHO_EVENTS = 256, ECHO_REQUEST_MAX = 64 * 1024 };

static int echo_listen(const char *path)
{
    struct sockaddr_un address = bench_address(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 4096) < 0)
        bench_die("cannot listen on %s: %s", path, strerror(errno));
    return fd;
}

static void echo_watch(int epoll, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        bench_die("epoll_ctl: %s", strerror(errno));
}

static void echo_serve(int fd, const char *reply, size_t reply_length)
{
    static char request[ECHO_REQUEST_MAX];
    ssize_t got = recv(fd, request, sizeof request, 0);

    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        (void)close(fd);
        return;
    }
    for (const char *at = request, *end = request + got; (at = memchr(at, '\0', (size_t)(end - at))) != NULL; at++)
        if (send(fd, reply, reply_length, MSG_NOSIGNAL) != (ssize_t)reply_length) {
            (void)close(fd);
            return;
        }
}

int main(int argc, char **argv)
{
    struct epoll_event events[ECHO_EVENTS];
    size_t length;
    char *reply;
    int listener, epoll;

    if (argc != 3)
        bench_die("usage: echo SOCKET REPLY_BYTES");
    length = bench_number(argv[2], "REPLY_BYTES", 1, BENCH_REPLY_MAX);
    reply = bench_alloc(length, 1);
    memset(reply, 'x', length - 1);

    listener = echo_listen(argv[1]);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        bench_die("epoll_create1: %s", strerror(errno));
    echo_watch(epoll, listener);
    (void)puts("ready");
    (void)fflush(stdout);

    for (;;) {
        int count = epoll_wait(epoll, events, ECHO_EVENTS, -1);

        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;

            if (fd != listener) {
                echo_serve(fd, reply, length);
                continue;
            }
            while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
                echo_watch(epoll, fd);
        }
    }
}
