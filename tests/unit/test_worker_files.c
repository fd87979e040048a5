/* The worker's rules for files: whose, how open, what kind, how long. */
#include "worker_fixture.h"

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

static int64_t newest(char *const paths[])
{
    struct result result = {0};
    struct worker_job *job;
    assert_int_equal(0, worker_newest(worker, paths, 10000, on_result, &result, &job));
    outstanding++;
    run_for(20000);
    assert_int_equal(0, result.error);
    return strtoll(result.output, NULL, 10);
}

static void the_newest_of_files(void **state)
{
    char old[128], young[128], link[128], none[] = "/nowhere/at/all";
    struct stat st;
    (void)state;
    (void)snprintf(old, sizeof(old), "%s", make_file("old", 1, 0600));
    usleep(50000); /* longer than the clock of a file system stands still */
    (void)snprintf(young, sizeof(young), "%s", make_file("young", 1, 0600));
    assert_int_equal(0, stat(young, &st));
    int64_t expected = st.st_ctim.tv_sec * 1000L + st.st_ctim.tv_nsec / 1000000;
    assert_int_equal(expected, newest((char *[]){old, young, none, NULL}));
    assert_int_equal(expected, newest((char *[]){young, old, NULL}));
    int64_t before = newest((char *[]){old, NULL});
    assert_true(before > 0 && before < expected);
    assert_int_equal(0, newest((char *[]){none, NULL}));
    assert_int_equal(0, newest((char *[]){NULL}));
    /* a link that leads elsewhere now is news, and so is another file in the place of this one */
    (void)snprintf(link, sizeof(link), "%s/link-to-old", directory);
    assert_int_equal(0, symlink(old, link));
    assert_true(newest((char *[]){link, NULL}) >= expected);
    usleep(50000);
    assert_int_equal(0, rename(old, young));
    assert_true(newest((char *[]){young, NULL}) > expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(files_by_mode), TEST(files_of_others),         TEST(files_that_are_none), TEST(files_at_their_limit),
        TEST(read_errors),   TEST(paths_that_are_too_long), TEST(the_newest_of_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
