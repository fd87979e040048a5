/* The line of questions to a person, with scripts for pinentries: order, bounds, denials, deadlines, and those who go
 * away at any moment. */
#include "server/approval.h"

#include "cleanup.h"
#include "limits.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
/* after these */
#include <cmocka.h>

static struct loop *loop;
static struct worker *worker;
static struct approvals *approvals;
static char directory[64], program[128];

static const char *program_of(void *arg)
{
    return arg;
}

/* A pinentry that does as this shell command says when it is asked. */
static void pinentry_does(const char *command)
{
    FILE *file = fopen(program, "we");
    assert_non_null(file);
    (void)fprintf(file,
                  "#!/bin/sh\ncd %s\necho OK\nwhile read word rest; do\n"
                  "if [ \"$word\" != CONFIRM ]; then [ \"$word\" != SETDESC ] || echo \"$rest\" >> shown; echo OK; "
                  "continue; fi\n%s\ndone\n",
                  directory, command);
    (void)fclose(file);
    assert_int_equal(chmod(program, 0700), 0);
}

static int set_up_with(int64_t timeout_ms)
{
    (void)snprintf(directory, sizeof(directory), "/tmp/mltoken-test-XXXXXX");
    assert_non_null(mkdtemp(directory));
    (void)snprintf(program, sizeof(program), "%s/pinentry", directory);
    assert_int_equal(0, loop_new(&loop));
    assert_int_equal(0, worker_new(loop, &worker));
    return approvals_new(loop, worker, program_of, program, timeout_ms, &approvals);
}

static int set_up(void **state)
{
    (void)state;
    return set_up_with(30000);
}

static int set_up_impatient(void **state)
{
    (void)state;
    return set_up_with(300);
}

static int tear_down(void **state)
{
    char command[128];
    (void)state;
    approvals = approvals_free(approvals);
    worker = worker_free(worker);
    loop = loop_free(loop);
    (void)snprintf(command, sizeof(command), "rm -rf %s", directory);
    return system(command);
}

static void on_timeout(void *arg)
{
    (void)arg;
    loop_stop(loop, -ETIME);
}

static int run_for(int64_t ms)
{
    struct timer end = {0};
    assert_int_equal(0, timer_start(loop, &end, loop_now(loop) + ms, on_timeout, NULL));
    int r = loop_run(loop);
    timer_stop(&end);
    return r;
}

struct asking {
    struct question question;
    int told, place;
    bool allowed;
    char reason[LIMIT_TEXT];
    struct question *withdraws; /* when it is told */
};
static int outstanding, places;

static void on_told(void *arg, const struct failure *denied)
{
    struct asking *asking = arg;
    asking->told++;
    asking->place = ++places;
    asking->allowed = !denied;
    (void)snprintf(asking->reason, sizeof(asking->reason), "%s", denied ? denied->reason : "");
    if (denied)
        assert_int_equal(denied->kind, FAILURE_DENIED);
    assert_null(asking->question.approvals);
    if (asking->withdraws)
        question_withdraw(asking->withdraws);
    if (--outstanding == 0)
        loop_stop(loop, 0);
}

static int ask(struct asking *asking, const char *profile)
{
    struct failure why;
    *asking = (struct asking){.question = {.pid = 1, .executable = "/x", .done = on_told, .arg = asking}};
    (void)snprintf(asking->question.profile, sizeof(asking->question.profile), "%s", profile);
    int r = approvals_ask(approvals, &asking->question, &why);
    if (r == 0)
        outstanding++;
    else
        (void)snprintf(asking->reason, sizeof(asking->reason), "%s", why.reason);
    return r;
}

static size_t shown(void)
{
    char path[128], line[2048];
    size_t count = 0;
    (void)snprintf(path, sizeof(path), "%s/shown", directory);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof(line), file))
        count++;
    if (file)
        (void)fclose(file);
    return count;
}

