#include "store/keyring_logind.h"

#include "cleanup.h"
#include <errno.h>
#include <gio/gio.h>
#include <gio/gunixfdlist.h>
#include <stdio.h>

#define LOGIND     "org.freedesktop.login1"
#define MANAGER    LOGIND ".Manager"
#define SESSION    LOGIND ".Session"
#define PATH       "/org/freedesktop/login1"
#define PROPERTIES "org.freedesktop.DBus.Properties"

enum {
    CALL_MS = 3000,      /* one call; there are two */
    PAUSE_MS = 1000,     /* between two events of a kind */
    HOLD_MS = 4000,      /* a sleep is held back; logind waits for 5 s unless told otherwise */
    MOST_SESSIONS = 256, /* that are looked at */
};

/* Something that happens, and who was told of it. */
struct event {
    struct keyring_logind *logind;
    const char *name;
    bool wanted, pending, told; /* asked for; not told yet; told, and the agent has not said that it is locked */
    gint64 last_us;
    guint timer;
};

enum { SUSPEND, LOCK, EVENTS };

/* One that is this user's, or not known yet. */
struct session {
    struct keyring_logind *logind;
    char *path;
    bool ours, locked, seen; /* seen: it was locked before we knew whose it is */
};

struct keyring_logind {
    struct keyring_logind_functions functions;
    GDBusConnection *bus;
    GCancellable *cancel; /* of calls under way */
    char *owner;
    struct event events[EVENTS];
    GHashTable *sessions; /* path -> struct session */
    guint subscriptions[6];
    size_t subscription_count;
    gulong closed;
    bool preparing, inhibiting; /* a sleep is near; a call for the inhibitor is under way */
    int inhibitor;              /* or -1 */
    guint hold;
};

/* ---- events ---- */

static void tell(struct event *event);

static gboolean on_pause(void *arg)
{
    struct event *event = arg;
    event->timer = 0;
    tell(event);
    return G_SOURCE_REMOVE;
}

static void tell(struct event *event)
{
    struct keyring_logind *logind = event->logind;
    gint64 now = g_get_monotonic_time(), due = event->last_us + (gint64)PAUSE_MS * 1000;
    if (!event->pending || event->told || event->timer)
        return;
    if (event->last_us && now < due) {
        event->timer = g_timeout_add((guint)((due - now) / 1000 + 1), on_pause, event);
        return;
    }
    event->pending = false;
    event->told = true;
    event->last_us = now;
    logind->functions.happened(logind->functions.arg, event->name);
}

static void happen(struct keyring_logind *logind, int which)
{
    if (!logind->events[which].wanted)
        return;
    logind->events[which].pending = true;
    tell(&logind->events[which]);
}

static void lose(struct keyring_logind *logind, const char *reason)
{
    if (g_cancellable_is_cancelled(logind->cancel))
        return;
    g_cancellable_cancel(logind->cancel);
    logind->functions.lost(logind->functions.arg, reason);
}

/* ---- holding a sleep back ---- */

static void let_sleep(struct keyring_logind *logind)
{
    if (logind->hold)
        g_source_remove(logind->hold);
    logind->hold = 0;
    close_cleanup(&logind->inhibitor);
    logind->inhibitor = -1;
}

static gboolean on_hold(void *arg)
{
    struct keyring_logind *logind = arg;
    logind->hold = 0;
    let_sleep(logind);
    return G_SOURCE_REMOVE;
}

static GVariant *inhibit_arguments(void)
{
    return g_variant_new("(ssss)", "sleep", "mltoken", "The agent locks itself first", "delay");
}

static int inhibitor_of(GVariant *reply, GUnixFDList *list)
{
    gint32 handle = -1;
    if (reply)
        g_variant_get(reply, "(h)", &handle);
    return reply && list ? g_unix_fd_list_get(list, handle, NULL) : -1;
}

static void on_inhibitor(GObject *bus, GAsyncResult *result, void *arg)
{
    g_autoptr(GUnixFDList) list = NULL;
    g_autoptr(GError) error = NULL;
    g_autoptr(GVariant) reply =
        g_dbus_connection_call_with_unix_fd_list_finish(G_DBUS_CONNECTION(bus), &list, result, &error);
    struct keyring_logind *logind = arg;
    int fd = inhibitor_of(reply, list);
    if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED)) /* it may be gone */
        return;
    logind->inhibiting = false;
    if (logind->preparing || logind->inhibitor >= 0) /* too late for this one */
        close_cleanup(&fd);
    else
        logind->inhibitor = fd;
}

