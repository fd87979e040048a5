/* The worker: its rules for files, programs of every kind, deadlines, cancelling, and its own death. */
#include "worker.h"

#include "cleanup.h"
#include "limits.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
/* after these */
#include <cmocka.h>

static struct loop *loop;
static struct worker *worker;
static char directory[64];

struct result {
    struct worker_job *job;
    int told, error;
    char problem[128];
    size_t length;
    char output[4096]; /* its beginning */
    void (*then)(void);
};

static size_t outstanding;

static void on_result(void *arg, const struct worker_result *given)
{
    struct result *result = arg;
    result->told++;
    result->job = NULL;
    result->error = given->error;
    (void)snprintf(result->problem, sizeof(result->problem), "%s", given->problem);
    result->length = given->output.length;
    size_t kept = result->length < sizeof(result->output) ? result->length : sizeof(result->output) - 1;
    if (kept > 0)
        memcpy(result->output, given->output.data, kept);
    result->output[kept] = '\0';
    if (result->then)
        result->then();
    if (--outstanding == 0)
        loop_stop(loop, 0);
}

static int open_worker(void **state)
{
    (void)state;
    (void)snprintf(directory, sizeof(directory), "/tmp/mltoken-test-XXXXXX");
    assert_non_null(mkdtemp(directory));
    outstanding = 0;
    assert_int_equal(0, loop_new(&loop));
    assert_int_equal(0, worker_new(loop, &worker));
    return 0;
}

