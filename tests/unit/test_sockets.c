/* The agent's sockets: made or handed over, one agent at a time, what is left behind. */
#include "sockets.h"

#include "cleanup.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
/* after these */
#include <cmocka.h>

static struct socket_path path;
static char base[64], problem[512];

static int open_base(void **state)
{
    char agent[128];
    (void)state;
    (void)snprintf(base, sizeof(base), "/tmp/mltoken-test-XXXXXX");
    assert_non_null(mkdtemp(base));
    (void)snprintf(agent, sizeof(agent), "%s/run/agent.sock", base);
    *problem = '\0';
    return socket_path_find(agent, &path);
}

static int close_base(void **state)
{
    char command[128];
    (void)state;
    (void)snprintf(command, sizeof(command), "rm -rf %s", base);
    return system(command);
}

static void close_all(struct sockets *sockets)
{
    sockets_close(sockets);
    close(sockets->agent);
    close(sockets->get);
}

static size_t open_descriptors(void)
{
    size_t count = 0;
    for (int fd = 0; fd < 100; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void made_and_removed(void **state)
{
    struct sockets sockets = SOCKETS_NONE;
    struct stat st;
    size_t before = open_descriptors();
    int fd;
    (void)state;
    sockets_close(&sockets); /* nothing was opened */
    assert_int_equal(0, sockets_open(&path, &sockets, problem, sizeof(problem)));
    assert_false(sockets.activated);
    assert_true(sockets_present(&sockets));
    assert_int_equal(0, lstat(path.directory, &st));
    assert_int_equal(0700, st.st_mode & 07777);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(0, lstat(i ? path.get : path.agent, &st));
        assert_true(S_ISSOCK(st.st_mode));
        assert_int_equal(0600, st.st_mode & 07777);
        assert_int_equal(FD_CLOEXEC, fcntl(i ? sockets.get : sockets.agent, F_GETFD));
        assert_true(fcntl(i ? sockets.get : sockets.agent, F_GETFL) & O_NONBLOCK);
        assert_int_equal(0, socket_connect(i ? path.get : path.agent, 0, &fd));
        close(fd);
    }
    close_all(&sockets);
    assert_int_equal(-1, lstat(path.agent, &st));
    assert_int_equal(-1, lstat(path.get, &st));
    sockets_close(&sockets); /* once is enough */
    assert_int_equal(before, open_descriptors());
}

static void one_agent_at_a_time(void **state)
{
    struct sockets first = SOCKETS_NONE, second = SOCKETS_NONE;
    (void)state;
    assert_int_equal(0, sockets_open(&path, &first, problem, sizeof(problem)));
    size_t before = open_descriptors();
    assert_int_equal(-EBUSY, sockets_open(&path, &second, problem, sizeof(problem)));
    assert_non_null(strstr(problem, "another agent serves"));
    assert_int_equal(-1, second.lock);
    assert_int_equal(before, open_descriptors());
    assert_true(sockets_present(&first)); /* and it has not been touched */
    close_all(&first);
    assert_int_equal(0, sockets_open(&path, &second, problem, sizeof(problem)));
    close_all(&second);
}

/* An agent that was killed leaves its sockets, not its lock. */
static void left_overs_are_replaced(void **state)
{
    struct sockets first = SOCKETS_NONE, second = SOCKETS_NONE;
    (void)state;
    assert_int_equal(0, sockets_open(&path, &first, problem, sizeof(problem)));
    close(first.lock);
    assert_int_equal(0, sockets_open(&path, &second, problem, sizeof(problem)));
    assert_false(sockets_present(&first));
    assert_true(sockets_present(&second));
    first.lock = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close_all(&first); /* what is another's is not removed */
    assert_true(sockets_present(&second));
    close_all(&second);
}

static void removed_and_replaced(void **state)
{
    struct sockets sockets = SOCKETS_NONE;
    struct stat st;
    (void)state;
    assert_int_equal(0, sockets_open(&path, &sockets, problem, sizeof(problem)));
    assert_int_equal(0, unlink(path.agent));
    assert_false(sockets_present(&sockets));
    assert_int_equal(0, close(open(path.agent, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)));
    assert_false(sockets_present(&sockets));
    close_all(&sockets);
    assert_int_equal(0, lstat(path.agent, &st));
}

/* A file of another kind in the way is not ours to remove; and nothing half open is left. */
static void things_in_the_way(void **state)
{
    struct sockets sockets = SOCKETS_NONE;
    struct stat st;
    size_t before = open_descriptors();
    (void)state;
    assert_int_equal(0, mkdir(path.directory, 0700));
    for (int i = 0; i < 2; i++) {
        const char *name = i ? path.get : path.agent;
        assert_int_equal(0, close(open(name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)));
        assert_int_equal(-EEXIST, sockets_open(&path, &sockets, problem, sizeof(problem)));
        assert_non_null(strstr(problem, name));
        assert_true(lstat(name, &st) == 0 && S_ISREG(st.st_mode));
        assert_int_equal(before, open_descriptors());
        assert_int_equal(0, unlink(name));
    }
    assert_int_equal(0, symlink("/dev/null", path.agent));
    assert_int_equal(-EEXIST, sockets_open(&path, &sockets, problem, sizeof(problem)));
    assert_int_equal(0, unlink(path.agent));
    char lock[128];
    (void)snprintf(lock, sizeof(lock), "%s/agent.lock", path.directory);
    (void)unlink(lock);
    assert_int_equal(0, symlink("/tmp/elsewhere", lock));
    assert_int_equal(-ELOOP, sockets_open(&path, &sockets, problem, sizeof(problem)));
    assert_int_equal(-1, lstat("/tmp/elsewhere", &st));
    assert_int_equal(before, open_descriptors());
}

static void directories_that_are_refused(void **state)
{
    struct sockets sockets = SOCKETS_NONE;
    (void)state;
    assert_int_equal(0, mkdir(path.directory, 0700));
    assert_int_equal(0, chmod(path.directory, 0755));
    assert_int_equal(-EACCES, sockets_open(&path, &sockets, problem, sizeof(problem)));
    assert_non_null(strstr(problem, path.directory));
    assert_int_equal(0, rmdir(path.directory));
    assert_int_equal(0, symlink("/tmp", path.directory));
    assert_true(sockets_open(&path, &sockets, problem, sizeof(problem)) < 0);
    assert_int_equal(0, unlink(path.directory));
    assert_int_equal(-1, sockets.lock);
}

static int listen_at(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, name, strlen(name) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 5) < 0)
        _exit(20);
    return fd;
}

