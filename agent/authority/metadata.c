#include "authority/metadata.h"

#include "authority/b2c.h"
#include "authority/url.h"
#include "buffer.h"
#include "cleanup.h"
#include "json.h"
#include "limits.h"
#include <errno.h>
#include <strings.h>

#define OPENID_SUFFIX "/.well-known/openid-configuration"
#define OAUTH_SUFFIX  "/.well-known/oauth-authorization-server"
#define TENANT_ANY    "{tenantid}"
#define SHOWN         120 /* bytes of an address that a message repeats */

DEFINE_CLEANUP(struct metadata *, metadata_free)

/* What authorities' own documents name beside the authority's host. A group's hosts are one operator's, and each may
 * name any other; nothing crosses groups, so a sovereign cloud's secret stays in it. */
static const char *const *const host_groups[] = {
    (const char *const[]){"accounts.google.com", "oauth2.googleapis.com", "www.googleapis.com", NULL},
    (const char *const[]){"login.microsoftonline.com", "login.microsoft.com", "login.windows.net", "sts.windows.net",
                          NULL},
    (const char *const[]){"login.microsoftonline.us", "login.usgovcloudapi.net", NULL},
    (const char *const[]){"login.partner.microsoftonline.cn", "login.chinacloudapi.cn", "sts.chinacloudapi.cn", NULL},
};

/* One document being read. */
struct reading {
    const struct profile *profile;
    struct url authority;
    json_object *document;
    json_object *aliases; /* mtls_endpoint_aliases, for a client that they are for; NULL: none */
    struct failure *why;
};

struct metadata *metadata_free(struct metadata *metadata)
{
    if (!metadata)
        return NULL;
    free(metadata->issuer);
    free(metadata->token_endpoint);
    free(metadata->device_authorization_endpoint);
    free(metadata->revocation_endpoint);
    free(metadata->introspection_endpoint);
    free(metadata->userinfo_endpoint);
    free(metadata->jwks_uri);
    free(metadata->authorization_endpoint);
    free(metadata->pushed_authorization_request_endpoint);
    free(metadata->misplaced);
    free(metadata);
    return NULL;
}

static bool in_group(const struct url *url, const char *const *group)
{
    for (; *group; group++)
        if (strlen(*group) == url->host.length && strncasecmp(*group, url->host.data, url->host.length) == 0)
            return true;
    return false;
}

static bool is_pair(const struct url *authority, const struct url *other)
{
    for (size_t i = 0; i < ELEMENTS(host_groups); i++)
        if (in_group(authority, host_groups[i]))
            return in_group(other, host_groups[i]);
    return false;
}

static bool ends_with(struct span text, const char *end)
{
    size_t length = strlen(end);
    return text.length >= length && memcmp(text.data + text.length - length, end, length) == 0;
}

static struct span trim_slash(struct span text)
{
    if (ends_with(text, "/"))
        text.length--;
    return text;
}

/* The authority as a place to ask, or -EINVAL: https, or http to a loopback literal; no query. */
static int read_authority(const struct profile *profile, struct url *ret)
{
    if (url_parse(profile->authority, ret) < 0 || ret->query.length > 0)
        return -EINVAL;
    return ret->https || url_is_loopback(ret) ? 0 : -EINVAL;
}

/* ---- addresses ---- */

/* Entra's version 2 documents are below /v2.0, also when the authority was written without it, as its libraries allow.
 */
static bool wants_v2(const struct profile *profile, const struct url *authority)
{
    return profile->dialect == DIALECT_ENTRA || ends_with(trim_slash(authority->path), "/v2.0");
}

static char *openid_address(const struct profile *profile, const struct url *authority)
{
    _cleanup_buffer_ struct buffer text = BUFFER(LIMIT_URL);
    struct span base = trim_slash(span_of(profile->authority));
    buffer_append(&text, base.data, base.length);
    if (url_is_entra(authority) && wants_v2(profile, authority) && !ends_with(base, "/v2.0"))
        buffer_text(&text, "/v2.0");
    buffer_text(&text, OPENID_SUFFIX);
    return buffer_take(&text);
}

/* RFC 8414 section 3.1: the well-known part goes between host and path. */
static char *inserted_address(const struct profile *profile, const struct url *authority)
{
    _cleanup_buffer_ struct buffer text = BUFFER(LIMIT_URL);
    struct span path = trim_slash(authority->path);
    buffer_append(&text, profile->authority, (size_t)(authority->path.data - profile->authority));
    buffer_text(&text, OAUTH_SUFFIX);
    if (path.length > 0)
        buffer_append(&text, path.data, path.length);
    return buffer_take(&text);
}

