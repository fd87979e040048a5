/* The loop: what is stopped is not called any more, also within the wake-up; timers by time and then by turn. */
#include "loop/loop.h"

#include "cleanup.h"
#include "clock.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
/* after these */
#include <cmocka.h>

static struct loop *loop;

static int open_loop(void **state)
{
    (void)state;
    return loop_new(&loop);
}

static int close_loop(void **state)
{
    (void)state;
    loop = loop_free(loop);
    return 0;
}

static void end(void *arg)
{
    (void)arg;
    loop_stop(loop, 7);
}

static void run_for(int64_t ms)
{
    struct timer timer = {0};
    assert_int_equal(0, timer_start(loop, &timer, loop_now(loop) + ms, end, NULL));
    assert_int_equal(7, loop_run(loop));
}

/* ---- watches ---- */

/* A pair of sockets whose first end is watched and readable; when called it takes `kills` away, freed. */
struct party {
    struct watch watch;
    int ends[2];
    int called;
    struct party **kills;
    struct task *stops;
};

static void party_free(struct party *party)
{
    watch_stop(&party->watch);
    close(party->ends[0]);
    close(party->ends[1]);
    free(party);
}

static void on_party(void *arg, uint32_t events)
{
    struct party *party = arg;
    char byte;
    assert_true(events & EPOLLIN);
    party->called++;
    assert_int_equal(1, read(party->ends[0], &byte, 1));
    if (party->kills && *party->kills) {
        party_free(*party->kills);
        *party->kills = NULL;
    }
}

static struct party *party_new(void)
{
    struct party *party = calloc(1, sizeof(*party));
    assert_non_null(party);
    assert_int_equal(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, party->ends));
    assert_int_equal(0, watch_start(loop, &party->watch, party->ends[0], EPOLLIN, on_party, party));
    assert_int_equal(1, write(party->ends[1], "x", 1));
    return party;
}

static void a_watch_is_freed_by_another(void **state)
{
    (void)state;
    struct party *first = party_new(), *second = party_new();
    first->kills = &second;
    second->kills = &first; /* whichever comes first */
    run_for(20);
    assert_true((first == NULL) != (second == NULL));
    struct party *left = first ? first : second;
    assert_int_equal(1, left->called);
    party_free(left);
}

static struct watch *restarted;
static int restarts;

static void on_restarted(void *arg, uint32_t events)
{
    (void)events;
    char byte;
    restarts++;
    assert_int_equal(1, read(*(int *)arg, &byte, 1));
}

static void restart_other(void *arg, uint32_t events)
{
    struct party *other = arg;
    (void)events;
    watch_stop(&other->watch);
    watch_stop(&other->watch); /* twice is allowed */
    assert_int_equal(0, watch_start(loop, restarted, other->ends[0], EPOLLIN, on_restarted, &other->ends[0]));
}

/* Stopped and started in another's function: the old event is gone, the descriptor is still readable. */
static void a_watch_is_started_anew(void **state)
{
    (void)state;
    struct watch watch = {0};
    struct party *other = party_new(), *first = party_new();
    restarted = &watch;
    restarts = 0;
    watch_stop(&first->watch);
    watch_stop(&other->watch);
    assert_int_equal(0, watch_start(loop, &first->watch, first->ends[0], EPOLLIN | EPOLLONESHOT, restart_other, other));
    assert_int_equal(0, watch_start(loop, &other->watch, other->ends[0], EPOLLIN, on_party, other));
    run_for(20);
    assert_int_equal(0, other->called);
    assert_int_equal(1, restarts);
    watch_stop(&watch);
    party_free(first);
    party_free(other);
}

static void a_watch_that_cannot_start(void **state)
{
    (void)state;
    struct watch watch = {0};
    assert_int_equal(-EBADF, watch_start(loop, &watch, 12345, EPOLLIN, on_party, NULL));
    assert_null(watch.loop);
    watch_stop(&watch);
    int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    assert_int_equal(-EPERM, watch_start(loop, &watch, fd, EPOLLIN, on_party, NULL));
    close(fd);
}

static void more_events_than_one_wake_up_takes(void **state)
{
    enum { MANY = 400 };
    static struct party *parties[MANY];
    (void)state;
    for (size_t i = 0; i < MANY; i++)
        parties[i] = party_new();
    run_for(50);
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(1, parties[i]->called);
        party_free(parties[i]);
    }
}

static void on_stop(void *arg, uint32_t events)
{
    (void)events;
    (void)arg;
    loop_stop(loop, 3);
}

