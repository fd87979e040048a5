/* Who may be in flight: at most LIMIT_HTTP_IN_FLIGHT altogether and LIMIT_HTTP_PER_HOST to one place, the others wait
 * in order; places take turns. So an authority that hangs fills its own share only. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct http_place;

/* Embedded in what waits; zeroed before its first use. */
struct http_turn {
    struct http_place *place; /* NULL: neither waiting nor in flight */
    struct http_turn *next, *previous;
    bool in_flight;
};

struct http_queue {
    struct http_place *places; /* a ring; the next one to be asked */
    size_t in_flight;
};

/* `name` is a host with its port. -ENOMEM. */
int http_queue_add(struct http_queue *, struct http_turn *, const char *name);
/* The next that may start; it then counts as in flight. NULL: none may. */
struct http_turn *http_queue_take(struct http_queue *);
/* It is done, or was given up while waiting. One that is not in the queue is left alone. */
void http_queue_remove(struct http_queue *, struct http_turn *);