static int close_worker(void **state)
{
    char command[128];
    (void)state;
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

/* Until everybody was told; a test that hangs fails. */
static int run_for(int64_t ms)
{
    struct timer end = {0};
    assert_int_equal(0, timer_start(loop, &end, loop_now(loop) + ms, on_timeout, NULL));
    int r = loop_run(loop);
    timer_stop(&end);
    return r;
}

static void begin_read(struct result *result, const char *path, enum worker_rule rule, size_t maximum)
{
    *result = (struct result){0};
    outstanding++;
    assert_int_equal(0, worker_read(worker, path, rule, maximum, 10000, on_result, result, &result->job));
}

static void begin(struct result *result, char *const argv[], size_t maximum, int64_t timeout_ms)
{
    void (*then)(void) = result->then;
    *result = (struct result){.then = then};
    outstanding++;
    assert_int_equal(0, worker_run(worker, argv, maximum, timeout_ms, on_result, result, &result->job));
}

static void run_shell(struct result *result, const char *script, size_t maximum, int64_t timeout_ms)
{
    char *argv[] = {(char *)(uintptr_t) "sh", (char *)(uintptr_t) "-c", (char *)(uintptr_t)script, NULL};
    begin(result, argv, maximum, timeout_ms);
    assert_int_equal(0, run_for(20000));
    assert_int_equal(1, result->told);
}

static void read_file(struct result *result, const char *path, enum worker_rule rule, size_t maximum)
{
    begin_read(result, path, rule, maximum);
    assert_int_equal(0, run_for(20000));
    assert_int_equal(1, result->told);
}

static const char *make_file(const char *name, size_t length, mode_t mode)
{
    static char path[128];
    (void)snprintf(path, sizeof(path), "%s/%s", directory, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    for (size_t i = 0; i < length; i++)
        assert_int_equal(1, write(fd, &"0123456789"[i % 10], 1));
    assert_int_equal(0, fchmod(fd, mode));
    close(fd);
    return path;
}

/* ---- files ---- */

static void files_by_mode(void **state)
{
    static const struct {
        mode_t mode;
        int secret, public;
    } modes[] = {{0600, 0, 0},       {0400, 0, 0},       {0640, -EACCES, 0},       {0604, -EACCES, 0},
                 {0644, -EACCES, 0}, {0610, -EACCES, 0}, {0660, -EACCES, -EACCES}, {0602, -EACCES, -EACCES},
                 {0700, 0, 0}};
    (void)state;
    for (size_t i = 0; i < ELEMENTS(modes); i++) {
        struct result result;
        const char *path = make_file("file", 10, modes[i].mode);
        read_file(&result, path, WORKER_SECRET_FILE, 100);
        assert_int_equal(modes[i].secret, result.error);
        assert_string_equal(modes[i].secret ? "" : "0123456789", result.output);
        if (modes[i].secret)
            assert_non_null(strstr(result.problem, "chmod go-rwx"));
        read_file(&result, path, WORKER_PUBLIC_FILE, 100);
        assert_int_equal(modes[i].public, result.error);
    }
}

static void files_of_others(void **state)
{
    struct result result;
    (void)state;
    const char *path = make_file("file", 10, 0600);
    if (geteuid() != 0) { /* then root's own are the ones to try */
        read_file(&result, "/etc/passwd", WORKER_PUBLIC_FILE, 1 << 20);
        assert_int_equal(0, result.error);
        return;
    }
    assert_int_equal(0, chown(path, 12345, 12345));
    read_file(&result, path, WORKER_SECRET_FILE, 100);
    assert_int_equal(-EACCES, result.error);
    assert_string_equal("it belongs to another user", result.problem);
    assert_string_equal("", result.output);
}

static void files_that_are_none(void **state)
{
    struct result result;
    char path[128], target[128];
    (void)state;
    (void)snprintf(path, sizeof(path), "%s/none", directory);
    read_file(&result, path, WORKER_SECRET_FILE, 100);
    assert_int_equal(-ENOENT, result.error);
    (void)snprintf(target, sizeof(target), "%s/file", directory);
    make_file("file", 10, 0600);
    (void)snprintf(path, sizeof(path), "%s/file/below", directory);
    read_file(&result, path, WORKER_SECRET_FILE, 100);
    assert_int_equal(-ENOENT, result.error);
    read_file(&result, directory, WORKER_PUBLIC_FILE, 100);
    assert_int_equal(-EINVAL, result.error);
    read_file(&result, "/dev/zero", WORKER_SECRET_FILE, 100);
    assert_int_equal(-EINVAL, result.error);
    (void)snprintf(path, sizeof(path), "%s/fifo", directory);
    assert_int_equal(0, mkfifo(path, 0600));
    read_file(&result, path, WORKER_SECRET_FILE, 100); /* nobody writes: it must not hang */
    assert_int_equal(-EINVAL, result.error);
    (void)snprintf(path, sizeof(path), "%s/link", directory);
    assert_int_equal(0, symlink(target, path));
    read_file(&result, path, WORKER_SECRET_FILE, 100);
    assert_int_equal(0, result.error); /* what it leads to counts */
    assert_int_equal(0, chmod(target, 0644));
    read_file(&result, path, WORKER_SECRET_FILE, 100);
    assert_int_equal(-EACCES, result.error);
    (void)snprintf(path, sizeof(path), "%s/loop", directory);
    assert_int_equal(0, symlink(path, path));
    read_file(&result, path, WORKER_SECRET_FILE, 100);
    assert_int_equal(-EACCES, result.error);
    assert_string_equal("it cannot be opened", result.problem);
}

static void files_at_their_limit(void **state)
{
    (void)state;
    for (size_t length = 4095; length <= 4097; length++) {
        struct result result;
        read_file(&result, make_file("file", length, 0600), WORKER_SECRET_FILE, 4096);
        assert_int_equal(length <= 4096 ? 0 : -EMSGSIZE, result.error);
        if (length <= 4096)
            assert_int_equal(length, result.length);
        else
            assert_string_equal("it gave more than 4096 bytes", result.problem);
    }
    struct result huge;
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/huge", directory);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(0, ftruncate(fd, 1L << 40));
    close(fd);
    read_file(&huge, path, WORKER_SECRET_FILE, LIMIT_SECRET);
    assert_int_equal(-EMSGSIZE, huge.error);
    read_file(&huge, make_file("file", 300000, 0600), WORKER_SECRET_FILE, 300000); /* more than a pipe holds */
    assert_int_equal(0, huge.error);
    assert_int_equal(300000, huge.length);
    read_file(&huge, make_file("file", 0, 0600), WORKER_SECRET_FILE, 100);
    assert_int_equal(0, huge.error);
    assert_int_equal(0, huge.length);
}

static void read_errors(void **state)
{
    struct result result;
    (void)state;
    read_file(&result, "/proc/self/mem", WORKER_SECRET_FILE, 100); /* a regular file whose reading fails */
    assert_int_equal(-EIO, result.error);
    assert_string_equal("it cannot be read", result.problem);
}

static void paths_that_are_too_long(void **state)
{
    static char path[9000];
    struct result result = {0};
    (void)state;
    memcpy(path, "/", 1);
    for (size_t i = 1; i < sizeof(path) - 1; i++)
        path[i] = 'a';
    assert_int_equal(-EMSGSIZE,
                     worker_read(worker, path, WORKER_SECRET_FILE, 100, 1000, on_result, &result, &result.job));
    path[8191] = '\0'; /* fits, but no file is called so */
    read_file(&result, path, WORKER_SECRET_FILE, 100);
    assert_int_equal(-EACCES, result.error);
}

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
        run_shell(&result, cases[i].script, 100, 10000);
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
    begin(&result, missing, 100, 10000);
    assert_int_equal(0, run_for(20000));
    assert_int_equal(-ECHILD, result.error);
    assert_string_equal("there is no such program", result.problem);
    (void)snprintf(path, sizeof(path), "%s", make_file("file", 10, 0600));
    text[0] = path;
    begin(&result, text, 100, 10000);
    assert_int_equal(0, run_for(20000));
    assert_string_equal("it exited with status 126", result.problem);
    begin(&result, nothing, 100, 10000);
    assert_int_equal(0, run_for(20000));
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
    begin(&result, argv, 100, 10000);
    assert_int_equal(0, run_for(20000));
    assert_string_equal("60 two words\n", result.output);
}

static void output_without_end(void **state)
{
    struct result result = {0};
    (void)state;
    run_shell(&result, "yes", 1000, 10000);
    assert_int_equal(-EMSGSIZE, result.error);
    run_shell(&result, "sleep 1000 & yes", 100000, 10000);
    assert_int_equal(-EMSGSIZE, result.error);
    run_shell(&result, "printf 0123456789", 10, 10000);
    assert_int_equal(0, result.error);
    run_shell(&result, "printf 0123456789x", 10, 10000);
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
    assert_non_null(fgets(text, sizeof(text), file));
    (void)fclose(file);
    return kill((pid_t)strtol(text, NULL, 10), 0) == 0;
}

static bool dies(const char *name)
{
    for (int i = 0; i < 1000 && lives(name); i++)
        (void)run_for(10);
    return !lives(name);
}

static void deadlines_end_the_whole_group(void **state)
{
    char script[256];
    struct result result = {0};
    (void)state;
    (void)snprintf(script, sizeof(script),
                   "cd %s; (echo $$ > leader); sleep 1000 & echo $! > child; trap '' TERM; wait", directory);
    run_shell(&result, script, 100, 500);
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
    run_shell(&result, script, 100, 10000);
    assert_int_equal(0, result.error);
    assert_string_equal("secret\n", result.output);
    (void)snprintf(script, sizeof(script), "kill $(cat %s/child)", directory);
    run_shell(&result, script, 100, 10000);
}

static void big_output_is_whole(void **state)
{
    struct result result = {0};
    (void)state;
    run_shell(&result, "head -c 65536 /dev/zero | tr '\\000' x", 65536, 10000);
    assert_int_equal(0, result.error);
    assert_int_equal(65536, result.length);
}

/* No descriptor of ours but the three, a plain signal mask, the environment as it was at the fork. */
static void what_a_program_inherits(void **state)
{
    struct result result = {0};
    (void)state;
    run_shell(&result, "ls /proc/$$/fd; true", 100, 10000);
    assert_string_equal("0\n1\n2\n", result.output);
    /* 32 and 33 are the C library's own: they stay as they were, and some test runners ignore them */
    run_shell(&result, "grep -E 'Sig(Blk|Ign)' /proc/self/status | tr -d '\\n\\t' | sed 's/018\\(0*\\)$/000\\1/'", 100,
              10000);
    assert_string_equal("SigBlk:0000000000000000SigIgn:0000000000000000", result.output);
    run_shell(&result, "readlink /proc/$$/fd/0 /proc/$$/fd/2", 100, 10000);
    assert_string_equal("/dev/null\n/dev/null\n", result.output);
    assert_int_equal(0, setenv("MLTOKEN_TEST_LATE", "1", 1));
    run_shell(&result, "echo \"[$MLTOKEN_TEST_EARLY$MLTOKEN_TEST_LATE]\"", 100, 10000);
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
        run_shell(&after, "echo there", 100, 10000);
        assert_string_equal("there\n", after.output);
        for (int i = 0; i < MANY; i++)
            assert_int_equal(0, results[i].told);
    }
    for (int i = 0; i < 500; i++) { /* they really end */
        run_shell(&after, "pgrep -c -x -f 'sleep 12345' -u $(id -u) || true", 100, 10000);
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
    begin(&victim, forever, 100, 10000);
    begin(&first, echo, 100, 10000);
    assert_int_equal(0, run_for(20000));
    assert_int_equal(1, first.told);
    assert_int_equal(0, victim.told);
    worker_cancel(NULL);
}

static struct result second;

static void start_another(void)
{
    char *echo[] = {(char *)(uintptr_t) "echo", (char *)(uintptr_t) "again", NULL};
    begin(&second, echo, 100, 10000);
}

static void one_starts_another(void **state)
{
    struct result first = {.then = start_another};
    (void)state;
    run_shell(&first, "true", 100, 10000);
    assert_int_equal(1, second.told);
    assert_string_equal("again\n", second.output);
}

/* ---- programs that are talked with ---- */

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
    begin_talk(&talk, "read first; echo \"$first?\"; read second; echo \"$second!\"; exit 3", 10000);
    assert_int_equal(0, worker_say(talk.result.job, span_of("really\n")));
    assert_int_equal(0, run_for(20000));
    assert_string_equal("really?\nyes!\n", talk.heard);
    assert_int_equal(-ECHILD, talk.result.error);
    assert_string_equal("it exited with status 3", talk.result.problem);
    assert_int_equal(0, talk.result.length);
}

