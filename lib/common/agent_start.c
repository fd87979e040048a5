#include "agent_start.h"

#include "cleanup.h"
#include "clock.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h> /* <limits.h> would find our own limits.h on its way */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

enum { LOOK_MS = 1 };

int agent_start_program(char *to, size_t size)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n > 0) { /* the build tree's */
        self[n] = '\0';
        *strrchr(self, '/') = '\0';
        int length = snprintf(to, size, "%s/mltoken-agent", self);
        if (length > 0 && (size_t)length < size && access(to, X_OK) == 0)
            return 0;
    }
    int length = snprintf(to, size, "%s/mltoken-agent", MLTOKEN_BINDIR);
    return length > 0 && (size_t)length < size ? 0 : -ENAMETOOLONG;
}

/* `errors`: -1 is nowhere */
static _Noreturn void become_agent(const char *program, const struct agent_start *start, int errors)
{
    char *argv[] = {(char *)(uintptr_t) "mltoken-agent", (char *)(uintptr_t) "--autostart", NULL};
    sigset_t none;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
        dup2(errors < 0 ? null : errors, STDERR_FILENO) < 0 || close_range(3, ~0U, 0) < 0 || chdir("/") < 0)
        _exit(EXIT_FAILURE);
    if (start->own_session)
        (void)setsid();
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
    execve(program, argv, start->environment);
    (void)dprintf(STDERR_FILENO, "cannot run %s: %s\n", program, strerror(errno));
    _exit(EXIT_FAILURE);
}

/* Until the program has ended or the deadline has passed. An agent that holds the pipe open does not hold us. */
static int wait_for(pid_t child, int errors, struct buffer *said, int64_t deadline_ms)
{
    for (;;) {
        char bytes[512];
        ssize_t n = errors < 0 ? 0 : read(errors, bytes, sizeof(bytes));
        if (n > 0) {
            (void)buffer_append(said, bytes, (size_t)n);
            continue;
        }
        int status;
        pid_t ended = waitpid(child, &status, WNOHANG);
        if (ended == child)
            return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -ECHILD;
        if (ended < 0 && errno != EINTR)
            return -errno;
        if (clock_boot_ms() >= deadline_ms)
            return -ETIMEDOUT;
        struct pollfd end = {.fd = n == 0 ? -1 : errors, .events = POLLIN};
        (void)poll(&end, 1, LOOK_MS);
    }
}

int agent_start(const struct agent_start *start, struct buffer *said)
{
    char program[PATH_MAX];
    int ends[2] = {-1, -1};
    int r = agent_start_program(program, sizeof(program));
    if (r < 0)
        return r;
    if (said && pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    _cleanup_close_ int errors = ends[0];
    pid_t child = fork();
    if (child == 0)
        become_agent(program, start, ends[1]);
    r = child < 0 ? -errno : 0;
    if (ends[1] >= 0)
        close(ends[1]);
    return r < 0 ? r : wait_for(child, errors, said, start->deadline_ms);
}
