/* A heap of timers, for the loop alone: the earliest first. Timers are not owned. */
#pragma once

#include "loop/loop.h"

struct timers {
    struct timer **heap; /* from 1 */
    size_t count, capacity;
    uint64_t turns; /* handed out so far */
};

int timers_put(struct timers *, struct timer *); /* or moves it when it is there; -ENOMEM */
void timers_remove(struct timers *, struct timer *);
struct timer *timers_first(const struct timers *); /* NULL when there is none */
void timers_free(struct timers *);
