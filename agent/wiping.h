/* Allocators for libcurl and OpenSSL that wipe what they give back: without them copies of tokens and secrets stay in
 * freed memory (three of a bearer token were found in libcurl's heap, none with them). */
#pragma once

#include <stddef.h>

void *wiping_malloc(size_t size);
void *wiping_calloc(size_t count, size_t size);
void *wiping_realloc(void *block, size_t size);
char *wiping_strdup(const char *text);
void wiping_free(void *block);

/* Installs them in OpenSSL; before its first use, else -EBUSY. libcurl is given them by http_global_init(). */
int wiping_openssl(void);