static char *appended_address(const struct profile *profile)
{
    _cleanup_buffer_ struct buffer text = BUFFER(LIMIT_URL);
    struct span base = trim_slash(span_of(profile->authority));
    buffer_append(&text, base.data, base.length);
    buffer_text(&text, OAUTH_SUFFIX);
    return buffer_take(&text);
}

int metadata_addresses(const struct profile *profile, char **ret, size_t size)
{
    struct url authority;
    size_t count = 0;
    if (read_authority(profile, &authority) < 0 ||
        strlen(profile->authority) + sizeof(OAUTH_SUFFIX "/v2.0") > LIMIT_URL)
        return -EINVAL;
    if (count < size)
        ret[count++] = openid_address(profile, &authority);
    if (count < size && !url_is_entra(&authority))
        ret[count++] = inserted_address(profile, &authority);
    if (count < size && !url_is_entra(&authority) && trim_slash(authority.path).length > 0)
        ret[count++] = appended_address(profile);
    for (size_t i = 0; i < count; i++) {
        if (ret[i])
            continue;
        for (size_t j = 0; j < count; j++)
            free(TAKE_PTR(ret[j]));
        return -ENOMEM;
    }
    return (int)count;
}

/* ---- reading ---- */

/* The authority's fault: the document cannot be read as one. */
static int broken(const struct reading *reading, const char *member, const char *problem)
{
    failure_set(reading->why, FAILURE_AUTHORITY_REFUSED, CLASS_DEFINITE, "the metadata of %.*s is unusable: %s%s%s",
                SHOWN, reading->profile->authority, member, member[0] ? ": " : "", problem);
    (void)snprintf(reading->why->error, sizeof(reading->why->error), "invalid_metadata");
    return -EBADMSG;
}

static int read_text(const struct reading *reading, json_object *source, const char *member, const char **ret)
{
    *ret = NULL;
    if (json_string(source, member, LIMIT_URL, ret) == -EINVAL)
        return broken(reading, member, "not a text, too long, or with control characters");
    return 0;
}

static bool is_guid(struct span text)
{
    if (text.length != 36)
        return false;
    for (size_t i = 0; i < text.length; i++) {
        char c = text.data[i];
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
        if (dash ? c != '-' : !hex)
            return false;
    }
    return true;
}

static bool span_is(struct span span, const char *text)
{
    return span.length == strlen(text) && strncasecmp(span.data, text, span.length) == 0;
}

/* "/{tenant}" with an optional "/v2.0" and slash: false for any other form. */
static bool read_tenant(struct span path, struct span *ret, bool *ret_v2)
{
    path = trim_slash(path);
    *ret_v2 = ends_with(path, "/v2.0");
    if (*ret_v2)
        path.length -= strlen("/v2.0");
    if (path.length < 2 || path.data[0] != '/' || memchr(path.data + 1, '/', path.length - 1))
        return false;
    *ret = (struct span){.data = path.data + 1, .length = path.length - 1};
    return true;
}

/* Replaces the template by a tenant of the same form, so that url_parse can read the rest; braces are in no address. */
static bool without_template(const char *issuer, char *to, size_t size)
{
    static const char tenant[] = "00000000-0000-0000-0000-000000000000";
    const char *place = strstr(issuer, TENANT_ANY);
    int n = place ? snprintf(to, size, "%.*s%s%s", (int)(place - issuer), issuer, tenant, place + strlen(TENANT_ANY))
                  : snprintf(to, size, "%s", issuer);
    return n > 0 && (size_t)n < size;
}

/* Entra's documents name the tenant by its id whatever the address named: a verified domain (contoso.onmicrosoft.com)
 * becomes an id we cannot know, `common` and `organizations` the literal {tenantid}, `consumers` the fixed id of
 * personal accounts; version 1 issuers are on the sts host. So, for an authority on one of Microsoft's login hosts
 * alone, an issuer is the authority's own when it is https on a host of the same cloud, of the same version, and its
 * tenant
 * - is the configured id, when an id is configured,
 * - is {tenantid}, when the configured tenant is one of the three that many tenants share,
 * - is any id, when the configured tenant is a name: the document came by verified TLS from that tenant's address. */
