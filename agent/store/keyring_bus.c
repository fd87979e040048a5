#include "store/keyring_bus.h"

#include "cleanup.h"
#include "store/keyring_prompt.h"
#include "text.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

#define SERVICE        "org.freedesktop.secrets"
#define GNOME_KEYRING  "org.gnome.keyring"
#define GNOME_PROMPTER "org.gnome.keyring.SystemPrompter"
#define GONE           "the Secret Service (the keyring) went away while it was asked"
#define ELSEWHERE      "unlock it in a desktop session, or choose store = file"

/* ---- what went wrong ---- */

int keyring_fail(struct keyring *keyring, const char *kind, const char *format, ...)
{
    char reason[KEYRING_REASON];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(reason, sizeof(reason), format, args);
    va_end(args);
    keyring->kind = kind;
    text_clean_into(keyring->reason, sizeof(keyring->reason), span_of(reason)); /* it may hold a service's words */
    return -EIO;
}

static bool means_locked(const GError *error)
{
    return g_error_matches(error, SECRET_ERROR, SECRET_ERROR_IS_LOCKED) ||
           g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
}

/* Whether there is nobody to talk to, or was at the end of the call. */
static bool means_unavailable(const GError *error)
{
    static const int codes[] = {
        G_DBUS_ERROR_SERVICE_UNKNOWN, G_DBUS_ERROR_NAME_HAS_NO_OWNER, G_DBUS_ERROR_NO_REPLY,
        G_DBUS_ERROR_NO_SERVER,       G_DBUS_ERROR_DISCONNECTED,      G_DBUS_ERROR_TIMEOUT,
        G_DBUS_ERROR_TIMED_OUT,       G_DBUS_ERROR_AUTH_FAILED,       G_DBUS_ERROR_FILE_NOT_FOUND,
        G_DBUS_ERROR_UNKNOWN_METHOD,  G_DBUS_ERROR_UNKNOWN_OBJECT,    G_DBUS_ERROR_UNKNOWN_INTERFACE,
    };
    if (error->domain == G_IO_ERROR)
        return error->code != G_IO_ERROR_DBUS_ERROR;
    if (error->domain != G_DBUS_ERROR)
        return false;
    if (error->code >= G_DBUS_ERROR_SPAWN_EXEC_FAILED && error->code <= G_DBUS_ERROR_SPAWN_NO_MEMORY)
        return true;
    for (size_t i = 0; i < ELEMENTS(codes); i++)
        if (error->code == codes[i])
            return true;
    return false;
}

/* Whether the name that was called belongs to nobody. */
static bool means_nobody(const GError *error)
{
    return g_error_matches(error, G_DBUS_ERROR, G_DBUS_ERROR_SERVICE_UNKNOWN) ||
           g_error_matches(error, G_DBUS_ERROR, G_DBUS_ERROR_NAME_HAS_NO_OWNER);
}

int keyring_fail_error(struct keyring *keyring, const char *doing, GError *error)
{
    if (!error) /* libsecret gives none when the service went away during a prompt */
        return keyring_fail(keyring, "unavailable", GONE);
    g_dbus_error_strip_remote_error(error);
    if (means_locked(error))
        (void)keyring_fail(keyring, "locked", "the keyring is locked; " ELSEWHERE);
    else if (means_nobody(error) && !keyring->service)
        (void)keyring_fail(keyring, "unavailable", "no Secret Service (a keyring) runs on the D-Bus session bus");
    else if (means_nobody(error) || g_error_matches(error, G_DBUS_ERROR, G_DBUS_ERROR_NO_REPLY) ||
             g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CLOSED))
        (void)keyring_fail(keyring, "unavailable", GONE);
    else if (means_unavailable(error))
        (void)keyring_fail(keyring, "unavailable", "the Secret Service does not answer: %s", error->message);
    else
        (void)keyring_fail(keyring, "denied", "the Secret Service did not %s: %s", doing, error->message);
    g_error_free(error);
    return -EIO;
}

/* ---- the bus ---- */

/* Makes sure that GLib will use a bus that is there: left alone it would start one. */
static bool address_known(void)
{
    const char *address = getenv("DBUS_SESSION_BUS_ADDRESS");
    if (address && *address)
        return strncmp(address, "unix:", 5) == 0 && !strchr(address, ';'); /* others may run a program */
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    if (!runtime || runtime[0] != '/')
        return false;
    g_autofree char *path = g_build_filename(runtime, "bus", NULL);
    struct stat st;
    if (lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode) || st.st_uid != getuid())
        return false;
    g_autofree char *escaped = g_dbus_address_escape_value(path);
    g_autofree char *found = g_strconcat("unix:path=", escaped, NULL);
    return setenv("DBUS_SESSION_BUS_ADDRESS", found, 1) == 0;
}

/* NULL when nobody has the name, or the bus does not answer. By g_free(). */
static char *owner_of(struct keyring *keyring, const char *name)
{
    char *owner = NULL;
    g_autoptr(GVariant) reply = g_dbus_connection_call_sync(
        keyring->bus, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "GetNameOwner",
        g_variant_new("(s)", name), G_VARIANT_TYPE("(s)"), G_DBUS_CALL_FLAGS_NONE, -1, NULL, NULL);
    if (reply)
        g_variant_get(reply, "(s)", &owner);
    return owner;
}

