/* The one loop: epoll, timers on CLOCK_BOOTTIME (one timerfd, a heap), signals and children by descriptor, and a queue
 * of things to do right after the event at hand. Watches, timers and tasks are embedded in what they belong to, zeroed
 * before their first use; stopping one that does not run is allowed, and after the stop its function is not called any
 * more, also not for an event of the same wake-up. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/types.h>

struct loop;

int loop_new(struct loop **ret);
struct loop *loop_free(struct loop *); /* always NULL */
int loop_run(struct loop *);           /* until loop_stop(): its status, or a negative errno */
void loop_stop(struct loop *, int status);
int64_t loop_now(const struct loop *); /* CLOCK_BOOTTIME in ms, at this wake-up */

typedef void watch_fn(void *arg, uint32_t events);
struct watch {
    struct loop *loop; /* NULL: not running */
    int fd;
    watch_fn *fn;
    void *arg;
};
int watch_start(struct loop *, struct watch *, int fd, uint32_t events, watch_fn *, void *arg);
int watch_modify(struct watch *, uint32_t events);
void watch_stop(struct watch *); /* before the descriptor is closed */

typedef void timer_fn(void *arg);
struct timer {
    struct loop *loop;
    size_t place; /* in the heap, from 1; 0: not running */
    int64_t due_ms;
    uint64_t turn; /* among those due at the same time */
    timer_fn *fn;
    void *arg;
};
/* Runs fn at due_ms on CLOCK_BOOTTIME, in the order of starting when several are due at once; starting it again moves
 * it. A time that has passed means the next wake-up: a timer that always starts itself anew leaves room for everything
 * else. -ENOMEM. */
int timer_start(struct loop *, struct timer *, int64_t due_ms, timer_fn *, void *arg);
void timer_stop(struct timer *);

typedef void task_fn(void *arg);
struct task {
    struct loop *loop;
    struct task *next, *previous;
    task_fn *fn;
    void *arg;
};
/* Runs fn after the event that is being handled; once, however often it is asked for. */
void task_start(struct loop *, struct task *, task_fn *, void *arg);
void task_stop(struct task *);
