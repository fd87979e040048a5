/* Finding the agent, and starting it when there is none (INTERFACE section 2). */
#include "command.h"

#include "agent_start.h"
#include "cleanup.h"
#include "clock.h"
#include "output.h"
#include "report.h"
#include "text.h"
#include <errno.h>
#include <linux/limits.h> /* <limits.h> would find our own limits.h on its way */
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#define START_MS 5000
#define RETRY_MS 10

/* Ours, as the agent may have it: the dynamic loader acts on some of it before the agent can clean its own. The caller
 * frees both; `told` is its entry for the socket. */
static char **make_environment(const char *socket, char **ret_told)
{
    size_t count = 0, n = 0;
    while (environ[count])
        count++;
    char **made = calloc(count + 2, sizeof(*made));
    if (socket && made && asprintf(ret_told, "MLTOKEN_SOCK=%s", socket) < 0) {
        *ret_told = NULL;
        free(made);
        return NULL;
    }
    for (char **from = environ; made && *from; from++)
        if (strncmp(*from, "LD_", 3) != 0 && strncmp(*from, "GLIBC_TUNABLES=", 15) != 0 &&
            (!socket || strncmp(*from, "MLTOKEN_SOCK=", 13) != 0))
            made[n++] = *from;
    if (made && socket)
        made[n] = *ret_told;
    return made;
}

static void restore_signals(void)
{
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
}

static int start(const char *socket, struct buffer *said, int64_t deadline)
{
    char *told = NULL;
    char **environment = make_environment(socket, &told);
    const struct agent_start plan = {.environment = environment, .deadline_ms = deadline};
    int r = environment ? agent_start(&plan, said) : -ENOMEM;
    free(environment);
    free(told);
    return r;
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
    if (agent_start_program(program, sizeof(program)) < 0)
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
