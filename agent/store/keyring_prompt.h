/* The Secret Service with our own way of waiting for a person: libsecret's does not notice that the service has died,
 * nor that nobody waits for the answer any more. While a question is open, the end of our input ends the program. A
 * person who said no is G_IO_ERROR_CANCELLED. */
#pragma once

#include <libsecret/secret.h>

/* A subclass of SecretService, for secret_service_open_sync(). */
GType keyring_service_get_type(void);
/* fn is called whenever a person is really asked. */
void keyring_service_on_prompt(SecretService *, void (*fn)(void *arg), void *arg);
