#include "acquire/lock.h"

#include "acquire/flight.h"
#include "acquire/import.h"
#include "acquire/inquiry.h"
#include "acquire/rotation.h"
#include "acquire/signin.h"
#include "cleanup.h"
#include "environment.h"
#include "log.h"

struct lock {
    struct conductor *conductor;
    struct lock_call calls; /* the line: a ring */
    struct task task;
    struct worker_job *job;     /* Argon2id, for the first of the line or for `learning` */
    struct store_call *opening; /* the sealed files, for the first of the line */
    bool settling;              /* stores are forgetting their keys */
    struct seal seal;           /* the last passphrase's */
    bool known;
    struct seal next;        /* one that is being derived */
    struct secret *learning; /* a passphrase that opened the sealed files; its seal is derived next */
};

static void pump(struct lock *);

void lock_failure(struct failure *ret)
{
    failure_set(ret, FAILURE_LOCKED, CLASS_DEFINITE, "the agent is locked: mltoken unlock");
}

/* ---- the line ---- */

static struct lock_call *first(struct lock *lock)
{
    return lock->calls.next == &lock->calls ? NULL : lock->calls.next;
}

static void take_out(struct lock_call *call)
{
    call->next->previous = call->previous;
    call->previous->next = call->next;
    call->passphrase = wipe_free(call->passphrase);
    call->lock = NULL;
}

static void answer(struct lock *lock, const struct failure *why)
{
    struct lock_call *call = first(lock);
    if (call) {
        take_out(call);
        call->done(call->arg, why);
    }
    pump(lock);
}

static void answer_busy(struct lock *lock, const char *reason)
{
    struct failure why;
    failure_set(&why, FAILURE_BUSY, CLASS_UNREACHABLE, "%s", reason);
    answer(lock, &why);
}

static void answer_denied(struct lock *lock, const char *reason)
{
    struct failure why;
    failure_set(&why, FAILURE_DENIED, CLASS_DEFINITE, "%s", reason);
    answer(lock, &why);
}

static int put(struct conductor *conductor, const char *passphrase, struct lock_call *call)
{
    struct lock *lock = conductor->lock;
    call->passphrase = strdup(passphrase);
    if (!call->passphrase)
        return -ENOMEM;
    call->lock = lock;
    call->next = &lock->calls;
    call->previous = lock->calls.previous;
    call->previous->next = lock->calls.previous = call;
    pump(lock);
    return 0;
}

int conductor_lock(struct conductor *conductor, const char *passphrase, struct lock_call *call)
{
    return put(conductor, passphrase, call);
}

int conductor_unlock(struct conductor *conductor, const char *passphrase, bool fresh, struct lock_call *call)
{
    call->unlock = true;
    call->fresh = fresh;
    return put(conductor, passphrase, call);
}

/* What is under way for it ends with it, but for what stores do. */
void lock_call_cancel(struct lock_call *call)
{
    struct lock *lock = call->lock;
    if (!lock)
        return;
    bool served = first(lock) == call && !lock->learning;
    take_out(call);
    if (served) {
        worker_cancel(lock->job);
        store_cancel(lock->opening);
        lock->job = NULL;
        lock->opening = NULL;
    }
    pump(lock);
}

/* ---- sealing ---- */

static void note(int *first_error, int r)
{
    *first_error = *first_error ? *first_error : r;
}

static int seal_entries(struct lock *lock, struct holder *holder, const struct failure *why)
{
    int error = 0;
    for (struct entry *entry = holder->entries; entry; entry = entry->next) {
        conductor_end_watchers(entry, why);
        timer_stop(&entry->timer);
        note(&error, entry_lock(entry, &lock->seal));
    }
    note(&error, holder_lock_unsaved(holder, &lock->seal));
    return error;
}

