#include "rate.h"

#include "cleanup.h"
#include "clock.h"
#include "limits.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>

/* 64-bit FNV-1a: names that are no addresses only need a short one of fixed form. */
static uint64_t hash(const char *text)
{
    uint64_t value = 0xcbf29ce484222325u;
    for (; *text; text++)
        value = (value ^ (unsigned char)*text) * 0x100000001b3u;
    return value;
}

/* An address, in the form that its kind has: an IPv4 one inside of an IPv6 one is an IPv4 one. */
static int read_address(const char *host, unsigned char bytes[static 16])
{
    static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
    char text[INET6_ADDRSTRLEN];
    size_t length = strcspn(host, "%"); /* the interface of a link-local address follows */
    if (length >= sizeof(text))
        return 0;
    memcpy(text, host, length);
    text[length] = '\0';
    if (inet_pton(AF_INET, text, bytes) == 1)
        return AF_INET;
    if (inet_pton(AF_INET6, text, bytes) != 1)
        return 0;
    if (memcmp(bytes, mapped, sizeof(mapped)) != 0)
        return AF_INET6;
    memmove(bytes, bytes + sizeof(mapped), 4);
    return AF_INET;
}

void rate_key_make(const char *host, uid_t uid, struct rate_key *ret)
{
    unsigned char a[16] = {0};
    int family = read_address(host ? host : "", a);
    if (family == AF_INET)
        (void)snprintf(ret->source, sizeof(ret->source), "4-%02x%02x%02x%02x", a[0], a[1], a[2], a[3]);
    else if (family == AF_INET6)
        (void)snprintf(ret->source, sizeof(ret->source), "6-%02x%02x%02x%02x%02x%02x%02x%02x", a[0], a[1], a[2], a[3],
                       a[4], a[5], a[6], a[7]);
    else
        (void)snprintf(ret->source, sizeof(ret->source), "n-%016llx", (unsigned long long)hash(host ? host : ""));
    (void)snprintf(ret->pair, sizeof(ret->pair), "%s-%lu", ret->source, (unsigned long)uid);
}

struct times {
    int64_t at[LIMIT_PAM_ATTEMPTS]; /* milliseconds since boot, oldest first */
    size_t count;
};

/* Opens and locks the file of a name, and reads it. */
static int open_times(int folder, const char *name, int *ret_fd, struct times *ret)
{
    _cleanup_close_ int fd = openat(folder, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; i++) { /* nobody holds it longer than a few calls */
        if ((errno != EWOULDBLOCK && errno != EINTR) || i == 500)
            return -errno;
        (void)usleep(10000);
    }
    ssize_t n = pread(fd, ret->at, sizeof(ret->at), 0);
    if (n < 0)
        return -errno;
    ret->count = (size_t)n / sizeof(ret->at[0]);
    *ret_fd = TAKE_FD(fd);
    return 0;
}

static void keep(struct times *times, int64_t from, int64_t to)
{
    size_t count = 0;
    for (size_t i = 0; i < times->count; i++)
        if (times->at[i] >= from && times->at[i] <= to)
            times->at[count++] = times->at[i];
    times->count = count;
}

static int save_times(int fd, const struct times *times)
{
    size_t length = times->count * sizeof(times->at[0]);
    ssize_t n = pwrite(fd, times->at, length, 0);
    if (n != (ssize_t)length)
        return n < 0 ? -errno : -ENOSPC;
    return ftruncate(fd, (off_t)length) < 0 ? -errno : 0;
}

/* The time is read with the lock held: whoever has counted before did so earlier. */
static int take_one(int folder, const char *name, unsigned count, unsigned seconds, int64_t *ret_time)
{
    struct times times;
    _cleanup_close_ int fd = -1;
    int r = open_times(folder, name, &fd, &times);
    if (r < 0)
        return r == -EAGAIN ? -EBUSY : r;
    int64_t now = clock_boot_ms();
    keep(&times, now - (int64_t)seconds * 1000 + 1, now);
    if (times.count >= count || times.count >= LIMIT_PAM_ATTEMPTS)
        return -EAGAIN;
    *ret_time = times.at[times.count++] = now;
    return save_times(fd, &times);
}

static void forget_one(int folder, const char *name, int64_t time)
{
    struct times times = {.count = 0};
    _cleanup_close_ int fd = -1;
    if (open_times(folder, name, &fd, &times) < 0)
        return;
    for (size_t i = 0; i < times.count; i++)
        if (times.at[i] == time) {
            memmove(times.at + i, times.at + i + 1, (--times.count - i) * sizeof(times.at[0]));
            break;
        }
    (void)save_times(fd, &times);
}

int rate_take(int folder, unsigned count, unsigned seconds, struct rate_key *key)
{
    int r = take_one(folder, key->pair, count, seconds, &key->pair_ms);
    if (r < 0)
        return r;
    r = take_one(folder, key->source, count * 4, seconds, &key->source_ms);
    if (r < 0)
        forget_one(folder, key->pair, key->pair_ms);
    return r;
}

void rate_forget(int folder, const struct rate_key *key)
{
    forget_one(folder, key->pair, key->pair_ms);
    forget_one(folder, key->source, key->source_ms);
}
