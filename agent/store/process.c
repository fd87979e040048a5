#include "store/process.h"

#include "cleanup.h"
#include "log.h"
#include "store/backend.h"
#include "store/child.h"
#include "store/opening.h"
#include "text.h"
#include <stdio.h>

enum { MOST_ITEMS = 4096 /* in one list */ };

struct process {
    struct store store;
    char *path;
    char *const *setting;
    struct child child;
    struct timer deadline;
    struct task task;
    bool greeted, asked; /* the program said hello; the first call is under way */
    bool waited;         /* the present call's deadline was put off already */
    bool outdated;       /* it was started with another setting */
    bool telling;        /* it is being told the passphrase, before the first call */
    struct opening opening;
    int64_t hush_ms; /* who asked before that time has no person asked: one says no once, not for each that waits */
    uint64_t last_id;
    char waiting[LIMIT_TEXT], refusing[LIMIT_TEXT];
};

static void pump(struct process *);

static struct process *process_of(struct store *store)
{
    return (struct process *)(void *)store;
}

/* ---- the program's life ---- */

/* While a person is being asked it may close the window first: it does nothing else any more. */
static void end_program(struct process *process)
{
    timer_stop(&process->deadline);
    child_end(&process->child, process->waited);
    process->greeted = process->asked = process->waited = process->telling = process->opening.told = false;
    *process->waiting = '\0';
}

static void on_bytes(void *arg, uint32_t events);
static void on_end(void *arg, uint32_t events);
static void take_frames(struct process *);

/* ---- failures ---- */

static void fail_first(struct process *process, int error, const char *reason)
{
    struct store_call *call = store_first(&process->store);
    if (call)
        store_answer_error(call, error, reason);
}

/* Those that wait now; who comes meanwhile is not meant. */
static void fail_all(struct process *process, int error, const char *reason)
{
    struct store_call *last = process->store.calls.previous;
    for (bool more = store_first(&process->store) != NULL; more;) {
        struct store_call *call = store_first(&process->store);
        more = call != last;
        store_answer_error(call, error, reason);
    }
}

static void say(const struct process *process, const char *reason)
{
    log_event(LOG_LEVEL_WARNING, "a store program was given up", "STORE", process->store.name, "REASON", reason, NULL);
}

/* It broke the protocol or ended: the request at hand fails, the others get a new program. One that never said hello
 * would not do better the next time. */
static void give_up(struct process *process, const char *problem)
{
    char reason[LIMIT_TEXT];
    bool greeted = process->greeted, asked = process->asked;
    (void)snprintf(reason, sizeof(reason), "the program of store %s %s", process->store.name, problem);
    end_program(process);
    say(process, reason);
    if (asked && greeted)
        fail_first(process, STORE_FAILED, reason);
    else if (asked)
        fail_all(process, STORE_FAILED, reason);
    pump(process);
}

/* Of the request at hand. */
static int64_t patience(struct process *process)
{
    const struct store_call *call = store_first(&process->store);
    return process->telling || (call && call->op == STORE_OPEN) ? LIMIT_DERIVE_MS : LIMIT_STORE_MS;
}

/* A person was asked in vain. */
static void hush(struct process *process)
{
    process->hush_ms = loop_now(process->store.loop) + LIMIT_STORE_HUSH_MS;
}

static void on_deadline(void *arg)
{
    struct process *process = arg;
    char reason[LIMIT_TEXT];
    if (process->waited) {
        hush(process);
        (void)snprintf(reason, sizeof(reason), "store %s waited %d s in vain: %.300s", process->store.name,
                       LIMIT_STORE_WAIT_MS / 1000, process->waiting);
    } else {
        (void)snprintf(reason, sizeof(reason), "store %s does not answer within %lld s", process->store.name,
                       (long long)patience(process) / 1000);
    }
    end_program(process);
    say(process, reason);
    fail_all(process, STORE_FAILED, reason);
    pump(process);
}

/* One that ends while nothing is asked of it costs nobody anything, and what changes nothing or can be done twice is
 * asked once more. Whether a put took place is not known: who asked for it has to look. */
static void ended(struct process *process)
{
    struct store_call *call = process->asked ? store_first(&process->store) : NULL;
    bool twice = call && call->op != STORE_PUT && !(call->op == STORE_OPEN && call->fresh);
    bool again = twice && process->greeted && !call->again;
    if (again)
        call->again = true;
    if (call && !again)
        give_up(process, "ended without an answer");
    else
        end_program(process);
    pump(process);
}

