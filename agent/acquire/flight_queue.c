/* The flights of a holder: one at a time where they use its refresh token, from their making to their end. */
#include "acquire/flight.h"
#include "acquire/import.h"
#include "acquire/inquiry.h"
#include "acquire/recheck.h"

#include "acquire/browse.h"
#include "acquire/verification.h"

void flight_start_next(struct holder *holder)
{
    bool busy = holder->moving, importing = false;
    if (holder->flights && holder->flights->conductor->locked)
        return;
    for (struct flight *flight = holder->flights; flight; flight = flight->next) {
        busy |= flight->serial && flight->running;
        importing |= flight->op == GRANT_IMPORT && flight->running;
    }
    for (struct flight *flight = holder->flights; flight; flight = flight->next) {
        bool import = flight->op == GRANT_IMPORT;
        if (flight->running || (flight->serial && busy) || (import && importing))
            continue;
        if (import && flight->profile == holder->profile) /* the one before may have been the first sign-in */
            flight->generation = holder->generation;
        flight->running = true;
        busy |= flight->serial;
        importing |= import;
        task_start(flight->conductor->loop, &flight->task, recheck_begin, flight);
    }
}

int flight_new(struct conductor *conductor, struct holder *holder, enum grant_op op, const struct request *request,
               struct flight **ret)
{
    struct flight *flight = calloc(1, sizeof(*flight));
    if (!flight || request_copy(request, &flight->request) < 0) {
        free(flight);
        return -ENOMEM;
    }
    flight->conductor = conductor;
    flight->holder = holder;
    flight->profile = profile_ref(holder->profile);
    flight->generation = holder->generation;
    flight->sign_in = holder->sign_in;
    flight->since_ms = loop_now(conductor->loop);
    flight->op = op;
    bool apart = op == GRANT_LOGIN || op == GRANT_INSPECT || op == GRANT_IMPORT;
    flight->serial = op == GRANT_ROTATE || (!apart && (flight->profile->grant->ops & GRANT_LOGIN) != 0);
    flight->waiters.next = flight->waiters.previous = &flight->waiters;
    flight->ca_pem = BUFFER(LIMIT_RESPONSE);
    struct flight **place = &holder->flights;
    while (*place)
        place = &(*place)->next;
    *place = flight;
    flight_start_next(holder);
    *ret = flight;
    return 0;
}

void flight_free(struct flight *flight)
{
    struct holder *holder = flight->holder;
    struct flight **place = &holder->flights;
    while (*place != flight)
        place = &(*place)->next;
    *place = flight->next;
    while (flight->waiters.next != &flight->waiters) /* they are told nothing, and wait for nothing any more */
        waiter_cancel(flight->waiters.next);
    parent_end(flight);
    http_cancel(flight->http);
    documents_cancel(flight->documents);
    worker_cancel(flight->job);
    store_cancel(flight->stored);
    verification_cancel(flight->verification);
    browse_end(flight);
    timer_stop(&flight->timer);
    timer_stop(&flight->patience);
    task_stop(&flight->task);
    secret_unref(flight->typed);
    secret_unref(flight->pair);
    if (flight->inspection)
        flight->inspection->flight = NULL;
    if (flight->import)
        flight->import->flight = NULL;
    flight_end_machine(flight);
    secret_unref(flight->inspected);
    parcel_free(flight->parcel);
    keeper_end(&flight->keeper);
    request_clear(&flight->request);
    buffer_free(&flight->ca_pem);
    if (flight->entry)
        flight->entry->flight = NULL;
    profile_free(flight->chosen);
    profile_free(flight->profile);
    struct conductor *conductor = flight->conductor;
    free(flight);
    if (holder->gone && !holder->flights && !holder->identity)
        cache_remove(conductor->cache, holder);
    else
        flight_start_next(holder);
}

void flight_free_all(struct holder *holder)
{
    for (struct flight *flight = holder->flights, *next; flight; flight = next) {
        next = flight->next;
        flight_free(flight);
    }
}
