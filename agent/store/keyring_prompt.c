#include "store/keyring_prompt.h"

#include <glib-unix.h>
#include <signal.h>
#include <unistd.h>

#define PROMPT "org.freedesktop.Secret.Prompt"

enum { DISMISS_MS = 500 /* below the agent's patience with a program that it ends */ };

typedef struct {
    SecretService parent;
    bool (*fn)(void *arg);
    void *arg;
    bool closes;
} KeyringService;

typedef SecretServiceClass KeyringServiceClass;

/* libsecret's blocking calls run these too, in a loop of their own. */
G_DEFINE_TYPE(KeyringService, keyring_service, SECRET_TYPE_SERVICE)

/* One question to a person. The task owns it. */
struct question {
    GDBusConnection *bus;
    char *name, *path;      /* of the prompt */
    GVariantType *type;     /* of the answer */
    guint completed, watch; /* on the bus */
    GSource *end, *term;    /* of our input; SIGTERM */
    bool closes;
};

static void question_stop(struct question *question)
{
    if (!question->end)
        return;
    g_source_destroy(question->end);
    g_source_destroy(question->term);
    g_clear_pointer(&question->end, g_source_unref);
    g_clear_pointer(&question->term, g_source_unref);
    g_dbus_connection_signal_unsubscribe(question->bus, question->completed);
    g_bus_unwatch_name(question->watch);
}

static void question_free(void *arg)
{
    struct question *question = arg;
    question_stop(question);
    g_clear_pointer(&question->type, g_variant_type_free);
    g_clear_object(&question->bus);
    g_free(question->name);
    g_free(question->path);
    g_free(question);
}

/* The first end counts. */
static void finish(GTask *task, GVariant *result, GError *error)
{
    struct question *question = g_task_get_task_data(task);
    if (!question->end)
        return;
    question_stop(question);
    if (error)
        g_task_return_error(task, error);
    else
        g_task_return_pointer(task, result, (GDestroyNotify)g_variant_unref);
    g_object_unref(task);
}

static void on_completed(GDBusConnection *bus, const char *sender, const char *path, const char *interface,
                         const char *signal, GVariant *parameters, void *arg)
{
    (void)bus, (void)sender, (void)path, (void)interface, (void)signal;
    const struct question *question = g_task_get_task_data(arg);
    g_autoptr(GVariant) result = NULL;
    gboolean dismissed = TRUE;
    if (g_variant_is_of_type(parameters, G_VARIANT_TYPE("(bv)")))
        g_variant_get(parameters, "(bv)", &dismissed, &result);
    if (!dismissed && (!question->type || g_variant_is_of_type(result, question->type)))
        finish(arg, g_steal_pointer(&result), NULL);
    else
        finish(arg, NULL, g_error_new_literal(G_IO_ERROR, G_IO_ERROR_CANCELLED, "it was not answered"));
}

static void on_vanished(GDBusConnection *bus, const char *name, void *arg)
{
    (void)bus, (void)name;
    finish(arg, NULL, g_error_new_literal(G_IO_ERROR, G_IO_ERROR_CLOSED, "it went away"));
}

/* Only who asked may close the window, so it is done before the connection ends. */
static gboolean on_term(void *arg)
{
    const struct question *question = arg;
    if (question->closes) {
        g_autoptr(GVariant) reply =
            g_dbus_connection_call_sync(question->bus, question->name, question->path, PROMPT, "Dismiss", NULL, NULL,
                                        G_DBUS_CALL_FLAGS_NO_AUTO_START, DISMISS_MS, NULL, NULL);
    }
    _exit(0);
}

static gboolean on_input_end(int fd, GIOCondition condition, void *arg)
{
    (void)fd, (void)condition;
    return on_term(arg);
}

static void on_prompted(GObject *bus, GAsyncResult *result, void *arg)
{
    GError *error = NULL;
    g_autoptr(GTask) task = arg;
    g_autoptr(GVariant) reply = g_dbus_connection_call_finish(G_DBUS_CONNECTION(bus), result, &error);
    if (reply)
        return;
    const struct question *question = g_task_get_task_data(task);
    if (question->end)
        finish(task, NULL, error);
    else
        g_error_free(error);
}

static void prompt_async(SecretService *service, SecretPrompt *prompt, const GVariantType *type,
                         GCancellable *cancellable, GAsyncReadyCallback fn, gpointer arg)
{
    const KeyringService *self = (const KeyringService *)service;
    GMainContext *context = g_main_context_get_thread_default();
    GTask *task = g_task_new(service, cancellable, fn, arg);
    if (self->fn && !self->fn(self->arg)) {
        g_task_return_new_error(task, G_IO_ERROR, G_IO_ERROR_CANCELLED, "nobody is asked");
        g_object_unref(task);
        return;
    }
    struct question *question = g_new0(struct question, 1);
    g_task_set_task_data(task, question, question_free);
    const char *name = question->name = g_strdup(g_dbus_proxy_get_name(G_DBUS_PROXY(prompt)));
    const char *path = question->path = g_strdup(g_dbus_proxy_get_object_path(G_DBUS_PROXY(prompt)));
    question->closes = self->closes;
    question->type = type ? g_variant_type_copy(type) : NULL;
    question->bus = g_object_ref(g_dbus_proxy_get_connection(G_DBUS_PROXY(prompt)));
    question->end = g_unix_fd_source_new(STDIN_FILENO, G_IO_HUP);
    g_source_set_callback(question->end, G_SOURCE_FUNC(on_input_end), question, NULL);
    g_source_attach(question->end, context);
    question->term = g_unix_signal_source_new(SIGTERM);
    g_source_set_callback(question->term, on_term, question, NULL);
    g_source_attach(question->term, context);
    question->completed = g_dbus_connection_signal_subscribe(question->bus, name, PROMPT, "Completed", path, NULL,
                                                             G_DBUS_SIGNAL_FLAGS_NONE, on_completed, task, NULL);
    question->watch = g_bus_watch_name_on_connection(question->bus, name, G_BUS_NAME_WATCHER_FLAGS_NONE, NULL,
                                                     on_vanished, task, NULL);
    g_dbus_connection_call(question->bus, name, path, PROMPT, "Prompt", g_variant_new("(s)", ""), NULL,
                           G_DBUS_CALL_FLAGS_NO_AUTO_START, -1, NULL, on_prompted, g_object_ref(task));
}

static GVariant *prompt_finish(SecretService *service, GAsyncResult *result, GError **error)
{
    (void)service;
    return g_task_propagate_pointer(G_TASK(result), error);
}

static void keyring_service_class_init(KeyringServiceClass *class)
{
    class->prompt_async = prompt_async;
    class->prompt_finish = prompt_finish;
}

static void keyring_service_init(KeyringService *service)
{
    (void)service;
}

void keyring_service_on_prompt(SecretService *service, bool (*fn)(void *arg), void *arg)
{
    KeyringService *self = (KeyringService *)service;
    self->fn = fn;
    self->arg = arg;
}

void keyring_service_closes_windows(SecretService *service)
{
    ((KeyringService *)service)->closes = true;
}
