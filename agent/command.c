#include "command.h"

#include "cleanup.h"
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define VARIABLE "MLTOKEN_AGENT_COMMAND" /* PID:FD, for ourselves behind the exec */

enum { NOT_STARTED = 125, NOT_EXECUTABLE = 126, NOT_FOUND = 127, SIZE = 256 };

static _Noreturn void wait_and_execute(int fd, char *const argv[])
{
    char path[SIZE];
    size_t length = 0;
    ssize_t n;
    while ((n = read(fd, path + length, sizeof(path) - 1 - length)) > 0 || (n < 0 && errno == EINTR))
        length += n > 0 ? (size_t)n : 0;
    path[length] = '\0';
    if (n < 0 || length == 0 || setenv("MLTOKEN_SOCK", path, 1) < 0) /* the agent has said why it could not start */
        _exit(NOT_STARTED);
    (void)execvp(argv[0], argv);
    int error = errno;
    (void)fprintf(stderr, "mltoken-agent: cannot run %s: %s\n", argv[0], strerror(error));
    _exit(error == ENOENT ? NOT_FOUND : NOT_EXECUTABLE);
}

static bool two_numbers(const char *text, int *ret_first, int *ret_second)
{
    static const char digits[] = "0123456789";
    size_t first = strspn(text, digits), second = text[first] == ':' ? strspn(text + first + 1, digits) : 0;
    if (first == 0 || first > 9 || second == 0 || second > 9 || text[first + 1 + second])
        return false;
    *ret_first = (int)strtol(text, NULL, 10);
    *ret_second = (int)strtol(text + first + 1, NULL, 10);
    return true;
}

/* The child that was forked before the exec: only a child of ours and a pipe count, the variable alone proves nothing.
 */
static bool inherited(struct command *ret)
{
    const char *text = getenv(VARIABLE);
    struct stat file;
    int pid, fd;
    if (!text)
        return false;
    bool read = two_numbers(text, &pid, &fd);
    unsetenv(VARIABLE);
    if (!read)
        return false;
    if (pid <= 0 || fd <= STDERR_FILENO || fstat(fd, &file) < 0 || !S_ISFIFO(file.st_mode))
        return false;
    if (waitid(P_PID, (id_t)pid, &(siginfo_t){0}, WEXITED | WNOHANG | WNOWAIT) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return false;
    *ret = (struct command){.pid = pid, .fd = fd};
    return true;
}

int command_open(char *const argv[], struct command *ret)
{
    int ends[2];
    char text[32];
    if (inherited(ret))
        return 0;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[1]);
        wait_and_execute(ends[0], argv);
    }
    int error = errno;
    close(ends[0]);
    (void)snprintf(text, sizeof(text), "%d:%d", (int)pid, ends[1]);
    if (pid > 0 && (fcntl(ends[1], F_SETFD, 0) < 0 || setenv(VARIABLE, text, 1) < 0)) {
        error = errno;
        (void)close(ends[1]); /* the child ends by itself */
        return -error;
    }
    if (pid < 0) {
        close(ends[1]);
        return -error;
    }
    *ret = (struct command){.pid = pid, .fd = ends[1]};
    return 0;
}

int command_start(struct command *command, const char *socket_path)
{
    size_t length = strlen(socket_path);
    if (length == 0 || length >= SIZE)
        return -ENAMETOOLONG;
    ssize_t n = write(command->fd, socket_path, length); /* less than PIPE_BUF: whole or not at all */
    int r = n == (ssize_t)length ? 0 : -errno;
    close(command->fd);
    command->fd = -1;
    return r;
}

int command_exit_code(int status)
{
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