static void in_order_and_one_each(void **state)
{
    (void)state;
    struct asking all[3];
    pinentry_does("echo OK");
    places = 0;
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(ask(&all[i], "p"), 0);
    assert_int_equal(all[0].told, 0);
    assert_int_equal(run_for(60000), 0);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(all[i].told, 1);
        assert_int_equal(all[i].place, i + 1);
        assert_true(all[i].allowed);
    }
    assert_int_equal(shown(), 3);
}

static void a_denial_is_for_its_profile(void **state)
{
    (void)state;
    struct asking p[3], q, again;
    pinentry_does("if grep -q 'Profile: q' shown; then echo OK; else echo ERR 99; fi");
    assert_int_equal(ask(&p[0], "p"), 0);
    assert_int_equal(ask(&p[1], "p"), 0);
    assert_int_equal(ask(&q, "q"), 0);
    assert_int_equal(ask(&p[2], "p"), 0);
    assert_int_equal(run_for(60000), 0);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(p[i].told, 1);
        assert_non_null(strstr(p[i].reason, "profile p was denied"));
    }
    assert_true(q.allowed);
    assert_int_equal(shown(), 2);
    assert_int_equal(ask(&again, "p"), -EACCES);
    assert_non_null(strstr(again.reason, "less than 60 s ago"));
    assert_int_equal(ask(&q, "q"), 0);
    assert_int_equal(run_for(60000), 0);
    assert_true(q.allowed);
}

static void the_line_is_bounded(void **state)
{
    (void)state;
    static struct asking all[LIMIT_QUESTIONS], one;
    pinentry_does("sleep 600");
    for (size_t i = 0; i < LIMIT_QUESTIONS; i++)
        assert_int_equal(ask(&all[i], "p"), 0);
    assert_int_equal(ask(&one, "q"), -EBUSY);
    question_withdraw(&all[7].question);
    assert_int_equal(ask(&one, "q"), 0);
    outstanding = 0;
}

/* The deadline of ours, for one that does not mind its own. */
static void nobody_answers(void **state)
{
    (void)state;
    struct asking p, r;
    pinentry_does("sleep 600");
    assert_int_equal(ask(&p, "p"), 0);
    assert_int_equal(run_for(60000), 0);
    assert_non_null(strstr(p.reason, "nobody answered"));
    assert_int_equal(ask(&r, "p"), -EACCES);
}

static void a_fault_is_not_remembered(void **state)
{
    (void)state;
    struct asking first, second, third;
    assert_int_equal(ask(&first, "p"), 0); /* there is no program yet */
    assert_int_equal(run_for(60000), 0);
    assert_non_null(strstr(first.reason, "there is no such program"));
    assert_non_null(strstr(first.reason, program));
    pinentry_does("exit 4");
    assert_int_equal(ask(&second, "p"), 0);
    assert_int_equal(run_for(60000), 0);
    assert_non_null(strstr(second.reason, "status 4"));
    pinentry_does("echo OK");
    assert_int_equal(ask(&third, "p"), 0);
    assert_int_equal(run_for(60000), 0);
    assert_true(third.allowed);
}

static void who_goes_away(void **state)
{
    (void)state;
    struct asking first, second, third;
    pinentry_does("if grep -q 'Profile: q' shown; then echo OK; else sleep 600; fi");
    assert_int_equal(ask(&first, "p"), 0);
    question_withdraw(&first.question); /* before it was seen */
    question_withdraw(&first.question);
    assert_int_equal(ask(&first, "p"), 0);
    assert_int_equal(ask(&second, "p"), 0);
    assert_int_equal(ask(&third, "q"), 0);
    for (int i = 0; i < 3000 && shown() < 1; i++)
        (void)run_for(20);
    question_withdraw(&second.question); /* in the line */
    question_withdraw(&first.question);  /* under its window */
    outstanding = 1;
    assert_int_equal(run_for(60000), 0);
    assert_true(third.allowed);
    assert_int_equal(first.told + second.told, 0);
    assert_int_equal(ask(&first, "r"), 0); /* and the end with one open */
    (void)run_for(100);
    outstanding = 0;
}