/* Who waits is told, and it ends, unless its answer must not be lost. */
static void ground_flight(struct flight *flight, const struct failure *why)
{
    while (flight->waiters.next != &flight->waiters) {
        struct waiter *waiter = flight->waiters.next;
        waiter_cancel(waiter);
        waiter->done(waiter->arg, NULL, why);
    }
    if (flight->op == GRANT_LOGIN)
        login_landed(flight, NULL, why);
    else if (flight->op == GRANT_IMPORT)
        import_landed(flight, NULL, why);
    else if (flight->op == GRANT_INSPECT)
        inspection_landed(flight, NULL, why);
    else if (flight->op == GRANT_ROTATE)
        rotation_landed(flight, NULL, why); /* the next one goes on from what was noted */
    else if (flight->sent && flight->serial)
        return;
    else if (flight->op == GRANT_REVOKE)
        logout_refused(flight, why);
    flight_free(flight);
}

/* The holder may go with its last flight. */
static void ground(struct holder *holder, const struct failure *why)
{
    for (struct flight *flight = holder->flights, *next; flight; flight = next) {
        next = flight->next;
        ground_flight(flight, why);
    }
}

static int seal_holders(struct lock *lock)
{
    struct holder **holders;
    size_t count;
    struct failure why;
    int error = cache_holders(lock->conductor->cache, &holders, &count);
    if (error < 0)
        return error;
    lock_failure(&why);
    for (size_t i = 0; i < count; i++) {
        note(&error, seal_entries(lock, holders[i], &why));
        ground(holders[i], &why);
    }
    free(holders);
    return error;
}

static void on_settled(void *arg)
{
    struct lock *lock = arg;
    struct lock_call *call = first(lock);
    lock->settling = false;
    if (call && !call->unlock && lock->conductor->locked && !call->passphrase && !lock->job)
        answer(lock, NULL);
    else
        pump(lock);
}

/* With the seal that is known. -ENOMEM: it is locked, but something could not be sealed. */
static int seal_all(struct lock *lock)
{
    int error = seal_batch_begin(&lock->seal);
    if (error < 0)
        return error;
    lock->conductor->locked = true;
    lock->settling = true;
    note(&error, seal_holders(lock));
    note(&error, environment_lock(&lock->seal));
    note(&error, stores_lock(lock->conductor->stores, &lock->seal, on_settled, lock));
    seal_batch_end(&lock->seal);
    if (error < 0)
        log_event(LOG_LEVEL_WARNING, "locked, but for want of memory not every secret could be sealed", NULL);
    return error;
}

void lock_entry(struct conductor *conductor, struct entry *entry)
{
    if (conductor->locked)
        (void)entry_lock(entry, &conductor->lock->seal);
}

void lock_again(struct conductor *conductor)
{
    if (conductor->locked)
        stores_lock_again(conductor->stores);
}

void lock_unsaved(struct conductor *conductor, struct holder *holder)
{
    if (conductor->locked)
        (void)holder_lock_unsaved(holder, &conductor->lock->seal);
}

/* ---- opening ---- */

static int open_holders(struct conductor *conductor, struct seal_key *key)
{
    struct holder **holders;
    size_t count;
    int64_t now = loop_now(conductor->loop);
    int error = cache_holders(conductor->cache, &holders, &count);
    if (error < 0)
        return error;
    for (size_t i = 0; i < count; i++) {
        note(&error, holder_unlock_unsaved(holders[i], key));
        for (struct entry *entry = holders[i]->entries; entry; entry = entry->next)
            note(&error, entry_unlock(entry, key, now));
    }
    free(holders);
    return error;
}

static void go_on(struct conductor *conductor)
{
    struct holder **holders;
    size_t count;
    conductor->locked = false;
    if (cache_holders(conductor->cache, &holders, &count) < 0)
        return; /* renewed on demand */
    for (size_t i = 0; i < count; i++) {
        for (struct entry *entry = holders[i]->entries; entry; entry = entry->next) {
            if (entry->failed && entry->failed->kind == FAILURE_LOCKED)
                entry_forget_failure(entry);
            if (!entry->flight)
                conductor_plan(conductor, entry);
        }
        flight_start_next(holders[i]);
    }
    free(holders);
}