static void on_end(void *arg, uint32_t events)
{
    struct process *process = arg;
    (void)events;
    while (child_runs(&process->child) && child_receive(&process->child) > 0) /* its last words may be the answer */
        take_frames(process);
    if (child_runs(&process->child))
        ended(process);
}

/* ---- answers ---- */

static int error_of_kind(const char *kind)
{
    if (kind && strcmp(kind, "unavailable") == 0)
        return STORE_UNAVAILABLE;
    if (kind && (strcmp(kind, "locked") == 0 || strcmp(kind, "denied") == 0))
        return STORE_LOCKED;
    if (kind && strcmp(kind, "full") == 0)
        return -ENOSPC;
    if (kind && strcmp(kind, "corrupt") == 0)
        return -EBADMSG;
    return STORE_FAILED;
}

static bool is_hex(const char *text)
{
    return strlen(text) == STORE_BINDING && strspn(text, "0123456789abcdef") == STORE_BINDING;
}

/* Cuts the lines PROFILE TAB NAME TAB BINDING up where they lie: the number of items, or -EBADMSG. */
static ssize_t read_items(struct span value, struct store_item items[static MOST_ITEMS])
{
    char *at = (char *)(uintptr_t)value.data, *end = at + value.length;
    size_t count = 0;
    while (at < end) {
        char *newline = memchr(at, '\n', (size_t)(end - at));
        char *tab = newline ? memchr(at, '\t', (size_t)(newline - at)) : NULL;
        char *second = tab ? memchr(tab + 1, '\t', (size_t)(newline - tab - 1)) : NULL;
        if (!second || count == MOST_ITEMS)
            return -EBADMSG;
        *newline = *tab = *second = '\0';
        if (!is_hex(second + 1) || strlen(at) > LIMIT_PROFILE_NAME || strlen(tab + 1) > LIMIT_SECRET_NAME)
            return -EBADMSG;
        items[count++] = (struct store_item){.profile = at, .name = tab + 1, .binding = second + 1};
        at = newline + 1;
    }
    return (ssize_t)count;
}

/* The request at hand has its answer. */
static void settle(struct process *process)
{
    timer_stop(&process->deadline);
    process->asked = process->waited = false;
    *process->waiting = '\0';
}

static void answer_list(struct process *process, struct store_call *call, const struct store_frame *frame)
{
    _cleanup_free_ struct store_item *items = calloc(MOST_ITEMS, sizeof(*items));
    ssize_t count = items ? read_items(frame->value, items) : -ENOMEM;
    if (count < 0) {
        give_up(process, "gave a list that is none");
        return;
    }
    settle(process);
    store_answer(call, &(struct store_result){
                           .items = items, .item_count = (size_t)count, .reason = store_frame_text(frame, "reason")});
}

/* A person was asked, or would have been. */
static void note_refusal(struct process *process, const struct store_call *call, struct store_result *result,
                         char reason[static LIMIT_TEXT])
{
    if (process->waited)
        hush(process);
    if (!call->hushed)
        return;
    (void)snprintf(reason, LIMIT_TEXT,
                   "store %s is locked, and a person was asked in vain a moment ago; try again in a few seconds",
                   process->store.name);
    result->reason = reason;
}

/* What an answer means for the calls to come. A program that cannot forget its keys is ended: that does it. */
static void note_answer(struct process *process, const struct store_call *call, const struct store_result *result)
{
    bool ordinary = call->op != STORE_OPEN && call->op != STORE_LOCK;
    if (ordinary && result->error == STORE_LOCKED)
        text_clean_into(process->refusing, sizeof(process->refusing), span_of(result->reason));
    else if (result->error == 0 && call->op != STORE_LOCK)
        *process->refusing = '\0';
    if (call->op == STORE_OPEN && result->error == 0) {
        process->opening.told = true;
        (void)opening_keep(&process->opening, call->value); /* else a program that is started anew waits for a person */
    }
    if (call->op == STORE_LOCK)
        process->opening.told = false;
    if (call->op == STORE_LOCK && result->error != 0) {
        end_program(process);
        pump(process);
    }
}

/* The program has been told the passphrase. When that does not open the store any more, the calls will say so. */
static void answer_telling(struct process *process, const struct store_frame *frame, bool ok)
{
    settle(process);
    process->telling = false;
    process->opening.told = true;
    if (!ok)
        log_event(LOG_LEVEL_WARNING, "the passphrase that opened a store does so no longer", "STORE",
                  process->store.name, "REASON", store_frame_text(frame, "reason"), NULL);
    pump(process);
}

