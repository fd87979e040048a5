#include "acquire/binding.h"

#include "cleanup.h"
#include "limits.h"

int binding_of(const struct profile *profile, struct span ca_pem, binding_text ret)
{
    struct span parts[11 + LIMIT_HOSTS] = {
        span_of("mltoken binding 1"),
        span_of(profile->name),
        span_of(profile->authority),
        span_of(profile->tenant),
        span_of(profile->client_id),
        span_of(profile->token_endpoint),
        span_of(profile->device_authorization_endpoint),
        span_of(profile->revocation_endpoint),
        span_of(profile->proxy),
        profile->ca_file ? ca_pem : (struct span){0},
        span_of(profile->username),
    };
    size_t count = 11;
    for (char **host = profile->endpoint_hosts; host && *host && count < ELEMENTS(parts); host++)
        parts[count++] = span_of(*host);
    return digest_text(parts, count, ret);
}

static bool same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same_list(char **a, char **b)
{
    for (; a && b && *a && *b; a++, b++)
        if (strcmp(*a, *b) != 0)
            return false;
    return (!a || !*a) && (!b || !*b);
}

bool profile_same_binding(const struct profile *a, const struct profile *b)
{
    return a->grant == b->grant && same(a->authority, b->authority) && same(a->client_id, b->client_id) &&
           same(a->username, b->username) && same(a->tenant, b->tenant) && same(a->token_endpoint, b->token_endpoint) &&
           same(a->device_authorization_endpoint, b->device_authorization_endpoint) &&
           same(a->revocation_endpoint, b->revocation_endpoint) && same(a->ca_file, b->ca_file) &&
           same(a->proxy, b->proxy) && same_list(a->endpoint_hosts, b->endpoint_hosts);
}
