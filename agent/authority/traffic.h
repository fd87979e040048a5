/* What goes to an authority and what comes back, for those who make it up (grants), carry it (http) and read it
 * (answer). Plain values: whoever makes one owns what it points to, and says for how long. */
#pragma once

#include "span.h"
#include "token/failure.h"
#include <stdbool.h>
#include <stdint.h>

struct identity;
struct metadata;

struct header {
    const char *name;
    struct span value; /* may hold a secret */
};

struct http_step {
    const char *method;
    const char *url;
    struct header headers[4];
    size_t header_count;
    struct span body; /* application/x-www-form-urlencoded, unless a header says otherwise */
    const char
        *thumbprint; /* NULL; else https with the one certificate of this SHA-1 (40 hex digits), whoever made it */
    int64_t timeout_ms, connect_ms; /* 0: the profile's, the usual one */
};

struct answer {
    int error;           /* 0, or a negative errno: the step failed */
    struct failure why;  /* set when error is: what to say */
    bool maybe_sent;     /* HTTP failed after the request may have arrived */
    int status;          /* HTTP */
    struct span headers; /* raw header block, CRLF lines; read with answer_header() */
    struct span body;
    const struct metadata *metadata;
    const struct identity *identity;
    const char *person; /* PARENT: the profile at which a person signs in for that token; NULL: none */
};

struct tick {
    int64_t boot_ms; /* CLOCK_BOOTTIME */
    int64_t wall_s;
    uint8_t random[64];
};

/* The first header of that name (case-insensitive) in a raw block, trimmed: true and *ret set. */
bool answer_header(const struct answer *, const char *name, struct span *ret);
