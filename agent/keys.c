#include "keys.h"

#include "authority/b2c.h"
#include "authority/url.h"
#include "cleanup.h"
#include "grant/grant.h"
#include "source.h"
#include "store/stores.h"
#include "text.h"
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>

int key_problem(char problem[static LIMIT_TEXT], const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(problem, LIMIT_TEXT, format, arguments);
    va_end(arguments);
    return -EINVAL;
}

/* The member of a profile that a key's value goes to. */
#define MEMBER(type, key, profile) ((type *)(void *)((char *)(profile) + (key)->offset))

static bool printable(const char *text)
{
    for (; *text; text++)
        if (*text < 0x20 || *text > 0x7e)
            return false;
    return true;
}

/* A word that was to be chosen from a list. It is not repeated: nobody knows what was put into the wrong line. */
static int unknown_word(char problem[static LIMIT_TEXT], const char *value, const char *const *words, size_t count)
{
    char list[LIMIT_TEXT / 2] = "";
    size_t used = 0;
    const char *nearest = text_nearest(value, words, count);
    for (size_t i = 0; i < count && used < sizeof(list); i++)
        used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", i ? ", " : "", words[i]);
    if (nearest)
        return key_problem(problem, "is not known; did you mean %s? (known: %s)", nearest, list);
    return key_problem(problem, "is not known; use one of: %s", list);
}

static int choose(const char *value, const char *const *words, size_t count, int *ret, char problem[static LIMIT_TEXT])
{
    for (size_t i = 0; i < count; i++)
        if (words[i] && strcmp(value, words[i]) == 0) {
            *ret = (int)i;
            return 0;
        }
    return unknown_word(problem, value, words, count);
}

static int read_grant(const struct profile_key *key, struct profile *profile, char *value,
                      char problem[static LIMIT_TEXT])
{
    (void)key;
    profile->grant = grant_find(value);
    if (profile->grant)
        return 0;
    size_t count;
    const char *const *names = grant_names(&count);
    return unknown_word(problem, value, names, count);
}

static int read_dialect(const struct profile_key *key, struct profile *profile, char *value,
                        char problem[static LIMIT_TEXT])
{
    static const char *const words[] = {
        [DIALECT_AUTO] = "auto",         [DIALECT_OIDC] = "oidc",         [DIALECT_ENTRA] = "entra",
        [DIALECT_ENTRA_V1] = "entra_v1", [DIALECT_MLSERVER] = "mlserver", [DIALECT_B2C] = "b2c"};
    int chosen = 0;
    (void)key;
    int r = choose(value, words, ELEMENTS(words), &chosen, problem);
    if (r == 0)
        profile->dialect = (enum dialect)chosen;
    return r;
}

static int read_client_auth(const struct profile_key *key, struct profile *profile, char *value,
                            char problem[static LIMIT_TEXT])
{
    static const char *const words[] = {"none",
                                        "client_secret_basic",
                                        "client_secret_post",
                                        "private_key_jwt",
                                        "tls_client_auth",
                                        "self_signed_tls_client_auth"};
    static const enum client_auth meanings[] = {CLIENT_AUTH_NONE, CLIENT_AUTH_BASIC,
                                                CLIENT_AUTH_POST, CLIENT_AUTH_PRIVATE_KEY_JWT,
                                                CLIENT_AUTH_TLS,  CLIENT_AUTH_TLS};
    int chosen = 0;
    (void)key;
    int r = choose(value, words, ELEMENTS(words), &chosen, problem);
    if (r == 0)
        profile->client_auth = meanings[chosen];
    return r;
}

static int read_algorithm(const struct profile_key *key, struct profile *profile, char *value,
                          char problem[static LIMIT_TEXT])
{
    static const char *const words[] = {"RS256", "PS256", "ES256"};
    int chosen = 0;
    (void)key;
    int r = choose(value, words, ELEMENTS(words), &chosen, problem);
    if (r == 0)
        profile->assertion_alg = value;
    return r;
}

