/* Linked into a program of ours for the tests: its calls fail when they are told to, by a file named "control" beside
 * the program, which it maps when it starts (struct control; failing.py writes it). Without that file nothing fails.
 * Calls of its children count as well, as long as they are of the same program. */
#include "failing_calls.h"

#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct control {
    char call[32];
    int number;  /* the call that fails; 0: none */
    int lasting; /* and all after it */
    int counted;
};

static struct control *control;

static __attribute__((constructor)) void begin(void)
{
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 16);
    if (n <= 0)
        return;
    path[n] = '\0';
    strcpy(strrchr(path, '/'), "/control");
    int fd = open(path, O_RDWR | O_CLOEXEC);
    void *mapped = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0)
        close(fd);
    if (mapped != MAP_FAILED)
        control = mapped;
}

static bool fails(const char *name)
{
    if (!control || strcmp(control->call, name) != 0)
        return false;
    int at = __atomic_add_fetch(&control->counted, 1, __ATOMIC_SEQ_CST);
    return at == control->number || (control->lasting && control->number > 0 && at > control->number);
}

WRAP(pid_t, fork, -1, EAGAIN, (void), )
WRAP(int, execve, -1, ENOEXEC, (const char *path, char *const argv[], char *const env[]), path, argv, env)
WRAP(pid_t, waitpid, -1, ECHILD, (pid_t pid, int *status, int flags), pid, status, flags)
WRAP(int, dup2, -1, EBADF, (int from, int to), from, to)
WRAP(int, close_range, -1, EINVAL, (unsigned first, unsigned last, int flags), first, last, flags)
WRAP(int, chdir, -1, EACCES, (const char *path), path)
WRAP(ssize_t, readlink, -1, EACCES, (const char *path, char *to, size_t size), path, to, size)
WRAP(int, socket, -1, EMFILE, (int domain, int type, int protocol), domain, type, protocol)
WRAP(int, connect, -1, EACCES, (int fd, const struct sockaddr *to, socklen_t size), fd, to, size)
WRAP(int, getsockopt, -1, ENOBUFS, (int fd, int level, int what, void *to, socklen_t *size), fd, level, what, to, size)
WRAP(int, poll, -1, EINTR, (struct pollfd * fds, nfds_t count, int wait), fds, count, wait)
WRAP(ssize_t, read, -1, EIO, (int fd, void *to, size_t size), fd, to, size)
WRAP(ssize_t, write, -1, EPIPE, (int fd, const void *bytes, size_t length), fd, bytes, length)
WRAP(ssize_t, send, -1, ENOBUFS, (int fd, const void *bytes, size_t length, int flags), fd, bytes, length, flags)
WRAP(ssize_t, recv, -1, ENOMEM, (int fd, void *to, size_t size, int flags), fd, to, size, flags)
WRAP(ssize_t, sendmsg, -1, ENOBUFS, (int fd, const struct msghdr *message, int flags), fd, message, flags)
WRAP(ssize_t, recvmsg, -1, ENOMEM, (int fd, struct msghdr *message, int flags), fd, message, flags)
WRAP(int, lstat, -1, EACCES, (const char *path, struct stat *to), path, to)
WRAP(int, epoll_ctl, -1, ENOMEM, (int fd, int what, int of, struct epoll_event *event), fd, what, of, event)

#ifndef WITHOUT_MALLOC /* a sanitizer has its own */
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
void *malloc(size_t);
void *calloc(size_t, size_t);
void *realloc(void *, size_t);

/* json-c 0.16 looks at no strdup() of a name that it reads: what comes of that is not ours */
struct json_object;
struct json_tokener;
struct json_object *json_tokener_parse_ex(struct json_tokener *, const char *, int);
static __thread bool parsing;

struct json_object *json_tokener_parse_ex(struct json_tokener *tokener, const char *text, int length)
{
    REAL(json_tokener_parse_ex);
    parsing = true;
    struct json_object *result = real(tokener, text, length);
    parsing = false;
    return result;
}

static bool no_memory(void)
{
    bool none = !parsing && fails("malloc");
    if (none)
        errno = ENOMEM;
    return none;
}

void *malloc(size_t size)
{
    return no_memory() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return no_memory() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *from, size_t size)
{
    return no_memory() ? NULL : __libc_realloc(from, size);
}
#endif
