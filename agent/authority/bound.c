#include "authority/bound.h"

#include "base64url.h"
#include "cleanup.h"
#include "json.h"
#include "limits.h"
#include <stdlib.h>

enum bound bound_said(json_object *object)
{
    static const char *const keys[] = {"jwk", "jwe", "kid", "jku", "x5t", NULL};
    json_object *cnf = NULL, *member = NULL;
    if (json_member(object, "cnf", &cnf) < 0 || !json_object_is_type(cnf, json_type_object))
        return BOUND_NOT;
    if (json_member(cnf, "jkt", &member) == 0)
        return BOUND_DPOP;
    if (json_member(cnf, "x5t#S256", &member) == 0)
        return BOUND_CERTIFICATE;
    for (const char *const *key = keys; *key; key++)
        if (json_member(cnf, *key, &member) == 0)
            return BOUND_KEY;
    return BOUND_NOT;
}

static enum bound bound_in(struct span claims)
{
    _cleanup_json_wipe_ json_object *json = NULL;
    return json_parse(claims.data, claims.length, LIMIT_RESPONSE_DEPTH, &json) < 0 ? BOUND_NOT : bound_said(json);
}

enum bound bound_by(struct span token)
{
    const char *first = token.length ? memchr(token.data, '.', token.length) : NULL;
    size_t rest = first ? token.length - (size_t)(first + 1 - token.data) : 0;
    const char *second = rest ? memchr(first + 1, '.', rest) : NULL;
    uint8_t *claims = NULL;
    size_t length = 0;
    if (!second ||
        base64url_decode_new((struct span){first + 1, (size_t)(second - first - 1)}, LIMIT_TOKEN, &claims, &length) < 0)
        return BOUND_NOT;
    enum bound bound = bound_in((struct span){(const char *)claims, length});
    explicit_bzero(claims, length);
    free(claims);
    return bound;
}
