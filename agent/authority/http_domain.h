/* What shares connections: one trust, one proxy, one multi handle of libcurl, driven by the loop. A domain is found by
 * the content of what it trusts, so a changed CA file makes a new one; one that nobody uses is closed after
 * LIMIT_HTTP_IDLE_MS, with its connections and its parsed certificates. One with a client's private key is closed as
 * soon as nobody uses it: the key is in memory, OpenSSL's and not the arena's, while a request needs it and no longer.
 */
#pragma once

#include "authority/http.h"
#include <curl/curl.h>

struct http_domain;

/* Zeroed, then `loop` and `done` set: told of each transfer that ended, with its CURLINFO_PRIVATE, never inside one of
 * curl's callbacks; it may neither remove nor add handles before it has returned. */
struct http_domains {
    struct loop *loop;
    struct http_domain *first;
    void (*done)(void *owner, CURLcode);
};

/* Finds or makes the domain, and counts a user. -EPROTO with *why set when its certificates cannot be had, -EINVAL for
 * a pair that is none, or without https, -ENOMEM. */
int http_domain_open(struct http_domains *, const struct trust *, bool https, struct http_domain **ret,
                     struct failure *why);
void http_domain_close(struct http_domain *); /* one user less; NULL is allowed */
void http_domains_free(struct http_domains *);

int http_domain_add(struct http_domain *, CURL *easy); /* -ENOMEM */
void http_domain_remove(struct http_domain *, CURL *easy);
/* For CURLOPT_SSL_CTX_FUNCTION: trusts the domain's certificates and nothing else; `show`: has the client's pair.
 * False: it cannot be used. */
bool http_domain_trust(struct http_domain *, bool show, void *ssl_context);
bool http_domain_is_pinned(const struct http_domain *);  /* to one certificate, whatever its chain and name */
bool http_domain_shows(const struct http_domain *);      /* a client's certificate */
bool http_domain_is_private(const struct http_domain *); /* by a ca_file, not the system's bundle */
