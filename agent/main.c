/* mltoken-agent-main, the agent itself: see mltoken-agent(1), and prepare.h for what came before. Only wires. */
#include "authority/http.h"
#include "cleanup.h"
#include "config.h"
#include "doctor.h"
#include "environment.h"
#include "log.h"
#include "notify.h"
#include "prepare.h"
#include "secret.h"
#include "service.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

static int open_parts(const struct arguments *arguments)
{
    int r = secret_arena_open();
    if (r == 0)
        r = environment_keep();
    if (r < 0)
        return arguments_fail(arguments, "make room for secrets", r);
    r = http_global_init();
    return r < 0 ? arguments_fail(arguments, "start the HTTP client", r) : 0;
}

static void tell_parent(void *arg)
{
    int *pipe = arg;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd <= 2 && null >= 0; fd++)
        (void)dup2(null, fd);
    close_cleanup(&null);
    (void)!write(*pipe, "", 1);
    close(*pipe);
}

/* The agent goes to the background; its parent stays until it serves, and says how it went. Before there are secrets,
 * whose memory a fork wipes, and before any thread. -1: this is the agent, and *ret_ready is to be written to; else an
 * exit status. */
static int detach(int *ret_ready)
{
    int pipes[2];
    char byte;
    if (pipe2(pipes, O_CLOEXEC) < 0)
        return 1;
    pid_t pid = fork();
    if (pid < 0)
        return 1;
    if (pid == 0) {
        close(pipes[0]);
        (void)setsid();
        *ret_ready = pipes[1];
        return -1;
    }
    close(pipes[1]);
    if (read(pipes[0], &byte, 1) == 1)
        return 0;
    int status = 0;
    (void)waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/* A directory of its own, so that nothing else of this user talks to a private agent by chance. */
static int private_path(char directory[static SOCKET_PATH_SIZE], struct socket_path *ret)
{
    static const char name[] = "/mltoken-XXXXXX", file[] = "/agent.sock";
    char path[SOCKET_PATH_SIZE + sizeof(file)];
    struct socket_path usual;
    int r = socket_path_find(NULL, &usual);
    char *slash = r == 0 ? strrchr(usual.directory, '/') : NULL;
    bool runtime = slash && !usual.given && !socket_path_service(&usual) && strncmp(usual.directory, "/tmp/", 5) != 0 &&
                   (size_t)(slash - usual.directory) + sizeof(name) + sizeof(file) <= SOCKET_PATH_SIZE;
    (void)snprintf(directory, SOCKET_PATH_SIZE, "%.*s%s", runtime ? (int)(slash - usual.directory) : 4,
                   runtime ? usual.directory : "/tmp", name);
    if (!mkdtemp(directory))
        return -errno;
    (void)snprintf(path, sizeof(path), "%s%s", directory, file);
    return socket_path_find(path, ret);
}

static int run_private(const struct arguments *arguments, struct command *command)
{
    char directory[SOCKET_PATH_SIZE], lock[SOCKET_PATH_SIZE + 16];
    struct service_options service = {.command = command};
    int r = private_path(directory, &service.path);
    if (r < 0)
        return arguments_fail(arguments, "make a directory for its socket", r);
    int status = service_run(&service);
    if (status < 0) /* nobody would answer it any more */
        (void)kill(command->pid, SIGTERM);
    (void)snprintf(lock, sizeof(lock), "%s/agent.lock", directory);
    (void)unlink(lock);
    (void)rmdir(directory);
    return status < 0 ? EXIT_OWN : status;
}

static int run(const struct arguments *arguments, struct command *command, int *ready)
{
    struct service_options service = {.ready = arguments->autostart ? tell_parent : NULL, .arg = ready};
    if (arguments->command)
        return run_private(arguments, command);
    int status = prepare_path(&service.path);
    if (status)
        return status;
    status = service_run(&service);
    if (status == SERVICE_BUSY && arguments->autostart)
        return 0;
    return status < 0 ? 1 : status;
}

int main(int argc, char **argv)
{
    (void)argc;
    struct arguments arguments = {0};
    struct command command = {.fd = -1};
    int ready = -1;
    int status = arguments_read(argv, &arguments);
    if (status >= 0)
        return status;
    if (arguments.check) /* a file is named from where the caller is */
        return config_check(stdout, arguments.file);
    status = prepare(&arguments, argv, &command);
    if (status)
        return status;
    if (arguments.autostart && !arguments.command && (status = detach(&ready)) >= 0)
        return status;
    log_open(arguments.foreground || arguments.command, arguments.debug);
    status = open_parts(&arguments);
    if (status)
        return status;
    if (arguments.doctor)
        return doctor_run(stdout, arguments.file);
    notify_open();
    status = run(&arguments, &command, &ready);
    notify_close();
    environment_forget();
    secret_arena_close();
    return status;
}
