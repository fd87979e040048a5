#include "sockets.h"

#include "cleanup.h"
#include "environment.h"
#include "limits.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

enum { FIRST_FD = 3, PATIENCE_MS = 2000, NAP_MS = 20 };

static int say(char *problem, size_t size, const char *what, const char *path, int error)
{
    (void)snprintf(problem, size, "%s %s: %s", what, path, strerror(-error));
    return error;
}

/* An agent that is just ending (its socket was replaced) gives the lock back within a moment. */
static int take_lock(const char *directory, bool wait)
{
    char path[SOCKET_PATH_SIZE + 16];
    (void)snprintf(path, sizeof(path), "%s/agent.lock", directory);
    _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    for (int waited = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; waited += NAP_MS) {
        if (errno != EWOULDBLOCK || !wait || waited >= PATIENCE_MS)
            return errno == EWOULDBLOCK ? -EBUSY : -errno;
        nanosleep(&(struct timespec){.tv_nsec = NAP_MS * 1000000L}, NULL);
    }
    return TAKE_FD(fd);
}

/* Whatever is there is left over from an agent that is gone: we hold the lock. */
static int bind_one(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat st;
    memcpy(address.sun_path, path, strlen(path) + 1);
    if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
        return -EEXIST;
    (void)unlink(path);
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return -errno;
    if (chmod(path, 0600) < 0 || listen(fd, LIMIT_BACKLOG) < 0)
        return -errno;
    return TAKE_FD(fd);
}

/* Descriptors from the service manager: told apart by the names they are bound to. */
static int adopt(struct sockets *sockets)
{
    int count = environment_sockets();
    for (int fd = FIRST_FD; fd < FIRST_FD + count; fd++) {
        struct sockaddr_un address = {0};
        socklen_t size = sizeof(address) - 1;
        if (getsockname(fd, (struct sockaddr *)&address, &size) < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
            return -errno;
        const char *slash = strrchr(address.sun_path, '/');
        *(slash && strcmp(slash, "/get.sock") == 0 ? &sockets->get : &sockets->agent) = fd;
    }
    sockets->activated = count > 0;
    return 0;
}

static int open_both(struct sockets *sockets, char *problem, size_t size)
{
    if (sockets->agent < 0)
        sockets->agent = bind_one(sockets->path.agent);
    if (sockets->agent < 0)
        return say(problem, size, "cannot listen on", sockets->path.agent, sockets->agent);
    if (sockets->get < 0)
        sockets->get = bind_one(sockets->path.get);
    if (sockets->get < 0)
        return say(problem, size, "cannot listen on", sockets->path.get, sockets->get);
    struct stat st;
    if (stat(sockets->path.agent, &st) == 0) {
        sockets->device = st.st_dev;
        sockets->inode = st.st_ino;
    }
    return 0;
}

int sockets_open(const struct socket_path *path, struct sockets *ret, char *problem, size_t size)
{
    struct sockets sockets = SOCKETS_NONE;
    sockets.path = *path;
    int r = socket_directory_check(path->directory, true);
    if (r < 0) {
        (void)snprintf(problem, size, "the socket's directory %s %s", path->directory, socket_directory_problem(r));
        return r;
    }
    r = adopt(&sockets);
    if (r < 0)
        return say(problem, size, "cannot use the sockets handed over for", path->directory, r);
    sockets.lock = take_lock(path->directory, sockets.activated);
    if (sockets.lock == -EBUSY) {
        (void)snprintf(problem, size, "another agent serves %s already", path->agent);
        return -EBUSY;
    }
    if (sockets.lock < 0)
        return say(problem, size, "cannot lock", path->directory, sockets.lock);
    r = open_both(&sockets, problem, size);
    if (r == 0) {
        *ret = sockets;
        return 0;
    }
    if (!sockets.activated && sockets.agent >= 0)
        (void)unlink(path->agent);
    close_cleanup(&sockets.agent);
    close_cleanup(&sockets.get);
    close(sockets.lock);
    return r;
}

bool sockets_present(const struct sockets *sockets)
{
    struct stat st;
    return stat(sockets->path.agent, &st) == 0 && st.st_dev == sockets->device && st.st_ino == sockets->inode;
}

void sockets_close(struct sockets *sockets)
{
    if (sockets->lock < 0)
        return;
    if (!sockets->activated && sockets_present(sockets)) {
        (void)unlink(sockets->path.agent);
        (void)unlink(sockets->path.get);
    }
    close(sockets->lock);
    sockets->lock = -1;
}
