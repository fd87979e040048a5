#include "reader.h"

#include "cleanup.h"
#include <errno.h>
#include <fcntl.h>
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
    if (st.st_uid != geteuid() && st.st_uid != 0)
        return READER_FOREIGN;
    return st.st_mode & (rule == WORKER_SECRET_FILE ? 077 : 022) ? READER_TOO_OPEN : READER_OK;
}

enum reader_exit reader_open(const char *path, enum worker_rule rule, int *ret_fd)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? READER_MISSING : READER_UNREADABLE;
    enum reader_exit verdict = check_file(fd, rule);
    if (verdict == READER_OK) {
        *ret_fd = fd;
        fd = -1;
    }
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
