/* The arena of secrets: its room, its walls, what is left in it afterwards. */
#include "secret.h"

#include "cleanup.h"
#include "limits.h"
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
/* after these */
#include <cmocka.h>

enum { MANY = LIMIT_ARENA / 64 };

static struct secret *secrets[MANY];
static char bytes[LIMIT_SECRET + 1];

static int open_arena(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)('A' + i % 26);
    return secret_arena_open();
}

static int close_arena(void **state)
{
    (void)state;
    assert_int_equal(0, secret_arena_used());
    secret_arena_close();
    secret_arena_close(); /* twice is allowed */
    return 0;
}

static void check(const struct secret *secret, size_t length)
{
    struct span span = secret_span(secret);
    assert_int_equal(length, span.length);
    if (length > 0)
        assert_memory_equal(bytes, span.data, length);
}

static void lengths_at_their_limit(void **state)
{
    static const size_t lengths[] = {0, 1, 39, 40, 41, 63, 64, 65, 104, 105, 4096, LIMIT_SECRET - 1, LIMIT_SECRET};
    struct secret *secret = NULL;
    (void)state;
    for (size_t i = 0; i < ELEMENTS(lengths); i++) {
        assert_int_equal(0, secret_new(bytes, lengths[i], &secret));
        check(secret, lengths[i]);
        assert_true(secret_arena_used() >= lengths[i]);
        assert_null(secret_unref(secret));
        assert_int_equal(0, secret_arena_used());
    }
    assert_int_equal(0, secret_new(NULL, 0, &secret));
    check(secret, 0);
    secret_unref(secret);
    secret = NULL;
    assert_int_equal(-EMSGSIZE, secret_new(bytes, LIMIT_SECRET + 1, &secret));
    assert_int_equal(-EMSGSIZE, secret_new(bytes, SIZE_MAX, &secret));
    assert_null(secret);
    assert_null(secret_unref(NULL));
}

static void the_last_reference_wipes(void **state)
{
    struct secret *secret, *neighbour;
    (void)state;
    assert_int_equal(0, secret_new(bytes, 1000, &secret));
    assert_int_equal(0, secret_new(bytes, 100, &neighbour));
    struct span span = secret_span(secret);
    assert_ptr_equal(secret, secret_ref(secret));
    assert_null(secret_unref(secret));
    check(secret, 1000);
    secret_unref(secret);
    for (size_t i = 0; i < 1000; i++) /* the arena is still there, and readable */
        assert_int_equal(0, span.data[i]);
    check(neighbour, 100);
    secret_unref(neighbour);
}

/* Full to the last block, then with holes, then whole again. */
static void exhaustion_and_holes(void **state)
{
    size_t count = 0;
    struct secret *none = NULL;
    (void)state;
    while (count < MANY && secret_new(bytes, 40, &secrets[count]) == 0)
        count++;
    assert_int_equal(MANY, count); /* one block each */
    assert_int_equal(LIMIT_ARENA, secret_arena_used());
    assert_int_equal(-ENOMEM, secret_new(bytes, 0, &none));
    for (size_t i = 0; i < count; i += 2)
        secrets[i] = secret_unref(secrets[i]);
    assert_int_equal(LIMIT_ARENA / 2, secret_arena_used());
    assert_int_equal(-ENOMEM, secret_new(bytes, 41, &none)); /* two blocks in a row are nowhere */
    assert_null(none);
    for (size_t i = 0; i < count; i += 2)
        assert_int_equal(0, secret_new(bytes, 40, &secrets[i]));
    for (size_t i = 0; i < count; i++)
        check(secrets[i], 40);
    secrets[100] = secret_unref(secrets[100]);
    secrets[101] = secret_unref(secrets[101]);
    assert_int_equal(0, secret_new(bytes, 104, &none)); /* the only two in a row, wherever the search began */
    secret_unref(none);
    for (size_t i = 0; i < count; i++)
        secrets[i] = secret_unref(secrets[i]);
    size_t large = 0;
    while (secret_new(bytes, LIMIT_SECRET, &secrets[large]) == 0)
        large++;
    assert_true(large >= LIMIT_ARENA / (LIMIT_SECRET + 64) - 1);
    for (size_t i = 0; i < large; i++) {
        check(secrets[i], LIMIT_SECRET);
        secrets[i] = secret_unref(secrets[i]);
    }
}