/* All of it or nothing: what does not fit stays sealed, and so does the agent. */
static int open_all(struct lock *lock, struct seal_key *key)
{
    struct conductor *conductor = lock->conductor;
    int error = stores_unlock(conductor->stores, key);
    note(&error, environment_unlock(key));
    note(&error, open_holders(conductor, key));
    if (error < 0)
        (void)seal_all(lock);
    else
        go_on(conductor);
    return error;
}

/* ---- the first of the line ---- */

static void on_learned(void *arg, const struct worker_result *result)
{
    struct lock *lock = arg;
    lock->job = NULL;
    lock->learning = secret_unref(lock->learning);
    /* a seal in use is not replaced: things are sealed with it */
    if (result->error == 0 && !lock->conductor->locked && seal_from_seed(&lock->next, result->output) == 0) {
        lock->seal = lock->next;
        lock->known = true;
        log_event(LOG_LEVEL_DEBUG, "the passphrase of the sealed files can lock the agent, too", NULL);
    }
    pump(lock);
}

static void on_lock_derived(void *arg, const struct worker_result *result)
{
    struct lock *lock = arg;
    struct failure why;
    lock->job = NULL;
    if (lock->conductor->locked) { /* without a person, meanwhile */
        lock_failure(&why);
        answer(lock, &why);
        return;
    }
    if (result->error || seal_from_seed(&lock->next, result->output) < 0) {
        answer_busy(lock, result->error ? result->problem : "the passphrase could not be used");
        return;
    }
    lock->seal = lock->next;
    lock->known = true;
    if (seal_all(lock) < 0) {
        answer_busy(lock, lock->conductor->locked ? "locked, but not every secret could be sealed: out of memory"
                                                  : "the secrets could not be sealed");
        return;
    }
    log_event(LOG_LEVEL_INFO, "locked", NULL);
}

static void on_unlock_derived(void *arg, const struct worker_result *result)
{
    struct lock *lock = arg;
    struct seal_key key;
    lock->job = NULL;
    if (result->error) {
        answer_busy(lock, result->problem);
    } else if (!seal_unlock(&lock->seal, result->output, &key)) {
        log_event(LOG_LEVEL_WARNING, "a wrong passphrase to unlock with", NULL);
        answer_denied(lock, "this is not the passphrase that the agent was locked with");
    } else {
        int r = open_all(lock, &key);
        seal_key_wipe(&key);
        if (r < 0) {
            answer_busy(lock, "there is no memory for all that was sealed, so the agent stays locked");
            return;
        }
        log_event(LOG_LEVEL_INFO, "unlocked", NULL);
        answer(lock, NULL);
    }
}

static int derive(struct lock *lock, const struct seal *seal, struct span passphrase, worker_fn *fn)
{
    uint8_t parameters[SEAL_PARAMETERS];
    seal_parameters(seal, parameters);
    return worker_derive(lock->conductor->worker, parameters, passphrase, fn, lock, &lock->job);
}

/* The sealed files are open, or there is a reason. The passphrase that opened them can lock the agent, too. */
static void on_opened(void *arg, const struct store_result *result)
{
    struct lock *lock = arg;
    struct failure why;
    lock->opening = NULL;
    if (result->error == 0 && lock->conductor->locked) { /* without a person, meanwhile: it opens that, too */
        pump(lock);
        return;
    }
    if (result->error == 0) {
        const struct lock_call *call = first(lock);
        if (call)
            (void)secret_new(call->passphrase, strlen(call->passphrase), &lock->learning);
        log_event(LOG_LEVEL_INFO, "the sealed files are open", NULL);
        stores_opened(lock->conductor->stores);
        answer(lock, NULL);
        return;
    }
    bool denied = result->error == STORE_LOCKED;
    failure_set(&why, denied ? FAILURE_DENIED : FAILURE_STORE_UNAVAILABLE, CLASS_DEFINITE, "%s",
                result->reason ? result->reason : strerror(-result->error));
    if (denied)
        log_event(LOG_LEVEL_WARNING, "the sealed files were not opened", "REASON", why.reason, NULL);
    answer(lock, &why);
}

