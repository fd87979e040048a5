/* The log on stderr: one line an event, whatever comes in. */
#include "cleanup.h"
#include "limits.h"
#include "log.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those first */
#include <cmocka.h>

static char said[65536];
static int ends[2], stderr_copy;

/* stderr goes into a pipe that is large enough for one event. */
static int set_up(void **state)
{
    (void)state;
    stderr_copy = dup(STDERR_FILENO);
    return pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0 || dup2(ends[1], STDERR_FILENO) < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
    (void)state;
    (void)dup2(stderr_copy, STDERR_FILENO);
    close(stderr_copy);
    close(ends[0]);
    close(ends[1]);
    return 0;
}

static const char *heard(void)
{
    ssize_t n = read(ends[0], said, sizeof(said) - 1);
    said[n > 0 ? n : 0] = '\0';
    return said;
}

static void test_line(void **state)
{
    (void)state;
    log_open(true, false);
    log_event(LOG_LEVEL_INFO, "renewed", "PROFILE", "aoai", "HOST", NULL, "REASON", "it was \"time\" \\", "EMPTY", "",
              NULL);
    assert_string_equal(heard(),
                        "mltoken-agent: info: renewed profile=aoai reason=\"it was \\\"time\\\" \\\\\" empty=\"\"\n");
    log_event(LOG_LEVEL_ERROR, "no", NULL);
    assert_string_equal(heard(), "mltoken-agent: error: no\n");
}

/* Nobody outside can make a line of his own, or steer a terminal. */
static void test_hostile_values(void **state)
{
    (void)state;
    log_open(true, false);
    log_event(LOG_LEVEL_WARNING, "refused", "WHO", "x\nmltoken-agent: info: granted", "TO", "\x1b[2J\xe2\x80\xae\xff",
              NULL);
    assert_string_equal(heard(), "mltoken-agent: warning: refused who=\"x\\\\x0amltoken-agent: info: granted\" "
                                 "to=\"\\\\x1b[2J\\\\u{202e}\\\\xff\"\n");
}

static void test_debug(void **state)
{
    (void)state;
    log_open(true, false);
    assert_false(log_debugging());
    log_event(LOG_LEVEL_DEBUG, "step", NULL);
    assert_string_equal(heard(), "");
    log_open(true, true);
    assert_true(log_debugging());
    log_event(LOG_LEVEL_DEBUG, "step", NULL);
    assert_string_equal(heard(), "mltoken-agent: debug: step\n");
}

static void test_limit(void **state)
{
    (void)state;
    log_open(true, false);
    for (size_t length = LIMIT_LOG_VALUE - 1; length <= LIMIT_LOG_VALUE + 1; length++) {
        char value[LIMIT_LOG_VALUE + 2] = "";
        memset(value, 'x', length);
        log_event(LOG_LEVEL_INFO, "long", "V", value, NULL);
        assert_int_equal(strstr(heard(), "...") != NULL, length > LIMIT_LOG_VALUE);
        assert_int_equal(said[strlen(said) - 1], '\n');
    }
}

/* A pipe with room for one page, read by nobody, as of a foreground agent whose terminal program stands still. */
static void test_unread(void **state)
{
    char value[LIMIT_LOG_VALUE + 1] = "";
    (void)state;
    memset(value, '\x7f', LIMIT_LOG_VALUE); /* shown as four bytes each */
    assert_true(fcntl(ends[1], F_SETPIPE_SZ, 4096) >= 4096);
    assert_int_equal(fcntl(ends[1], F_SETFL, 0), 0); /* a write that finds no room would wait */
    log_open(true, false);
    (void)alarm(120);
    log_event(LOG_LEVEL_INFO, "long", "A", value, "B", value, NULL);
    log_event(LOG_LEVEL_INFO, "lost", NULL);
    (void)alarm(0);
    assert_int_equal(strncmp(heard(), "mltoken-agent: info: long a=", 28), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_line, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_hostile_values, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_debug, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unread, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
