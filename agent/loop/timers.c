#include "loop/timers.h"

#include "cleanup.h"
#include <errno.h>

static void set(struct timers *timers, size_t place, struct timer *timer)
{
    timers->heap[place] = timer;
    timer->place = place;
}

static bool before(const struct timer *a, const struct timer *b)
{
    return a->due_ms < b->due_ms || (a->due_ms == b->due_ms && a->turn < b->turn);
}

static void sift(struct timers *timers, size_t place)
{
    struct timer *timer = timers->heap[place];
    for (; place > 1 && before(timer, timers->heap[place / 2]); place /= 2)
        set(timers, place, timers->heap[place / 2]);
    for (size_t child; (child = 2 * place) <= timers->count; place = child) {
        if (child < timers->count && before(timers->heap[child + 1], timers->heap[child]))
            child++;
        if (!before(timers->heap[child], timer))
            break;
        set(timers, place, timers->heap[child]);
    }
    set(timers, place, timer);
}

int timers_put(struct timers *timers, struct timer *timer)
{
    if (!timer->place) {
        if (timers->count + 1 >= timers->capacity) {
            size_t capacity = timers->capacity ? timers->capacity * 2 : 64;
            struct timer **heap = reallocarray(timers->heap, capacity, sizeof(struct timer *));
            if (!heap)
                return -ENOMEM;
            timers->heap = heap;
            timers->capacity = capacity;
        }
        set(timers, ++timers->count, timer);
    }
    timer->turn = timers->turns++;
    sift(timers, timer->place);
    return 0;
}

void timers_remove(struct timers *timers, struct timer *timer)
{
    size_t place = timer->place;
    if (!place)
        return;
    struct timer *last = timers->heap[timers->count--];
    timer->place = 0;
    if (last == timer)
        return;
    set(timers, place, last);
    sift(timers, place);
}

struct timer *timers_first(const struct timers *timers)
{
    return timers->count ? timers->heap[1] : NULL;
}

void timers_free(struct timers *timers)
{
    for (size_t i = 1; i <= timers->count; i++) {
        timers->heap[i]->place = 0;
        timers->heap[i]->loop = NULL;
    }
    free(timers->heap);
    *timers = (struct timers){0};
}
