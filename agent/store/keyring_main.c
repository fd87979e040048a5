/* mltoken-store-keyring: secrets in the desktop's keyring (the Secret Service: gnome-keyring, KWallet, KeePassXC), by
 * libsecret. See store/protocol.h. Its calls block, so it is a program of its own that the agent kills when one hangs.
 */
#include "cleanup.h"
#include "store/keyring_bus.h"
#include "store/keyring_items.h"
#include "store/keyring_lock.h"
#include "store/keyring_logind.h"
#include "store/keyring_text.h"
#include "store/program.h"
#include <errno.h>
#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>

enum { MOST_ROUNDS = 3 /* a keyring may be locked again while we look */ };

/* What outlives a request. */
struct state {
    struct keyring keyring;
    struct buffer room; /* for one packed or unpacked secret */
    struct store_program *program;
    struct keyring_logind *logind; /* NULL: nothing is watched for */
};

/* One request. Everything it holds is let go by end(). */
struct work {
    struct keyring *keyring;
    const struct store_request *request;
    struct store_program *program;
    struct buffer *room;
    SecretCollection *collection;
    GList *items;
    int lock;
};

static void say_waiting(void *arg, const char *reason)
{
    store_say_waiting(arg, reason);
}

static void answer_fail(struct work *work)
{
    store_answer_fail(work->program, work->keyring->kind, "%s", work->keyring->reason);
}

static void let_go(struct work *work)
{
    keyring_items_free(g_steal_pointer(&work->items));
    if (work->lock >= 0)
        close(work->lock);
    work->lock = -1;
}

static void end(struct work *work, bool failed)
{
    let_go(work);
    g_clear_object(&work->collection);
    if (failed) /* the next request starts anew */
        keyring_close(work->keyring);
    explicit_bzero(work->room->data, work->room->capacity);
    buffer_clear(work->room);
    while (g_main_context_iteration(NULL, FALSE)) /* what libraries put off */
        ;
}

/* What the request means, under the lock. */
static int search(struct work *work, bool exclusive)
{
    work->lock = keyring_lock_take(exclusive);
    if (work->lock == -EBUSY)
        return keyring_fail(work->keyring, "busy", "another agent is using the keyring");
    return keyring_items_find(work->keyring, work->request->profile, work->request->name, &work->items);
}

/* The same, unlocked. Nobody holds the lock file while a person is asked. */
static int find(struct work *work, bool exclusive)
{
    for (int round = 0; round < MOST_ROUNDS; round++) {
        int r = search(work, exclusive);
        g_autoptr(GList) locked = r == 0 ? keyring_items_locked(work->items) : NULL;
        if (!locked)
            return r;
        GList *items = g_steal_pointer(&work->items);
        let_go(work);
        r = keyring_unlock(work->keyring, locked);
        keyring_items_free(items);
        if (r < 0)
            return r;
    }
    return keyring_fail(work->keyring, "locked", "the keyring was locked again at once");
}

/* ---- get ---- */

static int get(struct work *work)
{
    SecretItem *item = NULL;
    uint64_t version = 0;
    int r = find(work, false);
    if (r == 0)
        r = keyring_items_newest(work->keyring, work->items, work->request->binding, &item, &version, work->room);
    if (r < 0)
        return r;
    if (item) {
        store_answer_ok(work->program, version, buffer_span(work->room));
        return 0;
    }
    r = keyring_items_newest(work->keyring, work->items, NULL, &item, &version, NULL);
    if (r == 0 && item)
        store_answer_bound(work->program, version);
    else if (r == 0)
        store_answer_missing(work->program);
    return r;
}

/* ---- put ---- */

/* What is there is not what the request expects. */
static int answer_conflict(struct work *work, SecretItem *newest, uint64_t version)
{
    const char *binding = work->request->binding;
    if (newest && !keyring_item_bound_to(newest, binding)) {
        store_answer_bound(work->program, version);
        return 0;
    }
    int r = keyring_items_newest(work->keyring, work->items, binding, &newest, &version, work->room);
    if (r == 0)
        store_answer_conflict(work->program, version, buffer_span(work->room));
    return r;
}

/* Versions are milliseconds, or one more than the last: so they grow across a removal too, of which nothing stays. */
static uint64_t next_version(uint64_t version)
{
    uint64_t now = (uint64_t)g_get_real_time() / 1000;
    return version >= now ? version + 1 : now;
}

/* Those for other receivers, and one in another collection. The new one is stored: what stays is tried again next time.
 */
