#include "authority/endpoint.h"

#include "authority/metadata.h"

enum { NOWHERE = -1 };

static const struct {
    const char *key;
    ptrdiff_t configured, announced; /* where it stands in a profile, and in metadata */
} table[ENDPOINT_COUNT] = {
    [ENDPOINT_TOKEN] = {"token_endpoint", offsetof(struct profile, token_endpoint),
                        offsetof(struct metadata, token_endpoint)},
    [ENDPOINT_DEVICE] = {"device_authorization_endpoint", offsetof(struct profile, device_authorization_endpoint),
                         offsetof(struct metadata, device_authorization_endpoint)},
    [ENDPOINT_REVOCATION] = {"revocation_endpoint", offsetof(struct profile, revocation_endpoint),
                             offsetof(struct metadata, revocation_endpoint)},
    [ENDPOINT_LOGIN] = {"login_path", NOWHERE, NOWHERE},
    [ENDPOINT_AUTHORIZATION] = {"authorization_endpoint", offsetof(struct profile, authorization_endpoint),
                                offsetof(struct metadata, authorization_endpoint)},
    [ENDPOINT_PUSH] = {"pushed_authorization_request_endpoint", NOWHERE,
                       offsetof(struct metadata, pushed_authorization_request_endpoint)},
    [ENDPOINT_INTROSPECTION] = {"introspection_endpoint", NOWHERE, offsetof(struct metadata, introspection_endpoint)},
    [ENDPOINT_USERINFO] = {"userinfo_endpoint", NOWHERE, offsetof(struct metadata, userinfo_endpoint)},
};

static const char *member(const void *of, ptrdiff_t at)
{
    return at == NOWHERE ? NULL : *(char *const *)((const char *)of + at);
}

const char *endpoint_key(enum endpoint endpoint)
{
    return table[endpoint].key;
}

const char *endpoint_configured(const struct profile *profile, enum endpoint endpoint)
{
    return member(profile, table[endpoint].configured);
}

const char *endpoint_announced(const struct metadata *metadata, enum endpoint endpoint)
{
    return member(metadata, table[endpoint].announced);
}
