#include "dialect.h"

#include "authority/b2c.h"
#include "authority/url.h"
#include "grant/exchange.h"
#include "grant/grant.h"
#include "keys.h"
#include <errno.h>
#include <strings.h>

/* The path of an Entra authority: "", "/TENANT" or "/TENANT/v2.0", with or without a last slash. */
struct place {
    struct span origin; /* https://host:port */
    struct span tenant;
    bool v2;
    bool odd; /* none of these */
};

static bool next_segment(struct span *path, struct span *ret)
{
    while (path->length > 0 && path->data[0] == '/')
        path->data++, path->length--;
    const char *end = path->length > 0 ? memchr(path->data, '/', path->length) : NULL;
    *ret = (struct span){path->data, end ? (size_t)(end - path->data) : path->length};
    path->data += ret->length;
    path->length -= ret->length;
    return ret->length > 0;
}

static struct place read_place(const char *authority, const struct url *url)
{
    struct place place = {
        .origin = {authority, url->path.length ? (size_t)(url->path.data - authority) : strlen(authority)}};
    struct span path = url->path, version, more;
    if (!next_segment(&path, &place.tenant))
        return place;
    if (next_segment(&path, &version)) {
        place.v2 = span_equals(version, span_of("v2.0"));
        place.odd = !place.v2 || next_segment(&path, &more);
    }
    return place;
}

static bool same_word(struct span a, struct span b)
{
    return a.length == b.length && strncasecmp(a.data, b.data, a.length) == 0;
}

static int rebuild(struct profile *profile, const struct place *place, struct span tenant, const char *version)
{
    size_t size = place->origin.length + 1 + tenant.length + strlen(version) + 1;
    char *authority = profile_allocate(profile, size);
    if (!authority)
        return -ENOMEM;
    (void)snprintf(authority, size, "%.*s/%.*s%s", (int)place->origin.length, place->origin.data, (int)tenant.length,
                   tenant.data, version);
    profile->authority = authority;
    return 0;
}

static int settle_entra(struct profile *profile, const struct place *place, bool ours, int *ret_key,
                        char problem[static LIMIT_TEXT])
{
    bool v1 = profile->dialect == DIALECT_ENTRA_V1;
    struct span tenant = place->tenant, named = span_of(profile->tenant);
    *ret_key = KEY_TENANT;
    if (named.length && tenant.length &&
        !(named.length == tenant.length && strncasecmp(named.data, tenant.data, named.length) == 0))
        return key_problem(problem, "the authority names another tenant; drop one of the two");
    *ret_key = KEY_AUTHORITY;
    if (!named.length && !tenant.length)
        return key_problem(problem, "names no tenant; add tenant = ..., or write https://HOST/TENANT/v2.0");
    if (v1 && place->v2)
        return key_problem(
            problem,
            "ends in /v2.0, which dialect entra_v1 does not have; remove /v2.0, or use scope and dialect entra");
    if (place->odd && ours)
        return key_problem(problem, "is not an address of Entra; write https://HOST/TENANT/v2.0");
    if (!ours && tenant.length)
        return 0; /* not Microsoft's host: taken as written */
    return rebuild(profile, place, tenant.length ? tenant : named, v1 ? "" : "/v2.0");
}

/* A dialect that only its own grant speaks. */
static int settle_own(struct profile *profile, enum dialect own, int *ret_key, char problem[static LIMIT_TEXT])
{
    if (profile->dialect != DIALECT_AUTO && profile->dialect != own) {
        *ret_key = KEY_DIALECT;
        return key_problem(problem, "does not go with grant = %s; drop it", profile->grant->name);
    }
    profile->dialect = own;
    *ret_key = KEY_TENANT;
    return profile->tenant ? key_problem(problem, "means nothing to grant = %s; drop it", profile->grant->name) : 0;
}

/* What a sign-in with B2C must be asked for so that an access token comes (WIRE section 8), where nothing else is. */
static int default_scopes(struct profile *profile)
{
    char **scopes = profile_allocate(profile, 4 * sizeof(*scopes));
    if (!scopes)
        return -ENOMEM;
    scopes[0] = profile->client_id;
    scopes[1] = profile_text(profile, span_of("openid"));
    scopes[2] = profile_text(profile, span_of("offline_access"));
    if (!scopes[1] || !scopes[2])
        return -ENOMEM;
    scopes[scopes_sort(scopes)] = NULL;
    profile->scopes = scopes;
    return 0;
}

/* ORIGIN[/tfp]/TENANT[/POLICY]/v2.0, below which the documents are. */
static int write_b2c(struct profile *profile, const char *origin, size_t length, const struct b2c_place *place)
{
    size_t size = length + place->tenant.length + place->policy.length + sizeof("/tfp///v2.0");
    char *authority = profile_allocate(profile, size);
    profile->policy = place->policy.length ? profile_text(profile, place->policy) : NULL;
    if (!authority || (place->policy.length && !profile->policy))
        return -ENOMEM;
    (void)snprintf(authority, size, "%.*s%s/%.*s%s%.*s/v2.0", (int)length, origin, place->tfp ? "/tfp" : "",
                   (int)place->tenant.length, place->tenant.data, place->policy.length ? "/" : "",
                   (int)place->policy.length, place->policy.length ? place->policy.data : "");
    profile->authority = authority;
    return 0;
}

