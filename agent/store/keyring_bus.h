/* The way to the Secret Service: the bus, the service, a person who unlocks, and what an error of theirs means. Calls
 * block; whoever started this program ends it when that takes too long. A connection is kept as long as all goes well.
 *
 * Owner: the program. Everything of it is released by keyring_close(), also after a failure. */
#pragma once

#include <libsecret/secret.h>
#include <stdbool.h>

#define KEYRING_REASON 512

struct keyring {
    GDBusConnection *bus;
    SecretService *service;
    char *owner; /* of the service's name, when we connected */
    /* Says to whoever asked that a person is being asked now. */
    void (*waiting)(void *arg, const char *reason);
    void *arg;
    bool quiet;           /* nobody waits: no person is asked */
    const char *question; /* what a person would be asked now */
    const char *kind;     /* of the protocol; why the last call failed */
    char reason[KEYRING_REASON];
};

/* All: 0, or -EIO with kind and reason set. */
/* Connects, or sees that the service is still the one that it was. */
int keyring_open(struct keyring *);
void keyring_close(struct keyring *);
/* Unlocks a collection or items, asking a person if need be, and if that may be. The list holds GDBusProxy. */
int keyring_unlock(struct keyring *, GList *objects);
/* The collection for new items, unlocked. When there is none it is made with a person's help, or *ret is NULL. */
int keyring_default_collection(struct keyring *, bool make, SecretCollection **ret);

int keyring_fail(struct keyring *, const char *kind, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The same for a GError, which is freed. */
int keyring_fail_error(struct keyring *, const char *doing, GError *);