static void one_that_is_told_takes_others_along(void **state)
{
    (void)state;
    struct asking first, second, third;
    pinentry_does("echo ERR 114");
    assert_int_equal(ask(&first, "p"), 0);
    assert_int_equal(ask(&second, "p"), 0);
    assert_int_equal(ask(&third, "p"), 0);
    first.withdraws = &second.question;
    outstanding = 2;
    assert_int_equal(run_for(60000), 0);
    assert_int_equal(first.told, 1);
    assert_int_equal(second.told, 0);
    assert_int_equal(third.told, 1);
}

/* As many profiles as are remembered, and one more: the oldest is asked about again. */
static void denials_are_bounded(void **state)
{
    (void)state;
    struct asking one;
    char name[16];
    pinentry_does("echo ERR 99");
    for (int i = 0; i <= LIMIT_DENIALS; i++) {
        (void)snprintf(name, sizeof(name), "p%d", i);
        assert_int_equal(ask(&one, name), 0);
        assert_int_equal(run_for(60000), 0);
    }
    assert_int_equal(ask(&one, "p1"), -EACCES);
    assert_int_equal(ask(&one, name), -EACCES);
    assert_int_equal(ask(&one, "p0"), 0);
    question_withdraw(&one.question);
    outstanding = 0;
}

/* ---- who is at the other end ---- */

static void terminals(void **state)
{
    (void)state;
    static const struct {
        const char *stat;
        unsigned major, minor;
    } all[] = {
        {"12 (sh) S 1 12 12 34816 12 4194304 0", 136, 0},
        {"12 (s) h) S 1 12 12 34823 12 4194304 0", 136, 7},
        {"12 (sh) S 1 12 12 1083400 12 4194304 0", 136, 264}, /* 0x108808: minor 0x108 */
        {"12 (sh) S 1 12 12 1025 12 4194304 0", 4, 1},
        {"12 (sh) S 1 12 12 34816 13 4194304 0", 0, 0}, /* another job is in front */
        {"12 (sh) S 1 12 12 0 -1 4194304 0", 0, 0},
        {"12 (sh", 0, 0},
        {"", 0, 0},
        {"12 (sh) S 1 12", 0, 0},
    };
    for (size_t i = 0; i < ELEMENTS(all); i++) {
        dev_t device = peer_terminal_of(all[i].stat);
        print_message("%s\n", all[i].stat);
        assert_int_equal(gnu_dev_major(device), all[i].major);
        assert_int_equal(gnu_dev_minor(device), all[i].minor);
    }
    char terminal[PEER_TERMINAL_SIZE], path[LIMIT_AUDIT_EXECUTABLE + 1];
    assert_false(peer_terminal(0, terminal));
    assert_false(peer_terminal(0x7ffffff0, terminal));
    peer_executable(0, path);
    assert_string_equal(path, "?");
    peer_executable(0x7ffffff0, path);
    assert_string_equal(path, "?");
    peer_executable(getpid(), path);
    assert_non_null(strstr(path, "/test_approval"));
}

static void executables(void **state)
{
    (void)state;
    char own[LIMIT_AUDIT_EXECUTABLE + 1], paths[2 * LIMIT_AUDIT_EXECUTABLE];
    peer_executable(getpid(), own);
    int length = snprintf(paths, sizeof(paths), "/nowhere%c%s", '\0', own) + 1;
    assert_int_equal(executable_compare(getpid(), paths, (size_t)length), EXECUTABLE_SAME);
    assert_int_equal(executable_compare(getpid(), paths, 9), EXECUTABLE_OTHER);
    assert_int_equal(executable_compare(getpid(), paths, 0), EXECUTABLE_OTHER);
    assert_int_equal(executable_compare(0x7ffffff0, paths, 9), EXECUTABLE_GONE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(in_order_and_one_each),
        TEST(a_denial_is_for_its_profile),
        TEST(the_line_is_bounded),
        cmocka_unit_test_setup_teardown(nobody_answers, set_up_impatient, tear_down),
        TEST(a_fault_is_not_remembered),
        TEST(who_goes_away),
        TEST(one_that_is_told_takes_others_along),
        TEST(denials_are_bounded),
        cmocka_unit_test(terminals),
        cmocka_unit_test(executables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