static int read_store(const struct profile_key *key, struct profile *profile, char *value,
                      char problem[static LIMIT_TEXT])
{
    (void)key;
    if (!stores_name_valid(value))
        return key_problem(problem, KEY_STORE_WORDS);
    profile->store = value;
    return 0;
}

/* An address may hold a password where it should not: no message repeats it. */
static int parse_url(const char *value, struct url *ret, char problem[static LIMIT_TEXT])
{
    if (strlen(value) > LIMIT_URL)
        return key_problem(problem, "is longer than %d bytes; shorten it", LIMIT_URL);
    if (url_parse(value, ret) < 0)
        return key_problem(
            problem, "is not a plain address; write https://HOST[:PORT][/PATH], without user, password, blanks or #");
    return 0;
}

static int read_authority(const struct profile_key *key, struct profile *profile, char *value,
                          char problem[static LIMIT_TEXT])
{
    struct url url = {0};
    int r = parse_url(value, &url, problem);
    if (r < 0)
        return r;
    if (strchr(value, '?'))
        return key_problem(problem, "has a query (?...), which an issuer never has; remove it");
    if (!url.https && !url_is_loopback(&url))
        return key_problem(
            problem, "is http, over which secrets could be read on the way; use https, or an ssh tunnel: ssh -N -L "
                     "8080:HOST:PORT GATEWAY and http://127.0.0.1:8080/...");
    *MEMBER(char *, key, profile) = value;
    return 0;
}

static int read_url(const struct profile_key *key, struct profile *profile, char *value,
                    char problem[static LIMIT_TEXT])
{
    struct url url = {0};
    int r = parse_url(value, &url, problem);
    if (r == 0)
        *MEMBER(char *, key, profile) = value;
    return r;
}

static int read_proxy(const struct profile_key *key, struct profile *profile, char *value,
                      char problem[static LIMIT_TEXT])
{
    struct url url = {0};
    int r = parse_url(value, &url, problem);
    if (r < 0)
        return r;
    if (strchr(value, '?') || url.path.length > 1)
        return key_problem(problem, "has a path; write http://HOST:PORT");
    profile->proxy = value;
    (void)key;
    return 0;
}

static int read_text(const struct profile_key *key, struct profile *profile, char *value,
                     char problem[static LIMIT_TEXT])
{
    if (!printable(value))
        return key_problem(problem, "holds a character outside ASCII; remove it");
    if (strlen(value) > key->maximum)
        return key_problem(problem, "is longer than %zu bytes; shorten it", key->maximum);
    *MEMBER(char *, key, profile) = value;
    return 0;
}

/* A URI or a bare id: RFC 8707 forbids the fragment, nothing has blanks. */
static int read_resource(const struct profile_key *key, struct profile *profile, char *value,
                         char problem[static LIMIT_TEXT])
{
    if (strpbrk(value, " \t"))
        return key_problem(problem,
                           "holds a blank; it is one address or id (several belong into profiles of their own)");
    if (key->offset == offsetof(struct profile, resource) && strchr(value, '#'))
        return key_problem(problem, "has a fragment (#...), which RFC 8707 forbids; remove it");
    return read_text(key, profile, value, problem);
}

static int read_tenant(const struct profile_key *key, struct profile *profile, char *value,
                       char problem[static LIMIT_TEXT])
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-";
    if (value[strspn(value, allowed)] || value[0] == '.')
        return key_problem(
            problem, "is a tenant's id, its domain, or common, organizations, consumers; letters, digits, . and -");
    return read_text(key, profile, value, problem);
}

static int read_policy(const struct profile_key *key, struct profile *profile, char *value,
                       char problem[static LIMIT_TEXT])
{
    if (!b2c_is_policy(value))
        return key_problem(problem, "is the name of a user flow or custom policy; letters, digits, _ and -");
    return read_text(key, profile, value, problem);
}

