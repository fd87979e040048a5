/* What the service manager hears, over a path and over an abstract socket. */
#include "cleanup.h"
#include "notify.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>
/* cmocka wants those first */
#include <cmocka.h>

static char folder[] = "/tmp/mltoken-test-notify-XXXXXX", said[1024];

static int manager(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    memcpy(address.sun_path, path, length);
    if (path[0] == '@')
        address.sun_path[0] = '\0';
    assert_int_equal(
        bind(fd, (const struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)), 0);
    return fd;
}

static const char *heard(int fd)
{
    ssize_t n = recv(fd, said, sizeof(said) - 1, 0);
    said[n > 0 ? n : 0] = '\0';
    return said;
}

static void assert_speaks(const char *path)
{
    _cleanup_close_ int fd = manager(path);
    setenv("NOTIFY_SOCKET", path, 1);
    notify_open();
    assert_null(getenv("NOTIFY_SOCKET")); /* no child speaks in our name */
    notify_ready("serving");
    assert_string_equal(heard(fd), "READY=1\nSTATUS=serving\n");
    notify_status("two\nREADY=0 lines");
    assert_string_equal(heard(fd), "STATUS=two READY=0 lines\n");
    notify_reloading();
    assert_memory_equal(heard(fd), "RELOADING=1\nMONOTONIC_USEC=", 27);
    notify_watchdog();
    assert_string_equal(heard(fd), "WATCHDOG=1\n");
    notify_stopping();
    assert_string_equal(heard(fd), "STOPPING=1\n");
    notify_close();
    notify_stopping();
    assert_string_equal(heard(fd), "");
}

static void test_sockets(void **state)
{
    (void)state;
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/notify", folder);
    assert_speaks(path);
    (void)unlink(path);
    (void)snprintf(path, sizeof(path), "@%s", folder);
    assert_speaks(path);
}

static void test_nobody(void **state)
{
    (void)state;
    static const char *const paths[] = {"", "relative", "/", "/nonexistent/socket", "@", "@nobody-listens-here"};
    for (size_t i = 0; i < ELEMENTS(paths); i++) {
        setenv("NOTIFY_SOCKET", paths[i], 1);
        setenv("WATCHDOG_USEC", "1000000", 1);
        notify_open();
        notify_ready("x");
        assert_int_equal(notify_watchdog_ms(), 0);
    }
    notify_close();
}

static void test_watchdog(void **state)
{
    (void)state;
    char own[16];
    (void)snprintf(own, sizeof(own), "%d", (int)getpid());
    const struct {
        const char *usec, *pid;
        int64_t ms;
    } cases[] = {{"180000000", own, 90000},
                 {"180000000", NULL, 90000},
                 {"180000000", "1", 0},
                 {"0", own, 0},
                 {"-5", own, 0},
                 {"1x", own, 0},
                 {"1", own, 1},
                 {NULL, own, 0},
                 {"9999999999999999", own, 0}};
    _cleanup_close_ int fd = manager("@mltoken-test-watchdog");
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        setenv("NOTIFY_SOCKET", "@mltoken-test-watchdog", 1);
        unsetenv("WATCHDOG_USEC");
        unsetenv("WATCHDOG_PID");
        if (cases[i].usec)
            setenv("WATCHDOG_USEC", cases[i].usec, 1);
        if (cases[i].pid)
            setenv("WATCHDOG_PID", cases[i].pid, 1);
        notify_open();
        assert_int_equal(notify_watchdog_ms(), cases[i].ms);
    }
    notify_close();
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sockets),
        cmocka_unit_test(test_nobody),
        cmocka_unit_test(test_watchdog),
    };
    return cmocka_run_group_tests_name("notify", tests, set_up, tear_down);
}
