#include "notify.h"

#include "cleanup.h"
#include "clock.h"
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

static struct {
    int fd; /* connected to the manager; -1: nobody asked */
    int64_t watchdog_ms;
} state = {.fd = -1};

static void connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    if ((path[0] != '/' && path[0] != '@') || length < 2 || length >= sizeof(address.sun_path))
        return;
    memcpy(address.sun_path, path, length);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    if (path[0] == '@')
        address.sun_path[0] = '\0'; /* abstract: exactly these bytes */
    else
        size++;
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, size) == 0)
        state.fd = TAKE_FD(fd);
}

/* Digits alone; -1 for anything else. */
static int64_t number(const char *text)
{
    int64_t value = 0;
    size_t digits = text ? strspn(text, "0123456789") : 0;
    if (digits == 0 || digits > 15 || text[digits])
        return -1;
    for (size_t i = 0; i < digits; i++)
        value = value * 10 + (text[i] - '0');
    return value;
}

void notify_open(void)
{
    const char *path = getenv("NOTIFY_SOCKET"), *pid = getenv("WATCHDOG_PID");
    int64_t usec = number(getenv("WATCHDOG_USEC"));
    notify_close();
    if (path)
        connect_to(path);
    if (state.fd >= 0 && usec > 0 && (!pid || number(pid) == getpid()))
        state.watchdog_ms = usec / 2000 > 0 ? usec / 2000 : 1;
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

void notify_close(void)
{
    if (state.fd >= 0)
        close(state.fd);
    state.fd = -1;
    state.watchdog_ms = 0;
}

static void tell(const char *text)
{
    if (state.fd >= 0)
        (void)!send(state.fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void tell_with_status(const char *what, const char *status)
{
    char text[512];
    (void)snprintf(text, sizeof(text), "%sSTATUS=%.400s\n", what, status);
    for (char *p = strstr(text, "STATUS="); *p; p++) /* one line: a newline would begin another word to the manager */
        if (*p == '\n' && p[1])
            *p = ' ';
    tell(text);
}

void notify_ready(const char *status)
{
    tell_with_status("READY=1\n", status);
}

void notify_status(const char *status)
{
    tell_with_status("", status);
}

void notify_reloading(void)
{
    struct timespec now;
    char text[64];
    clock_gettime(CLOCK_MONOTONIC, &now); /* newer managers want to know when it began, by this clock */
    (void)snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%lld\n",
                   (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
    tell(text);
}

void notify_stopping(void)
{
    tell("STOPPING=1\n");
}

void notify_watchdog(void)
{
    tell("WATCHDOG=1\n");
}

int64_t notify_watchdog_ms(void)
{
    return state.watchdog_ms;
}