int dialect_with_policy(struct profile *profile, const char *policy, struct profile **ret,
                        char problem[static LIMIT_TEXT])
{
    struct b2c_place place = {0};
    struct url url;
    *ret = NULL;
    if (!profile_is_b2c(profile) || !profile->authority || url_parse(profile->authority, &url) < 0)
        return key_problem(problem, "only an authority of Azure AD B2C has user flows to choose from, and this one is "
                                    "none; for a custom domain of B2C's set dialect = b2c");
    if (!b2c_read_path(url.path, &place) || !place.policy.length)
        return key_problem(problem, "Entra External ID has no user flows to choose from: its applications have one");
    if (!b2c_is_policy(policy))
        return key_problem(problem, "a user flow's name is of letters, digits, _ and -");
    if (same_word(place.policy, span_of(policy)))
        return 0;
    struct profile *copy = profile_new(2 * strlen(profile->authority) + LIMIT_CODE);
    if (!copy)
        return -ENOMEM;
    struct profile_block *storage = copy->storage;
    *copy = *profile;
    copy->storage = storage;
    copy->references = 1;
    copy->base = profile_ref(profile);
    copy->token_endpoint = copy->authorization_endpoint = copy->jwks_uri = NULL; /* those were the other flow's */
    place.policy = span_of(policy);
    if (write_b2c(copy, profile->authority, (size_t)(url.path.data - profile->authority), &place) < 0) {
        profile_free(copy);
        return -ENOMEM;
    }
    *ret = copy;
    return 0;
}

/* The authority becomes ORIGIN[/tfp]/TENANT/POLICY/v2.0. */
static int settle_b2c(struct profile *profile, const struct url *url, int *ret_key, char problem[static LIMIT_TEXT])
{
    struct b2c_place place = {0};
    bool path = url->path.length > 1, external = b2c_is_external(url);
    struct span tenant = span_of(profile->tenant), policy = span_of(profile->policy);
    *ret_key = KEY_AUTHORITY;
    if (path && !b2c_read_path(url->path, &place))
        return key_problem(problem, "is not an address of %s; write https://HOST/TENANT%s",
                           external ? "Entra External ID" : "Azure AD B2C", external ? "" : "/POLICY");
    if (tenant.length && place.tenant.length && !same_word(tenant, place.tenant)) {
        *ret_key = KEY_TENANT;
        return key_problem(problem, "the authority names another tenant; drop one of the two");
    }
    if (policy.length && place.policy.length && !same_word(policy, place.policy)) {
        *ret_key = KEY_POLICY;
        return key_problem(problem, "the authority names another user flow; drop one of the two");
    }
    tenant = place.tenant.length ? place.tenant : tenant;
    policy = place.policy.length ? place.policy : policy;
    if (!tenant.length)
        return key_problem(problem, "names no tenant; write https://HOST/TENANT%s, or add tenant = ...",
                           external ? "" : "/POLICY");
    if (external && policy.length)
        return key_problem(problem, "has a user flow, which Entra External ID has not; write https://HOST/TENANT");
    if (!external && !policy.length)
        return key_problem(problem, "names no user flow; write https://HOST/TENANT/POLICY, or add policy = ...");
    size_t origin = url->path.length ? (size_t)(url->path.data - profile->authority) : strlen(profile->authority);
    place.tenant = tenant;
    place.policy = policy;
    int r = write_b2c(profile, profile->authority, origin, &place);
    bool person = profile->grant && (profile->grant->ops & GRANT_LOGIN);
    return r == 0 && person && !external && !profile->scopes && profile->client_id ? default_scopes(profile) : r;
}

int dialect_settle(struct profile *profile, int *ret_key, char problem[static LIMIT_TEXT])
{
    enum dialect own = profile->grant ? profile->grant->dialect : DIALECT_AUTO;
    if (own != DIALECT_AUTO)
        return settle_own(profile, own, ret_key, problem);
    const struct grant *owner = grant_speaking(profile->dialect);
    if (owner) {
        *ret_key = KEY_DIALECT;
        return key_problem(problem, "goes with grant = %s alone; drop it", owner->name);
    }
    struct url url;
    bool known = profile->authority && url_parse(profile->authority, &url) == 0;
    bool ours = known && url_is_entra(&url);
    if (profile->dialect == DIALECT_AUTO && known && b2c_is_host(&url))
        profile->dialect = DIALECT_B2C;
    if (profile->dialect == DIALECT_B2C && known)
        return settle_b2c(profile, &url, ret_key, problem);
    if (profile->policy) {
        *ret_key = KEY_POLICY;
        return key_problem(problem, "only means something with an authority of Azure AD B2C; drop it, or set "
                                    "dialect = b2c");
    }
    struct place place = known ? read_place(profile->authority, &url) : (struct place){0};
    if (profile->dialect == DIALECT_AUTO && !ours)
        profile->dialect = DIALECT_OIDC;
    else if (profile->dialect == DIALECT_AUTO)
        profile->dialect = profile->resource && !place.v2 ? DIALECT_ENTRA_V1 : DIALECT_ENTRA;
    if (profile->tenant && (profile->dialect == DIALECT_OIDC || !known)) {
        *ret_key = KEY_TENANT;
        return key_problem(
            problem, "only means something with an authority of Microsoft Entra; drop it, or set dialect = entra and "
                     "authority");
    }
    if (profile->dialect == DIALECT_OIDC || !known)
        return 0;
    return settle_entra(profile, &place, ours, ret_key, problem);
}
