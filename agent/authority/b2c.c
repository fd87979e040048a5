#include "authority/b2c.h"

#include "limits.h"
#include <ctype.h>
#include <string.h>
#include <strings.h>

enum { GUID_LENGTH = 36 };

static bool same(struct span a, struct span b)
{
    return a.length == b.length && (a.length == 0 || (a.data && b.data && strncasecmp(a.data, b.data, a.length) == 0));
}

static bool ends_with(struct span text, const char *end)
{
    size_t length = strlen(end);
    return text.length > length && strncasecmp(text.data + text.length - length, end, length) == 0;
}

bool b2c_is_external(const struct url *url)
{
    return url->https && url->port == 443 && ends_with(url->host, ".ciamlogin.com");
}

bool b2c_is_host(const struct url *url)
{
    return b2c_is_external(url) || (url->https && url->port == 443 && ends_with(url->host, ".b2clogin.com"));
}

static struct span next_segment(struct span *path)
{
    struct span found = {0};
    if (path->length == 0 || path->data[0] != '/')
        return found;
    const char *start = path->data + 1;
    const char *end = memchr(start, '/', path->length - 1);
    found = (struct span){start, end ? (size_t)(end - start) : path->length - 1};
    path->data += found.length + 1;
    path->length -= found.length + 1;
    return found;
}

bool b2c_read_path(struct span path, struct b2c_place *ret)
{
    struct b2c_place place = {0};
    if (path.length > 1 && path.data[path.length - 1] == '/')
        path.length--;
    place.tenant = next_segment(&path);
    place.tfp = same(place.tenant, span_of("tfp"));
    if (place.tfp)
        place.tenant = next_segment(&path);
    place.policy = next_segment(&path);
    struct span version = next_segment(&path);
    if (version.length == 0 && same(place.policy, span_of("v2.0")))
        place.policy = (struct span){0};
    else if (version.length > 0 && !same(version, span_of("v2.0")))
        return false;
    *ret = place;
    return place.tenant.length > 0 && path.length == 0;
}

bool b2c_is_policy(const char *name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    return *name && strlen(name) <= LIMIT_CODE && !name[strspn(name, allowed)];
}

bool b2c_same_tenant(const char *issuer, const char *other)
{
    struct url a, b;
    struct b2c_place here, there;
    return url_parse(issuer, &a) == 0 && url_parse(other, &b) == 0 && url_same_origin(&a, &b) &&
           b2c_read_path(a.path, &here) && b2c_read_path(b.path, &there) && same(here.tenant, there.tenant);
}

static bool is_guid(struct span text)
{
    if (text.length != GUID_LENGTH)
        return false;
    for (size_t i = 0; i < GUID_LENGTH; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? text.data[i] != '-' : !isxdigit((unsigned char)text.data[i]))
            return false;
    }
    return true;
}

/* TENANT-ID.ciamlogin.com */
static bool is_host_of(const struct url *url, struct span tenant)
{
    return b2c_is_external(url) && is_guid(tenant) && url->host.length == tenant.length + strlen(".ciamlogin.com") &&
           strncasecmp(url->host.data, tenant.data, tenant.length) == 0;
}

bool b2c_is_issuer(const struct url *authority, const struct url *issuer)
{
    struct b2c_place ours, theirs;
    if (!b2c_read_path(authority->path, &ours) || !b2c_read_path(issuer->path, &theirs) || issuer->query.length > 0)
        return false;
    if (!url_same_origin(authority, issuer) && !(b2c_is_external(authority) && is_host_of(issuer, theirs.tenant)))
        return false;
    if (!same(ours.tenant, theirs.tenant) && (is_guid(ours.tenant) || !is_guid(theirs.tenant)))
        return false;
    return theirs.policy.length == 0 || same(ours.policy, theirs.policy);
}
