#include "store/keyring_items.h"

#include "cleanup.h"
#include "store/keyring_text.h"
#include <errno.h>
#include <stdio.h>

#define SCHEMA "org.mltoken.Secret"

static const SecretSchema schema = {
    .name = SCHEMA,
    .flags = SECRET_SCHEMA_NONE,
    .attributes = {{"profile", SECRET_SCHEMA_ATTRIBUTE_STRING},
                   {"name", SECRET_SCHEMA_ATTRIBUTE_STRING},
                   {"binding", SECRET_SCHEMA_ATTRIBUTE_STRING}},
};

/* To search in a keyring that was not opened yet: of that gnome-keyring knows no schema, and attributes only as hashes.
 */
static const SecretSchema any_schema = {
    .name = SCHEMA,
    .flags = SECRET_SCHEMA_DONT_MATCH_NAME,
    .attributes = {{"profile", SECRET_SCHEMA_ATTRIBUTE_STRING},
                   {"name", SECRET_SCHEMA_ATTRIBUTE_STRING},
                   {"binding", SECRET_SCHEMA_ATTRIBUTE_STRING}},
};

static GHashTable *attributes_of(const char *profile, const char *name, const char *binding)
{
    GHashTable *attributes = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    if (profile)
        g_hash_table_insert(attributes, g_strdup("profile"), g_strdup(profile));
    if (name)
        g_hash_table_insert(attributes, g_strdup("name"), g_strdup(name));
    if (binding)
        g_hash_table_insert(attributes, g_strdup("binding"), g_strdup(binding));
    return attributes;
}

static bool is_ours(SecretItem *item)
{
    g_autofree char *found = keyring_item_attribute(item, "xdg:schema");
    return g_strcmp0(found, SCHEMA) == 0;
}

int keyring_items_find(struct keyring *keyring, const char *profile, const char *name, GList **ret)
{
    GError *error = NULL;
    g_autoptr(GHashTable) attributes = attributes_of(profile, name, NULL);
    GList *items = secret_service_search_sync(keyring->service, profile ? &any_schema : &schema, attributes,
                                              SECRET_SEARCH_ALL, NULL, &error);
    if (error)
        return keyring_fail_error(keyring, "search", error);
    for (GList *at = items, *next; at; at = next) {
        next = at->next;
        if (!secret_item_get_locked(at->data) && !is_ours(at->data)) {
            g_object_unref(at->data);
            items = g_list_delete_link(items, at);
        }
    }
    *ret = items;
    return 0;
}

void keyring_items_free(GList *items)
{
    g_list_free_full(items, g_object_unref);
}

char *keyring_item_attribute(SecretItem *item, const char *name)
{
    g_autoptr(GHashTable) attributes = secret_item_get_attributes(item);
    return g_strdup(g_hash_table_lookup(attributes, name));
}

bool keyring_item_bound_to(SecretItem *item, const char *binding)
{
    g_autofree char *found = keyring_item_attribute(item, "binding");
    return g_strcmp0(found, binding) == 0;
}

GList *keyring_items_locked(GList *items)
{
    GList *locked = NULL;
    for (; items; items = items->next)
        if (secret_item_get_locked(items->data))
            locked = g_list_prepend(locked, items->data);
    return locked;
}

/* An item that another program has just removed is no failure: *ret is NULL. */
static int load(struct keyring *keyring, SecretItem *item, SecretValue **ret)
{
    GError *error = NULL;
    *ret = NULL;
    if (!secret_item_load_secret_sync(item, NULL, &error)) {
        if (!g_error_matches(error, SECRET_ERROR, SECRET_ERROR_NO_SUCH_OBJECT))
            return keyring_fail_error(keyring, "give out the secret", error);
        g_error_free(error);
        return 0;
    }
    *ret = secret_item_get_secret(item);
    return 0;
}

static int read_item(struct keyring *keyring, SecretItem *item, uint64_t *ret_version, struct buffer *value)
{
    g_autoptr(SecretValue) secret = NULL;
    int r = load(keyring, item, &secret);
    if (r < 0)
        return r;
    *ret_version = 0;
    if (!secret)
        return 0;
    gsize length = 0;
    const char *text = secret_value_get(secret, &length);
    r = keyring_text_unpack((struct span){text, length}, ret_version, value);
    if (r == -EBADMSG)
        return keyring_fail(keyring, "corrupt", "the keyring's item is not as mltoken wrote it; store the secret anew");
    return r < 0 ? keyring_fail(keyring, "denied", "the keyring's item is too long") : 0;
}

int keyring_items_newest(struct keyring *keyring, GList *items, const char *binding, SecretItem **ret,
                         uint64_t *ret_version, struct buffer *value)
{
    SecretItem *newest = NULL;
    uint64_t highest = 0, version = 0;
    for (; items; items = items->next) {
        if (binding && !keyring_item_bound_to(items->data, binding))
            continue;
        int r = read_item(keyring, items->data, &version, NULL);
        if (r < 0)
            return r;
        if (version > highest) {
            highest = version;
            newest = items->data;
        }
    }
    int r = newest && value ? read_item(keyring, newest, &highest, value) : 0;
    if (r == 0) {
        *ret = highest > 0 ? newest : NULL;
        *ret_version = highest;
    }
    return r;
}

/* What a person reads in Seahorse: "mltoken: refresh token of profile me". */
static void make_label(char *to, size_t size, const char *profile, const char *name)
{
    g_autofree char *words = g_strdelimit(g_strdup(name), "_.", ' ');
    (void)snprintf(to, size, "mltoken: %s of profile %s", words, profile);
}

int keyring_item_write(struct keyring *keyring, SecretCollection *collection, const char *profile, const char *name,
                       const char *binding, struct span packed, SecretItem **ret)
{
    char label[LIMIT_PROFILE_NAME + LIMIT_SECRET_NAME + 64];
    make_label(label, sizeof(label), profile, name);
    GError *error = NULL;
    g_autoptr(GHashTable) attributes = attributes_of(profile, name, binding);
    g_autoptr(SecretValue) value = secret_value_new(packed.data, (gssize)packed.length, "text/plain");
    *ret = secret_item_create_sync(collection, &schema, attributes, label, value, SECRET_ITEM_CREATE_REPLACE, NULL,
                                   &error);
    return *ret ? 0 : keyring_fail_error(keyring, "store the secret", error);
}

int keyring_item_remove(struct keyring *keyring, SecretItem *item)
{
    GError *error = NULL;
    if (secret_item_delete_sync(item, NULL, &error))
        return 0;
    if (!error || !g_error_matches(error, SECRET_ERROR, SECRET_ERROR_NO_SUCH_OBJECT))
        return keyring_fail_error(keyring, "remove the secret", error);
    g_error_free(error);
    return 0;
}