static void a_talk_that_is_cancelled_while_it_is_heard(void **state)
{
    (void)state;
    struct talk flood = {.stop_at = 1};
    begin_talk(&flood, "yes", 10000);
    assert_int_equal(0, run_for(20000));
    assert_int_equal(0, flood.result.told);
    /* the last words of one that has ended by itself */
    struct talk last = {.stop_at = 4};
    begin_talk(&last, "echo end", 10000);
    assert_int_equal(0, run_for(20000));
    assert_int_equal(0, last.result.told);
    outstanding = 0;
    struct result result;
    run_shell(&result, "echo still here", 100, 10000);
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
    assert_int_equal(0, run_for(20000));
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
    assert_int_equal(0, run_for(20000));
    for (int i = 0; i < 200 && !exists("asked"); i++)
        (void)run_for(50);
    assert_true(exists("asked"));
    (void)snprintf(script, sizeof(script), "trap '' INT; echo $$ > %s/pid; echo x; while :; do sleep 0.05; done",
                   directory);
    begin_talk(&deaf, script, 60000);
    assert_int_equal(0, run_for(20000));
    (void)snprintf(script, sizeof(script), "kill -0 $(cat %s/pid)", directory);
    assert_int_equal(0, system(script));
    (void)snprintf(script, sizeof(script), "! kill -0 $(cat %s/pid) 2>/dev/null", directory);
    int r = 1;
    for (int i = 0; i < 200 && r != 0; i++) {
        (void)run_for(100);
        r = system(script);
    }
    assert_int_equal(0, r);
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
    for (int i = 0; i < 500 && !lives("leader"); i++)
        (void)run_for(10);
    assert_true(lives("leader"));
    assert_int_equal(0, kill(only_child(), SIGKILL));
    assert_int_equal(-EPIPE, run_for(20000)); /* the loop ends with a failure */
    for (int i = 0; i < 1000 && lives("leader"); i++)
        (void)usleep(10000);
    assert_false(lives("leader")); /* and what it ran has gone too */
    outstanding--;
    struct result late = {0};
    char *echo[] = {(char *)(uintptr_t) "echo", NULL};
    begin(&late, echo, 100, 200); /* nobody is there: the deadline ends it, without a spin */
    struct timespec before, after;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    assert_int_equal(0, run_for(20000));
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    assert_int_equal(-ETIMEDOUT, late.error);
    assert_true(after.tv_sec - before.tv_sec <= 1 &&
                (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000 < 150);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_worker, close_worker)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(files_by_mode),
        TEST(files_of_others),
        TEST(files_that_are_none),
        TEST(files_at_their_limit),
        TEST(read_errors),
        TEST(paths_that_are_too_long),
        TEST(programs_end_in_many_ways),
        TEST(programs_that_are_none),
        TEST(many_words),
        TEST(output_without_end),
        TEST(deadlines_end_the_whole_group),
        TEST(a_grandchild_keeps_the_pipe),
        TEST(big_output_is_whole),
        TEST(what_a_program_inherits),
        TEST(three_hundred_at_once),
        TEST(cancelled_in_every_state),
        TEST(one_cancels_another),
        TEST(one_starts_another),
        TEST(a_question_and_its_answer),
        TEST(a_talk_that_is_cancelled_while_it_is_heard),
        TEST(a_talk_that_never_answers),
        TEST(a_talk_ends_politely_first),
        TEST(the_worker_is_killed),
    };
    (void)setenv("MLTOKEN_TEST_EARLY", "early", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
