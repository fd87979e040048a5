/* mltoken-agent: see mltoken-agent(1). Only wires. */
#include "authority/http.h"
#include "cleanup.h"
#include "command.h"
#include "config.h"
#include "doctor.h"
#include "environment.h"
#include "hardening.h"
#include "log.h"
#include "notify.h"
#include "secret.h"
#include "service.h"
#include "text.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { EXIT_USAGE = 2, EXIT_OWN = 125 /* our own failure when a command's status is to be passed on */ };

struct options {
    bool foreground, debug, autostart;
    bool check, doctor;
    const char *file; /* --check's, or --doctor's profile */
    char **command;
};

static const char usage[] =
    "usage: mltoken-agent [--foreground] [--debug]\n"
    "       mltoken-agent --check [FILE]\n"
    "       mltoken-agent --doctor [PROFILE]\n"
    "       mltoken-agent [--debug] -- COMMAND [ARGUMENT ...]\n"
    "Serves tokens to this user's programs; mltoken starts it by itself. See mltoken-agent(1).\n";

static int refuse_option(const char *option)
{
    static const char *const known[] = {"--foreground", "--debug",   "--autostart", "--check",
                                        "--doctor",     "--version", "--help"};
    const char *nearest = text_nearest(option, known, ELEMENTS(known));
    char clean[64];
    text_clean_into(clean, sizeof(clean), span_of(option));
    (void)fprintf(stderr, "mltoken-agent: unknown option %s%s%s%s\n", clean, nearest ? "; did you mean " : "",
                  nearest ? nearest : "", nearest ? "?" : "");
    return EXIT_USAGE;
}

/* -1: go on; else the exit status. */
static int read_options(char **argv, struct options *ret)
{
    for (char **arg = argv + 1; *arg; arg++) {
        if (strcmp(*arg, "--foreground") == 0) {
            ret->foreground = true;
        } else if (strcmp(*arg, "--debug") == 0) {
            ret->debug = true;
        } else if (strcmp(*arg, "--autostart") == 0) {
            ret->autostart = true;
        } else if (strcmp(*arg, "--check") == 0 || strcmp(*arg, "--doctor") == 0) {
            *(arg[0][2] == 'c' ? &ret->check : &ret->doctor) = true;
            if (arg[1] && arg[1][0] != '-')
                ret->file = *++arg;
        } else if (strcmp(*arg, "--version") == 0) {
            (void)printf("mltoken-agent %s\n", MLTOKEN_VERSION);
            return 0;
        } else if (strcmp(*arg, "--help") == 0 || strcmp(*arg, "-h") == 0) {
            (void)fputs(usage, stdout);
            return 0;
        } else if (strcmp(*arg, "--") == 0 && arg[1]) {
            ret->command = arg + 1;
            return -1;
        } else {
            return refuse_option(*arg);
        }
    }
    return -1;
}

static int fail(const struct options *options, const char *what, int error)
{
    (void)fprintf(stderr, "mltoken-agent: cannot %s: %s\n", what, strerror(-error));
    return options->command ? EXIT_OWN : 1;
}

/* What must be so before any secret, thread or child of ours is there; see environment.h for the order. */
static int prepare(const struct options *options, char **argv, struct command *command)
{
    int r = options->command ? command_open(options->command, command) : 0;
    if (r < 0)
        return fail(options, "prepare the command", r);
    (void)signal(SIGCHLD, SIG_DFL);               /* ignored by the caller, no child of ours could be waited for */
    if (options->autostart || options->command) { /* what its manager told the caller is not meant for us */
        unsetenv("NOTIFY_SOCKET");
        unsetenv("LISTEN_FDS");
    }
    r = hardening_apply();
    if (r < 0)
        return fail(options, "harden itself", r);
    r = environment_clean(argv, &command->fd, options->command ? 1 : 0);
    if (r < 0)
        return fail(options, "clean its environment", r);
    return 0;
}

static int open_parts(const struct options *options)
{
    int r = secret_arena_open();
    if (r == 0)
        r = environment_keep();
    if (r < 0)
        return fail(options, "make room for secrets", r);
    r = http_global_init();
    return r < 0 ? fail(options, "start the HTTP client", r) : 0;
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
    bool runtime = slash && !usual.given && strncmp(usual.directory, "/tmp/", 5) != 0 &&
                   (size_t)(slash - usual.directory) + sizeof(name) + sizeof(file) <= SOCKET_PATH_SIZE;
    (void)snprintf(directory, SOCKET_PATH_SIZE, "%.*s%s", runtime ? (int)(slash - usual.directory) : 4,
                   runtime ? usual.directory : "/tmp", name);
    if (!mkdtemp(directory))
        return -errno;
    (void)snprintf(path, sizeof(path), "%s%s", directory, file);
    return socket_path_find(path, ret);
}

static int run_private(const struct options *options, struct command *command)
{
    char directory[SOCKET_PATH_SIZE], lock[SOCKET_PATH_SIZE + 16];
    struct service_options service = {.command = command};
    int r = private_path(directory, &service.path);
    if (r < 0)
        return fail(options, "make a directory for its socket", r);
    int status = service_run(&service);
    if (status < 0) /* nobody would answer it any more */
        (void)kill(command->pid, SIGTERM);
    (void)snprintf(lock, sizeof(lock), "%s/agent.lock", directory);
    (void)unlink(lock);
    (void)rmdir(directory);
    return status < 0 ? EXIT_OWN : status;
}

/* Asked before the environment is cleaned, too: a path that is too long for that must not become the usual one. */
static int find_path(struct socket_path *ret)
{
    int r = socket_path_find(NULL, ret);
    if (r == 0 && strcmp(ret->agent, ret->get) != 0)
        return 0;
    if (r < 0)
        (void)fprintf(stderr, "mltoken-agent: MLTOKEN_SOCK must be an absolute path of at most %d bytes\n",
                      SOCKET_PATH_SIZE - 1);
    else
        (void)fprintf(stderr, "mltoken-agent: MLTOKEN_SOCK must not name get.sock, which only hands out tokens\n");
    return EXIT_USAGE;
}

static int run(const struct options *options, struct command *command, int *ready)
{
    struct service_options service = {.ready = options->autostart ? tell_parent : NULL, .arg = ready};
    if (options->command)
        return run_private(options, command);
    int status = find_path(&service.path);
    if (status)
        return status;
    status = service_run(&service);
    if (status == SERVICE_BUSY && options->autostart)
        return 0;
    return status < 0 ? 1 : status;
}

int main(int argc, char **argv)
{
    (void)argc;
    struct options options = {0};
    struct command command = {.fd = -1};
    int ready = -1;
    int status = read_options(argv, &options);
    if (status >= 0)
        return status;
    if (options.check) /* a file is named from where the caller is */
        return config_check(stdout, options.file);
    if (!options.command && !options.doctor && (status = find_path(&(struct socket_path){0})))
        return status;
    status = prepare(&options, argv, &command);
    if (status)
        return status;
    if (options.autostart && !options.command && (status = detach(&ready)) >= 0)
        return status;
    log_open(options.foreground || options.command, options.debug);
    status = open_parts(&options);
    if (status)
        return status;
    if (options.doctor)
        return doctor_run(stdout, options.file);
    notify_open();
    status = run(&options, &command, &ready);
    notify_close();
    environment_forget();
    secret_arena_close();
    return status;
}