/* Thousands of comings and goings; none ever sees another's bytes. */
static void nobody_overlaps(void **state)
{
    enum { HELD = 300 };
    static size_t lengths[HELD];
    uint64_t seed = 42;
    (void)state;
    for (int step = 0; step < 20000; step++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        size_t i = (seed >> 33) % HELD;
        if (secrets[i]) {
            struct span span = secret_span(secrets[i]);
            assert_int_equal(lengths[i], span.length);
            for (size_t j = 0; j < span.length; j++)
                if (span.data[j] != (char)(i % 127 + 1))
                    fail_msg("secret %zu was written over", i);
            secrets[i] = secret_unref(secrets[i]);
            continue;
        }
        char own[3000];
        lengths[i] = (seed >> 45) % sizeof(own);
        for (size_t j = 0; j < lengths[i]; j++)
            own[j] = (char)(i % 127 + 1);
        assert_int_equal(0, secret_new(own, lengths[i], &secrets[i]));
    }
    for (size_t i = 0; i < HELD; i++)
        secrets[i] = secret_unref(secrets[i]);
}

/* How a child ends that writes at `distance` from the bytes of a secret. */
static int write_at(const struct secret *secret, ptrdiff_t distance)
{
    int status;
    volatile char *at = (volatile char *)(uintptr_t)secret_span(secret).data + distance;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct rlimit none = {0, 0};
        (void)setrlimit(RLIMIT_CORE, &none);
        (void)signal(SIGSEGV, SIG_DFL);
        *at = 'x';
        _exit(0);
    }
    assert_int_equal(pid, waitpid(pid, &status, 0));
    return status;
}

static void walls_on_both_sides(void **state)
{
    struct secret *secret;
    (void)state;
    assert_int_equal(0, secret_new(bytes, 40, &secret)); /* at the very beginning: the arena is empty */
    ptrdiff_t header = 64 - 40;
    assert_int_equal(0, write_at(secret, -header));
    int status = write_at(secret, -header - 1);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    assert_int_equal(0, write_at(secret, LIMIT_ARENA - header - 1));
    status = write_at(secret, LIMIT_ARENA - header);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    secret_unref(secret);
}

static void a_fork_takes_nothing_along(void **state)
{
    struct secret *secret;
    int status;
    (void)state;
    assert_int_equal(0, secret_new(bytes, 1000, &secret));
    struct span span = secret_span(secret);
    pid_t pid = fork();
    if (pid == 0) {
        for (size_t i = 0; i < span.length; i++)
            if (span.data[i])
                _exit(1);
        _exit(0);
    }
    assert_int_equal(pid, waitpid(pid, &status, 0));
    assert_int_equal(0, status);
    check(secret, 1000);
    secret_unref(secret);
}

/* In a child, with a limit on locked memory and (as root) without the right to pass it. */
static void little_memory_may_be_locked(void **state)
{
    static const rlim_t limits[] = {0, 64 * 1024, 2 * LIMIT_ARENA};
    (void)state;
    secret_arena_close();
    for (size_t i = 0; i < ELEMENTS(limits); i++) {
        int status;
        pid_t pid = fork();
        if (pid == 0) {
            struct rlimit limit = {limits[i], limits[i]};
            struct secret *secret;
            if (setrlimit(RLIMIT_MEMLOCK, &limit) < 0 || (geteuid() == 0 && setuid(65534) < 0))
                _exit(10);
            if (secret_arena_open() < 0)
                _exit(11);
            if (secret_arena_locked() != (limits[i] >= LIMIT_ARENA ? LIMIT_ARENA : 0))
                _exit(12);
            if (secret_new("x", 1, &secret) < 0 || secret_span(secret).data[0] != 'x')
                _exit(13); /* unlocked is worse than locked, and better than nothing */
            _exit(0);
        }
        assert_int_equal(pid, waitpid(pid, &status, 0));
        if (limits[i] < LIMIT_ARENA || status != 12 << 8) /* the machine itself may allow less */
            assert_int_equal(0, status);
    }
    assert_int_equal(0, secret_arena_open());
}

static void without_an_arena(void **state)
{
    struct secret *secret = NULL;
    (void)state;
    secret_arena_close();
    assert_int_equal(-ENOMEM, secret_new("x", 1, &secret));
    assert_null(secret);
    assert_int_equal(0, secret_arena_locked());
    assert_int_equal(0, secret_arena_open());
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_arena, close_arena)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(lengths_at_their_limit),      TEST(the_last_reference_wipes),
        TEST(exhaustion_and_holes),        TEST(nobody_overlaps),
        TEST(walls_on_both_sides),         TEST(a_fork_takes_nothing_along),
        TEST(little_memory_may_be_locked), TEST(without_an_arena),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
