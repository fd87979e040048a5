#include "dialect.h"

#include "authority/url.h"
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

int dialect_settle(struct profile *profile, int *ret_key, char problem[static LIMIT_TEXT])
{
    enum dialect own = profile->grant ? profile->grant->dialect : DIALECT_AUTO;
    if (own != DIALECT_AUTO)
        return settle_own(profile, own, ret_key, problem);
    if (profile->dialect == DIALECT_MLSERVER) {
        *ret_key = KEY_DIALECT;
        return key_problem(problem, "goes with grant = mlserver alone; drop it");
    }
    struct url url;
    bool known = profile->authority && url_parse(profile->authority, &url) == 0;
    bool ours = known && url_is_entra(&url);
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
