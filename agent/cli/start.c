/* Finding the agent, and starting it when there is none (INTERFACE section 2). */
#include "command.h"

#include "cleanup.h"
#include "clock.h"
#include "output.h"
#include "report.h"
#include "text.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h> /* <limits.h> would find our own limits.h on its way */
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#define START_MS 5000
#define RETRY_MS 10

int agent_program(char *to, size_t size)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n > 0) {
        self[n] = '\0';
        *strrchr(self, '/') = '\0';
        int length = snprintf(to, size, "%s/mltoken-agent", self);
        if (length > 0 && (size_t)length < size && access(to, X_OK) == 0)
            return 0;
    }
    int length = snprintf(to, size, "%s/mltoken-agent", MLTOKEN_BINDIR);
    return length > 0 && (size_t)length < size ? 0 : -ENAMETOOLONG;
}

/* The dynamic loader acts on these before the agent can clean its own environment. */
static void clean_environment(void)
{
    char **to = environ;
    for (char **from = environ; *from; from++)
        if (strncmp(*from, "LD_", 3) != 0 && strncmp(*from, "GLIBC_TUNABLES=", 15) != 0)
            *to++ = *from;
    *to = NULL;
}

static void restore_signals(void)
{
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
}

static _Noreturn void become_agent(const char *program, const char *socket, int errors)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 || dup2(errors, STDERR_FILENO) < 0 ||
        close_range(3, ~0U, 0) < 0 || chdir("/") < 0 || (socket && setenv("MLTOKEN_SOCK", socket, 1) < 0))
        _exit(EXIT_NO_AGENT);
    clean_environment();
    restore_signals();
    char *argv[] = {(char *)(uintptr_t) "mltoken-agent", (char *)(uintptr_t) "--autostart", NULL};
    execv(program, argv);
    (void)dprintf(STDERR_FILENO, "cannot run %s: %s\n", program, strerror(errno));
    _exit(EXIT_NO_AGENT);
}

/* Until the program has ended or the deadline has passed. What it says is kept; an agent that holds the pipe open does
 * not hold us. */
static int wait_for(pid_t child, int errors, struct buffer *said, int64_t deadline)
{
    for (;;) {
        char bytes[512];
        ssize_t n = read(errors, bytes, sizeof(bytes));
        if (n > 0) {
            buffer_append(said, bytes, (size_t)n);
            continue;
        }
        int status;
        if (waitpid(child, &status, WNOHANG) == child)
            return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -ECHILD;
        if (clock_boot_ms() >= deadline)
            return -ETIMEDOUT;
        struct pollfd end = {.fd = n == 0 ? -1 : errors, .events = POLLIN};
        (void)poll(&end, 1, 1);
    }
}

static int start(const char *socket, struct buffer *said, int64_t deadline)
{
    char program[PATH_MAX];
    int pipe_fds[2];
    if (agent_program(program, sizeof(program)) < 0 || pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    _cleanup_close_ int errors = pipe_fds[0];
    pid_t child = fork();
    if (child == 0)
        become_agent(program, socket, pipe_fds[1]);
    close(pipe_fds[1]);
    return child < 0 ? -errno : wait_for(child, errors, said, deadline);
}

static bool may_start(const struct socket_path *path)
{
    const char *forbidden = secure_getenv("MLTOKEN_NO_AUTOSTART");
    size_t length = strlen(path->agent), suffix = strlen("/get.sock");
    /* a get.sock belongs to an agent elsewhere: outside this container, at the other end of ssh */
    bool foreign = length >= suffix && strcmp(path->agent + length - suffix, "/get.sock") == 0;
    /* that of a service account is the system manager's to start: ours would have other settings, and be in its way */
    foreign = foreign || socket_path_service(path);
    return !foreign && !(forbidden && *forbidden && strcmp(forbidden, "0") != 0);
}

static void say_why(const struct buffer *said, int error)
{
    char why[LIMIT_TEXT] = "";
    size_t length = said->length;
    while (length > 0 && said->data[length - 1] == '\n')
        length--;
    text_clean_into(why, sizeof(why), (struct span){said->data, length});
    if (strncmp(why, "mltoken-agent: ", 15) == 0)
        memmove(why, why + 15, strlen(why + 15) + 1);
    complain("no agent is running, and none could be started: %s", *why ? why
                                                                   : error == -ETIMEDOUT
                                                                       ? "it was not ready in time"
                                                                       : "it gave up; see: mltoken doctor");
}

static int connect_until(mltoken_handle *handle, int64_t deadline)
{
    for (;;) {
        int r = client_connect(handle);
        if (r == 0 || (r < 0 && r != MLTOKEN_ENOAGENT) || clock_boot_ms() >= deadline)
            return r;
        (void)poll(NULL, 0, RETRY_MS);
    }
}

int context_open(struct context *context)
{
    mltoken_close(context->handle); /* of a call before, which a person may have thought about for long */
    context->handle = NULL;
    int r = mltoken_open(context->socket, &context->handle);
    if (r == MLTOKEN_EINVAL) {
        complain("%s must be an absolute path of at most %d bytes", context->socket ? "--socket" : "MLTOKEN_SOCK",
                 SOCKET_PATH_SIZE - 1);
        return EXIT_USAGE;
    }
    if (r < 0)
        return report(context, r, "cannot reach the agent", NULL);
    mltoken_handle *handle = context->handle;
    client_enter(handle); /* the command has one thread: it holds its handle for life */
    r = client_connect(handle);
    if (r == MLTOKEN_ENOAGENT && !context->no_start && may_start(&handle->path)) {
        _cleanup_buffer_ struct buffer said = BUFFER(4096);
        int64_t deadline = clock_boot_ms() + START_MS;
        int error = start(context->socket, &said, deadline);
        r = connect_until(handle, error < 0 ? 0 : deadline);
        if (r == MLTOKEN_ENOAGENT) {
            say_why(&said, error);
            return EXIT_NO_AGENT;
        }
    }
    return r < 0 ? report(context, r, "cannot reach the agent", NULL) : EXIT_DONE;
}

int agent_run(const char *option, const char *argument)
{
    char program[PATH_MAX];
    if (agent_program(program, sizeof(program)) < 0)
        return EXIT_FAILED;
    pid_t child = fork();
    if (child == 0) {
        char *argv[] = {(char *)(uintptr_t) "mltoken-agent", (char *)(uintptr_t)option, (char *)(uintptr_t)argument,
                        NULL};
        restore_signals();
        execv(program, argv);
        complain("cannot run %s: %s", program, strerror(errno));
        _exit(EXIT_FAILED);
    }
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child) {
        complain("cannot run %s: %s", program, strerror(errno));
        return EXIT_FAILED;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILED;
}
