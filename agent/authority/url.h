/* Addresses, read strictly: scheme://host[:port][/path][?query], http or https, no user, no fragment, no control or
 * non-ASCII characters, hosts of letters, digits, '.', '-', '_' or a bracketed IPv6 literal. Two readers that disagree
 * about an address are how secrets go astray, so whatever is not plain is refused. Pure. */
#pragma once

#include "span.h"
#include <stdbool.h>

struct url {
    bool https;
    struct span host;  /* without brackets */
    int port;          /* the default one when not given */
    struct span path;  /* "" or starting with '/', without the query */
    struct span query; /* without '?' */
};

int url_parse(const char *text, struct url *ret); /* 0 or -EINVAL; spans point into text */
bool url_same_origin(const struct url *, const struct url *);
bool url_same_host(const struct url *, const struct url *); /* case-insensitive */
bool url_is_loopback(const struct url *);                   /* a literal of 127.0.0.0/8 or [::1]; a name never is */
bool url_is_link_local(const struct url *);                 /* a literal of 169.254.0.0/16 */
bool url_is_localhost(const struct url *);                  /* the name, which libcurl knows without asking anybody */
/* The host is one of a NULL-terminated list (case-insensitive, exact). */
bool url_host_in(const struct url *, char *const *hosts);
/* Microsoft's login hosts, public and sovereign (WIRE section 1). */
bool url_is_entra(const struct url *);
