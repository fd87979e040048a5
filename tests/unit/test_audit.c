/* The audit: what is told, when, and what makes room for what. Executables are made up; start times are set by hand. */
#include "cleanup.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those first */
#include <cmocka.h>

static size_t path_length = 5;

static ssize_t made_up(const char *path, char *to, size_t size)
{
    size_t length = path_length < size ? path_length : size;
    if (path_length == 0 || strstr(path, "/0/"))
        return -1;
    for (size_t i = 0; i < length; i++)
        to[i] = i == 0 ? '/' : 'x';
    return (ssize_t)length;
}

#define readlink made_up
#include "server/audit.c"
#undef readlink

enum { INTERVAL = 1000, PID = 0x7ffffff0 /* no such process: its start is not known */ };

static struct {
    struct audit_line last;
    char profile[LIMIT_PROFILE_NAME + 1], application[2 * LIMIT_APPLICATION], executable[2 * LIMIT_AUDIT_EXECUTABLE];
    unsigned lines;
} told;

static void hear(void *arg, const struct audit_line *line)
{
    assert_ptr_equal(arg, &told);
    told.last = *line;
    (void)snprintf(told.profile, sizeof(told.profile), "%s", line->profile);
    (void)snprintf(told.executable, sizeof(told.executable), "%s", line->executable);
    (void)snprintf(told.application, sizeof(told.application), "%s", line->application ? line->application : "-");
    told.lines++;
}

static struct audit *audit;
static struct audit_place place;

static int set_up(void **state)
{
    (void)state;
    explicit_bzero(&told, sizeof(told));
    place = (struct audit_place){.serial = 0};
    path_length = 5;
    return audit_new(INTERVAL, hear, &told, &audit);
}

static int tear_down(void **state)
{
    (void)state;
    audit = audit_free(audit);
    return 0;
}

/* How many lines a use made. */
static unsigned use(struct audit_place *at, pid_t pid, const char *profile, bool fetched, int64_t now)
{
    unsigned before = told.lines;
    const struct audit_use one = {.pid = pid, .profile = profile, .fetched = fetched};
    audit_note(audit, at, &one, now);
    return told.lines - before;
}

/* What was denied is told apart from what was handed out, in the same way: at once, then counted. */
static void test_denials_are_their_own(void **state)
{
    (void)state;
    const struct audit_use denied = {.pid = PID, .profile = "p", .denied = "allow"};
    assert_int_equal(use(&place, PID, "p", true, 10), 1);
    assert_null(told.last.denied);
    audit_note(audit, &place, &denied, 11);
    assert_int_equal(told.lines, 2);
    assert_true(told.last.first);
    assert_string_equal(told.last.denied, "allow");
    audit_note(audit, &place, &denied, 12);
    audit_note(audit, &place, &denied, 13);
    assert_int_equal(use(&place, PID, "p", false, 14), 0);
    assert_int_equal(told.lines, 2);
    audit_tell(audit, 12 + INTERVAL);
    assert_int_equal(told.lines, 4);
    struct audit_place other = {.serial = 0};
    audit_note(audit, &other, &denied, 15);
    assert_int_equal(told.lines, 4);
}

static void test_first_at_once_then_counted(void **state)
{
    (void)state;
    assert_int_equal(use(&place, PID, "p", true, 10), 1);
    assert_true(told.last.first);
    assert_int_equal(told.last.count, 1);
    assert_int_equal(told.last.fetched, 1);
    assert_int_equal(told.last.pid, PID);
    assert_string_equal(told.profile, "p");
    assert_string_equal(told.executable, "/xxxx");
    assert_int_equal(audit_due_ms(audit), -1);
    for (int i = 0; i < 37; i++)
        assert_int_equal(use(&place, PID, "p", i == 0, 20 + i), 0);
    assert_int_equal(audit_due_ms(audit), 20 + INTERVAL);
    audit_tell(audit, 20 + INTERVAL - 1);
    assert_int_equal(told.lines, 1);
    audit_tell(audit, 20 + INTERVAL);
    assert_int_equal(told.lines, 2);
    assert_false(told.last.first);
    assert_int_equal(told.last.count, 37);
    assert_int_equal(told.last.fetched, 1);
    assert_int_equal(audit_due_ms(audit), -1);
    audit_tell(audit, 20 + 2 * INTERVAL);
    assert_int_equal(told.lines, 2);
    assert_int_equal(use(&place, PID, "p", false, 5000), 0);
    assert_int_equal(audit_due_ms(audit), 5000 + INTERVAL);
}

/* Another connection of the same process is no first use; another process, profile or program is. */
static void test_who_is_another(void **state)
{
    (void)state;
    struct audit_place again = {.serial = 0}, other = {.serial = 0}, third = {.serial = 0}, reused = {.serial = 0};
    assert_int_equal(use(&place, PID, "p", false, 0), 1);
    assert_int_equal(use(&again, PID, "p", false, 0), 0);
    assert_int_equal(use(&other, PID - 1, "p", false, 0), 1);
    assert_int_equal(use(&place, PID, "q", false, 0), 1);
    assert_int_equal(use(&place, PID, "p", false, 0), 0);
    path_length = 6; /* it executed another program, and connected anew */
    assert_int_equal(use(&third, PID, "p", false, 0), 1);
    audit->records[third.slot].start = 7; /* that was an earlier process of this number */
    assert_int_equal(use(&reused, PID, "p", false, 0), 1);
    assert_int_not_equal(reused.serial, third.serial);
    assert_int_equal(use(&third, PID, "p", false, 0), 0);
    assert_int_equal(audit->records[third.slot].repeats, 1);
}

