/* The worker: programs of every kind, deadlines, cancelling, and its own death. */
#include "worker_fixture.h"

/* ---- programs ---- */

static void programs_end_in_many_ways(void **state)
{
    static const struct {
        const char *script;
        int error;
        const char *output, *problem;
    } cases[] = {
        {"echo secret", 0, "secret\n", ""},
        {"printf 'a\\000b'", 0, "a", ""},
        {"true", 0, "", ""},
        {"echo out; exit 3", -ECHILD, "out\n", "it exited with status 3"},
        {"exit 126", -ECHILD, "", "it exited with status 126"},
        {"kill -TERM $$", -ECHILD, "", "it was ended by signal 15"},
        {"kill -KILL $$", -ECHILD, "", "it was ended by signal 9"},
        {"echo secret >&2; exit 1", -ECHILD, "", "it exited with status 1"},
        {"cat", 0, "", ""},                                                       /* stdin is empty */
        {"exec 1>&-; sleep 0.1; exit 4", -ECHILD, "", "it exited with status 4"}, /* output ends before it does */
        {"trap", 0, "", ""},                                                      /* no signal is ignored */
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct result result = {0};
        run_shell(&result, cases[i].script, 100, 60000);
        assert_int_equal(cases[i].error, result.error);
        assert_string_equal(cases[i].problem, result.problem);
        assert_string_equal(cases[i].output, result.output);
    }
}

static void programs_that_are_none(void **state)
{
    struct result result = {0};
    char *missing[] = {(char *)(uintptr_t) "mltoken-no-such-program", NULL}, *text[] = {NULL, NULL},
         *nothing[] = {NULL};
    char path[128];
    (void)state;
    begin(&result, missing, 100, 60000);
    assert_int_equal(0, run_for(60000));
    assert_int_equal(-ECHILD, result.error);
    assert_string_equal("there is no such program", result.problem);
    (void)snprintf(path, sizeof(path), "%s", make_file("file", 10, 0600));
    text[0] = path;
    begin(&result, text, 100, 60000);
    assert_int_equal(0, run_for(60000));
    assert_string_equal("it exited with status 126", result.problem);
    begin(&result, nothing, 100, 60000);
    assert_int_equal(0, run_for(60000));
    assert_int_equal(-ECHILD, result.error);
}

static void many_words(void **state)
{
    char *argv[LIMIT_COMMAND_WORDS + 1] = {(char *)(uintptr_t) "sh", (char *)(uintptr_t) "-c",
                                           (char *)(uintptr_t) "echo $# \"$1\"", (char *)(uintptr_t) "sh"};
    struct result result = {0};
    (void)state;
    for (size_t i = 4; i < LIMIT_COMMAND_WORDS; i++)
        argv[i] = (char *)(uintptr_t)(i == 4 ? "two words" : "");
    begin(&result, argv, 100, 60000);
    assert_int_equal(0, run_for(60000));
    assert_string_equal("60 two words\n", result.output);
}

static void output_without_end(void **state)
{
    struct result result = {0};
    (void)state;
    run_shell(&result, "yes", 1000, 60000);
    assert_int_equal(-EMSGSIZE, result.error);
    run_shell(&result, "printf 0123456789", 10, 60000);
    assert_int_equal(0, result.error);
    run_shell(&result, "printf 0123456789x", 10, 60000);
    assert_int_equal(-EMSGSIZE, result.error);
}

/* Whether a process that wrote its number into a file is still there. */
static bool lives(const char *name)
{
    char path[128], text[32] = "";
    (void)snprintf(path, sizeof(path), "%s/%s", directory, name);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    bool written = fgets(text, sizeof(text), file) != NULL; /* it is made a moment before it is written */
    (void)fclose(file);
    return written && kill((pid_t)strtol(text, NULL, 10), 0) == 0;
}

static bool dies(const char *name)
{
    for (int i = 0; i < 6000 && lives(name); i++)
        (void)run_for(10);
    return !lives(name);
}

