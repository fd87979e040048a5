#include "prepare.h"

#include "cleanup.h"
#include "environment.h"
#include "hardening.h"
#include <errno.h>
#include <linux/limits.h>
#include <signal.h>
#include <stdio.h>

#define SECOND "mltoken-agent-main"

int prepare_path(struct socket_path *ret)
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

/* All that comes before the exec, and again behind it. */
static int settle(const struct arguments *arguments, struct command *command)
{
    /* before the environment is cleaned, too: a path that is too long for that must not become the usual one */
    int r = arguments->command || arguments->doctor ? 0 : prepare_path(&(struct socket_path){0});
    if (r)
        return r;
    r = arguments->command ? command_open(arguments->command, command) : 0;
    if (r < 0)
        return arguments_fail(arguments, "prepare the command", r);
    (void)signal(SIGCHLD, SIG_DFL);                   /* ignored by the caller, no child of ours could be waited for */
    if (arguments->autostart || arguments->command) { /* what its manager told the caller is not meant for us */
        unsetenv("NOTIFY_SOCKET");
        unsetenv("LISTEN_FDS");
    }
    r = hardening_apply();
    return r < 0 ? arguments_fail(arguments, "harden itself", r) : 0;
}

int prepare(const struct arguments *arguments, char **argv, struct command *ret)
{
    int status = settle(arguments, ret);
    if (status)
        return status;
    int r = environment_clean(argv, &ret->fd, arguments->command ? 1 : 0);
    return r < 0 ? arguments_fail(arguments, "clean its environment", r) : 0;
}

/* Beside this program (the build tree), else where it was installed; never through PATH. */
static void find_second(char path[static PATH_MAX])
{
    static const char installed[] = MLTOKEN_LIBEXECDIR "/mltoken/" SECOND;
    ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - sizeof(SECOND));
    path[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(path, '/');
    if (slash)
        memcpy(slash + 1, SECOND, sizeof(SECOND));
    if (!slash || access(path, X_OK) < 0)
        memcpy(path, installed, sizeof(installed));
}

/* Who looks after a service account's agent, as that account, means what mltoken-agent@NAME.service gives it. */
static void see_as_service(void)
{
    char value[PATH_MAX];
    struct socket_path path;
    const char *name = socket_path_find(NULL, &path) == 0 ? socket_path_service(&path) : NULL;
    if (!name || getenv("MLTOKEN_CONFIG"))
        return;
    (void)snprintf(value, sizeof(value), MLTOKEN_SYSCONFDIR "/mltoken/%s/config", name);
    (void)setenv("MLTOKEN_CONFIG", value, 1);
    (void)snprintf(value, sizeof(value), "/var/lib/mltoken/%s", name);
    (void)setenv("XDG_STATE_HOME", value, 1);
    (void)snprintf(value, sizeof(value), "/run/credentials/mltoken-agent@%s.service", name);
    if (access(value, X_OK) == 0)
        (void)setenv("CREDENTIALS_DIRECTORY", value, 1);
}

int prepare_first(const struct arguments *arguments, char **argv)
{
    struct command command = {.fd = -1};
    char second[PATH_MAX];
    int r;
    find_second(second);
    if (arguments->check || arguments->doctor)
        see_as_service();
    if (arguments->check) { /* the file is named from where the caller is; there is nothing to protect */
        (void)execv(second, argv);
        r = -errno;
    } else {
        int status = settle(arguments, &command);
        if (status)
            return status;
        r = environment_execute(second, argv, &command.fd, arguments->command ? 1 : 0);
    }
    return arguments_fail(arguments, "run " SECOND, r);
}