static bool entra_issuer(const struct reading *reading, const char *issuer, bool *ret_template)
{
    char text[LIMIT_URL + 40];
    struct url url;
    struct span configured, named;
    bool configured_v2, named_v2, template = strstr(issuer, TENANT_ANY) != NULL;
    if (!without_template(issuer, text, sizeof(text)) || url_parse(text, &url) < 0)
        return false;
    if (!url.https || url.port != 443 || url.query.length > 0 || !is_pair(&reading->authority, &url))
        return false;
    if (!read_tenant(reading->authority.path, &configured, &configured_v2) || !read_tenant(url.path, &named, &named_v2))
        return false;
    if (named_v2 != wants_v2(reading->profile, &reading->authority) || !is_guid(named))
        return false;
    bool shared =
        span_is(configured, "common") || span_is(configured, "organizations") || span_is(configured, "consumers");
    if (template && !shared)
        return false;
    if (is_guid(configured) && strncasecmp(configured.data, named.data, named.length) != 0)
        return false;
    *ret_template = template;
    return true;
}

static int check_issuer(const struct reading *reading, const char *issuer, bool *ret_template)
{
    const char *authority = reading->profile->authority;
    *ret_template = false;
    if (!issuer)
        return broken(reading, "issuer", "missing");
    if (strcmp(issuer, authority) == 0)
        return 0;
    if (url_is_entra(&reading->authority) && entra_issuer(reading, issuer, ret_template))
        return 0;
    struct url named;
    if (reading->profile->dialect == DIALECT_B2C && url_parse(issuer, &named) == 0 &&
        b2c_is_issuer(&reading->authority, &named))
        return 0;
    failure_set(
        reading->why, FAILURE_INVALID_CONFIGURATION, CLASS_DEFINITE,
        "the metadata of %.*s says issuer = %.*s, which is not the authority byte for byte; if it is the one you "
        "mean, write that as authority",
        SHOWN, authority, SHOWN, issuer);
    return -EBADMSG;
}

static bool is_local_name(const struct url *url)
{
    static const char name[] = "localhost";
    size_t length = strlen(name);
    if (url->host.length < length || strncasecmp(url->host.data + url->host.length - length, name, length) != 0)
        return false;
    return url->host.length == length || url->host.data[url->host.length - length - 1] == '.';
}

/* Why an endpoint may not be where the document puts it, or NULL. *ret_foreign: endpoint_hosts would allow it. */
static const char *misplaced(const struct reading *reading, const struct url *url, bool *ret_foreign)
{
    const struct url *authority = &reading->authority;
    *ret_foreign = false;
    if (!authority->https) /* a loopback literal: read_authority() has seen to it */
        return url_is_loopback(url) ? NULL : "not on a loopback address as its authority is";
    if (!url->https)
        return "not https";
    if (url_same_host(authority, url))
        return NULL;
    if (url_is_loopback(url) ? !url_is_loopback(authority) : is_local_name(url))
        return "on this very machine, unlike the authority";
    if (is_pair(authority, url) || url_host_in(url, reading->profile->endpoint_hosts))
        return NULL;
    *ret_foreign = true;
    return "on another host than the authority";
}

/* A browser shows none, and key sets are fetched without. */
static bool shows_certificate(const char *member)
{
    return strcmp(member, "authorization_endpoint") != 0 && strcmp(member, "jwks_uri") != 0;
}

static int read_aliases(struct reading *reading)
{
    static const char member[] = "mtls_endpoint_aliases";
    json_object *aliases;
    if (reading->profile->client_auth != CLIENT_AUTH_TLS || json_member(reading->document, member, &aliases) < 0)
        return 0;
    if (!json_object_is_type(aliases, json_type_object))
        return broken(reading, member, "not an object");
    reading->aliases = aliases;
    return 0;
}

/* One endpoint: *ret is a copy, NULL when absent, or when the profile names it itself (then what the document says is
 * neither used nor judged). */