static int read_secret(const struct profile_key *key, struct profile *profile, char *value,
                       char problem[static LIMIT_TEXT])
{
    return source_read(profile, value, MEMBER(struct source, key, profile), problem);
}

/* Cuts a text at blanks, in place, into a list in the profile's storage. */
static int split(struct profile *profile, char *value, size_t maximum, char ***ret, size_t *ret_count)
{
    size_t count = 0;
    for (const char *p = value + strspn(value, " \t"); *p; p += strspn(p, " \t")) {
        count++;
        p += strcspn(p, " \t");
    }
    *ret_count = count;
    if (count > maximum)
        return -E2BIG;
    char **list = profile_allocate(profile, (count + 1) * sizeof(*list));
    if (!list)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        value += strspn(value, " \t");
        list[i] = value;
        value += strcspn(value, " \t");
        if (*value)
            *value++ = '\0';
    }
    *ret = list;
    return 0;
}

static int read_scope(const struct profile_key *key, struct profile *profile, char *value,
                      char problem[static LIMIT_TEXT])
{
    char **scopes;
    size_t count;
    int r = split(profile, value, LIMIT_SCOPES, &scopes, &count);
    if (r == -E2BIG)
        return key_problem(problem, "has %zu scopes, at most %d can be asked for; name fewer", count, LIMIT_SCOPES);
    if (r < 0)
        return r;
    for (size_t i = 0; i < count; i++) {
        if (!scope_valid(span_of(scopes[i])))
            return key_problem(problem,
                               "scope %zu holds a character that OAuth does not allow; no quotes, backslashes or "
                               "non-ASCII, blanks between scopes",
                               i + 1);
        if (strlen(scopes[i]) > LIMIT_SCOPE)
            return key_problem(problem, "scope %zu is longer than %d bytes; shorten it", i + 1, LIMIT_SCOPE);
    }
    scopes[scopes_sort(scopes)] = NULL;
    *MEMBER(char **, key, profile) = scopes;
    return 0;
}

/* "[::1]" is known as "::1" where addresses are read. */
static char *bare_host(char *host)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    size_t length = strlen(host);
    if (length > LIMIT_HOST)
        return NULL;
    if (length > 2 && host[0] == '[' && host[length - 1] == ']') {
        host[length - 1] = '\0';
        return host[1 + strspn(host + 1, "0123456789abcdefABCDEF:.")] ? NULL : host + 1;
    }
    return host[strspn(host, allowed)] ? NULL : host;
}

static int read_hosts(const struct profile_key *key, struct profile *profile, char *value,
                      char problem[static LIMIT_TEXT])
{
    char **hosts;
    size_t count;
    for (char *comma = strchr(value, ','); comma; comma = strchr(comma, ','))
        *comma = ' ';
    int r = split(profile, value, LIMIT_HOSTS, &hosts, &count);
    if (r == -E2BIG)
        return key_problem(problem, "has %zu names, at most %d are taken; name fewer", count, LIMIT_HOSTS);
    if (r < 0)
        return r;
    for (size_t i = 0; i < count; i++) {
        hosts[i] = bare_host(hosts[i]);
        if (!hosts[i])
            return key_problem(problem, "name %zu is not a host; write bare names, without https://, port or path",
                               i + 1);
    }
    hosts[scopes_sort(hosts)] = NULL;
    *MEMBER(char **, key, profile) = hosts;
    return 0;
}

static bool header_name(const char *text, size_t length)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~";
    return length > 0 && strspn(text, allowed) == length;
}

static int read_header(const struct profile_key *key, struct profile *profile, char *value,
                       char problem[static LIMIT_TEXT])
{
    static const char token[] = "{token}";
    const char *colon = strchr(value, ':'), *place = strstr(value, token);
    if (!colon || !header_name(value, (size_t)(colon - value)))
        return key_problem(problem,
                           "is not a header line; write NAME: ... {token}, as in Authorization: Bearer {token}");
    if (!place || place < colon || strstr(place + 1, token))
        return key_problem(problem, "must hold {token} once, behind the colon; as in api-key: {token}");
    return read_text(key, profile, value, problem);
}

