/* A worker of the test's own in a loop of its own, and what its jobs said at their end. */
#pragma once

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

static inline void on_result(void *arg, const struct worker_result *given)
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

static inline int open_worker(void **state)
{
    (void)state;
    (void)snprintf(directory, sizeof(directory), "/tmp/mltoken-test-XXXXXX");
    assert_non_null(mkdtemp(directory));
    outstanding = 0;
    assert_int_equal(0, loop_new(&loop));
    assert_int_equal(0, worker_new(loop, &worker));
    return 0;
}

static inline int close_worker(void **state)
{
    char command[128];
    (void)state;
    worker = worker_free(worker);
    loop = loop_free(loop);
    (void)snprintf(command, sizeof(command), "rm -rf %s", directory);
    return system(command);
}

static inline void on_timeout(void *arg)
{
    (void)arg;
    loop_stop(loop, -ETIME);
}

/* Until everybody was told; a test that hangs fails. */
static inline int run_for(int64_t ms)
{
    struct timer end = {0};
    assert_int_equal(0, timer_start(loop, &end, loop_now(loop) + ms, on_timeout, NULL));
    int r = loop_run(loop);
    timer_stop(&end);
    return r;
}

static inline void begin_read(struct result *result, const char *path, enum worker_rule rule, size_t maximum)
{
    *result = (struct result){0};
    outstanding++;
    assert_int_equal(0, worker_read(worker, path, rule, maximum, 60000, on_result, result, &result->job));
}

static inline void begin(struct result *result, char *const argv[], size_t maximum, int64_t timeout_ms)
{
    void (*then)(void) = result->then;
    *result = (struct result){.then = then};
    outstanding++;
    assert_int_equal(0, worker_run(worker, argv, maximum, timeout_ms, on_result, result, &result->job));
}

static inline void run_shell(struct result *result, const char *script, size_t maximum, int64_t timeout_ms)
{
    char *argv[] = {(char *)(uintptr_t) "sh", (char *)(uintptr_t) "-c", (char *)(uintptr_t)script, NULL};
    begin(result, argv, maximum, timeout_ms);
    assert_int_equal(0, run_for(60000));
    assert_int_equal(1, result->told);
}

static inline void read_file(struct result *result, const char *path, enum worker_rule rule, size_t maximum)
{
    begin_read(result, path, rule, maximum);
    assert_int_equal(0, run_for(60000));
    assert_int_equal(1, result->told);
}

static inline const char *make_file(const char *name, size_t length, mode_t mode)
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_worker, close_worker)