static void remove_others(struct work *work, SecretItem *written)
{
    const char *path = g_dbus_proxy_get_object_path(G_DBUS_PROXY(written));
    for (GList *at = work->items; at; at = at->next)
        if (g_strcmp0(g_dbus_proxy_get_object_path(G_DBUS_PROXY(at->data)), path) != 0)
            (void)keyring_item_remove(work->keyring, at->data);
}

static int write_item(struct work *work, uint64_t version)
{
    const struct store_request *request = work->request;
    if (keyring_text_pack(work->room, version, request->value) < 0)
        return keyring_fail(work->keyring, "denied", "the secret is too long for the keyring");
    g_autoptr(SecretItem) written = NULL;
    int r = keyring_item_write(work->keyring, work->collection, request->profile, request->name, request->binding,
                               buffer_span(work->room), &written);
    if (r < 0)
        return r;
    remove_others(work, written);
    store_answer_ok(work->program, version, (struct span){0});
    return 0;
}

static int put(struct work *work)
{
    SecretItem *newest = NULL;
    uint64_t version = 0;
    int r = keyring_default_collection(work->keyring, true, &work->collection);
    if (r == 0)
        r = find(work, true);
    if (r < 0)
        return r;
    r = keyring_items_newest(work->keyring, work->items, NULL, &newest, &version, NULL);
    bool corrupt = r < 0 && strcmp(work->keyring->kind, "corrupt") == 0;
    if (r < 0 && !(corrupt && !work->request->expects)) /* who expects nothing replaces what nobody can read */
        return r;
    if (work->request->expects && work->request->expect != version)
        return answer_conflict(work, newest, version);
    return write_item(work, next_version(version));
}

/* ---- drop, list ---- */

static int drop(struct work *work)
{
    int r = find(work, true);
    for (GList *at = work->items; at && r == 0; at = at->next)
        r = keyring_item_remove(work->keyring, at->data);
    if (r == 0)
        store_answer_ok(work->program, 0, (struct span){0});
    return r;
}

