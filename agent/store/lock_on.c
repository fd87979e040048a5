#include "store/lock_on.h"

#include "cleanup.h"
#include "log.h"
#include "store/child.h"
#include "text.h"
#include <errno.h>
#include <stdio.h>

#define PROGRAM "keyring"

enum { SUSPEND = 1, SESSION = 2 };

struct lock_on {
    struct loop *loop;
    const struct stores *stores;
    struct lock_on_functions functions;
    unsigned wanted; /* of SUSPEND and SESSION */
    struct child child;
    bool greeted, listening;
    uint64_t asked;  /* the id of the request under way; 0: none */
    uint64_t pinged; /* the same of a ping, which waits for nothing else, nor anything else for it */
    bool late;       /* its answer is; the computer may have slept meanwhile */
    uint64_t last_id;
    unsigned pending, telling; /* events that nothing was done about yet; those that op=lock is told for */
    int64_t since_ms, locked_ms, pause_ms;
    struct timer deadline, start, act, ping;
    char trouble[LIMIT_TEXT]; /* why it does not listen, or what does not work all the same; "" */
};

static const char *const words[] = {
    [SUSPEND] = "suspend", [SESSION] = "session", [SUSPEND | SESSION] = "suspend session"};

static void on_start(void *arg);

static void changed(const struct lock_on *lock_on)
{
    if (lock_on->functions.changed)
        lock_on->functions.changed(lock_on->functions.arg);
}

/* ---- the program's life ---- */

static void end_program(struct lock_on *lock_on)
{
    timer_stop(&lock_on->deadline);
    timer_stop(&lock_on->act);
    timer_stop(&lock_on->ping);
    child_end(&lock_on->child, false);
    lock_on->greeted = lock_on->listening = false;
    lock_on->asked = lock_on->pinged = 0;
    lock_on->pending = lock_on->telling = 0;
}

/* It does not listen, for some time. One that did for long begins anew soon. */
static void rest(struct lock_on *lock_on, const char *reason)
{
    int64_t now = loop_now(lock_on->loop), pause = lock_on->pause_ms * 2;
    char trouble[LIMIT_TEXT];
    if (pause == 0 || (lock_on->listening && now - lock_on->since_ms >= LIMIT_BACKOFF_MS))
        pause = LIMIT_BACKOFF_FIRST_MS;
    lock_on->pause_ms = pause < LIMIT_BACKOFF_MS ? pause : LIMIT_BACKOFF_MS;
    text_clean_into(trouble, sizeof(trouble), span_of(reason));
    bool news = lock_on->listening || strcmp(trouble, lock_on->trouble) != 0;
    end_program(lock_on);
    memcpy(lock_on->trouble, trouble, sizeof(trouble));
    if (news) /* once, however often it is tried */
        log_event(LOG_LEVEL_WARNING, "lock_on does not listen", "REASON", trouble, NULL);
    (void)timer_start(lock_on->loop, &lock_on->start, now + lock_on->pause_ms, on_start, lock_on);
    changed(lock_on);
}

static void on_deadline(void *arg)
{
    rest(arg, "the program that listens to logind does not answer");
}

static int send_request(struct lock_on *lock_on, const char *op, const char *events)
{
    char id[24];
    (void)snprintf(id, sizeof(id), "%llu", (unsigned long long)++lock_on->last_id);
    const struct store_field fields[] = {{"id", id}, {"op", op}, {"events", events}};
    return child_send(&lock_on->child, fields, ELEMENTS(fields), (struct span){0});
}

static int request(struct lock_on *lock_on, const char *op, const char *events)
{
    int r = send_request(lock_on, op, events);
    if (r < 0)
        return r;
    lock_on->asked = lock_on->last_id;
    return timer_start(lock_on->loop, &lock_on->deadline, loop_now(lock_on->loop) + LIMIT_STORE_MS, on_deadline,
                       lock_on);
}

/* ---- is it still there? one that was stopped would not tell of the next sleep ---- */

static void on_ping(void *arg);

