/* What the command must know of an address before it shows it to a person. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* https, or http to a literal loopback address; printable ASCII only, no user name in it. */
bool uri_is_safe(const char *uri);
/* http to a loopback address, or to the name of one: what an agent of ours listens at. */
bool uri_is_here(const char *uri);
/* The host without port and brackets: 0 or -EINVAL. */
int uri_host(const char *uri, char *to, size_t size);