static bool has_owner(struct keyring *keyring, const char *name)
{
    g_autofree char *owner = owner_of(keyring, name);
    return owner != NULL;
}

static bool on_prompt(void *arg)
{
    struct keyring *keyring = arg;
    if (!keyring->quiet)
        keyring->waiting(keyring->arg, keyring->question);
    return !keyring->quiet;
}

static bool still_there(struct keyring *keyring)
{
    g_autofree char *owner = keyring->service ? owner_of(keyring, SERVICE) : NULL;
    return owner && g_strcmp0(owner, keyring->owner) == 0;
}

int keyring_open(struct keyring *keyring)
{
    GError *error = NULL;
    if (still_there(keyring))
        return 0;
    keyring_close(keyring);
    if (!address_known())
        return keyring_fail(keyring, "unavailable", "there is no D-Bus session bus here, and so no keyring");
    keyring->bus = g_bus_get_sync(G_BUS_TYPE_SESSION, NULL, &error);
    if (!keyring->bus) {
        (void)keyring_fail(keyring, "unavailable", "the D-Bus session bus, and so the keyring, cannot be reached: %s",
                           error->message);
        g_error_free(error);
        return -EIO;
    }
    g_dbus_connection_set_exit_on_close(keyring->bus, FALSE);
    keyring->service =
        secret_service_open_sync(keyring_service_get_type(), NULL, SECRET_SERVICE_OPEN_SESSION, NULL, &error);
    if (!keyring->service)
        return keyring_fail_error(keyring, "open a session", error);
    keyring->owner = owner_of(keyring, SERVICE);
    keyring_service_on_prompt(keyring->service, on_prompt, keyring);
    g_autofree char *gnome = owner_of(keyring, GNOME_KEYRING);
    if (g_strcmp0(gnome, keyring->owner) != 0)
        keyring_service_closes_windows(keyring->service);
    return 0;
}

void keyring_close(struct keyring *keyring)
{
    g_clear_object(&keyring->service);
    g_clear_pointer(&keyring->owner, g_free);
    while (g_main_context_iteration(NULL, FALSE)) /* proxies are let go from there */
        ;
    g_clear_object(&keyring->bus);
}

/* ---- a person ---- */

/* Only gnome-keyring tells whether its window could open, by whether the program of the window runs (it stays a while
 * after its last question). */
static int refused(struct keyring *keyring)
{
    if (!has_owner(keyring, SERVICE))
        return keyring_fail(keyring, "unavailable", GONE);
    if (has_owner(keyring, GNOME_KEYRING) && !has_owner(keyring, GNOME_PROMPTER))
        return keyring_fail(keyring, "locked",
                            "the keyring is locked, and no window can open here to unlock it; " ELSEWHERE);
    return keyring_fail(keyring, "locked",
                        "the keyring is locked, and was not unlocked when asked; try again and unlock it in the window "
                        "that opens, or choose store = file");
}

int keyring_unlock(struct keyring *keyring, GList *objects)
{
    if (!objects)
        return 0;
    if (keyring->quiet)
        return keyring_fail(keyring, "locked", "the keyring is locked; the next mltoken get asks to unlock it");
    keyring->question = "the keyring is locked; unlock it in the window that it opens";
    GError *error = NULL;
    GList *unlocked = NULL;
    int count = secret_service_unlock_sync(keyring->service, objects, NULL, &unlocked, &error);
    g_list_free_full(unlocked, g_object_unref);
    if (error && !g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
        return keyring_fail_error(keyring, "unlock the keyring", error);
    g_clear_error(&error);
    return count >= 0 && (guint)count == g_list_length(objects) ? 0 : refused(keyring);
}

static int make_collection(struct keyring *keyring, SecretCollection **ret)
{
    if (keyring->quiet)
        return keyring_fail(keyring, "locked", "there is no keyring yet; the next mltoken get asks for one");
    keyring->question = "there is no keyring yet; choose a password for it in the window that it opens";
    GError *error = NULL;
    *ret = secret_collection_create_sync(keyring->service, "Default keyring", SECRET_COLLECTION_DEFAULT,
                                         SECRET_COLLECTION_CREATE_NONE, NULL, &error);
    if (*ret)
        return 0;
    if (has_owner(keyring, SERVICE)) {
        g_clear_error(&error); /* it differs from version to version */
        return keyring_fail(keyring, "unavailable", "there is no default keyring, and none was made when asked");
    }
    return keyring_fail_error(keyring, "make a keyring", error);
}

int keyring_default_collection(struct keyring *keyring, bool make, SecretCollection **ret)
{
    GError *error = NULL;
    g_autoptr(SecretCollection) collection = secret_collection_for_alias_sync(
        keyring->service, SECRET_COLLECTION_DEFAULT, SECRET_COLLECTION_NONE, NULL, &error);
    if (error)
        return keyring_fail_error(keyring, "name its default keyring", error);
    int r = 0;
    if (!collection && make) {
        r = make_collection(keyring, &collection);
    } else if (collection && secret_collection_get_locked(collection)) {
        GList one = {.data = collection};
        r = keyring_unlock(keyring, &one);
    }
    if (r == 0)
        *ret = g_steal_pointer(&collection);
    return r;
}