/* The program may end by itself as soon as nobody reads what it writes: what it started is ended all the same. */
static void too_much_output_ends_the_whole_group(void **state)
{
    char script[256];
    struct result result = {0};
    (void)state;
    (void)snprintf(script, sizeof(script), "cd %s; sleep 1000 & echo $! > child; yes", directory);
    for (int i = 0; i < 10; i++) {
        run_shell(&result, script, 1000, 60000);
        assert_int_equal(-EMSGSIZE, result.error);
        assert_true(dies("child"));
    }
}

static void deadlines_end_the_whole_group(void **state)
{
    char script[256];
    struct result result = {0};
    (void)state;
    (void)snprintf(script, sizeof(script),
                   "cd %s; (echo $$ > leader); sleep 1000 & echo $! > child; trap '' TERM; wait", directory);
    run_shell(&result, script, 100, 5000); /* by then it has written both, on a slow machine too */
    assert_int_equal(-ETIMEDOUT, result.error);
    assert_true(dies("leader"));
    assert_true(dies("child"));
}

/* What it leaves behind may keep the output open: what the program itself wrote is there, and it has ended. */
static void a_grandchild_keeps_the_pipe(void **state)
{
    char script[256];
    struct result result = {0};
    (void)state;
    (void)snprintf(script, sizeof(script), "setsid sleep 1000 & echo $! > %s/child; echo secret", directory);
    run_shell(&result, script, 100, 60000);
    assert_int_equal(0, result.error);
    assert_string_equal("secret\n", result.output);
    (void)snprintf(script, sizeof(script), "kill $(cat %s/child)", directory);
    run_shell(&result, script, 100, 60000);
}

static void big_output_is_whole(void **state)
{
    struct result result = {0};
    (void)state;
    run_shell(&result, "head -c 65536 /dev/zero | tr '\\000' x", 65536, 60000);
    assert_int_equal(0, result.error);
    assert_int_equal(65536, result.length);
}

/* No descriptor of ours but the three, a plain signal mask, the environment as it was at the fork. */
static void what_a_program_inherits(void **state)
{
    struct result result = {0};
    (void)state;
    run_shell(&result, "ls /proc/$$/fd; true", 100, 60000);
    assert_string_equal("0\n1\n2\n", result.output);
    /* 32 and 33 are the C library's own: they stay as they were, and some test runners ignore them */
    run_shell(&result,
              "grep -E 'Sig(Blk|Ign)' /proc/self/status | tr -d '\\n\\t' | sed 's/[01][08]\\(0\\{7\\}\\)$/00\\1/'", 100,
              60000);
    assert_string_equal("SigBlk:0000000000000000SigIgn:0000000000000000", result.output);
    run_shell(&result, "readlink /proc/$$/fd/0 /proc/$$/fd/2", 100, 60000);
    assert_string_equal("/dev/null\n/dev/null\n", result.output);
    assert_int_equal(0, setenv("MLTOKEN_TEST_LATE", "1", 1));
    run_shell(&result, "echo \"[$MLTOKEN_TEST_EARLY$MLTOKEN_TEST_LATE]\"", 100, 60000);
    assert_string_equal("[early]\n", result.output);
    assert_int_equal(0, unsetenv("MLTOKEN_TEST_LATE"));
}

/* ---- many, and cancelling ---- */

static void three_hundred_at_once(void **state)
{
    enum { MANY = 300 };
    static struct result results[MANY];
    (void)state;
    for (int i = 0; i < MANY; i++) {
        char number[16];
        char *argv[] = {(char *)(uintptr_t) "echo", number, NULL};
        (void)snprintf(number, sizeof(number), "%d", i);
        results[i] = (struct result){0};
        begin(&results[i], argv, 100, 60000);
    }
    assert_int_equal(0, run_for(60000));
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(0, results[i].error);
        assert_int_equal(i, strtol(results[i].output, NULL, 10));
    }
}