static int read_endpoint(const struct reading *reading, const char *member, const char *own, char **ret)
{
    const char *text, *problem;
    struct url url;
    bool foreign;
    if (own)
        return 0;
    int r =
        reading->aliases && shows_certificate(member) ? read_text(reading, reading->aliases, member, &text) : -ENOENT;
    if (r == 0 && !text)
        r = -ENOENT;
    if (r == -ENOENT)
        r = read_text(reading, reading->document, member, &text);
    if (r < 0 || !text)
        return r;
    if (url_parse(text, &url) < 0)
        return broken(reading, member, "not a plain https address");
    problem = misplaced(reading, &url, &foreign);
    if (!problem) {
        *ret = strdup(text);
        return *ret ? 0 : -ENOMEM;
    }
    if (foreign)
        failure_set(reading->why, FAILURE_INVALID_CONFIGURATION, CLASS_DEFINITE,
                    "the metadata of %.*s puts %s at %.*s: %s; if that host may be trusted set endpoint_hosts = %.*s",
                    SHOWN, reading->profile->authority, member, SHOWN, text, problem, (int)url.host.length,
                    url.host.data);
    else
        failure_set(reading->why, FAILURE_INVALID_CONFIGURATION, CLASS_DEFINITE,
                    "the metadata of %.*s puts %s at %.*s: %s; the right address can be set as %s", SHOWN,
                    reading->profile->authority, member, SHOWN, text, problem, member);
    return -EBADMSG;
}

/* The same for what only a sign-in with a browser needs: many authorities have their pages on another host. */
static int read_page(const struct reading *reading, const char *member, const char *own, struct metadata *metadata,
                     char **ret)
{
    struct failure why;
    struct reading lenient = *reading;
    lenient.why = &why;
    int r = read_endpoint(&lenient, member, own, ret);
    if (r != -EBADMSG)
        return r;
    if (!metadata->misplaced && !(metadata->misplaced = malloc(sizeof(why))))
        return -ENOMEM;
    *metadata->misplaced = why;
    return 0;
}

static int read_auth_methods(const struct reading *reading, struct metadata *metadata)
{
    static const char member[] = "token_endpoint_auth_methods_supported";
    json_object *methods;
    int r = json_array(reading->document, member, &methods);
    if (r == -ENOENT) { /* RFC 8414 section 2 */
        metadata->basic = true;
        return 0;
    }
    if (r < 0)
        return broken(reading, member, "not a list");
    for (size_t i = 0; i < json_object_array_length(methods); i++) {
        json_object *method = json_object_array_get_idx(methods, i);
        if (!json_object_is_type(method, json_type_string))
            return broken(reading, member, "not a list of texts");
        metadata->basic |= strcmp(json_object_get_string(method), "client_secret_basic") == 0;
        metadata->post |= strcmp(json_object_get_string(method), "client_secret_post") == 0;
    }
    return 0;
}

/* "Initiating User Registration via OpenID Connect" section 3.1: Keycloak says that it knows login, and no choice of an
 * account. A list that cannot be read counts as none. */
static bool lacks_account_choice(const struct reading *reading)
{
    json_object *prompts;
    bool lacks = json_array(reading->document, "prompt_values_supported", &prompts) == 0;
    for (size_t i = 0; lacks && i < json_object_array_length(prompts); i++) {
        const char *prompt = json_object_get_string(json_object_array_get_idx(prompts, i));
        lacks = !prompt || strcmp(prompt, "select_account") != 0;
    }
    return lacks;
}

/* One that no token depends on: where it may not be used it is not there. */
static int read_spare(const struct reading *reading, const char *member, char **ret)
{
    struct failure unsaid;
    struct reading quiet = *reading;
    quiet.why = &unsaid;
    int r = read_endpoint(&quiet, member, NULL, ret);
    return r == -EBADMSG ? 0 : r;
}

static int read_document(struct reading *reading, struct metadata *metadata)
{
    const struct profile *profile = reading->profile;
    const char *issuer;
    int r;
    if ((r = read_text(reading, reading->document, "issuer", &issuer)) < 0 || (r = read_aliases(reading)) < 0 ||
        (r = check_issuer(reading, issuer, &metadata->issuer_is_template)) < 0 ||
        (r = read_endpoint(reading, "token_endpoint", profile->token_endpoint, &metadata->token_endpoint)) < 0 ||
        (r = read_endpoint(reading, "device_authorization_endpoint", profile->device_authorization_endpoint,
                           &metadata->device_authorization_endpoint)) < 0 ||
        (r = read_endpoint(reading, "revocation_endpoint", profile->revocation_endpoint,
                           &metadata->revocation_endpoint)) < 0 ||
        (r = read_spare(reading, "introspection_endpoint", &metadata->introspection_endpoint)) < 0 ||
        (r = read_spare(reading, "userinfo_endpoint", &metadata->userinfo_endpoint)) < 0 ||
        (r = read_endpoint(reading, "jwks_uri", profile->jwks_uri, &metadata->jwks_uri)) < 0 ||
        (r = read_auth_methods(reading, metadata)) < 0 ||
        (r = read_page(reading, "authorization_endpoint", profile->authorization_endpoint, metadata,
                       &metadata->authorization_endpoint)) < 0 ||
        (r = read_page(reading, "pushed_authorization_request_endpoint", NULL, metadata,
                       &metadata->pushed_authorization_request_endpoint)) < 0)
        return r;
    (void)json_boolean(reading->document, "authorization_response_iss_parameter_supported", &metadata->names_itself);
    (void)json_boolean(reading->document, "require_pushed_authorization_requests", &metadata->requires_push);
    metadata->no_account_choice = lacks_account_choice(reading);
    metadata->issuer = strdup(issuer);
    return metadata->issuer ? 0 : -ENOMEM;
}