static void stopping_is_at_once(void **state)
{
    (void)state;
    struct party *parties[8];
    for (size_t i = 0; i < 8; i++) {
        parties[i] = party_new();
        watch_stop(&parties[i]->watch);
        assert_int_equal(0, watch_start(loop, &parties[i]->watch, parties[i]->ends[0], EPOLLIN,
                                        i == 0 ? on_stop : on_party, parties[i]));
    }
    assert_int_equal(3, loop_run(loop));
    assert_int_equal(3, loop_run(loop)); /* and again */
    for (size_t i = 0; i < 8; i++)
        party_free(parties[i]);
}

/* ---- tasks ---- */

static struct {
    struct task task;
    int called;
} jobs[3];
static int order[16], ordered;

static void note(void *arg)
{
    order[ordered++] = *(int *)arg;
}

static void stop_second(void *arg)
{
    note(arg);
    task_stop(&jobs[1].task);
    task_stop(&jobs[1].task);
}

static void start_again(void *arg)
{
    note(arg);
    if (ordered < 4)
        task_start(loop, &jobs[2].task, start_again, arg);
}

static void tasks_stop_and_start_each_other(void **state)
{
    static int numbers[] = {1, 2, 3};
    (void)state;
    ordered = 0;
    task_start(loop, &jobs[0].task, stop_second, &numbers[0]);
    task_start(loop, &jobs[1].task, note, &numbers[1]);
    task_start(loop, &jobs[2].task, start_again, &numbers[2]);
    task_start(loop, &jobs[2].task, start_again, &numbers[2]); /* once all the same */
    run_for(0);
    assert_int_equal(4, ordered);
    assert_int_equal(1, order[0]);
    assert_int_equal(3, order[1]);
    assert_int_equal(3, order[3]);
}

static void left_over_tasks_go_with_the_loop(void **state)
{
    (void)state;
    struct loop *other;
    struct task task = {0};
    struct timer timer = {0};
    assert_int_equal(0, loop_new(&other));
    task_start(other, &task, note, NULL);
    assert_int_equal(0, timer_start(other, &timer, 0, note, NULL));
    assert_null(loop_free(other));
    task_stop(&task);
    timer_stop(&timer);
    assert_null(loop_free(NULL));
}

/* ---- the clock ---- */

static void timers_never_come_early(void **state)
{
    (void)state;
    for (int ms = 0; ms < 20; ms++) {
        int64_t before = clock_boot_ms();
        run_for(ms);
        assert_true(loop_now(loop) >= before + ms - 1); /* loop_now() was that of the last wake-up */
        assert_true(clock_boot_ms() >= loop_now(loop));
    }
}

static int starving, fed;

static void always_again(void *arg)
{
    struct timer *timer = arg;
    starving++;
    assert_true(starving < 1000000);
    assert_int_equal(0, timer_start(loop, timer, starving % 2 ? 0 : loop_now(loop), always_again, timer));
}

static void on_fed(void *arg, uint32_t events)
{
    struct party *party = arg;
    (void)events;
    fed++;
    watch_stop(&party->watch);
}

/* A timer that is always due again leaves room for descriptors and for other timers. */
static void a_timer_that_never_rests(void **state)
{
    (void)state;
    struct timer timer = {0};
    struct party *party = party_new();
    watch_stop(&party->watch);
    assert_int_equal(0, watch_start(loop, &party->watch, party->ends[0], EPOLLIN, on_fed, party));
    starving = fed = 0;
    always_again(&timer);
    run_for(10);
    assert_int_equal(1, fed);
    assert_true(starving > 1);
    timer_stop(&timer);
    party_free(party);
}

static void idle_costs_nothing(void **state)
{
    (void)state;
    struct timespec before, after;
    struct timer never = {0}, moved = {0};
    assert_int_equal(0, timer_start(loop, &never, INT64_MAX, note, NULL));
    assert_int_equal(0, timer_start(loop, &moved, loop_now(loop) + 1, note, NULL));
    assert_int_equal(0, timer_start(loop, &moved, loop_now(loop) + 3600000, note, NULL));
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    run_for(300);
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    int64_t used = (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000;
    assert_true(used < 100);
    timer_stop(&never);
    timer_stop(&moved);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_loop, close_loop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_watch_is_freed_by_another),
        TEST(a_watch_is_started_anew),
        TEST(a_watch_that_cannot_start),
        TEST(more_events_than_one_wake_up_takes),
        TEST(stopping_is_at_once),
        TEST(tasks_stop_and_start_each_other),
        TEST(left_over_tasks_go_with_the_loop),
        TEST(timers_never_come_early),
        TEST(a_timer_that_never_rests),
        TEST(idle_costs_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
