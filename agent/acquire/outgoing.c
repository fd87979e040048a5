#include "acquire/outgoing.h"

#include "authority/url.h"
#include "grant/grant.h"

/* Plain http is for a literal loopback authority alone. */
static bool allows_http(const struct profile *profile)
{
    struct url url;
    const char *address = profile->authority ? profile->authority : profile->token_endpoint;
    return address && url_parse(address, &url) == 0 && !url.https && url_is_loopback(&url);
}

struct http_request outgoing_request(const struct profile *profile, const struct http_step *step, struct span ca_pem)
{
    bool local = profile->grant && profile->grant->local;
    return (struct http_request){
        .step = step,
        .trust = {.ca_pem = ca_pem, .proxy = local ? NULL : profile->proxy, .thumbprint = step->thumbprint},
        .allow_http = allows_http(profile),
        .allow_local = local,
        .timeout_ms = profile->timeout_ms,
    };
}
