/* The endpoints of an authority: what each is called in a profile and in metadata, and what either says of it. */
#pragma once

struct profile;
struct metadata;

enum endpoint {
    ENDPOINT_TOKEN,
    ENDPOINT_DEVICE,
    ENDPOINT_REVOCATION,
    ENDPOINT_LOGIN,
    ENDPOINT_AUTHORIZATION, /* a person's browser goes there, no request of ours */
    ENDPOINT_PUSH,          /* RFC 9126 */
    ENDPOINT_INTROSPECTION, /* RFC 7662 */
    ENDPOINT_USERINFO,
    ENDPOINT_COUNT
};

const char *endpoint_key(enum endpoint);
/* Its address, or NULL: it says nothing of it. */
const char *endpoint_configured(const struct profile *, enum endpoint);
const char *endpoint_announced(const struct metadata *, enum endpoint);
