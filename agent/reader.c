#include "reader.h"

#include "cleanup.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <sys/stat.h>

const char *reader_verdict_text(enum reader_exit code, int *ret_error)
{
    static const struct {
        int error;
        const char *text;
    } problems[] = {
        [READER_MISSING] = {-ENOENT, "there is no such file"},
        [READER_UNREADABLE] = {-EACCES, "it cannot be opened"},
        [READER_IRREGULAR] = {-EINVAL, "it is not a regular file"},
        [READER_FOREIGN] = {-EACCES, "it belongs to another user"},
        [READER_TOO_OPEN] = {-EACCES, "it is open to other users (chmod go-rwx)"},
        [READER_LINKED] = {-ELOOP, "it is, or lies behind, a symbolic link"},
        [READER_FAILED] = {-EIO, "it cannot be read"},
    };
    size_t i = code > READER_OK && code <= READER_FAILED ? (size_t)code : READER_FAILED;
    *ret_error = problems[i].error;
    return problems[i].text;
}

static enum reader_exit check_file(int fd, enum worker_rule rule)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return READER_FAILED;
    if (!S_ISREG(st.st_mode))
        return READER_IRREGULAR;
    if (rule == WORKER_PLACED_FILE || rule == WORKER_PRESENT_FILE)
        return READER_OK;
    if (st.st_uid != geteuid() && st.st_uid != 0)
        return READER_FOREIGN;
    return st.st_mode & (rule == WORKER_SECRET_FILE ? 077 : 022) ? READER_TOO_OPEN : READER_OK;
}

enum { READING = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY };

/* One folder after the other, so that a link anywhere in the path leads nowhere. */
static int open_placed(const char *path)
{
    int folder = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    for (path += strspn(path, "/"); folder >= 0;) {
        char name[NAME_MAX + 1];
        size_t length = strcspn(path, "/");
        bool last = path[length] == '\0';
        int fd = -1;
        errno = ENOENT;
        if (length > 0 && length <= NAME_MAX) {
            memcpy(name, path, length);
            name[length] = '\0';
            fd = openat(folder, name, O_NOFOLLOW | (last ? READING : O_PATH | O_DIRECTORY | O_CLOEXEC));
        }
        int error = errno;
        close(folder);
        errno = error;
        if (last)
            return fd;
        folder = fd;
        path += length + strspn(path + length, "/");
    }
    return -1;
}

static int open_file(const char *path, enum worker_rule rule)
{
    if (rule == WORKER_PLACED_FILE)
        return open_placed(path);
    return open(path, rule == WORKER_PRESENT_FILE ? O_PATH | O_CLOEXEC : READING);
}

static enum reader_exit open_problem(const char *path, enum worker_rule rule)
{
    struct stat st;
    /* a link in the place of a folder is no folder, to who does not follow it */
    if (rule == WORKER_PLACED_FILE && (errno == ELOOP || (errno == ENOTDIR && lstat(path, &st) == 0)))
        return READER_LINKED;
    return errno == ENOENT || errno == ENOTDIR ? READER_MISSING : READER_UNREADABLE;
}

enum reader_exit reader_open(const char *path, enum worker_rule rule, int *ret_fd)
{
    _cleanup_close_ int fd = open_file(path, rule);
    if (fd < 0)
        return open_problem(path, rule);
    enum reader_exit verdict = check_file(fd, rule);
    if (verdict == READER_OK)
        *ret_fd = TAKE_FD(fd);
    return verdict;
}

enum reader_exit reader_load(const char *path, enum worker_rule rule, struct buffer *to)
{
    _cleanup_close_ int fd = -1;
    enum reader_exit verdict = reader_open(path, rule, &fd);
    char bytes[4096];
    ssize_t n = 0;
    while (verdict == READER_OK && (n = read(fd, bytes, sizeof(bytes))) > 0)
        if (buffer_append(to, bytes, (size_t)n) < 0)
            verdict = READER_FAILED;
    explicit_bzero(bytes, sizeof(bytes));
    return n < 0 ? READER_FAILED : verdict;
}
