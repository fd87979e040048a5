/* Programs that the worker talks with: questions and answers, cancelling, and how they are ended. */
#include "worker_fixture.h"

struct talk {
    struct result result;
    char heard[4096];
    size_t length;
    size_t stop_at; /* cancels itself when so much was heard; 0: never */
    const char *answer;
};

static void on_heard(void *arg, struct span bytes)
{
    struct talk *talk = arg;
    size_t room = sizeof(talk->heard) - 1 - talk->length, kept = bytes.length < room ? bytes.length : room;
    memcpy(talk->heard + talk->length, bytes.data, kept);
    talk->length += kept;
    talk->heard[talk->length] = '\0';
    if (talk->answer && strchr(talk->heard, '?')) {
        assert_int_equal(0, worker_say(talk->result.job, span_of(talk->answer)));
        talk->answer = NULL;
    }
    if (talk->stop_at && talk->length >= talk->stop_at) {
        worker_cancel(talk->result.job);
        worker_cancel(talk->result.job);
        talk->result.job = NULL;
        loop_stop(loop, 0);
    }
}

static void begin_talk(struct talk *talk, const char *script, int64_t timeout_ms)
{
    char *argv[] = {(char *)(uintptr_t) "sh", (char *)(uintptr_t) "-c", (char *)(uintptr_t)script, NULL};
    outstanding++;
    assert_int_equal(0, worker_talk(worker, argv, timeout_ms, on_heard, on_result, talk, &talk->result.job));
}

static void a_question_and_its_answer(void **state)
{
    (void)state;
    struct talk talk = {.answer = "yes\n"};
    begin_talk(&talk, "read first; echo \"$first?\"; read second; echo \"$second!\"; exit 3", 60000);
    assert_int_equal(0, worker_say(talk.result.job, span_of("really\n")));
    assert_int_equal(0, run_for(60000));
    assert_string_equal("really?\nyes!\n", talk.heard);
    assert_int_equal(-ECHILD, talk.result.error);
    assert_string_equal("it exited with status 3", talk.result.problem);
    assert_int_equal(0, talk.result.length);
}

static void a_talk_that_is_cancelled_while_it_is_heard(void **state)
{
    (void)state;
    struct talk flood = {.stop_at = 1};
    begin_talk(&flood, "yes", 60000);
    assert_int_equal(0, run_for(60000));
    assert_int_equal(0, flood.result.told);
    /* the last words of one that has ended by itself */
    struct talk last = {.stop_at = 4};
    begin_talk(&last, "echo end", 60000);
    assert_int_equal(0, run_for(60000));
    assert_int_equal(0, last.result.told);
    outstanding = 0;
    struct result result;
    run_shell(&result, "echo still here", 100, 60000);
    assert_string_equal("still here\n", result.output);
}

static void a_talk_that_never_answers(void **state)
{
    (void)state;
    struct talk talk = {0};
    begin_talk(&talk, "exec sleep 600", 200);
    char *block = calloc(1, LIMIT_JOB_INPUT);
    assert_non_null(block);
    int r = 0;
    for (int i = 0; i < 1000 && r == 0; i++)
        r = worker_say(talk.result.job, (struct span){block, LIMIT_JOB_INPUT});
    free(block);
    assert_int_equal(-EMSGSIZE, r);
    assert_int_equal(0, run_for(60000));
    assert_int_equal(-ETIMEDOUT, talk.result.error);
}

static bool exists(const char *name)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/%s", directory, name);
    return access(path, F_OK) == 0;
}

/* What shows something is asked to end, so that it can put a terminal right; what does not care is ended all the same.
 */
static void a_talk_ends_politely_first(void **state)
{
    (void)state;
    char script[256];
    struct talk polite = {.stop_at = 1}, deaf = {.stop_at = 1};
    (void)snprintf(script, sizeof(script), "trap 'touch %s/asked; exit 0' INT; echo x; while :; do sleep 0.05; done",
                   directory);
    begin_talk(&polite, script, 60000);
    assert_int_equal(0, run_for(60000));
    for (int i = 0; i < 1200 && !exists("asked"); i++)
        (void)run_for(50);
    assert_true(exists("asked"));
    (void)snprintf(script, sizeof(script),
                   "trap 'touch %s/deaf' INT; echo $$ > %s/pid; echo x; while :; do sleep 0.05; done", directory,
                   directory);
    begin_talk(&deaf, script, 60000);
    assert_int_equal(0, run_for(60000));
    for (int i = 0; i < 1200 && !exists("deaf"); i++)
        (void)run_for(50);
    assert_true(exists("deaf"));
    (void)snprintf(script, sizeof(script), "! kill -0 $(cat %s/pid) 2>/dev/null", directory);
    int r = 1;
    for (int i = 0; i < 1200 && r != 0; i++) {
        (void)run_for(100);
        r = system(script);
    }
    assert_int_equal(0, r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_question_and_its_answer),
        TEST(a_talk_that_is_cancelled_while_it_is_heard),
        TEST(a_talk_that_never_answers),
        TEST(a_talk_ends_politely_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