static int read_number(const char *value, int64_t least, int64_t most, int64_t *ret, char problem[static LIMIT_TEXT])
{
    int64_t number = 0;
    size_t digits = strspn(value, "0123456789");
    if (digits == 0 || digits > 10 || value[digits])
        return key_problem(problem, "is not a number of seconds; write digits alone, from %lld to %lld",
                           (long long)least, (long long)most);
    for (size_t i = 0; i < digits; i++)
        number = number * 10 + (value[i] - '0');
    if (number < least || number > most)
        return key_problem(problem, "is out of range; seconds from %lld to %lld", (long long)least, (long long)most);
    *ret = number;
    return 0;
}

static int read_min_valid(const struct profile_key *key, struct profile *profile, char *value,
                          char problem[static LIMIT_TEXT])
{
    (void)key;
    return read_number(value, 0, LIMIT_LIFETIME_S, &profile->min_valid_s, problem);
}

static int read_refresh_ahead(const struct profile_key *key, struct profile *profile, char *value,
                              char problem[static LIMIT_TEXT])
{
    (void)key;
    if (strcmp(value, "never") == 0) {
        profile->refresh_ahead_s = REFRESH_AHEAD_NEVER;
        return 0;
    }
    int r = read_number(value, 0, LIMIT_LIFETIME_S, &profile->refresh_ahead_s, problem);
    return r < 0 ? key_problem(problem, "is neither never nor a number of seconds from 0 to %ld", LIMIT_LIFETIME_S) : 0;
}

static int read_timeout(const struct profile_key *key, struct profile *profile, char *value,
                        char problem[static LIMIT_TEXT])
{
    int64_t seconds = 0;
    (void)key;
    int r = read_number(value, 1, LIMIT_TIMEOUT_S, &seconds, problem);
    if (r == 0)
        profile->timeout_ms = seconds * 1000;
    return r;
}

int key_path_new(const char *value, char **ret, char problem[static LIMIT_TEXT])
{
    const char *home = getenv("HOME");
    bool tilde = value[0] == '~' && value[1] == '/';
    if (tilde && (!home || home[0] != '/'))
        return key_problem(problem, "starts with ~ but HOME is not set; write the whole path");
    if (!tilde && value[0] != '/')
        return key_problem(problem, "needs a whole path; start it with / or ~/ (the agent has no current directory)");
    if ((tilde ? strlen(home) : 0) + strlen(value) >= LIMIT_CONFIG_LINE)
        return key_problem(problem, "is longer than a path can be; shorten it");
    if (asprintf(ret, "%s%s", tilde ? home : "", tilde ? value + 1 : value) < 0)
        return -ENOMEM;
    return 0;
}

int key_path(struct profile *profile, char *value, char **ret, char problem[static LIMIT_TEXT])
{
    _cleanup_free_ char *path = NULL;
    int r = key_path_new(value, &path, problem);
    if (r == 0 && value[0] == '/')
        *ret = value;
    else if (r == 0)
        *ret = profile_text(profile, span_of(path));
    return r == 0 && !*ret ? -ENOMEM : r;
}

static int read_path(const struct profile_key *key, struct profile *profile, char *value,
                     char problem[static LIMIT_TEXT])
{
    return key_path(profile, value, MEMBER(char *, key, profile), problem);
}

int key_program_new(const char *value, char **ret, char problem[static LIMIT_TEXT])
{
    if (strchr(value, '/'))
        return key_path_new(value, ret, problem);
    if (strpbrk(value, " \t"))
        return key_problem(problem, "is one program, without arguments; write its name or whole path");
    *ret = strdup(value);
    return *ret ? 0 : -ENOMEM;
}