static void plan_ping(struct lock_on *lock_on, int64_t wait_ms)
{
    if (timer_start(lock_on->loop, &lock_on->ping, loop_now(lock_on->loop) + wait_ms, on_ping, lock_on) < 0)
        rest(lock_on, "out of memory");
}

static void on_ping(void *arg)
{
    struct lock_on *lock_on = arg;
    if (lock_on->pinged && lock_on->late) {
        on_deadline(lock_on);
        return;
    }
    lock_on->late = lock_on->pinged != 0;
    if (!lock_on->pinged && send_request(lock_on, "ping", NULL) < 0) {
        rest(lock_on, "out of memory");
        return;
    }
    if (!lock_on->pinged)
        lock_on->pinged = lock_on->last_id;
    plan_ping(lock_on, LIMIT_STORE_MS);
}

static void take_pong(struct lock_on *lock_on)
{
    lock_on->pinged = 0;
    lock_on->late = false;
    plan_ping(lock_on, LIMIT_PING_MS);
}

/* ---- what it says ---- */

static void on_act(void *arg)
{
    struct lock_on *lock_on = arg;
    bool sleep = lock_on->pending & SUSPEND;
    lock_on->functions.lock(lock_on->functions.arg, sleep ? "the computer goes to sleep" : "the session was locked");
    lock_on->locked_ms = loop_now(lock_on->loop);
    lock_on->telling = lock_on->pending;
    lock_on->pending = 0;
    if (request(lock_on, "lock", NULL) < 0)
        rest(lock_on, "out of memory");
}

/* One thing after the other, and not more often than once a second. */
static void plan(struct lock_on *lock_on)
{
    int64_t now = loop_now(lock_on->loop), due = lock_on->locked_ms + LIMIT_LOCK_ON_MS;
    if (!lock_on->pending || lock_on->asked)
        return;
    if (!lock_on->locked_ms || due < now)
        due = now;
    if (timer_start(lock_on->loop, &lock_on->act, due, on_act, lock_on) < 0)
        on_act(lock_on);
}

static void take_event(struct lock_on *lock_on, const char *event, const char *reason)
{
    unsigned which = strcmp(event, "suspend") == 0 ? SUSPEND : strcmp(event, "session") == 0 ? SESSION : 0;
    if (strcmp(event, "lost") == 0) {
        rest(lock_on, reason ? reason : "it was lost");
    } else if (!(which & lock_on->wanted) || (which & (lock_on->pending | lock_on->telling))) {
        rest(lock_on, "the program that listens to logind told what it must not");
    } else {
        lock_on->pending |= which;
        plan(lock_on);
    }
}

static void take_answer(struct lock_on *lock_on, const struct store_frame *frame)
{
    const char *result = store_frame_text(frame, "result"), *reason = store_frame_text(frame, "reason");
    bool first = !lock_on->listening;
    if (strcmp(result, "ok") != 0) {
        rest(lock_on, reason ? reason : "the program that listens to logind gave no reason");
        return;
    }
    timer_stop(&lock_on->deadline);
    lock_on->asked = 0;
    lock_on->telling = 0;
    if (first) {
        lock_on->listening = true;
        lock_on->since_ms = loop_now(lock_on->loop);
        text_clean_into(lock_on->trouble, sizeof(lock_on->trouble), span_of(reason ? reason : ""));
        log_event(LOG_LEVEL_INFO, "lock_on listens", "EVENTS", words[lock_on->wanted], "REASON",
                  *lock_on->trouble ? lock_on->trouble : NULL, NULL);
        changed(lock_on);
        plan_ping(lock_on, LIMIT_PING_MS);
    }
    plan(lock_on);
}

static void take_frame(struct lock_on *lock_on, const struct store_frame *frame)
{
    const char *event = store_frame_text(frame, "event");
    uint64_t number = 0;
    if (!lock_on->greeted) {
        lock_on->greeted = store_frame_number(frame, "hello", 0, &number) == 0 && number == 1;
        if (!lock_on->greeted)
            rest(lock_on, "the program that listens to logind does not speak this version's protocol");
    } else if (event && lock_on->listening) {
        take_event(lock_on, event, store_frame_text(frame, "reason"));
    } else if (lock_on->asked && store_frame_text(frame, "result") &&
               store_frame_number(frame, "id", 0, &number) == 0 && number == lock_on->asked) {
        take_answer(lock_on, frame);
    } else if (lock_on->pinged && store_frame_text(frame, "result") &&
               store_frame_number(frame, "id", 0, &number) == 0 && number == lock_on->pinged) {
        take_pong(lock_on);
    } else {
        rest(lock_on, "the program that listens to logind said what it was not asked");
    }
}

