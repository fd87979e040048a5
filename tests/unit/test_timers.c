/* The heap of timers against a sorted list, and timers that act on each other when they run. */
#include "loop/timers.h"

#include "cleanup.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
/* after these */
#include <cmocka.h>

enum { MANY = 5000 };

static uint64_t seed;

static uint64_t random64(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static void check_heap(const struct timers *timers)
{
    for (size_t i = 1; i <= timers->count; i++) {
        assert_int_equal(i, timers->heap[i]->place);
        if (i > 1)
            assert_true(timers->heap[i / 2]->due_ms <= timers->heap[i]->due_ms);
    }
}

/* Puts, moves and removals in any order; then all come out by time, and by turn when the time is the same. */
static void against_a_list(void **state)
{
    static struct timer all[MANY];
    (void)state;
    for (seed = 1; seed < 5; seed++) {
        struct timers timers = {0};
        uint64_t start = seed;
        for (size_t i = 0; i < MANY; i++)
            all[i] = (struct timer){.due_ms = (int64_t)(random64() % 100)};
        for (int step = 0; step < 4 * MANY; step++) {
            struct timer *timer = &all[random64() % MANY];
            if (random64() % 3 == 0) {
                timers_remove(&timers, timer);
                assert_int_equal(0, timer->place);
            } else {
                timer->due_ms = (int64_t)(random64() % 100);
                assert_int_equal(0, timers_put(&timers, timer));
            }
            if (step % 500 == 0)
                check_heap(&timers);
        }
        size_t left = 0;
        for (size_t i = 0; i < MANY; i++)
            left += all[i].place > 0;
        assert_int_equal(left, timers.count);
        struct timer *last = NULL;
        for (struct timer *first; (first = timers_first(&timers)); last = first, left--) {
            if (last)
                assert_true(last->due_ms < first->due_ms ||
                            (last->due_ms == first->due_ms && last->turn < first->turn));
            timers_remove(&timers, first);
        }
        assert_int_equal(0, left);
        timers_free(&timers);
        seed = start;
    }
}

static void extremes(void **state)
{
    (void)state;
    struct timers timers = {0};
    struct timer least = {.due_ms = INT64_MIN}, zero = {.due_ms = 0}, most = {.due_ms = INT64_MAX};
    assert_null(timers_first(&timers));
    timers_remove(&timers, &zero);
    assert_int_equal(0, timers_put(&timers, &most));
    assert_int_equal(0, timers_put(&timers, &zero));
    assert_int_equal(0, timers_put(&timers, &least));
    assert_ptr_equal(&least, timers_first(&timers));
    timers_remove(&timers, &least);
    timers_remove(&timers, &least);
    assert_ptr_equal(&zero, timers_first(&timers));
    timers_free(&timers);
    assert_int_equal(0, most.place);
    assert_null(timers_first(&timers));
}

/* ---- in a loop ---- */

static struct loop *loop;
static struct timer timers[MANY];
static int order[MANY], ran;

static void end(void *arg)
{
    (void)arg;
    loop_stop(loop, 0);
}

static void run_for(int64_t ms)
{
    struct timer timer = {0};
    assert_int_equal(0, timer_start(loop, &timer, loop_now(loop) + ms, end, NULL));
    assert_int_equal(0, loop_run(loop));
}

static void note(void *arg)
{
    order[ran++] = (int)((struct timer *)arg - timers);
}

static void start(int i, int64_t due_ms, timer_fn *fn)
{
    assert_int_equal(0, timer_start(loop, &timers[i], due_ms, fn, &timers[i]));
}

static int open_loop(void **state)
{
    (void)state;
    memcpy(timers, (struct timer[MANY]){0}, sizeof(timers));
    ran = 0;
    return loop_new(&loop);
}

static int close_loop(void **state)
{
    (void)state;
    loop = loop_free(loop);
    return 0;
}

static void thousands(void **state)
{
    (void)state;
    int64_t now = loop_now(loop);
    for (int i = 0; i < MANY; i++)
        start(i, now + (i * 7919) % 20, note);
    for (int i = 0; i < MANY; i += 5)
        timer_stop(&timers[i]);
    run_for(40);
    assert_int_equal(MANY - MANY / 5, ran);
    for (int i = 1; i < ran; i++)
        assert_true(timers[order[i - 1]].due_ms <= timers[order[i]].due_ms);
    for (int i = 0; i < MANY; i++)
        assert_null(timers[i].loop);
}

static void equal_and_past_times(void **state)
{
    (void)state;
    int64_t now = loop_now(loop);
    for (int i = 0; i < 100; i++)
        start(i, i % 2 ? 0 : now - 1000 + i, note);
    start(100, INT64_MIN, note);
    run_for(0);
    assert_int_equal(101, ran);
    for (int i = 0; i <= 100; i++)
        assert_int_equal(i, order[i]); /* all of them are due now, and it is the turn that counts */
}

static void stop_neighbours(void *arg)
{
    note(arg);
    timer_stop(&timers[0]);                   /* itself */
    timer_stop(&timers[1]);                   /* due in the same wake-up */
    start(2, loop_now(loop) + 3600000, note); /* moved away */
    start(3, 0, note);                        /* moved to now, from later */
}

static void timers_act_on_each_other(void **state)
{
    (void)state;
    int64_t now = loop_now(loop);
    start(0, now, stop_neighbours);
    start(1, now, note);
    start(2, now, note);
    start(3, now + 3600000, note);
    start(4, now, note);
    run_for(5);
    assert_int_equal(3, ran);
    assert_int_equal(0, order[0]);
    assert_int_equal(4, order[1]);
    assert_int_equal(3, order[2]);
    assert_non_null(timers[2].loop);
    timer_stop(&timers[2]);
    timer_stop(&timers[2]);
}

static struct timer *heaped;

static void free_other(void *arg)
{
    (void)arg;
    timer_stop(heaped);
    free(heaped);
    heaped = NULL;
}

static void a_timer_is_freed_by_another(void **state)
{
    (void)state;
    heaped = calloc(1, sizeof(*heaped));
    assert_non_null(heaped);
    start(0, 0, free_other);
    assert_int_equal(0, timer_start(loop, heaped, 0, note, heaped));
    run_for(0);
    assert_null(heaped);
    assert_int_equal(0, ran);
}

static void stop_in_the_middle(void *arg)
{
    note(arg);
    loop_stop(loop, 0);
}

static void stopping_leaves_the_rest_for_later(void **state)
{
    (void)state;
    start(0, 0, stop_in_the_middle);
    start(1, 0, note);
    assert_int_equal(0, loop_run(loop));
    assert_int_equal(1, ran);
    run_for(0);
    assert_int_equal(2, ran);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_loop, close_loop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_a_list),
        cmocka_unit_test(extremes),
        TEST(thousands),
        TEST(equal_and_past_times),
        TEST(timers_act_on_each_other),
        TEST(a_timer_is_freed_by_another),
        TEST(stopping_leaves_the_rest_for_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