static int compare(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The lines of what was found, sorted. Freed by g_ptr_array_unref(). */
static GPtrArray *make_lines(struct work *work)
{
    GPtrArray *lines = g_ptr_array_new_with_free_func(g_free);
    for (GList *at = work->items; at; at = at->next) {
        g_autofree char *profile = keyring_item_attribute(at->data, "profile");
        g_autofree char *name = keyring_item_attribute(at->data, "name");
        g_autofree char *binding = keyring_item_attribute(at->data, "binding");
        if (profile && name && binding)
            g_ptr_array_add(lines, g_strdup_printf("%s\t%s\t%s\n", profile, name, binding));
    }
    g_ptr_array_sort(lines, compare);
    return lines;
}

static bool same_profile(const char *a, const char *b)
{
    size_t length = strcspn(a, "\t");
    return strncmp(a, b, length) == 0 && b[length] == '\t';
}

static bool comes_after(const char *line, const char *profile)
{
    size_t length = strcspn(line, "\t"), other = strlen(profile);
    int order = memcmp(line, profile, length < other ? length : other);
    return order > 0 || (order == 0 && length > other);
}

/* Attributes can be read while a keyring is locked, but not before it was opened once: then there seems to be nothing.
 */
static int find_readable(struct work *work)
{
    int r = search(work, false);
    for (GList *at = work->items; at && r == 0; at = at->next) {
        g_autofree char *profile = keyring_item_attribute(at->data, "profile");
        if (profile)
            return 0;
    }
    let_go(work);
    if (r == 0)
        r = keyring_default_collection(work->keyring, false, &work->collection);
    return r == 0 ? search(work, false) : r;
}

static int list(struct work *work)
{
    int r = find_readable(work);
    if (r < 0)
        return r;
    g_autoptr(GPtrArray) lines = make_lines(work);
    g_autoptr(GList) locked = keyring_items_locked(work->items);
    if (locked)
        store_note(work->program, "the keyring is locked; a window to unlock it opens when a secret is needed");
    size_t whole = 0; /* where the last whole profile ends */
    for (guint i = 0; i < lines->len; i++) {
        const char *line = g_ptr_array_index(lines, i);
        if (work->request->after && !comes_after(line, work->request->after))
            continue;
        if (i > 0 && !same_profile(g_ptr_array_index(lines, i - 1), line))
            whole = work->room->length;
        if (work->room->length + strlen(line) > LIMIT_SECRET) {
            if (whole == 0)
                return keyring_fail(work->keyring, "denied", "one profile has more secrets than can be listed");
            store_answer_more(work->program, (struct span){work->room->data, whole});
            return 0;
        }
        buffer_text(work->room, line);
    }
    store_answer_ok(work->program, 0, buffer_span(work->room));
    return 0;
}

/* ---- the program ---- */

static void serve(struct state *state, const struct store_request *request, struct store_program *program,
                  int (*function)(struct work *))
{
    struct work work = {
        .keyring = &state->keyring, .request = request, .program = program, .room = &state->room, .lock = -1};
    state->keyring.quiet = request->quiet;
    int r = keyring_open(&state->keyring);
    if (r == 0)
        r = function(&work);
    if (r < 0)
        answer_fail(&work);
    end(&work, r < 0);
}

static void serve_get(void *state, const struct store_request *request, struct store_program *program)
{
    serve(state, request, program, get);
}

static void serve_put(void *state, const struct store_request *request, struct store_program *program)
{
    serve(state, request, program, put);
}

static void serve_drop(void *state, const struct store_request *request, struct store_program *program)
{
    serve(state, request, program, drop);
}

static void serve_list(void *state, const struct store_request *request, struct store_program *program)
{
    serve(state, request, program, list);
}

/* ---- watching ---- */

static void on_event(void *arg, const char *event)
{
    const struct state *state = arg;
    store_say_event(state->program, event, NULL);
}

static void on_lost(void *arg, const char *reason)
{
    const struct state *state = arg;
    store_say_event(state->program, "lost", reason);
}

static void serve_watch(void *arg, const struct store_request *request, struct store_program *program)
{
    struct state *state = arg;
    const struct keyring_logind_functions functions = {.happened = on_event, .lost = on_lost, .arg = state};
    char reason[KEYRING_REASON];
    if (state->logind)
        store_answer_fail(program, "invalid", "it watches already");
    else if (keyring_logind_new(request->suspend, request->session, &functions, &state->logind, reason,
                                sizeof(reason)) < 0)
        store_answer_fail(program, "unavailable", "%s", reason);
    else
        store_answer_watching(program, reason);
}

/* No key is held here. */
static void serve_lock(void *arg, const struct store_request *request, struct store_program *program)
{
    const struct state *state = arg;
    (void)request;
    store_answer_ok(program, 0, (struct span){0});
    if (state->logind) /* then it may tell of more */
        keyring_logind_locked(state->logind);
}

static gboolean on_input(int fd, GIOCondition condition, void *arg)
{
    bool *ready = arg;
    (void)fd, (void)condition;
    *ready = true;
    return G_SOURCE_CONTINUE;
}

static void wait_for_input(void *arg)
{
    const struct state *state = arg;
    bool ready = !state->logind;
    guint source = ready ? 0 : g_unix_fd_add(STDIN_FILENO, G_IO_IN | G_IO_HUP | G_IO_ERR, on_input, &ready);
    while (!ready)
        (void)g_main_context_iteration(NULL, TRUE);
    if (source)
        g_source_remove(source);
}

/* A library's warning could hold anything. */
static GLogWriterOutput write_nothing(GLogLevelFlags level, const GLogField *fields, gsize count, gpointer arg)
{
    (void)level, (void)fields, (void)count, (void)arg;
    return G_LOG_WRITER_HANDLED;
}

/* The agent says so when it waits for a person no longer: then nothing more is done. */
static void let_sigterm_end_it(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    (void)sigprocmask(SIG_UNBLOCK, &set, NULL);
}

int main(void)
{
    static const struct store_functions functions = {.name = "keyring",
                                                     .get = serve_get,
                                                     .put = serve_put,
                                                     .drop = serve_drop,
                                                     .list = serve_list,
                                                     .lock = serve_lock,
                                                     .watch = serve_watch,
                                                     .wait = wait_for_input};
    struct store_program *program = store_program_new("keyring");
    if (!program) {
        (void)fprintf(stderr, "mltoken-store-keyring: cannot start: %s\n", strerror(errno));
        return 1;
    }
    let_sigterm_end_it();
    g_log_set_writer_func(write_nothing, NULL, NULL);
    size_t size = KEYRING_TEXT_MAXIMUM;
    void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED)
        return 1;
    (void)madvise(pages, size, MADV_DONTDUMP);
    if (mlock(pages, size) < 0)
        store_program_unlocked(program);
    /* it never grows beyond its pages, so buffer.c never moves it */
    struct state state = {.keyring = {.waiting = say_waiting, .arg = program},
                          .room = {.data = pages, .capacity = size, .maximum = size - 1},
                          .program = program};
    int r = store_program_run(program, &functions, &state);
    keyring_logind_free(state.logind);
    keyring_close(&state.keyring);
    store_program_free(program);
    return r < 0 ? 1 : 0;
}