static void inhibit(struct keyring_logind *logind)
{
    if (logind->inhibitor >= 0 || logind->inhibiting)
        return;
    logind->inhibiting = true;
    g_dbus_connection_call_with_unix_fd_list(logind->bus, logind->owner, PATH, MANAGER, "Inhibit", inhibit_arguments(),
                                             G_VARIANT_TYPE("(h)"), G_DBUS_CALL_FLAGS_NO_AUTO_START, CALL_MS, NULL,
                                             logind->cancel, on_inhibitor, logind);
}

/* A resume without a sleep before it: that one was missed. */
static void on_sleep(struct keyring_logind *logind, bool begins)
{
    if (begins && !logind->hold && logind->inhibitor >= 0)
        logind->hold = g_timeout_add(HOLD_MS, on_hold, logind);
    if (begins || !logind->preparing)
        happen(logind, SUSPEND);
    logind->preparing = begins;
    if (begins)
        return;
    if (logind->hold)
        g_source_remove(logind->hold);
    logind->hold = 0;
    inhibit(logind);
}

void keyring_logind_locked(struct keyring_logind *logind)
{
    for (int i = 0; i < EVENTS; i++) {
        logind->events[i].told = false;
        tell(&logind->events[i]);
    }
    const struct event *suspend = &logind->events[SUSPEND];
    if (logind->preparing && !suspend->pending && !suspend->told)
        let_sleep(logind);
}

/* ---- sessions ---- */

static void session_free(void *arg)
{
    struct session *session = arg;
    g_free(session->path);
    g_free(session);
}

static void note_locked(struct session *session, bool locked)
{
    bool changed = locked && !session->locked;
    session->locked = locked;
    if (changed && session->ours)
        happen(session->logind, LOCK);
}

/* What a call for a session's properties needs after the session may have gone. */
struct question {
    struct keyring_logind *logind;
    char *path;
};

static void on_properties(GObject *bus, GAsyncResult *result, void *arg)
{
    struct question *question = arg;
    struct keyring_logind *logind = question->logind;
    g_autofree char *path = question->path;
    g_autoptr(GError) error = NULL;
    g_autoptr(GVariant) reply = g_dbus_connection_call_finish(G_DBUS_CONNECTION(bus), result, &error);
    g_free(question);
    if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
        return;
    struct session *session = g_hash_table_lookup(logind->sessions, path);
    g_autoptr(GVariant) properties = reply ? g_variant_get_child_value(reply, 0) : NULL;
    guint32 uid = 0;
    gboolean locked = FALSE;
    if (!session)
        return;
    if (!properties || !g_variant_lookup(properties, "User", "(uo)", &uid, NULL) || uid != getuid()) {
        g_hash_table_remove(logind->sessions, path);
        return;
    }
    (void)g_variant_lookup(properties, "LockedHint", "b", &locked);
    bool missed = session->seen && !session->ours;
    session->ours = true;
    session->seen = false;
    note_locked(session, locked);
    if (missed)
        happen(logind, LOCK);
}

/* Whose it is, and whether it is locked. */
static void look_at(struct keyring_logind *logind, const char *path)
{
    if (g_hash_table_contains(logind->sessions, path) || g_hash_table_size(logind->sessions) >= MOST_SESSIONS)
        return;
    struct session *session = g_new0(struct session, 1);
    *session = (struct session){.logind = logind, .path = g_strdup(path)};
    g_hash_table_insert(logind->sessions, session->path, session);
    struct question *question = g_new(struct question, 1);
    *question = (struct question){logind, g_strdup(path)};
    g_dbus_connection_call(logind->bus, logind->owner, path, PROPERTIES, "GetAll", g_variant_new("(s)", SESSION),
                           G_VARIANT_TYPE("(a{sv})"), G_DBUS_CALL_FLAGS_NO_AUTO_START, CALL_MS, logind->cancel,
                           on_properties, question);
}

static void on_changed(struct session *session, GVariant *parameters)
{
    g_autoptr(GVariant) changed = g_variant_get_child_value(parameters, 1);
    gboolean locked = FALSE;
    if (!g_variant_lookup(changed, "LockedHint", "b", &locked))
        return;
    if (session->ours)
        note_locked(session, locked);
    else
        session->seen |= locked;
}

/* ---- what logind says ---- */