static int open_store(struct lock *lock, const struct lock_call *call)
{
    _cleanup_secret_ struct secret *passphrase = NULL;
    int r = secret_new(call->passphrase, strlen(call->passphrase), &passphrase);
    return r < 0 ? r : stores_open(lock->conductor->stores, passphrase, call->fresh, on_opened, lock, &lock->opening);
}

static int begin(struct lock *lock, struct lock_call *call)
{
    bool locked = lock->conductor->locked;
    if (call->unlock && !locked)
        return open_store(lock, call);
    if (locked != call->unlock || call->fresh)
        return -EACCES;
    int r = call->unlock ? 0 : seal_new_salt(&lock->next);
    if (r == 0)
        r = derive(lock, call->unlock ? &lock->seal : &lock->next, span_of(call->passphrase),
                   call->unlock ? on_unlock_derived : on_lock_derived);
    if (r == 0)
        call->passphrase = wipe_free(call->passphrase);
    return r;
}

static void serve(struct lock *lock, struct lock_call *call)
{
    struct failure why;
    int r = begin(lock, call);
    if (r == -EACCES) {
        lock_failure(&why);
        answer(lock, &why);
    } else if (r == -ENOTSUP) {
        failure_set(&why, FAILURE_STORE_UNAVAILABLE, CLASS_DEFINITE,
                    "the agent is not locked, and keeps its secrets in memory alone");
        answer(lock, &why);
    } else if (r < 0) {
        answer_busy(lock, strerror(-r));
    }
}

static void on_task(void *arg)
{
    struct lock *lock = arg;
    if (lock->job || lock->opening || lock->settling)
        return;
    if (lock->learning) {
        if (lock->conductor->locked || seal_new_salt(&lock->next) < 0 ||
            derive(lock, &lock->next, secret_span(lock->learning), on_learned) < 0)
            lock->learning = secret_unref(lock->learning);
        else
            return;
    }
    struct lock_call *call = first(lock);
    if (call)
        serve(lock, call);
}

/* From a task: nobody is told from within a call. */
static void pump(struct lock *lock)
{
    task_start(lock->conductor->loop, &lock->task, on_task, lock);
}

/* ---- without a person ---- */

static void forget_tokens(struct lock *lock)
{
    struct conductor *conductor = lock->conductor;
    struct holder **holders;
    size_t count;
    struct failure why;
    lock_failure(&why);
    (void)stores_lock(conductor->stores, NULL, NULL, NULL);
    if (cache_holders(conductor->cache, &holders, &count) < 0)
        return;
    for (size_t i = 0; i < count; i++)
        conductor_drop(conductor, holders[i], &why);
    free(holders);
}

bool conductor_lock_known(struct conductor *conductor, const char *why)
{
    struct lock *lock = conductor->lock;
    if (conductor->locked)
        return true;
    if (!lock->known) {
        log_event(LOG_LEVEL_WARNING, "no passphrase is known to lock with: cached tokens were forgotten", "REASON", why,
                  NULL);
        forget_tokens(lock);
        return false;
    }
    lock->learning = secret_unref(lock->learning);
    (void)seal_all(lock);
    log_event(LOG_LEVEL_INFO, "locked", "REASON", why, NULL);
    return conductor->locked;
}

/* ---- its life ---- */

int lock_new(struct conductor *conductor, struct lock **ret)
{
    struct lock *lock = calloc(1, sizeof(*lock));
    if (!lock)
        return -ENOMEM;
    lock->conductor = conductor;
    lock->calls.next = lock->calls.previous = &lock->calls;
    *ret = lock;
    return 0;
}

struct lock *lock_free(struct lock *lock)
{
    if (!lock)
        return NULL;
    while (first(lock))
        take_out(first(lock));
    task_stop(&lock->task);
    worker_cancel(lock->job);
    store_cancel(lock->opening);
    secret_unref(lock->learning);
    explicit_bzero(lock, sizeof(*lock));
    free(lock);
    return NULL;
}