/* The frame is in the way no longer when this is called: what it points to is. */
static void answer_call(struct process *process, struct store_call *call, const struct store_frame *frame, int error)
{
    struct store_result result = {.error = error, .reason = store_frame_text(frame, "reason")};
    char reason[LIMIT_TEXT];
    _cleanup_secret_ struct secret *value = NULL;
    bool versioned = call->op == STORE_GET || call->op == STORE_PUT;
    if (store_frame_number(frame, "version", 0, &result.version) < 0 ||
        (error == 0 && versioned && result.version == 0)) {
        give_up(process, "answered without a version");
        return;
    }
    bool has_value = (error == 0 && call->op == STORE_GET) || (error == STORE_CONFLICT && frame->value.length > 0);
    int r = has_value ? secret_new(frame->value.data, frame->value.length, &value) : 0;
    if (r < 0) {
        result.error = r;
        result.reason = r == -ENOMEM ? "the memory for secrets is full" : "a kept secret is too long";
    }
    result.value = value;
    if (result.error && !result.reason)
        result.reason = "no reason was given";
    if (result.error == STORE_LOCKED)
        note_refusal(process, call, &result, reason);
    settle(process);
    note_answer(process, call, &result);
    store_answer(call, &result);
}

static void note_waiting(struct process *process, const struct store_frame *frame)
{
    const char *reason = store_frame_text(frame, "reason");
    text_clean_into(process->waiting, sizeof(process->waiting), span_of(reason ? reason : "a person is asked"));
    if (!process->waited) /* once: a program cannot put it off for ever */
        (void)timer_start(process->store.loop, &process->deadline, loop_now(process->store.loop) + LIMIT_STORE_WAIT_MS,
                          on_deadline, process);
    process->waited = true;
}

static void take_frame(struct process *process, const struct store_frame *frame)
{
    static const struct {
        const char *result;
        int error;
    } plain[] = {{"ok", 0}, {"missing", STORE_MISSING}, {"bound", STORE_BOUND}, {"conflict", STORE_CONFLICT}};
    uint64_t number = 0;
    if (!process->greeted) {
        process->greeted = store_frame_number(frame, "hello", 0, &number) == 0 && number == 1;
        if (!process->greeted)
            give_up(process, "does not speak this version's protocol");
        return;
    }
    struct store_call *call = process->asked ? store_first(&process->store) : NULL;
    const char *result = store_frame_text(frame, "result");
    if (!call || !result || store_frame_number(frame, "id", 0, &number) < 0 || number != process->last_id) {
        give_up(process, "answered what was not asked");
        return;
    }
    if (strcmp(result, "waiting") == 0) {
        note_waiting(process, frame);
        return;
    }
    if (process->telling) {
        answer_telling(process, frame, strcmp(result, "ok") == 0);
        return;
    }
    for (size_t i = 0; i < ELEMENTS(plain); i++)
        if (strcmp(result, plain[i].result) == 0) {
            if (plain[i].error == 0 && call->op == STORE_LIST)
                answer_list(process, call, frame);
            else
                answer_call(process, call, frame, plain[i].error);
            return;
        }
    if (strcmp(result, "fail") == 0)
        answer_call(process, call, frame, error_of_kind(store_frame_text(frame, "kind")));
    else
        give_up(process, "gave an answer that is none");
}

/* Whole frames, one after the other; each may end the program. */
static void take_frames(struct process *process)
{
    struct store_frame frame;
    struct buffer bytes;
    int r;
    while ((r = child_take(&process->child, &bytes, &frame)) > 0) {
        take_frame(process, &frame);
        buffer_free(&bytes);
    }
    if (r < 0)
        give_up(process, "wrote something that is no message");
}

static void on_bytes(void *arg, uint32_t events)
{
    struct process *process = arg;
    if (events & EPOLLOUT)
        child_send_more(&process->child);
    int r = child_receive(&process->child);
    if (r > 0)
        take_frames(process);
    else if (r == -ENOMEM)
        give_up(process, "wrote more than there is memory for");
    else if (r < 0)
        ended(process);
    pump(process);
}

/* ---- requests ---- */

static int send_request(struct process *process, const struct store_call *call)
{
    static const char *const ops[] = {[STORE_GET] = "get",   [STORE_PUT] = "put",     [STORE_DROP] = "drop",
                                      [STORE_LIST] = "list", [STORE_OPEN] = "unlock", [STORE_LOCK] = "lock"};
    char id[24], expect[24];
    (void)snprintf(id, sizeof(id), "%llu", (unsigned long long)++process->last_id);
    (void)snprintf(expect, sizeof(expect), "%llu", (unsigned long long)call->expect);
    const struct store_field fields[] = {
        {"id", id},
        {"op", ops[call->op]},
        {"profile", call->profile},
        {"name", call->name},
        {"binding", *call->binding ? call->binding : NULL},
        {"expect", call->op == STORE_PUT && call->expect != STORE_ANY ? expect : NULL},
        {"new", call->fresh ? "1" : NULL},
        {"ask", call->quiet || call->hushed ? "no" : NULL},
    };
    return child_send(&process->child, fields, ELEMENTS(fields),
                      call->value ? secret_span(call->value) : (struct span){0});
}

