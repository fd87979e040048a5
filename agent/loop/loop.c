#include "loop/loop.h"

#include "cleanup.h"
#include "clock.h"
#include "loop/timers.h"
#include <errno.h>
#include <sys/timerfd.h>

enum { EVENTS = 256 };

struct loop {
    int epoll, timerfd;
    bool stopped;
    int status;
    int64_t now_ms, armed_ms; /* armed_ms: what the timerfd is set to; INT64_MAX: nothing */
    struct timers timers;
    struct task tasks; /* a ring */
    struct epoll_event events[EVENTS];
    int event_count;
};

int loop_new(struct loop **ret)
{
    struct loop *loop = calloc(1, sizeof(*loop));
    if (!loop)
        return -ENOMEM;
    loop->tasks.next = loop->tasks.previous = &loop->tasks;
    loop->armed_ms = INT64_MAX;
    loop->now_ms = clock_boot_ms();
    loop->timerfd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (loop->timerfd < 0 || loop->epoll < 0 || epoll_ctl(loop->epoll, EPOLL_CTL_ADD, loop->timerfd, &event) < 0) {
        int error = -errno;
        loop_free(loop);
        return error;
    }
    *ret = loop;
    return 0;
}

struct loop *loop_free(struct loop *loop)
{
    if (!loop)
        return NULL;
    while (loop->tasks.next != &loop->tasks)
        task_stop(loop->tasks.next);
    timers_free(&loop->timers);
    close_cleanup(&loop->timerfd);
    close_cleanup(&loop->epoll);
    free(loop);
    return NULL;
}

int64_t loop_now(const struct loop *loop)
{
    return loop->now_ms;
}

void loop_stop(struct loop *loop, int status)
{
    loop->stopped = true;
    loop->status = status;
}

int watch_start(struct loop *loop, struct watch *watch, int fd, uint32_t events, watch_fn *fn, void *arg)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};
    if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        return -errno;
    *watch = (struct watch){.loop = loop, .fd = fd, .fn = fn, .arg = arg};
    return 0;
}

int watch_modify(struct watch *watch, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};
    return epoll_ctl(watch->loop->epoll, EPOLL_CTL_MOD, watch->fd, &event) < 0 ? -errno : 0;
}

void watch_stop(struct watch *watch)
{
    struct loop *loop = watch->loop;
    if (!loop)
        return;
    (void)epoll_ctl(loop->epoll, EPOLL_CTL_DEL, watch->fd, NULL);
    for (int i = 0; i < loop->event_count; i++) /* events of this wake-up that were not handled yet */
        if (loop->events[i].data.ptr == watch)
            loop->events[i].events = 0;
    watch->loop = NULL;
}

int timer_start(struct loop *loop, struct timer *timer, int64_t due_ms, timer_fn *fn, void *arg)
{
    timer->due_ms = due_ms > loop->now_ms ? due_ms : loop->now_ms;
    timer->fn = fn;
    timer->arg = arg;
    int r = timers_put(&loop->timers, timer);
    timer->loop = r < 0 ? NULL : loop;
    return r;
}

void timer_stop(struct timer *timer)
{
    if (!timer->loop)
        return;
    timers_remove(&timer->loop->timers, timer);
    timer->loop = NULL;
}

void task_start(struct loop *loop, struct task *task, task_fn *fn, void *arg)
{
    task->fn = fn;
    task->arg = arg;
    if (task->loop)
        return;
    task->loop = loop;
    task->next = &loop->tasks;
    task->previous = loop->tasks.previous;
    task->previous->next = loop->tasks.previous = task;
}

void task_stop(struct task *task)
{
    if (!task->loop)
        return;
    task->previous->next = task->next;
    task->next->previous = task->previous;
    task->loop = NULL;
}

static void run_tasks(struct loop *loop)
{
    while (loop->tasks.next != &loop->tasks) {
        struct task *task = loop->tasks.next;
        task_stop(task);
        task->fn(task->arg);
    }
}

static void run_timers(struct loop *loop)
{
    struct timer *timer;
    uint64_t turns = loop->timers.turns; /* what is started from here on waits for the next wake-up */
    while (!loop->stopped && (timer = timers_first(&loop->timers)) && timer->due_ms <= loop->now_ms &&
           timer->turn < turns) {
        timer_stop(timer);
        timer->fn(timer->arg);
        run_tasks(loop);
    }
}

/* The timerfd is set only to earlier times; a time that has moved back costs one idle wake-up. */
static int arm(struct loop *loop)
{
    struct timer *first = timers_first(&loop->timers);
    if (!first || first->due_ms >= loop->armed_ms)
        return 0;
    int64_t due = first->due_ms > 1 ? first->due_ms : 1;
    struct itimerspec when = {.it_value = {.tv_sec = due / 1000, .tv_nsec = due % 1000 * 1000000}};
    if (timerfd_settime(loop->timerfd, TFD_TIMER_ABSTIME, &when, NULL) < 0)
        return -errno;
    loop->armed_ms = first->due_ms;
    return 0;
}

static void handle(struct loop *loop, const struct epoll_event *event)
{
    uint64_t expirations;
    struct watch *watch = event->data.ptr;
    if (watch) {
        watch->fn(watch->arg, event->events);
    } else if (read(loop->timerfd, &expirations, sizeof(expirations)) > 0) {
        loop->armed_ms = INT64_MAX;
        run_timers(loop);
    }
    run_tasks(loop);
}

int loop_run(struct loop *loop)
{
    loop->stopped = false;
    run_tasks(loop);
    while (!loop->stopped) {
        int r = arm(loop);
        if (r < 0)
            return r;
        loop->event_count = epoll_wait(loop->epoll, loop->events, EVENTS, -1);
        if (loop->event_count < 0 && errno != EINTR)
            return -errno;
        loop->now_ms = clock_boot_ms();
        for (int i = 0; i < loop->event_count && !loop->stopped; i++)
            if (loop->events[i].events)
                handle(loop, &loop->events[i]);
        loop->event_count = 0;
    }
    return loop->status;
}
