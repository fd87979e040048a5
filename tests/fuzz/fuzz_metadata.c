/* Any bytes as a metadata document (after one byte that picks a profile): never a crash, and whatever is accepted names
 * only places that the profile allows. */
#include "authority/metadata.h"

#include "authority/url.h"
#include "cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char example[] = "https://login.example.org/realms/ml", local[] = "http://127.0.0.1:8080",
            google[] = "https://accounts.google.com", entra[] = "https://login.microsoftonline.com/common/v2.0",
            allowed[] = "other.example.org";
static char *hosts[] = {allowed, NULL};
static struct profile profiles[] = {
    {.authority = example, .dialect = DIALECT_OIDC},
    {.authority = example, .dialect = DIALECT_OIDC, .endpoint_hosts = hosts},
    {.authority = local, .dialect = DIALECT_OIDC},
    {.authority = google, .dialect = DIALECT_OIDC},
    {.authority = entra, .dialect = DIALECT_ENTRA},
};

static void check(const struct profile *profile, const char *endpoint)
{
    static char known_hosts[][32] = {"oauth2.googleapis.com", "www.googleapis.com", "login.microsoft.com",
                                     "login.windows.net", "sts.windows.net"};
    char *known[] = {known_hosts[0], known_hosts[1], known_hosts[2], known_hosts[3], known_hosts[4], NULL};
    struct url authority, url;
    if (!endpoint)
        return;
    if (url_parse(profile->authority, &authority) < 0 || url_parse(endpoint, &url) < 0)
        abort();
    bool fine = authority.https ? url.https && (url_same_host(&authority, &url) ||
                                                url_host_in(&url, profile->endpoint_hosts) || url_host_in(&url, known))
                                : url_is_loopback(&url);
    if (!fine)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct metadata *metadata = NULL, *merged = NULL;
    struct failure why = {0};
    if (size < 1)
        return 0;
    const struct profile *profile = &profiles[data[0] % ELEMENTS(profiles)];
    struct span document = {.data = (const char *)data + 1, .length = size - 1};
    if (metadata_parse(profile, document, &metadata, &why) < 0) {
        if (why.kind == FAILURE_NONE || !why.reason[0])
            abort();
        return 0;
    }
    check(profile, metadata->token_endpoint);
    check(profile, metadata->device_authorization_endpoint);
    check(profile, metadata->revocation_endpoint);
    check(profile, metadata->jwks_uri);
    if (metadata_merge(profile, metadata, &merged) < 0)
        abort();
    metadata_free(merged);
    metadata_free(metadata);
    return 0;
}
