/* Where the socket is, whose its directory is, and who answers there. */
#include "socket_path.h"

#include "cleanup.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h> /* needs some of the above */

#define STRANGER 12345

static char base[64];

static int setup(void **state)
{
    (void)state;
    (void)snprintf(base, sizeof(base), "/tmp/mltoken-unit-XXXXXX");
    return mkdtemp(base) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    (void)snprintf(command, sizeof(command), "rm -rf %s", base);
    return system(command);
}

static const char *in(const char *name)
{
    static char path[4][128];
    static unsigned turn;
    char *to = path[turn++ % 4];
    (void)snprintf(to, 128, "%s/%s", base, name);
    return to;
}

static void test_given(void **state)
{
    (void)state;
    struct socket_path path;
    assert_int_equal(socket_path_find("/run/x/my.sock", &path), 0);
    assert_string_equal(path.directory, "/run/x");
    assert_string_equal(path.agent, "/run/x/my.sock");
    assert_string_equal(path.get, "/run/x/get.sock");
    assert_true(path.given);
    assert_int_equal(socket_path_find("/a.sock", &path), 0);
    assert_string_equal(path.directory, "/");
    assert_string_equal(path.agent, "/a.sock");
    assert_string_equal(path.get, "/get.sock");
    static const char *const wrong[] = {"", "a.sock", "./a.sock", "/run/x/", "/"};
    for (size_t i = 0; i < ELEMENTS(wrong); i++)
        assert_int_equal(socket_path_find(wrong[i], &path), -EINVAL);
}

static void test_given_length(void **state)
{
    (void)state;
    for (size_t length = SOCKET_PATH_SIZE - 2; length <= SOCKET_PATH_SIZE; length++) {
        struct socket_path path;
        char given[SOCKET_PATH_SIZE + 8] = "/d/";
        memset(given + 3, 'x', length - 3);
        assert_int_equal(socket_path_find(given, &path), length < SOCKET_PATH_SIZE ? 0 : -ENAMETOOLONG);
        if (length < SOCKET_PATH_SIZE)
            assert_string_equal(path.agent, given);
        /* get.sock must fit as well */
        char deep[SOCKET_PATH_SIZE + 16] = "/";
        memset(deep + 1, 'y', length - 1 - strlen("/get.sock"));
        memcpy(deep + length - strlen("/get.sock"), "/a", 3);
        assert_int_equal(socket_path_find(deep, &path), length < SOCKET_PATH_SIZE ? 0 : -ENAMETOOLONG);
    }
}

static void test_environment(void **state)
{
    (void)state;
    struct socket_path path;
    char expected[128];
    assert_int_equal(setenv("MLTOKEN_SOCK", "/run/y/agent.sock", 1), 0);
    assert_int_equal(socket_path_find(NULL, &path), 0);
    assert_string_equal(path.agent, "/run/y/agent.sock");
    assert_true(path.given);
    assert_int_equal(socket_path_find("/run/z/agent.sock", &path), 0); /* an option is stronger */
    assert_string_equal(path.agent, "/run/z/agent.sock");
    assert_int_equal(setenv("MLTOKEN_SOCK", "relative", 1), 0);
    assert_int_equal(socket_path_find(NULL, &path), -EINVAL);
    assert_int_equal(setenv("MLTOKEN_SOCK", "", 1), 0); /* as if it were not set */
    assert_int_equal(setenv("XDG_RUNTIME_DIR", base, 1), 0);
    assert_int_equal(socket_path_find(NULL, &path), 0);
    (void)snprintf(expected, sizeof(expected), "%s/mltoken/agent.sock", base);
    assert_string_equal(path.agent, expected);
    assert_false(path.given);
}

static void test_foreign_runtime_directory_is_skipped(void **state)
{
    (void)state;
    struct socket_path path, by_uid;
    assert_int_equal(unsetenv("MLTOKEN_SOCK"), 0);
    assert_int_equal(socket_path_for(geteuid(), &by_uid), 0);
    static const char *const wrong[] = {"relative", "", "/nonexistent-directory"};
    for (size_t i = 0; i < ELEMENTS(wrong); i++) {
        assert_int_equal(setenv("XDG_RUNTIME_DIR", wrong[i], 1), 0);
        assert_int_equal(socket_path_find(NULL, &path), 0);
        assert_string_equal(path.agent, by_uid.agent);
    }
    if (geteuid() == 0) { /* as after su */
        const char *foreign = in("foreign");
        assert_int_equal(mkdir(foreign, 0700), 0);
        assert_int_equal(chown(foreign, STRANGER, STRANGER), 0);
        assert_int_equal(setenv("XDG_RUNTIME_DIR", foreign, 1), 0);
        assert_int_equal(socket_path_find(NULL, &path), 0);
        assert_string_equal(path.agent, by_uid.agent);
    }
    assert_int_equal(unsetenv("XDG_RUNTIME_DIR"), 0);
}

static void test_long_runtime_directory(void **state)
{
    (void)state;
    char deep[256];
    struct socket_path path;
    (void)snprintf(deep, sizeof(deep), "%s/", base);
    size_t start = strlen(deep);
    memset(deep + start, 'd', 100 - start);
    deep[100] = '\0';
    assert_int_equal(mkdir(deep, 0700), 0);
    assert_int_equal(setenv("XDG_RUNTIME_DIR", deep, 1), 0);
    assert_int_equal(socket_path_find(NULL, &path), -ENAMETOOLONG);
    assert_int_equal(unsetenv("XDG_RUNTIME_DIR"), 0);
}