static void test_real_start(void **state)
{
    (void)state;
    assert_int_equal(use(&place, getpid(), "p", false, 0), 1);
    assert_int_not_equal(audit->records[place.slot].start, 0);
}

static void test_unreadable(void **state)
{
    (void)state;
    struct audit_place other = {.serial = 0};
    path_length = 0;
    assert_int_equal(use(&place, PID, "p", false, 0), 1);
    assert_string_equal(told.executable, "?");
    assert_int_equal(use(&other, 0, "p", false, 0), 1);
    assert_string_equal(told.executable, "?");
    assert_int_equal(told.last.pid, 0);
}

static void test_start_of(void **state)
{
    (void)state;
    assert_int_equal(audit_start_of("7 (a) S 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 2222 23"), 2222);
    assert_int_equal(audit_start_of("7 (a b) 9) S 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 2222 23"), 2222);
    static const char *const wrong[] = {"",
                                        "7 (a",
                                        "7 (a) S 4 5",
                                        "7 (a)",
                                        "7 (a) S 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 ",
                                        "7 (a) S 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 -1 "};
    for (size_t i = 0; i < ELEMENTS(wrong); i++)
        assert_int_equal(audit_start_of(wrong[i]), 0);
}

static void test_most_records(void **state)
{
    for (unsigned count = LIMIT_AUDIT_RECORDS - 1; count <= LIMIT_AUDIT_RECORDS + 1; count++) {
        for (unsigned i = 0; i < count; i++) {
            struct audit_place one = {.serial = 0};
            assert_int_equal(use(&one, (pid_t)(PID - i), "p", false, 0), 1);
            if (i == 0)
                place = one;
        }
        /* the first connection still looks where its record was */
        assert_int_equal(use(&place, PID, "p", false, 0), count > LIMIT_AUDIT_RECORDS);
        assert_int_equal(use(&place, PID, "p", false, 0), 0);
        assert_int_equal(tear_down(state), 0);
        assert_int_equal(set_up(state), 0);
    }
}

/* What is dropped is told first; who comes again and again is not dropped for a crowd that comes once. */
static void test_making_room(void **state)
{
    (void)state;
    struct audit_place idle = {.serial = 0};
    assert_int_equal(use(&idle, PID, "idle", false, 0), 1);
    assert_int_equal(use(&place, PID, "busy", false, 0), 1);
    assert_int_equal(use(&idle, PID, "idle", false, 0), 0);
    unsigned lines = told.lines, crowd = 3 * LIMIT_AUDIT_RECORDS, counts = 0;
    for (unsigned i = 0; i < crowd; i++) {
        struct audit_place one = {.serial = 0};
        unsigned before = told.lines;
        (void)use(&one, (pid_t)(PID - 1 - i), "p", false, 0);
        counts += told.lines - before - 1;
        assert_int_equal(use(&place, PID, "busy", false, 0), 0);
    }
    assert_int_equal(counts, 1); /* of idle */
    assert_int_equal(told.lines - lines, crowd + 1);
    assert_int_equal(use(&idle, PID, "idle", false, 0), 1);
    audit_tell(audit, INTERVAL);
    assert_string_equal(told.profile, "busy");
    assert_int_equal(told.last.count, crowd);
}

static void test_the_end_tells_the_rest(void **state)
{
    (void)state;
    (void)use(&place, PID, "p", false, 0);
    (void)use(&place, PID, "p", false, 0);
    audit = audit_free(audit);
    assert_int_equal(told.lines, 2);
    assert_int_equal(told.last.count, 1);
    assert_null(audit_free(NULL));
}

static void test_lengths(void **state)
{
    (void)state;
    char long_one[LIMIT_APPLICATION + 2];
    for (size_t more = 0; more <= 2; more++) {
        struct audit_place one = {.serial = 0}, two = {.serial = 0};
        path_length = LIMIT_AUDIT_EXECUTABLE - 1 + more;
        size_t length = LIMIT_APPLICATION - 1 + more;
        for (size_t i = 0; i < length; i++)
            long_one[i] = 'a';
        long_one[length] = '\0';
        const struct audit_use hinted = {.pid = (pid_t)(PID - more), .profile = "p", .application = long_one};
        audit_note(audit, &one, &hinted, 0);
        assert_int_equal(strlen(told.executable), more == 0 ? LIMIT_AUDIT_EXECUTABLE - 1 : LIMIT_AUDIT_EXECUTABLE);
        assert_int_equal(strlen(told.application), more == 0 ? LIMIT_APPLICATION - 1 : LIMIT_APPLICATION);
        assert_int_equal(use(&two, (pid_t)(PID - more), "p", false, 0), 0); /* found again, cut or not */
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_first_at_once_then_counted),
        TEST(test_denials_are_their_own),
        TEST(test_who_is_another),
        TEST(test_real_start),
        TEST(test_unreadable),
        TEST(test_start_of),
        TEST(test_most_records),
        TEST(test_making_room),
        TEST(test_the_end_tells_the_rest),
        TEST(test_lengths),
    };
    return cmocka_run_group_tests_name("audit", tests, NULL, NULL);
}