static int read_flag(const struct profile_key *key, struct profile *profile, char *value,
                     char problem[static LIMIT_TEXT])
{
    static const char *const words[] = {"no", "yes"};
    int chosen = 0;
    int r = choose(value, words, ELEMENTS(words), &chosen, problem);
    if (r == 0)
        *MEMBER(bool, key, profile) = chosen == 1;
    return r;
}

static int read_allow(const struct profile_key *key, struct profile *profile, char *value,
                      char problem[static LIMIT_TEXT])
{
    char **paths;
    size_t count;
    int r = split(profile, value, LIMIT_ALLOW, &paths, &count);
    if (r == -E2BIG)
        return key_problem(problem, "has %zu programs, at most %d are taken; name fewer", count, LIMIT_ALLOW);
    for (size_t i = 0; r == 0 && i < count; i++)
        r = key_path(profile, paths[i], &paths[i], problem);
    if (r == 0)
        *MEMBER(char **, key, profile) = paths;
    return r;
}

#define KEY(number, text, member, most, reader)                                                                        \
    [number] = {.name = (text), .offset = offsetof(struct profile, member), .maximum = (most), .read = (reader)}

const struct profile_key profile_keys[KEY_COUNT] = {
    KEY(KEY_GRANT, "grant", grant, LIMIT_CODE, read_grant),
    KEY(KEY_AUTHORITY, "authority", authority, LIMIT_URL, read_authority),
    KEY(KEY_TOKEN_ENDPOINT, "token_endpoint", token_endpoint, LIMIT_URL, read_url),
    KEY(KEY_DEVICE_AUTHORIZATION_ENDPOINT, "device_authorization_endpoint", device_authorization_endpoint, LIMIT_URL,
        read_url),
    KEY(KEY_AUTHORIZATION_ENDPOINT, "authorization_endpoint", authorization_endpoint, LIMIT_URL, read_url),
    KEY(KEY_REVOCATION_ENDPOINT, "revocation_endpoint", revocation_endpoint, LIMIT_URL, read_url),
    KEY(KEY_JWKS_URI, "jwks_uri", jwks_uri, LIMIT_URL, read_url),
    KEY(KEY_DIALECT, "dialect", dialect, LIMIT_CODE, read_dialect),
    KEY(KEY_TENANT, "tenant", tenant, LIMIT_HOST, read_tenant),
    KEY(KEY_POLICY, "policy", policy, LIMIT_CODE, read_policy),
    KEY(KEY_CLIENT_ID, "client_id", client_id, LIMIT_CLIENT_ID, read_text),
    KEY(KEY_CLIENT_AUTH, "client_auth", client_auth, LIMIT_CODE, read_client_auth),
    KEY(KEY_CLIENT_SECRET, "client_secret", client_secret, LIMIT_CONFIG_LINE, read_secret),
    KEY(KEY_USERNAME, "username", username, LIMIT_USERNAME, read_text),
    KEY(KEY_PARENT, "parent", parent, LIMIT_PROFILE_NAME, read_text),
    KEY(KEY_SUBJECT_TOKEN_FILE, "subject_token_file", subject_token_file, LIMIT_CONFIG_LINE, read_path),
    KEY(KEY_ACTOR_TOKEN_FILE, "actor_token_file", actor_token_file, LIMIT_CONFIG_LINE, read_path),
    KEY(KEY_PASSWORD, "password", password, LIMIT_CONFIG_LINE, read_secret),
    KEY(KEY_TOKEN, "token", token, LIMIT_CONFIG_LINE, read_secret),
    KEY(KEY_TOKEN_SECONDARY, "token_secondary", token_secondary, LIMIT_CONFIG_LINE, read_secret),
    KEY(KEY_CLIENT_ASSERTION_FILE, "client_assertion_file", client_assertion_file, LIMIT_CONFIG_LINE, read_path),
    KEY(KEY_CLIENT_CERTIFICATE, "client_certificate", client_certificate, LIMIT_CONFIG_LINE, read_path),
    KEY(KEY_CLIENT_KEY, "client_key", client_key, LIMIT_CONFIG_LINE, read_path),
    KEY(KEY_KEY_PASSWORD, "key_password", key_password, LIMIT_CONFIG_LINE, read_secret),
    KEY(KEY_ASSERTION_ALG, "assertion_alg", assertion_alg, LIMIT_CODE, read_algorithm),
    KEY(KEY_ASSERTION_AUDIENCE, "assertion_audience", assertion_audience, LIMIT_URL, read_text),
    KEY(KEY_ASSERTION_KID, "assertion_kid", assertion_kid, LIMIT_CODE, read_text),
    KEY(KEY_SEND_CERTIFICATE, "send_certificate", send_certificate, LIMIT_CODE, read_flag),
    KEY(KEY_ALLOW_BOUND, "allow_bound", allow_bound, LIMIT_CODE, read_flag),
    KEY(KEY_ENDPOINT_HOSTS, "endpoint_hosts", endpoint_hosts, LIMIT_CONFIG_LINE, read_hosts),
    KEY(KEY_VERIFICATION_HOSTS, "verification_hosts", verification_hosts, LIMIT_CONFIG_LINE, read_hosts),
    KEY(KEY_SCOPE, "scope", scopes, LIMIT_CONFIG_LINE, read_scope),
    KEY(KEY_RESOURCE, "resource", resource, LIMIT_URL, read_resource),
    KEY(KEY_AUDIENCE, "audience", audience, LIMIT_URL, read_resource),
    KEY(KEY_HEADER, "header", header, LIMIT_HEADER, read_header),
    KEY(KEY_MIN_VALID, "min_valid", min_valid_s, LIMIT_CODE, read_min_valid),
    KEY(KEY_REFRESH_AHEAD, "refresh_ahead", refresh_ahead_s, LIMIT_CODE, read_refresh_ahead),
    KEY(KEY_STORE, "store", store, LIMIT_CODE, read_store),
    KEY(KEY_CA_FILE, "ca_file", ca_file, LIMIT_CONFIG_LINE, read_path),
    KEY(KEY_PROXY, "proxy", proxy, LIMIT_URL, read_proxy),
    KEY(KEY_TIMEOUT, "timeout", timeout_ms, LIMIT_CODE, read_timeout),
    KEY(KEY_CONFIRM, "confirm", confirm, LIMIT_CODE, read_flag),
    KEY(KEY_ALLOW, "allow", allow, LIMIT_CONFIG_LINE, read_allow),
};

