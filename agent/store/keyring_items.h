/* mltoken's items in the Secret Service: how they are found, read, written and removed. Their attributes are profile,
 * name and binding (and the schema's name, which libsecret adds) and nothing else: attributes can be read while
 * the keyring is locked.
 *
 * A list of items is freed by keyring_items_free(). */
#pragma once

#include "buffer.h"
#include "store/keyring_bus.h"
#include <stdbool.h>
#include <stdint.h>

/* All: 0, or -EIO with kind and reason set in the keyring. NULL matches any. Of a keyring that is locked, items of
 * others may be among them, and without a profile none at all. */
int keyring_items_find(struct keyring *, const char *profile, const char *name, GList **ret);
void keyring_items_free(GList *);
GList *keyring_items_locked(GList *);                         /* the list is the caller's, the items are not */
char *keyring_item_attribute(SecretItem *, const char *name); /* NULL when absent; by g_free() */
bool keyring_item_bound_to(SecretItem *, const char *binding);

/* The one with the highest version, of this binding or of any (NULL). 0 with *ret NULL when there is none. With
 * `value`, appends its value. kind is corrupt when what is there is not ours. */
int keyring_items_newest(struct keyring *, GList *, const char *binding, SecretItem **ret, uint64_t *ret_version,
                         struct buffer *value);

/* `packed` as of keyring_text.h. Replaces one with the same attributes in this collection. */
int keyring_item_write(struct keyring *, SecretCollection *, const char *profile, const char *name, const char *binding,
                       struct span packed, SecretItem **ret);
int keyring_item_remove(struct keyring *, SecretItem *);