int metadata_parse(const struct profile *profile, struct span document, struct metadata **ret, struct failure *why)
{
    _cleanup_json_ json_object *json = NULL;
    struct reading reading = {.profile = profile, .why = why};
    if (read_authority(profile, &reading.authority) < 0) {
        failure_set(why, FAILURE_INVALID_CONFIGURATION, CLASS_DEFINITE,
                    "authority is neither a plain https address nor http to a literal loopback one");
        return -EBADMSG;
    }
    int r = document.length > LIMIT_RESPONSE ? -EBADMSG
                                             : json_parse(document.data, document.length, LIMIT_RESPONSE_DEPTH, &json);
    if (r == -ENOMEM)
        return r;
    if (r < 0 || !json_object_is_type(json, json_type_object))
        return broken(&reading, "", "not a JSON object");
    reading.document = json;
    _cleanup_(metadata_free_cleanup) struct metadata *metadata = calloc(1, sizeof(*metadata));
    if (!metadata)
        return -ENOMEM;
    r = read_document(&reading, metadata);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(metadata);
    return 0;
}

/* ---- merging ---- */

static bool pick(const char *own, const char *other, char **ret)
{
    const char *text = own ? own : other;
    *ret = text ? strdup(text) : NULL;
    return *ret || !text;
}

static bool copy_failure(const struct failure *from, struct failure **ret)
{
    *ret = from ? malloc(sizeof(*from)) : NULL;
    if (*ret)
        **ret = *from;
    return *ret || !from;
}

int metadata_merge(const struct profile *profile, const struct metadata *document, struct metadata **ret)
{
    /* without a document: every authority must know Basic (RFC 6749 section 2.3.1), and Entra knows both */
    bool entra = profile->dialect == DIALECT_ENTRA || profile->dialect == DIALECT_ENTRA_V1;
    struct metadata without = {.issuer = profile->authority, .basic = true, .post = entra};
    const struct metadata *base = document ? document : &without;
    _cleanup_(metadata_free_cleanup) struct metadata *metadata = calloc(1, sizeof(*metadata));
    if (!metadata)
        return -ENOMEM;
    metadata->issuer_is_template = base->issuer_is_template;
    metadata->basic = base->basic;
    metadata->post = base->post;
    metadata->names_itself = base->names_itself;
    metadata->requires_push = base->requires_push;
    metadata->no_account_choice = base->no_account_choice;
    if (!copy_failure(base->misplaced, &metadata->misplaced) || !pick(NULL, base->issuer, &metadata->issuer) ||
        !pick(profile->token_endpoint, base->token_endpoint, &metadata->token_endpoint) ||
        !pick(profile->device_authorization_endpoint, base->device_authorization_endpoint,
              &metadata->device_authorization_endpoint) ||
        !pick(profile->revocation_endpoint, base->revocation_endpoint, &metadata->revocation_endpoint) ||
        !pick(NULL, base->introspection_endpoint, &metadata->introspection_endpoint) ||
        !pick(NULL, base->userinfo_endpoint, &metadata->userinfo_endpoint) ||
        !pick(profile->jwks_uri, base->jwks_uri, &metadata->jwks_uri) ||
        !pick(profile->authorization_endpoint, base->authorization_endpoint, &metadata->authorization_endpoint) ||
        !pick(NULL, base->pushed_authorization_request_endpoint, &metadata->pushed_authorization_request_endpoint))
        return -ENOMEM;
    *ret = TAKE_PTR(metadata);
    return 0;
}
