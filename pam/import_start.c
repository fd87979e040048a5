#include "import_start.h"

#include "cleanup.h"
#include "clock.h"
#include "limits.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h> /* <limits.h> would find our own limits.h on its way */
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { LOOK_MS = 5, VARIABLES = 6 };

static int find_program(char *to, size_t size)
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

struct surroundings {
    char home[PATH_MAX], user[LIMIT_USERNAME + 16], logname[LIMIT_USERNAME + 16], runtime[64];
    char *variables[VARIABLES];
};

static bool set(char *to, size_t size, const char *name, const char *value)
{
    int n = snprintf(to, size, "%s=%s", name, value);
    return n > 0 && (size_t)n < size;
}

/* HOME, USER, LOGNAME, PATH, and the runtime directory if it is ours. */
static int surround(struct surroundings *ret)
{
    char text[PATH_MAX + 1024], runtime[NAME_MAX];
    struct passwd entry, *found = NULL;
    struct stat st;
    if (getpwuid_r(getuid(), &entry, text, sizeof(text), &found) != 0 || !found)
        return -ENOENT;
    if (!set(ret->home, sizeof(ret->home), "HOME", entry.pw_dir) ||
        !set(ret->user, sizeof(ret->user), "USER", entry.pw_name) ||
        !set(ret->logname, sizeof(ret->logname), "LOGNAME", entry.pw_name))
        return -ENAMETOOLONG;
    (void)snprintf(runtime, sizeof(runtime), "/run/user/%lu", (unsigned long)getuid());
    bool own = set(ret->runtime, sizeof(ret->runtime), "XDG_RUNTIME_DIR", runtime) && lstat(runtime, &st) == 0 &&
               S_ISDIR(st.st_mode) && st.st_uid == getuid();
    size_t n = 0;
    ret->variables[n++] = ret->home;
    ret->variables[n++] = ret->user;
    ret->variables[n++] = ret->logname;
    ret->variables[n++] = (char *)(uintptr_t) "PATH=/usr/local/bin:/usr/bin:/bin";
    if (own)
        ret->variables[n++] = ret->runtime;
    ret->variables[n] = NULL;
    return 0;
}

static _Noreturn void become_agent(const char *program, char **variables)
{
    char *argv[] = {(char *)(uintptr_t) "mltoken-agent", (char *)(uintptr_t) "--autostart", NULL};
    sigset_t none;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 || dup2(null, STDERR_FILENO) < 0 ||
        close_range(3, ~0U, 0) < 0 || chdir("/") < 0)
        _exit(EXIT_FAILURE);
    (void)setsid();
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
    execve(program, argv, variables);
    _exit(EXIT_FAILURE);
}

/* It tells by its end that the agent serves. One that is late goes on without us. */
static int await(pid_t child, int64_t deadline_ms)
{
    for (;;) {
        int status;
        pid_t ended = waitpid(child, &status, WNOHANG);
        if (ended == child)
            return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -ECHILD;
        if (ended < 0 && errno != EINTR)
            return -errno;
        if (clock_boot_ms() >= deadline_ms)
            return -ETIMEDOUT;
        (void)poll(NULL, 0, LOOK_MS);
    }
}

int import_start(int64_t deadline_ms)
{
    char program[PATH_MAX];
    struct surroundings around = {0};
    int r = find_program(program, sizeof(program));
    if (r == 0)
        r = surround(&around);
    if (r < 0)
        return r;
    pid_t child = fork();
    if (child == 0)
        become_agent(program, around.variables);
    return child < 0 ? -errno : await(child, deadline_ms);
}