static void test_for_uid(void **state)
{
    (void)state;
    struct socket_path path;
    assert_int_equal(setenv("XDG_RUNTIME_DIR", base, 1), 0);
    assert_int_equal(setenv("MLTOKEN_SOCK", "/run/y/agent.sock", 1), 0);
    assert_int_equal(socket_path_for(STRANGER, &path), 0); /* the environment does not count */
    assert_string_equal(path.agent, "/tmp/mltoken-12345/agent.sock");
    assert_string_equal(path.get, "/tmp/mltoken-12345/get.sock");
    assert_int_equal(socket_path_for((uid_t)-2, &path), 0);
    assert_string_equal(path.directory, "/tmp/mltoken-4294967294");
    assert_int_equal(unsetenv("XDG_RUNTIME_DIR"), 0);
    assert_int_equal(unsetenv("MLTOKEN_SOCK"), 0);
}

static void test_directory(void **state)
{
    (void)state;
    struct stat st;
    const char *mine = in("mine");
    assert_int_equal(socket_directory_check(mine, false), -ENOENT);
    mode_t mask = umask(0);
    assert_int_equal(socket_directory_check(mine, true), 0);
    umask(mask);
    assert_int_equal(stat(mine, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(socket_directory_check(mine, true), 0); /* it may be there */
    static const mode_t wide[] = {0710, 0701, 0740, 0704, 0720, 0702, 0755, 0777};
    for (size_t i = 0; i < ELEMENTS(wide); i++) {
        assert_int_equal(chmod(mine, wide[i]), 0);
        assert_int_equal(socket_directory_check(mine, true), -EACCES);
    }
    assert_int_equal(chmod(mine, 0700), 0);
    const char *link = in("link"), *file = in("file");
    assert_int_equal(symlink(mine, link), 0);
    assert_int_equal(socket_directory_check(link, false), -ELOOP);
    assert_int_equal(socket_directory_check(link, true), -ELOOP);
    FILE *made = fopen(file, "we");
    assert_non_null(made);
    assert_int_equal(fclose(made), 0);
    assert_int_equal(socket_directory_check(file, true), -ENOTDIR);
    assert_int_equal(socket_directory_check(in("no/where"), true), -ENOENT);
    if (geteuid() == 0) {
        assert_int_equal(chown(mine, STRANGER, STRANGER), 0);
        assert_int_equal(socket_directory_check(mine, true), -EPERM);
    }
    static const int problems[] = {-ELOOP, -ENOTDIR, -EPERM, -EACCES, -ENOENT};
    for (size_t i = 0; i < ELEMENTS(problems); i++)
        assert_true(strlen(socket_directory_problem(problems[i])) > 5);
}

static int listening(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 0), 0);
    return fd;
}

static void test_connect(void **state)
{
    (void)state;
    const char *path = in("a.sock");
    int fd = -1;
    assert_int_equal(socket_connect(path, 0, &fd), -ENOENT);
    _cleanup_close_ int server = listening(path);
    assert_int_equal(socket_connect(path, SOCK_NONBLOCK, &fd), 0);
    uid_t uid;
    pid_t pid;
    assert_int_equal(socket_peer(fd, &uid, &pid), 0);
    assert_int_equal(uid, geteuid());
    assert_int_equal(pid, getpid());
    int second = -1;
    assert_int_equal(socket_connect(path, SOCK_NONBLOCK, &second), -EAGAIN); /* its queue is full */
    assert_int_equal(second, -1);
    close(fd);
    close(TAKE_FD(server));
    assert_int_equal(socket_connect(path, 0, &fd), -ECONNREFUSED);
    char longest[200];
    memset(longest, 'x', sizeof(longest) - 1);
    longest[0] = '/';
    longest[sizeof(longest) - 1] = '\0';
    assert_int_equal(socket_connect(longest, 0, &fd), -ENAMETOOLONG);
}

/* The server is root, the client somebody else: it must not get a descriptor it could write to. */
static void test_another_users_server(void **state)
{
    (void)state;
    if (geteuid() != 0)
        return; /* as an ordinary user there is nobody to be; the system tests run it too */
    const char *path = in("root.sock");
    _cleanup_close_ int server = listening(path);
    assert_int_equal(chmod(path, 0777), 0);
    assert_int_equal(chmod(base, 0755), 0);
    pid_t child = fork();
    if (child == 0) {
        int fd = -1;
        if (setgid(STRANGER) != 0 || setuid(STRANGER) != 0)
            _exit(2);
        _exit(socket_connect(path, 0, &fd) == -EPERM && fd == -1 ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_given),
        cmocka_unit_test(test_given_length),
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_foreign_runtime_directory_is_skipped),
        cmocka_unit_test(test_long_runtime_directory),
        cmocka_unit_test(test_for_uid),
        cmocka_unit_test(test_directory),
        cmocka_unit_test(test_connect),
        cmocka_unit_test(test_another_users_server),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