static int start_if_needed(struct process *process)
{
    char reason[LIMIT_TEXT];
    if (child_runs(&process->child))
        return 0;
    if (!child_may_start(&process->child)) {
        (void)snprintf(reason, sizeof(reason), "programs of store %s hang and cannot be ended", process->store.name);
        fail_all(process, STORE_FAILED, reason);
        return -EBUSY;
    }
    int r = child_start(&process->child, process->path, *process->setting, on_bytes, on_end, process);
    if (r < 0) {
        (void)snprintf(reason, sizeof(reason),
                       r == -ENOENT ? "there is no program mltoken-store-%s" : "mltoken-store-%s: %s",
                       process->store.name, strerror(-r));
        fail_all(process, STORE_UNAVAILABLE, reason);
    }
    return r;
}

static void on_task(void *arg)
{
    struct process *process = arg;
    struct store_call *call = store_first(&process->store);
    if (!call || process->asked)
        return;
    if (process->outdated)
        end_program(process);
    process->outdated = false;
    if (call->op == STORE_LOCK && !child_runs(&process->child)) { /* who does not run knows nothing */
        store_answer(call, &(struct store_result){0});
        pump(process);
        return;
    }
    if (start_if_needed(process) < 0)
        return;
    call->hushed = !call->quiet && call->since_ms < process->hush_ms;
    const struct store_call tell = {.op = STORE_OPEN, .value = opening_due(&process->opening)};
    process->telling = tell.value && call->op != STORE_OPEN && call->op != STORE_LOCK;
    int r = send_request(process, process->telling ? &tell : call);
    if (r < 0) {
        store_answer_error(call, r, r == -EMSGSIZE ? "the secret is too long to be kept" : strerror(-r));
        pump(process);
        return;
    }
    process->asked = true;
    process->waited = false;
    (void)timer_start(process->store.loop, &process->deadline, loop_now(process->store.loop) + patience(process),
                      on_deadline, process);
}

/* Sends the next request, from a task: nobody is told from within a call. */
static void pump(struct process *process)
{
    if (store_first(&process->store) && !process->asked)
        task_start(process->store.loop, &process->task, on_task, process);
}

static void added(struct store *store)
{
    pump(process_of(store));
}

static const char *waiting(const struct store *store)
{
    const struct process *process = (const struct process *)(const void *)store;
    return *process->waiting ? process->waiting : NULL;
}

static const char *refusing(const struct store *store)
{
    const struct process *process = (const struct process *)(const void *)store;
    return *process->refusing ? process->refusing : NULL;
}

/* Who locks the agent does not answer the question that a program is asking. */
static int process_lock(struct store *store, struct seal *seal)
{
    struct process *process = process_of(store);
    int r = opening_lock(&process->opening, seal);
    if (process->waited) {
        end_program(process);
        fail_all(process, STORE_FAILED, "the agent was locked");
    } else if (process->telling) { /* which takes its time, and is not to be told any more */
        end_program(process);
        pump(process);
    }
    return r;
}

static int process_unlock(struct store *store, struct seal_key *key)
{
    return opening_unlock(&process_of(store)->opening, key);
}

static void process_free(struct store *store)
{
    struct process *process = process_of(store);
    child_free(&process->child, process->waited);
    timer_stop(&process->deadline);
    task_stop(&process->task);
    opening_forget(&process->opening);
    free(process->path);
    free(process);
}

void store_process_renew(struct store *store)
{
    struct process *process = process_of(store);
    process->outdated = child_runs(&process->child);
}

int store_process_new(struct loop *loop, const char *name, const char *path, char *const *setting, struct store **ret)
{
    static const struct store_kind kind = {.added = added,
                                           .waiting = waiting,
                                           .refusing = refusing,
                                           .lock = process_lock,
                                           .unlock = process_unlock,
                                           .free = process_free};
    struct process *process = calloc(1, sizeof(*process));
    if (!process)
        return -ENOMEM;
    child_init(&process->child, loop);
    process->path = strdup(path);
    process->setting = setting;
    int r = store_init(&process->store, &kind, loop, name);
    if (r < 0 || !process->path) {
        free(process->path);
        free(process->store.name);
        free(process);
        return -ENOMEM;
    }
    *ret = &process->store;
    return 0;
}
