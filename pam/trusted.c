#include "trusted.h"

#include "cleanup.h"
#include "limits.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static bool believed(const struct stat *state)
{
    return S_ISREG(state->st_mode) && (state->st_uid == 0 || state->st_uid == geteuid()) &&
           (state->st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

int trusted_read(const char *path, struct buffer *ret)
{
    /* not blocking: it could be a FIFO */
    _cleanup_close_ int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    struct stat state;
    if (fstat(fd, &state) < 0)
        return -errno;
    if (!believed(&state))
        return -EPERM;
    for (;;) {
        char chunk[LIMIT_LINE_CHUNK];
        ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : 0;
        int r = buffer_append(ret, chunk, (size_t)n);
        if (r < 0)
            return r;
    }
}

const char *trusted_problem(int error)
{
    switch (error) {
    case -ENOENT:
        return "there is no such file";
    case -EPERM:
        return "it must be a regular file of root that neither its group nor others can write to";
    case -ELOOP:
        return "it is a symbolic link";
    case -EMSGSIZE:
        return "it is too long";
    case -ENOMEM:
        return "out of memory";
    case -EACCES:
        return "it cannot be read";
    default:
        return "it cannot be read (an error of the system)";
    }
}