int key_find(struct span name)
{
    for (int i = 0; i < KEY_COUNT; i++) {
        const char *known = profile_keys[i].name;
        if (known[0] == name.data[0] && strlen(known) == name.length && memcmp(known, name.data, name.length) == 0)
            return i;
    }
    return -1;
}

int keys_check_endpoints(const struct profile *profile, int *ret_key, char problem[static LIMIT_TEXT])
{
    const char *const urls[] = {profile->token_endpoint, profile->device_authorization_endpoint,
                                profile->authorization_endpoint, profile->revocation_endpoint, profile->jwks_uri};
    struct url authority = {0}, url = {0};
    bool any = false;
    for (size_t i = 0; i < ELEMENTS(urls); i++)
        any = any || urls[i];
    if (!any)
        return 0;
    bool local = !profile->authority || (url_parse(profile->authority, &authority) == 0 && !authority.https);
    for (size_t i = 0; i < ELEMENTS(urls); i++) {
        if (!urls[i] || url_parse(urls[i], &url) < 0 || url.https)
            continue;
        *ret_key = (int)(KEY_TOKEN_ENDPOINT + i);
        if (!url_is_loopback(&url))
            return key_problem(problem,
                               "is http, over which secrets could be read on the way; use https, or an ssh tunnel: ssh "
                               "-N -L 8080:HOST:PORT GATEWAY and http://127.0.0.1:8080/...");
        if (!local)
            return key_problem(problem, "is http while the authority is https; use https for both");
    }
    return 0;
}
