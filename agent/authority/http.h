/* The only user of libcurl, with http_domain and http_trouble behind it: one exchange at a time per call, all of them
 * driven by the loop. TLS 1.2 or newer, always verified; no redirects, cookies, netrc or environment proxies; https, or
 * http where the caller says so. HTTP/1.1. Connections are shared only within one trust domain (struct trust): libcurl
 * would reuse one that was authenticated for somebody else. Bodies and headers are bounded; what libcurl frees is
 * wiped. */
#pragma once

#include "authority/traffic.h"
#include "loop/loop.h"

struct http;
struct http_call;

/* What a connection's trust rests on. Compared by content. */
struct trust {
    struct span ca_pem; /* empty: the system's authorities */
    const char *proxy;  /* NULL: none */
    /* NULL, or 40 hexadecimal digits: the server's certificate is the one with this SHA-1 digest, and neither chain nor
     * name count. A platform that makes such certificates says the digest itself (WIRE section 6, Service Fabric). */
    const char *thumbprint;
    /* key_pair_write(): what the client shows in TLS to the authority, and to no proxy. Empty: nothing. Borrowed during
     * http_start(); afterwards there is the parsed pair alone, and only until the last request with it has ended. */
    struct span pair;
};

struct http_request {
    const struct http_step *step; /* copied: need not outlive http_start */
    struct trust trust;
    bool allow_http;  /* a literal loopback authority */
    bool allow_local; /* also http to link-local literals and to localhost: services of this very host */
    int64_t timeout_ms;
};

/* A digest of what a trust rests on: equal keys, equal trust. For caches of what was fetched under it. -ENOMEM. */
#define TRUST_KEY_SIZE 32
int trust_key(const struct trust *, unsigned char ret[TRUST_KEY_SIZE]);

/* Told once, from the loop, never from inside http_start. answer->error: -ETIMEDOUT, -ECONNREFUSED, -EHOSTUNREACH,
 * -ENOTCONN (lost), -EPROTO (TLS, with the reason in why), -EMSGSIZE (too long), -EBADMSG. `why` names the host. */
typedef void http_done_fn(void *arg, const struct answer *);

/* Before any other thread or library use: installs wiping allocators in libcurl. All signals must be blocked already.
 */
int http_global_init(void);
int http_new(struct loop *, struct http **ret);
struct http *http_free(struct http *); /* cancels what is under way, silently; always NULL */
int http_start(struct http *, const struct http_request *, http_done_fn *, void *arg, struct http_call **ret);
/* How many requests were answered in HTTP so far, if only with the first line of an answer. */
uint64_t http_answers(const struct http *);
void http_cancel(struct http_call *); /* done will not be called; NULL is allowed */