static void take_frames(struct lock_on *lock_on)
{
    struct store_frame frame;
    struct buffer bytes;
    int r;
    while ((r = child_take(&lock_on->child, &bytes, &frame)) > 0) {
        take_frame(lock_on, &frame);
        buffer_free(&bytes);
    }
    if (r < 0)
        rest(lock_on, "the program that listens to logind wrote something that is no message");
}

static void on_bytes(void *arg, uint32_t events)
{
    struct lock_on *lock_on = arg;
    if (events & EPOLLOUT)
        child_send_more(&lock_on->child);
    int r = child_receive(&lock_on->child);
    if (r > 0)
        take_frames(lock_on);
    else if (r < 0)
        rest(lock_on, "the program that listens to logind ended");
}

static void on_end(void *arg, uint32_t events)
{
    struct lock_on *lock_on = arg;
    (void)events;
    while (child_runs(&lock_on->child) && child_receive(&lock_on->child) > 0) /* its last words */
        take_frames(lock_on);
    if (child_runs(&lock_on->child))
        rest(lock_on, "the program that listens to logind ended");
}

static void on_start(void *arg)
{
    struct lock_on *lock_on = arg;
    char path[STORES_PATH], reason[LIMIT_TEXT];
    stores_find_program(lock_on->stores, PROGRAM, path);
    int r = child_may_start(&lock_on->child) ? 0 : -EBUSY;
    if (r == 0)
        r = child_start(&lock_on->child, path, NULL, on_bytes, on_end, lock_on);
    if (r == 0)
        r = request(lock_on, "watch", words[lock_on->wanted]);
    if (r == 0)
        return;
    (void)snprintf(reason, sizeof(reason), "mltoken-store-" PROGRAM ", which listens to logind: %s",
                   r == -ENOENT ? "there is no such program" : strerror(-r));
    rest(lock_on, reason);
}

/* ---- the outside ---- */

void lock_on_configure(struct lock_on *lock_on, bool suspend, bool session)
{
    unsigned wanted = (suspend ? SUSPEND : 0) | (session ? SESSION : 0);
    if (wanted == lock_on->wanted)
        return;
    end_program(lock_on);
    timer_stop(&lock_on->start);
    lock_on->wanted = wanted;
    lock_on->pause_ms = 0;
    *lock_on->trouble = '\0';
    if (wanted) /* from the loop: whoever configures goes on first */
        (void)timer_start(lock_on->loop, &lock_on->start, loop_now(lock_on->loop), on_start, lock_on);
}

bool lock_on_describe(const struct lock_on *lock_on, struct buffer *to)
{
    const char *trouble = lock_on->trouble;
    if (!lock_on->wanted)
        return false;
    buffer_format(to, "%s: %s%s%s", words[lock_on->wanted],
                  lock_on->listening ? "listening"
                  : *trouble         ? "not listening"
                                     : "starting",
                  *trouble ? ": " : "", trouble);
    return lock_on->listening;
}

int lock_on_new(struct loop *loop, const struct stores *stores, const struct lock_on_functions *functions,
                struct lock_on **ret)
{
    struct lock_on *lock_on = calloc(1, sizeof(*lock_on));
    if (!lock_on)
        return -ENOMEM;
    lock_on->loop = loop;
    lock_on->stores = stores;
    lock_on->functions = *functions;
    child_init(&lock_on->child, loop);
    *ret = lock_on;
    return 0;
}

struct lock_on *lock_on_free(struct lock_on *lock_on)
{
    if (!lock_on)
        return NULL;
    end_program(lock_on);
    child_free(&lock_on->child, false);
    timer_stop(&lock_on->start);
    free(lock_on);
    return NULL;
}
