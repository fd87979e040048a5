/* The agent's own environment and hardening, seen from inside: this program executes itself with a hostile environment,
 * does what the agent's main() does first, and tells what it then finds. */
#include "cleanup.h"
#include "command.h"
#include "environment.h"
#include "hardening.h"
#include "limits.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
/* cmocka wants those first */
#include <cmocka.h>

extern char **environ;

#define SECRET "correct horse battery staple"

/* ---- inside -------------------------------------------------------------------------------------------------------
 */

static void tell_descriptors(void)
{
    DIR *directory = opendir("/proc/self/fd");
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        int fd = (int)strtol(entry->d_name, NULL, 10);
        if (fd > STDERR_FILENO && fd != dirfd(directory))
            printf("fd %d\n", fd);
    }
    if (directory)
        closedir(directory);
}

/* What ps would show. */
static void tell_initial_environment(void)
{
    char bytes[65536];
    (void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); /* else the file is root's */
    _cleanup_close_ int fd = open("/proc/self/environ", O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, bytes, sizeof(bytes));
    printf("initial environment %s\n", n > 0 && memmem(bytes, (size_t)n, SECRET, strlen(SECRET)) ? "SHOWS IT"
                                       : n > 0                                                   ? "clean"
                                                                                                 : "?");
}

static int inside(char **argv)
{
    char directory[4096];
    struct rlimit core;
    sigset_t blocked;
    if (hardening_apply() < 0)
        return 2;
    int r = environment_clean(argv, NULL, 0);
    if (r < 0) {
        printf("error %d\n", r);
        return 0;
    }
    if (secret_arena_open() < 0 || (r = environment_keep()) < 0)
        return 3;
    for (char **entry = environ; *entry; entry++)
        printf("has %s\n", *entry);
    struct secret *secret = environment_secret("CI_SECRET");
    if (secret)
        printf("secret %.*s\n", (int)secret_span(secret).length, secret_span(secret).data);
    printf("sockets %d\n", environment_sockets());
    printf("cwd %s\n", getcwd(directory, sizeof(directory)));
    printf("dumpable %d\n", prctl(PR_GET_DUMPABLE, 0, 0, 0, 0));
    printf("no_new_privs %d\n", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    printf("umask %o\n", umask(0));
    printf("core %d\n", getrlimit(RLIMIT_CORE, &core) < 0 ? -1 : (int)core.rlim_max);
    sigprocmask(SIG_BLOCK, NULL, &blocked);
    printf("blocked %d %d %d\n", sigismember(&blocked, SIGTERM), sigismember(&blocked, SIGPIPE),
           sigismember(&blocked, SIGSEGV));
    tell_descriptors();
    tell_initial_environment();
    environment_forget();
    return 0;
}

static int inside_command(char **argv, bool start)
{
    struct command command;
    int status;
    if (command_open(&argv[2], &command) < 0 || hardening_apply() < 0 || environment_clean(argv, &command.fd, 1) < 0)
        return 2;
    if (!start)
        close(command.fd);
    else if (command_start(&command, "/run/x/agent.sock") < 0)
        return 3;
    if (waitpid(command.pid, &status, 0) < 0)
        return 4;
    return command_exit_code(status);
}

/* ---- outside ------------------------------------------------------------------------------------------------------
 */

static char self[4096], folder[] = "/tmp/mltoken-test-environment-XXXXXX";

/* Runs this program with exactly this environment; returns its exit code and what it said. */
static int run(char *const argv[], char *const environment[], void (*prepare)(void), char *said, size_t size)
{
    int ends[2], status;
    size_t length = 0;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (dup2(ends[1], STDOUT_FILENO) < 0 || chdir(folder) < 0)
            _exit(90);
        if (prepare)
            prepare();
        (void)execve(self, argv, environment);
        _exit(91);
    }
    close(ends[1]);
    for (ssize_t n; (n = read(ends[0], said + length, size - 1 - length)) > 0;)
        length += (size_t)n;
    said[length] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static bool says(const char *said, const char *line)
{
    size_t length = strlen(line);
    for (const char *p = said; (p = strstr(p, line)); p++)
        if ((p == said || p[-1] == '\n') && p[length] == '\n')
            return true;
    return false;
}

static void assert_says(const char *said, const char *line)
{
    if (!says(said, line))
        fail_msg("\"%s\" is not among:\n%s", line, said);
}

#define TEXT(literal) ((char[]){literal})

static void leave_a_descriptor_open(void)
{
    if (dup2(STDOUT_FILENO, 57) < 0 || dup2(STDOUT_FILENO, 3) < 0)
        _exit(92);
}

static void test_hostile(void **state)
{
    (void)state;
    char said[65536], config[256];
    (void)snprintf(config, sizeof(config), "MLTOKEN_CONFIG=config"); /* relative to the caller's directory */
    char *argv[] = {self, TEXT("inside"), NULL};
    char *environment[] = {config,
                           TEXT("HOME=/home/x"),
                           TEXT("PATH=/evil"),
                           TEXT("SSLKEYLOGFILE=/tmp/keys"),
                           TEXT("https_proxy=http://evil"),
                           TEXT("ALL_PROXY=http://evil"),
                           TEXT("CURL_HOME=/tmp"),
                           TEXT("OPENSSL_CONF=/tmp/evil"),
                           TEXT("LOCPATH=/tmp"),
                           TEXT("MALLOC_PERTURB_=1"),
                           TEXT("LANG=C.UTF-8"),
                           TEXT("LC_ALL=../../tmp/evil"),
                           TEXT("TZ=:/etc/shadow"),
                           TEXT("XDG_RUNTIME_DIR=relative"),
                           TEXT("DBUS_SESSION_BUS_ADDRESS=unixexec:path=/bin/sh"),
                           TEXT("DBUS_SYSTEM_BUS_ADDRESS=unixexec:path=/bin/sh"),
                           TEXT("LISTEN_PID=1"),
                           TEXT("LISTEN_FDS=1"),
                           TEXT("CI_SECRET=" SECRET),
                           TEXT("OTHER_SECRET=" SECRET),
                           TEXT("MLTOKEN_VALUE_FORGED=x"),
                           NULL};
    assert_int_equal(run(argv, environment, leave_a_descriptor_open, said, sizeof(said)), 0);
    static const char *const expected[] = {
        "has HOME=/home/x",
        "has LANG=C.UTF-8",
        "has PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
        "has LISTEN_PID=1",
        "secret " SECRET,
        "sockets 0",
        "cwd /",
        "dumpable 0",
        "no_new_privs 1",
        "umask 77",
        "core 0",
        "blocked 1 1 0",
        "initial environment clean",
    };
    for (size_t i = 0; i < ELEMENTS(expected); i++)
        assert_says(said, expected[i]);
    (void)snprintf(config, sizeof(config), "has MLTOKEN_CONFIG=%s/config", folder);
    assert_says(said, config);
    static const char *const gone[] = {"SSLKEY", "roxy",      "PROXY", "CURL",  "OPENSSL", "LOCPATH",
                                       "MALLOC", "LC_ALL",    "TZ=",   "XDG_",  "DBUS",    "OTHER",
                                       "VALUE",  "CI_SECRET", "MARK",  "CLEAN", "GLIBC",   "fd "};
    for (size_t i = 0; i < ELEMENTS(gone); i++)
        if (strstr(said, gone[i]))
            fail_msg("%s is still there:\n%s", gone[i], said);
}

static void test_harmless(void **state)
{
    (void)state;
    static const char *const kept[] = {"HOME=/h",
                                       "USER=u",
                                       "TZ=Europe/Berlin",
                                       "XDG_RUNTIME_DIR=/run/user/1",
                                       "DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/1/bus",
                                       "DISPLAY=:0",
                                       "WAYLAND_DISPLAY=wayland-0",
                                       "XAUTHORITY=/run/user/1/xauth",
                                       "NOTIFY_SOCKET=@x",
                                       "WATCHDOG_USEC=180000000",
                                       "CREDENTIALS_DIRECTORY=/run/credentials/x"};
    char said[65536], line[256], *environment[ELEMENTS(kept) + 1] = {NULL};
    char *argv[] = {self, TEXT("inside"), NULL};
    for (size_t i = 0; i < ELEMENTS(kept); i++)
        environment[i] = strdup(kept[i]);
    assert_int_equal(run(argv, environment, NULL, said, sizeof(said)), 0);
    for (size_t i = 0; i < ELEMENTS(kept); i++) {
        (void)snprintf(line, sizeof(line), "has %s", kept[i]);
        assert_says(said, line);
        free(environment[i]);
    }
}

static void test_value_limit(void **state)
{
    (void)state;
    for (size_t length = LIMIT_ENV_VALUE - 1; length <= LIMIT_ENV_VALUE + 1; length++) {
        static char variable[LIMIT_ENV_VALUE + 16];
        char said[65536];
        memset(variable, 0, sizeof(variable));
        memcpy(variable, "USER=", 5);
        memset(variable + 5, 'u', length);
        char *argv[] = {self, TEXT("inside"), NULL}, *environment[] = {variable, NULL};
        assert_int_equal(run(argv, environment, NULL, said, sizeof(said)), 0);
        assert_int_equal(strstr(said, "has USER=") != NULL, length <= LIMIT_ENV_VALUE);
    }
}

/* Who sets the mark by hand gains nothing: not the agent's pid, it is simply done; the right pid, and it refuses. */
static char mark[64];

static void put_mark(void)
{
    (void)snprintf(mark, sizeof(mark), "MLTOKEN_AGENT_CLEAN=%d", (int)getpid());
}

static void test_forged_mark(void **state)
{
    (void)state;
    char said[65536];
    char *argv[] = {self, TEXT("inside"), NULL};
    char *environment[] = {mark, TEXT("SSLKEYLOGFILE=/tmp/keys"), NULL};
    memcpy(mark, "MLTOKEN_AGENT_CLEAN=1", sizeof("MLTOKEN_AGENT_CLEAN=1"));
    assert_int_equal(run(argv, environment, NULL, said, sizeof(said)), 0);
    assert_says(said, "cwd /");
    assert_null(strstr(said, "SSLKEY"));
    assert_int_equal(run(argv, environment, put_mark, said, sizeof(said)), 0);
    char expected[32];
    (void)snprintf(expected, sizeof(expected), "error %d", -ELOOP);
    assert_says(said, expected);
}

static char listen_pid[64];

static void pass_two_sockets(void)
{
    (void)snprintf(listen_pid, sizeof(listen_pid), "LISTEN_PID=%d", (int)getpid());
    if (dup2(STDOUT_FILENO, 3) < 0 || dup2(STDOUT_FILENO, 4) < 0 || dup2(STDOUT_FILENO, 5) < 0)
        _exit(92);
}

static void test_passed_sockets(void **state)
{
    (void)state;
    char said[65536];
    char *argv[] = {self, TEXT("inside"), NULL}, *environment[] = {listen_pid, TEXT("LISTEN_FDS=2"), NULL};
    assert_int_equal(run(argv, environment, pass_two_sockets, said, sizeof(said)), 0);
    assert_says(said, "sockets 2");
    assert_says(said, "fd 3");
    assert_says(said, "fd 4");
    assert_false(says(said, "fd 5"));
}

static void close_standard(void)
{
    close(STDIN_FILENO);
    close(STDERR_FILENO);
}

static void test_closed_standard(void **state)
{
    (void)state;
    char said[65536];
    char *argv[] = {self, TEXT("inside"), NULL}, *environment[] = {NULL};
    assert_int_equal(run(argv, environment, close_standard, said, sizeof(said)), 0);
    assert_says(said, "cwd /"); /* and what it opened later was not taken for stderr: */
    assert_null(strstr(said, "fd "));
}

/* The command gets its caller's environment, directory and limits, and its status comes back. */
static void test_command(void **state)
{
    (void)state;
    static const char script[] =
        "echo \"$FOO $MLTOKEN_SOCK $(pwd) $(umask) $MLTOKEN_AGENT_COMMAND $MLTOKEN_AGENT_CLEAN\"; "
        "grep -E 'NoNewPrivs|SigBlk' /proc/self/status | tr -d '\\t\\n'; exit 7";
    char said[65536], expected[512], *text = strdup(script);
    char *argv[] = {self, TEXT("command"), TEXT("sh"), TEXT("-c"), text, NULL};
    char *environment[] = {TEXT("FOO=LD_bar"), TEXT("PATH=/usr/bin:/bin"), TEXT("MLTOKEN_AGENT_COMMAND=1:0"), NULL};
    (void)umask(022);
    assert_int_equal(run(argv, environment, NULL, said, sizeof(said)), 7);
    (void)snprintf(expected, sizeof(expected),
                   "LD_bar /run/x/agent.sock %s 0022  \nSigBlk:0000000000000000NoNewPrivs:0", folder);
    assert_string_equal(said, expected);
    free(text);
}

static void test_command_fails(void **state)
{
    (void)state;
    char said[256];
    char *environment[] = {TEXT("PATH=/usr/bin:/bin"), NULL};
    char *absent[] = {self, TEXT("command"), TEXT("/nonexistent/x"), NULL};
    assert_int_equal(run(absent, environment, close_standard, said, sizeof(said)), 127);
    char *killed[] = {self, TEXT("command"), TEXT("sh"), TEXT("-c"), TEXT("kill -9 $$"), NULL};
    assert_int_equal(run(killed, environment, NULL, said, sizeof(said)), 137);
    char *never[] = {self, TEXT("command-not-started"), TEXT("echo"), TEXT("ran"), NULL};
    assert_int_equal(run(never, environment, NULL, said, sizeof(said)), 125);
    assert_string_equal(said, "");
}

/* The variable that leads behind the exec proves nothing when somebody else sets it. */
static void test_command_forged(void **state)
{
    (void)state;
    static const char *const forged[] = {"MLTOKEN_AGENT_COMMAND=1:57", "MLTOKEN_AGENT_COMMAND=1:1",
                                         "MLTOKEN_AGENT_COMMAND=::"};
    for (size_t i = 0; i < ELEMENTS(forged); i++) {
        char said[256], *variable = strdup(forged[i]);
        char *argv[] = {self, TEXT("command"), TEXT("sh"), TEXT("-c"), TEXT("echo ran $FOO"), NULL};
        char *environment[] = {TEXT("PATH=/usr/bin:/bin"), TEXT("FOO=whole"), variable, NULL};
        assert_int_equal(run(argv, environment, leave_a_descriptor_open, said, sizeof(said)), 0);
        assert_string_equal(said, "ran whole\n");
        free(variable);
    }
}

static int set_up(void **state)
{
    char path[256];
    (void)state;
    if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0 || !mkdtemp(folder))
        return -1;
    (void)snprintf(path, sizeof(path), "%s/config", folder);
    FILE *file = fopen(path, "we");
    if (!file)
        return -1;
    (void)fputs("[profile p]\nclient_secret = env:CI_SECRET\n[profile q]\nclient_secret = env:CI_SECRET\n[profile r]\n"
                "client_secret = env:LD_PRELOAD\n",
                file);
    (void)fclose(file);
    return chmod(path, 0600);
}

static int tear_down(void **state)
{
    char path[256];
    (void)state;
    (void)snprintf(path, sizeof(path), "%s/config", folder);
    (void)unlink(path);
    return rmdir(folder);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "inside") == 0)
        return inside(argv);
    if (argc > 1 && strncmp(argv[1], "command", 7) == 0)
        return inside_command(argv, strcmp(argv[1], "command") == 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hostile),        cmocka_unit_test(test_harmless),
        cmocka_unit_test(test_value_limit),    cmocka_unit_test(test_forged_mark),
        cmocka_unit_test(test_passed_sockets), cmocka_unit_test(test_closed_standard),
        cmocka_unit_test(test_command),        cmocka_unit_test(test_command_fails),
        cmocka_unit_test(test_command_forged),
    };
    return cmocka_run_group_tests_name("environment", tests, set_up, tear_down);
}