static void on_signal(GDBusConnection *bus, const char *sender, const char *path, const char *interface,
                      const char *signal, GVariant *parameters, void *arg)
{
    struct keyring_logind *logind = arg;
    const char *session_path = NULL;
    gboolean begins = FALSE;
    (void)bus, (void)sender, (void)interface;
    if (g_cancellable_is_cancelled(logind->cancel))
        return;
    struct session *session = g_hash_table_lookup(logind->sessions, path);
    if (strcmp(signal, "PrepareForSleep") == 0 && g_variant_is_of_type(parameters, G_VARIANT_TYPE("(b)"))) {
        g_variant_get(parameters, "(b)", &begins);
        on_sleep(logind, begins);
    } else if (strncmp(signal, "Session", 7) == 0 && g_variant_is_of_type(parameters, G_VARIANT_TYPE("(so)"))) {
        g_variant_get(parameters, "(&s&o)", NULL, &session_path);
        if (strcmp(signal, "SessionNew") == 0)
            look_at(logind, session_path);
        else
            g_hash_table_remove(logind->sessions, session_path);
    } else if (session && strcmp(signal, "Lock") == 0) {
        session->seen = !session->ours;
        if (session->ours)
            happen(logind, LOCK);
    } else if (session && strcmp(signal, "PropertiesChanged") == 0 &&
               g_variant_is_of_type(parameters, G_VARIANT_TYPE("(sa{sv}as)"))) {
        on_changed(session, parameters);
    }
}

static void on_owner(GDBusConnection *bus, const char *sender, const char *path, const char *interface,
                     const char *signal, GVariant *parameters, void *arg)
{
    struct keyring_logind *logind = arg;
    const char *now = NULL;
    (void)bus, (void)sender, (void)path, (void)interface, (void)signal;
    if (!g_variant_is_of_type(parameters, G_VARIANT_TYPE("(sss)")))
        return;
    g_variant_get_child(parameters, 2, "&s", &now);
    if (g_strcmp0(now, logind->owner) != 0)
        lose(logind, "logind went away");
}

static void on_closed(GDBusConnection *bus, gboolean by_other, GError *error, void *arg)
{
    (void)bus, (void)by_other, (void)error;
    lose(arg, "the system bus went away");
}

static void subscribe(struct keyring_logind *logind, const char *sender, const char *interface, const char *signal,
                      const char *path, const char *first, GDBusSignalCallback fn)
{
    logind->subscriptions[logind->subscription_count++] = g_dbus_connection_signal_subscribe(
        logind->bus, sender, interface, signal, path, first, G_DBUS_SIGNAL_FLAGS_NONE, fn, logind, NULL);
}

static void subscribe_all(struct keyring_logind *logind)
{
    if (logind->events[SUSPEND].wanted)
        subscribe(logind, logind->owner, MANAGER, "PrepareForSleep", PATH, NULL, on_signal);
    if (!logind->events[LOCK].wanted)
        return;
    subscribe(logind, logind->owner, MANAGER, "SessionNew", PATH, NULL, on_signal);
    subscribe(logind, logind->owner, MANAGER, "SessionRemoved", PATH, NULL, on_signal);
    subscribe(logind, logind->owner, SESSION, "Lock", NULL, NULL, on_signal);
    subscribe(logind, logind->owner, PROPERTIES, "PropertiesChanged", NULL, SESSION, on_signal);
}

/* ---- the beginning ---- */

static int fail(GError *error, const char *what, char *reason, size_t size)
{
    if (error)
        g_dbus_error_strip_remote_error(error);
    (void)snprintf(reason, size, "%s%s%s", what, error ? ": " : "", error ? error->message : "");
    g_clear_error(&error);
    return -EIO;
}

