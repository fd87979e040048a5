/*
 * What the programs of the bench share. Each .c beside this file is one program of its own; none of them is installed.
 * They measure, so they do the least they can, and they stop with a message and status 1 rather than report a figure
 * that they could not take.
 */
#ifndef MLTOKEN_BENCH_H
#define MLTOKEN_BENCH_H

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* One more than the longest reply of the contract: a longer one is not a reply. */
enum { BENCH_REPLY_MAX = 256 * 1024 + 1 };

__attribute__((noreturn, format(printf, 1, 2))) static inline void bench_die(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)fputs("bench: ", stderr);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    va_end(args);
    exit(1);
}

static inline uint64_t bench_now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static inline void bench_sleep_ns(uint64_t ns)
{
    struct timespec pause = {.tv_sec = (time_t)(ns / 1000000000U), .tv_nsec = (long)(ns % 1000000000U)};

    (void)nanosleep(&pause, NULL);
}

static inline unsigned bench_number(const char *text, const char *what, unsigned min, unsigned max)
{
    char *end = NULL;
    unsigned long value;

    errno = 0;
    value = strtoul(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < min || value > max)
        bench_die("%s must be a number from %u to %u: %s", what, min, max, text);
    return (unsigned)value;
}

static inline void *bench_alloc(size_t count, size_t size)
{
    void *memory = calloc(count, size);

    if (!memory)
        bench_die("out of memory");
    return memory;
}

static inline struct sockaddr_un bench_address(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(path);

    if (length >= sizeof address.sun_path)
        bench_die("socket path too long: %s", path);
    memcpy(address.sun_path, path, length + 1);
    return address;
}

static inline void bench_nonblock(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        bench_die("fcntl: %s", strerror(errno));
}

/* A connected, blocking socket, or -1 with errno. */
static inline int bench_try_connect(const char *path)
{
    struct sockaddr_un address = bench_address(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        bench_die("socket: %s", strerror(errno));
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) < 0) {
        int error = errno;

        (void)close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static inline int bench_connect(const char *path)
{
    int fd = bench_try_connect(path);

    if (fd < 0)
        bench_die("cannot connect to %s: %s", path, strerror(errno));
    return fd;
}

/* A request is far smaller than a socket's buffer, so that one call takes it whole. */
static inline void bench_send(int fd, const char *data, size_t length)
{
    if (send(fd, data, length, MSG_NOSIGNAL) != (ssize_t)length)
        bench_die("send: %s", strerror(errno));
}

static inline bool bench_is_token(const char *reply, size_t length)
{
    static const char error[] = "\"error\"";
    static const char token[] = "\"token\"";

    return !memmem(reply, length, error, sizeof error - 1) && memmem(reply, length, token, sizeof token - 1);
}

static inline int bench_compare_u64(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left;
    uint64_t b = *(const uint64_t *)right;

    return (a > b) - (a < b);
}

/* The quantile in thousandths; sorts the samples. */
static inline uint64_t bench_quantile(uint64_t *samples, size_t count, unsigned thousandths)
{
    if (count == 0)
        return 0;
    qsort(samples, count, sizeof samples[0], bench_compare_u64);
    return samples[(count - 1) * thousandths / 1000];
}

#endif
