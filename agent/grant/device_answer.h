/* What a device authorization endpoint answered (RFC 8628 section 3.2), checked before a person sees any of it: the
 * address is one that may be opened, texts are bounded and clean, times are within what can be believed. Pure. */
#pragma once

#include "authority/answer.h"

struct device_answer {
    struct secret *device_code;
    char *verification_uri, *verification_uri_complete, *user_code, *message; /* the second and the last may be NULL */
    char *authority_host; /* the authority's, when the address is on another host that nobody announced; else NULL */
    int64_t life_s;       /* 1 to LIMIT_DEVICE_CODE_S; DEFAULT_DEVICE_CODE_S when it was not said */
    int64_t interval_s;   /* 1 to LIMIT_POLL_INTERVAL_S; DEFAULT_POLL_INTERVAL_S when it was not said, 0 or less */
};

/* 0; or -EBADMSG with *why, and -ENOMEM: *ret is untouched. verification_url is understood (Entra v1, Google).
 * Addresses are https, or http at a loopback literal when the authority is one; with verification_hosts set, on one of
 * those or on the authority's own host. verification_uri_complete is dropped unless it is of the same origin. */
struct json_object;
int device_answer_read(struct json_object *, const struct profile *, struct device_answer *ret, struct failure *why);
void device_answer_clear(struct device_answer *); /* wipes */

/* An `interval` that counts: bounded, or 0 when there is none. */
int64_t device_interval(struct json_object *);