/* Waiting, just sent, under way, at its end: it is over at once, and others take its place. */
static void cancelled_in_every_state(void **state)
{
    enum { MANY = 300 };
    static struct result results[MANY];
    char *forever[] = {(char *)(uintptr_t) "sleep", (char *)(uintptr_t) "12345", NULL};
    struct result after = {0};
    (void)state;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < MANY; i++)
            begin(&results[i], forever, 100, 60000);
        if (round == 1)
            assert_int_equal(-ETIME, run_for(300));
        for (int i = 0; i < MANY; i++) {
            worker_cancel(results[i].job);
            outstanding--;
        }
        run_shell(&after, "echo there", 100, 60000);
        assert_string_equal("there\n", after.output);
        for (int i = 0; i < MANY; i++)
            assert_int_equal(0, results[i].told);
    }
    for (int i = 0; i < 3000; i++) { /* they really end */
        run_shell(&after, "pgrep -c -x -f 'sleep 12345' -u $(id -u) || true", 100, 60000);
        if (strcmp(after.output, "0\n") == 0)
            return;
        (void)run_for(20);
    }
    fail_msg("still running: %s", after.output);
}

static struct result victim;

static void cancel_victim(void)
{
    worker_cancel(victim.job);
    outstanding--;
}

static void one_cancels_another(void **state)
{
    char *forever[] = {(char *)(uintptr_t) "sleep", (char *)(uintptr_t) "1000", NULL},
         *echo[] = {(char *)(uintptr_t) "echo", NULL};
    struct result first = {.then = cancel_victim};
    (void)state;
    begin(&victim, forever, 100, 60000);
    begin(&first, echo, 100, 60000);
    assert_int_equal(0, run_for(60000));
    assert_int_equal(1, first.told);
    assert_int_equal(0, victim.told);
    worker_cancel(NULL);
}

static struct result second;

static void start_another(void)
{
    char *echo[] = {(char *)(uintptr_t) "echo", (char *)(uintptr_t) "again", NULL};
    begin(&second, echo, 100, 60000);
}

static void one_starts_another(void **state)
{
    struct result first = {.then = start_another};
    (void)state;
    run_shell(&first, "true", 100, 60000);
    assert_int_equal(1, second.told);
    assert_string_equal("again\n", second.output);
}

/* ---- the worker's own end ---- */

static pid_t only_child(void)
{
    char path[64], text[64] = "";
    (void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)getpid(), (int)getpid());
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    assert_non_null(fgets(text, sizeof(text), file));
    (void)fclose(file);
    return (pid_t)strtol(text, NULL, 10);
}

static void the_worker_is_killed(void **state)
{
    char script[160];
    char *argv[] = {(char *)(uintptr_t) "sh", (char *)(uintptr_t) "-c", script, NULL};
    struct result result = {0};
    (void)state;
    (void)snprintf(script, sizeof(script), "echo $$ > %s/leader; exec sleep 1000", directory);
    begin(&result, argv, 100, 60000);
    for (int i = 0; i < 6000 && !lives("leader"); i++)
        (void)run_for(10);
    assert_true(lives("leader"));
    assert_int_equal(0, kill(only_child(), SIGKILL));
    assert_int_equal(-EPIPE, run_for(60000)); /* the loop ends with a failure */
    for (int i = 0; i < 6000 && lives("leader"); i++)
        (void)usleep(10000);
    assert_false(lives("leader")); /* and what it ran has gone too */
    outstanding--;
    struct result late = {0};
    char *echo[] = {(char *)(uintptr_t) "echo", NULL};
    begin(&late, echo, 100, 200); /* nobody is there: the deadline ends it, without a spin */
    struct timespec before, after;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    assert_int_equal(0, run_for(60000));
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    assert_int_equal(-ETIMEDOUT, late.error);
    assert_true(after.tv_sec - before.tv_sec <= 1 &&
                (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000 < 150);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(programs_end_in_many_ways),
        TEST(programs_that_are_none),
        TEST(many_words),
        TEST(output_without_end),
        TEST(too_much_output_ends_the_whole_group),
        TEST(deadlines_end_the_whole_group),
        TEST(a_grandchild_keeps_the_pipe),
        TEST(big_output_is_whole),
        TEST(what_a_program_inherits),
        TEST(three_hundred_at_once),
        TEST(cancelled_in_every_state),
        TEST(one_cancels_another),
        TEST(one_starts_another),
        TEST(the_worker_is_killed),
    };
    (void)setenv("MLTOKEN_TEST_EARLY", "early", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
