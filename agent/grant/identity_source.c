#include "grant/identity_source.h"

#include "authority/url.h"
#include "cleanup.h"
#include <errno.h>

#define METADATA_PATH "/metadata/identity/oauth2/token"
#define OWN_IDENTITY  "has one identity, the system's own"

/* In the order in which they are looked for (that of the SDKs). */
static const struct identity_way ways[] = {
    {
        .source = IDENTITY_SERVICE_FABRIC,
        .title = "Service Fabric",
        .marks = {"IDENTITY_ENDPOINT", "IDENTITY_HEADER", "IDENTITY_SERVER_THUMBPRINT"},
        .endpoint = "IDENTITY_ENDPOINT",
        .version = "2019-07-01-preview",
        .header = "Secret",
        .secret = "IDENTITY_HEADER",
        .thumbprint = "IDENTITY_SERVER_THUMBPRINT",
        .alone = "gives an application the identity that the cluster was configured with",
    },
    {
        .source = IDENTITY_APP_SERVICE,
        .title = "App Service",
        .marks = {"IDENTITY_ENDPOINT", "IDENTITY_HEADER"},
        .endpoint = "IDENTITY_ENDPOINT",
        .version = "2019-08-01",
        .header = "X-IDENTITY-HEADER",
        .secret = "IDENTITY_HEADER",
        .client_id = "client_id",
        .object_id = "object_id",
        .mi_res_id = "mi_res_id",
    },
    {
        .source = IDENTITY_AZUREML,
        .title = "Azure ML compute",
        .marks = {"MSI_ENDPOINT", "MSI_SECRET", "DEFAULT_IDENTITY_CLIENT_ID"},
        .endpoint = "MSI_ENDPOINT",
        .version = "2017-09-01",
        .header = "secret",
        .secret = "MSI_SECRET",
        .metadata = true,
        .client_id = "clientid",
        .alone = "knows identities by client_id alone",
    },
    {
        .source = IDENTITY_APP_SERVICE, /* ... or Azure ML, which looks the same when it names no identity */
        .title = "App Service (2017-09-01)",
        .marks = {"MSI_ENDPOINT", "MSI_SECRET"},
        .endpoint = "MSI_ENDPOINT",
        .version = "2017-09-01",
        .header = "secret",
        .secret = "MSI_SECRET",
        .metadata = true,
        .client_id = "clientid",
        .alone = "of this generation knows identities by client_id alone",
    },
    {
        .source = IDENTITY_ARC,
        .title = "Azure Arc",
        .marks = {"IDENTITY_ENDPOINT", "IMDS_ENDPOINT"},
        .endpoint = "IDENTITY_ENDPOINT",
        .usual = "http://localhost:40342" METADATA_PATH,
        .version = "2020-06-01",
        .metadata = true,
        .alone = OWN_IDENTITY,
    },
    {
        .source = IDENTITY_CLOUD_SHELL,
        .title = "Cloud Shell",
        .marks = {"MSI_ENDPOINT"},
        .endpoint = "MSI_ENDPOINT",
        .metadata = true,
        .post = true,
        .alone = "gives tokens of the person who opened it",
    },
    {
        .source = IDENTITY_IMDS,
        .title = "IMDS",
        .endpoint = "AZURE_POD_IDENTITY_AUTHORITY_HOST",
        .usual = "http://169.254.169.254",
        .path = METADATA_PATH,
        .version = "2018-02-01",
        .metadata = true,
        .client_id = "client_id",
        .object_id = "object_id",
        .mi_res_id = "msi_res_id",
    },
};

bool identity_source_read(const char *word, enum identity_source *ret)
{
    static const char *const words[] = {
        [IDENTITY_SERVICE_FABRIC] = "service_fabric",
        [IDENTITY_APP_SERVICE] = "app_service",
        [IDENTITY_AZUREML] = "azureml",
        [IDENTITY_ARC] = "arc",
        [IDENTITY_CLOUD_SHELL] = "cloud_shell",
        [IDENTITY_IMDS] = "imds",
        [IDENTITY_SOURCES] = "auto",
    };
    for (size_t i = 0; i < ELEMENTS(words); i++)
        if (strcmp(word, words[i]) == 0) {
            *ret = (enum identity_source)i;
            return true;
        }
    return false;
}

struct span identity_value(environment_fn *environment, const char *name)
{
    struct span value = environment ? environment(name) : (struct span){0};
    return value.length > 0 ? value : (struct span){0};
}

static bool is_marked(const struct identity_way *way, environment_fn *environment)
{
    for (size_t i = 0; i < ELEMENTS(way->marks) && way->marks[i]; i++)
        if (identity_value(environment, way->marks[i]).length == 0)
            return false;
    return way->marks[0] != NULL;
}

const struct identity_way *identity_way_find(enum identity_source source, environment_fn *environment)
{
    const struct identity_way *first = NULL;
    for (size_t i = 0; i < ELEMENTS(ways); i++) {
        if (source != IDENTITY_SOURCES && ways[i].source != source)
            continue;
        if (is_marked(&ways[i], environment))
            return &ways[i];
        first = first ? first : &ways[i];
    }
    return source == IDENTITY_SOURCES ? NULL : first;
}

bool identity_way_name(const struct identity_way *way, const struct profile *profile, const char **ret_name,
                       const char **ret_value)
{
    const struct {
        const char *name, *value;
    } names[] = {
        {way->client_id, profile->client_id},
        {way->object_id, profile_setting(profile, "object_id")},
        {way->mi_res_id, profile_setting(profile, "mi_res_id")},
    };
    *ret_name = *ret_value = NULL;
    for (size_t i = 0; i < ELEMENTS(names); i++) {
        if (!names[i].value)
            continue;
        *ret_name = names[i].name;
        *ret_value = names[i].value;
        return names[i].name != NULL;
    }
    return true;
}

const char *identity_way_missing(const struct identity_way *way, environment_fn *environment)
{
    const char *const needs[] = {way->usual ? NULL : way->endpoint, way->secret, way->thumbprint};
    for (size_t i = 0; i < ELEMENTS(needs); i++)
        if (needs[i] && identity_value(environment, needs[i]).length == 0)
            return needs[i];
    return NULL;
}

/* https, or http where nobody else can listen. */
static bool is_local(const char *address)
{
    struct url url;
    if (url_parse(address, &url) < 0 || url.query.length > 0)
        return false;
    return url.https || url_is_loopback(&url) || url_is_link_local(&url) || url_is_localhost(&url);
}

int identity_way_address(const struct identity_way *way, environment_fn *environment, struct buffer *ret)
{
    struct span value = identity_value(environment, way->endpoint);
    if (value.length == 0 && way->usual)
        value = span_of(way->usual);
    while (way->path && value.length > 0 && value.data[value.length - 1] == '/')
        value.length--;
    if (value.length == 0 || memchr(value.data, '\0', value.length))
        return -EINVAL;
    buffer_append(ret, value.data, value.length);
    if (way->path)
        buffer_text(ret, way->path);
    if (buffer_error(ret))
        return buffer_error(ret) == -EMSGSIZE ? -EINVAL : buffer_error(ret);
    return is_local(ret->data) && (!way->thumbprint || strncmp(ret->data, "https:", 6) == 0) ? 0 : -EINVAL;
}
