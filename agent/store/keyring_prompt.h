/* The Secret Service with our own way of waiting for a person: libsecret's does not notice that the service has died,
 * nor that nobody waits for the answer any more. While a question is open, the end of our input and SIGTERM close its
 * window, which the service would leave open, and end the program; but gnome-keyring's stays, as there is no way to
 * close it: told to, that service ends itself (an assertion, seen in 42.1), and the person's keyrings are locked. A
 * person who said no is G_IO_ERROR_CANCELLED. */
#pragma once

#include <libsecret/secret.h>
#include <stdbool.h>

/* A subclass of SecretService, for secret_service_open_sync(). */
GType keyring_service_get_type(void);
/* fn is called whenever a person would be asked; false: that must not be, and counts as a no. */
void keyring_service_on_prompt(SecretService *, bool (*fn)(void *arg), void *arg);
/* Whether a window may be closed by us: unless told so, no. */
void keyring_service_closes_windows(SecretService *);