static int connect_bus(struct keyring_logind *logind, char *reason, size_t size)
{
    GError *error = NULL;
    const char *address = getenv("DBUS_SYSTEM_BUS_ADDRESS");
    if (address && *address && (strncmp(address, "unix:", 5) != 0 || strchr(address, ';')))
        return fail(NULL, "DBUS_SYSTEM_BUS_ADDRESS is no socket's", reason, size); /* others may run a program */
    logind->bus = g_bus_get_sync(G_BUS_TYPE_SYSTEM, NULL, &error);
    if (!logind->bus)
        return fail(error, "there is no system bus", reason, size);
    g_dbus_connection_set_exit_on_close(logind->bus, FALSE);
    logind->closed = g_signal_connect(logind->bus, "closed", G_CALLBACK(on_closed), logind);
    subscribe(logind, "org.freedesktop.DBus", "org.freedesktop.DBus", "NameOwnerChanged", "/org/freedesktop/DBus",
              LOGIND, on_owner);
    g_autoptr(GVariant) reply = g_dbus_connection_call_sync(
        logind->bus, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "GetNameOwner",
        g_variant_new("(s)", LOGIND), G_VARIANT_TYPE("(s)"), G_DBUS_CALL_FLAGS_NONE, CALL_MS, NULL, &error);
    if (g_error_matches(error, G_DBUS_ERROR, G_DBUS_ERROR_NAME_HAS_NO_OWNER))
        g_clear_error(&error);
    if (!reply)
        return fail(error, "there is no logind on the system bus", reason, size);
    g_variant_get(reply, "(s)", &logind->owner);
    return 0;
}

static int find_sessions(struct keyring_logind *logind, char *reason, size_t size)
{
    GError *error = NULL;
    g_autoptr(GVariant) reply = g_dbus_connection_call_sync(logind->bus, logind->owner, PATH, MANAGER, "ListSessions",
                                                            NULL, G_VARIANT_TYPE("(a(susso))"),
                                                            G_DBUS_CALL_FLAGS_NO_AUTO_START, CALL_MS, NULL, &error);
    if (!reply)
        return fail(error, "logind does not tell its sessions", reason, size);
    g_autoptr(GVariantIter) sessions = NULL;
    const char *path = NULL;
    guint32 uid = 0;
    g_variant_get(reply, "(a(susso))", &sessions);
    while (g_variant_iter_next(sessions, "(&su&s&s&o)", NULL, &uid, NULL, NULL, &path))
        if (uid == getuid())
            look_at(logind, path);
    return 0;
}

static void inhibit_first(struct keyring_logind *logind, char *reason, size_t size)
{
    GError *error = NULL;
    g_autoptr(GUnixFDList) list = NULL;
    g_autoptr(GVariant) reply = g_dbus_connection_call_with_unix_fd_list_sync(
        logind->bus, logind->owner, PATH, MANAGER, "Inhibit", inhibit_arguments(), G_VARIANT_TYPE("(h)"),
        G_DBUS_CALL_FLAGS_NO_AUTO_START, CALL_MS, NULL, &list, NULL, &error);
    logind->inhibitor = inhibitor_of(reply, list);
    if (logind->inhibitor < 0)
        (void)fail(error, "a sleep cannot be held back until all is locked", reason, size);
}

int keyring_logind_new(bool suspend, bool session, const struct keyring_logind_functions *functions,
                       struct keyring_logind **ret, char *reason, size_t size)
{
    struct keyring_logind *logind = g_new0(struct keyring_logind, 1);
    logind->functions = *functions;
    logind->inhibitor = -1;
    logind->cancel = g_cancellable_new();
    logind->sessions = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, session_free);
    logind->events[SUSPEND] = (struct event){.logind = logind, .name = "suspend", .wanted = suspend};
    logind->events[LOCK] = (struct event){.logind = logind, .name = "session", .wanted = session};
    *reason = '\0';
    int r = connect_bus(logind, reason, size);
    if (r == 0)
        subscribe_all(logind);
    if (r == 0 && session)
        r = find_sessions(logind, reason, size);
    if (r < 0) {
        keyring_logind_free(logind);
        return r;
    }
    if (suspend)
        inhibit_first(logind, reason, size);
    *ret = logind;
    return 0;
}

void keyring_logind_free(struct keyring_logind *logind)
{
    if (!logind)
        return;
    g_cancellable_cancel(logind->cancel);
    for (size_t i = 0; i < logind->subscription_count; i++)
        g_dbus_connection_signal_unsubscribe(logind->bus, logind->subscriptions[i]);
    if (logind->closed)
        g_signal_handler_disconnect(logind->bus, logind->closed);
    for (int i = 0; i < EVENTS; i++)
        if (logind->events[i].timer)
            g_source_remove(logind->events[i].timer);
    let_sleep(logind);
    while (g_main_context_iteration(NULL, FALSE)) /* calls that were cancelled */
        ;
    g_hash_table_unref(logind->sessions);
    g_clear_object(&logind->bus);
    g_object_unref(logind->cancel);
    g_free(logind->owner);
    g_free(logind);
}