/* In a child, where descriptors from 3 on are free to be the manager's. 0: as it should be. */
static int activated(bool get_first)
{
    struct sockets sockets = SOCKETS_NONE;
    char text[16];
    int agent = listen_at(path.agent), get = listen_at(path.get);
    if (dup2(agent, 53) < 0 || dup2(get, 54) < 0 || dup2(53, get_first ? 4 : 3) < 0 || dup2(54, get_first ? 3 : 4) < 0)
        return 21;
    (void)snprintf(text, sizeof(text), "%d", (int)getpid());
    (void)setenv("LISTEN_PID", text, 1);
    (void)setenv("LISTEN_FDS", "2", 1);
    if (sockets_open(&path, &sockets, problem, sizeof(problem)) < 0 || !sockets.activated)
        return 22;
    if (sockets.agent != (get_first ? 4 : 3) || sockets.get != (get_first ? 3 : 4) || !sockets_present(&sockets))
        return 23;
    if (!(fcntl(3, F_GETFL) & O_NONBLOCK) || !(fcntl(4, F_GETFL) & O_NONBLOCK) || fcntl(3, F_GETFD) != FD_CLOEXEC)
        return 24;
    sockets_close(&sockets);
    struct stat st;
    return lstat(path.agent, &st) == 0 && lstat(path.get, &st) == 0 ? 0 : 25; /* systemd's to remove */
}

static void handed_over_in_either_order(void **state)
{
    (void)state;
    assert_int_equal(0, mkdir(path.directory, 0700));
    for (int order = 0; order < 2; order++) {
        int status;
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            _exit(activated(order == 1));
        assert_int_equal(pid, waitpid(pid, &status, 0));
        assert_int_equal(0, status);
        assert_int_equal(0, unlink(path.agent));
        assert_int_equal(0, unlink(path.get));
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_base, close_base)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(made_and_removed),
        TEST(one_agent_at_a_time),
        TEST(left_overs_are_replaced),
        TEST(removed_and_replaced),
        TEST(things_in_the_way),
        TEST(directories_that_are_refused),
        TEST(handed_over_in_either_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
