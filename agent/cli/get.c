/* mltoken get: a token on stdout, and nothing else. */
#include "command.h"

#include "cleanup.h"
#include "options.h"
#include "output.h"
#include "report.h"

struct get {
    const char *profile, *resource, *audience, *claims;
    struct option_list scopes;
    int64_t min_valid, timeout;
    bool refresh, login, header, curl;
};

DEFINE_CLEANUP(mltoken_request *, mltoken_request_free)
DEFINE_CLEANUP(mltoken_token *, mltoken_free)

static int wrong(const char *what)
{
    complain("get: the value of %s is not valid (see mltoken get -h)", what);
    return EXIT_USAGE;
}

static int make_request(const struct get *get, mltoken_request *request)
{
    if (mltoken_request_profile(request, get->profile) < 0)
        return wrong("PROFILE");
    for (size_t i = 0; i < get->scopes.count; i++)
        if (mltoken_request_scope(request, get->scopes.values[i]) < 0)
            return wrong("--scope");
    if (mltoken_request_resource(request, get->resource) < 0)
        return wrong("--resource");
    if (mltoken_request_audience(request, get->audience) < 0)
        return wrong("--audience");
    if (mltoken_request_claims(request, get->claims) < 0)
        return wrong("--claims");
    if (get->min_valid >= 0 && mltoken_request_min_valid(request, (uint64_t)get->min_valid) < 0)
        return wrong("--min-valid");
    (void)mltoken_request_refresh(request, get->refresh);
    (void)mltoken_request_application(request, "mltoken");
    return EXIT_DONE;
}

static void quoted(struct buffer *to, const char *text)
{
    buffer_byte(to, '"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            buffer_byte(to, '\\');
        buffer_byte(to, *text);
    }
    buffer_byte(to, '"');
}

/* For `curl -K -`. curl itself knows where a bearer token may go (not to another host after a redirect); any other
 * header is passed as it stands. */
static void curl_config(struct buffer *to, const mltoken_token *token)
{
    static const char bearer[] = "Authorization: Bearer ";
    const char *header = mltoken_token_header(token), *value = mltoken_token_value(token);
    bool is_bearer = strncmp(header, bearer, strlen(bearer)) == 0 && strcmp(header + strlen(bearer), value) == 0;
    buffer_text(to, is_bearer ? "oauth2-bearer = " : "header = ");
    quoted(to, is_bearer ? value : header);
}

static int print(const struct context *context, const struct get *get, const mltoken_token *token)
{
    if (context->json)
        return output_json(token_object(token));
    struct buffer text = BUFFER((size_t)LIMIT_REPLY * 2);
    if (get->curl)
        curl_config(&text, token);
    else
        buffer_text(&text, get->header ? mltoken_token_header(token) : mltoken_token_value(token));
    buffer_byte(&text, '\n');
    return output_write(&text);
}

/* Where the agent says: that may be a profile that this one's token is made from, with claims of its own. */
static int sign_in(struct context *context, const struct get *get, const mltoken_request *request)
{
    const struct client_error *error = &context->handle->error;
    _cleanup_(mltoken_request_free_cleanup) mltoken_request *other = NULL;
    struct login login = {.request = request, .profile = get->profile, .aside = true};
    char profile[LIMIT_PROFILE_NAME + 1];
    (void)snprintf(profile, sizeof(profile), "%s", error->profile);
    if (error->claims[0] || (get->profile && profile[0] && strcmp(profile, get->profile) != 0)) {
        int r = mltoken_request_new(&other);
        if (r == 0)
            r = mltoken_request_application(other, "mltoken");
        if (r == 0)
            r = mltoken_request_profile(other, profile[0] ? profile : get->profile);
        if (r == 0 && error->claims[0])
            r = mltoken_request_claims(other, error->claims);
        if (r < 0)
            return report(context, r, "cannot sign in", get->profile);
        login.request = other;
        login.profile = profile[0] ? profile : get->profile;
    }
    return login_run(context, &login);
}

static int run(struct context *context, const struct get *get)
{
    _cleanup_(mltoken_request_free_cleanup) mltoken_request *request = NULL;
    _cleanup_(mltoken_free_cleanup) mltoken_token *token = NULL;
    int r = mltoken_request_new(&request);
    if (r < 0)
        return report(context, r, "cannot get a token", get->profile);
    int code = make_request(get, request);
    if (code == EXIT_DONE)
        code = context_open(context);
    if (code != EXIT_DONE)
        return code;
    int timeout_ms = (int)get->timeout * 1000;
    r = mltoken_get(context->handle, request, timeout_ms, &token);
    if (r == MLTOKEN_ELOGINREQUIRED && get->login) {
        code = sign_in(context, get, request);
        if (code != EXIT_DONE)
            return code;
        r = mltoken_get(context->handle, request, timeout_ms, &token);
    }
    return r < 0 ? report(context, r, "cannot get a token", get->profile) : print(context, get, token);
}

int command_get(struct context *context, int argc, char **argv)
{
    struct get get = {.min_valid = -1, .timeout = 30};
    const struct option options[] = {
        {"--scope", OPTION_LIST, &get.scopes, "SCOPE", "ask for this scope, not the profile's (repeatable)"},
        {"--resource", OPTION_TEXT, &get.resource, "URI", "the resource the token is for (RFC 8707)"},
        {"--audience", OPTION_TEXT, &get.audience, "AUDIENCE", "the audience parameter"},
        {"--claims", OPTION_TEXT, &get.claims, "JSON", "the claims parameter, from a claims challenge"},
        {"--min-valid", OPTION_NUMBER, &get.min_valid, "SECONDS", "how long it must still live"},
        {"--refresh", OPTION_FLAG, &get.refresh, NULL, "fetch a new one now"},
        {"--login", OPTION_FLAG, &get.login, NULL, "sign in first if need be"},
        {"--timeout", OPTION_NUMBER, &get.timeout, "SECONDS", "give up after that long (30)"},
        {"--header", OPTION_FLAG, &get.header, NULL, "print the whole header line"},
        {"--curl", OPTION_FLAG, &get.curl, NULL, "print a configuration for curl -K -"},
    };
    const struct usage usage = {.command = "get", .summary = "Prints a token.", USAGE_OPTIONS(options)};
    int r = options_profile(context, &usage, argc, argv, &get.profile);
    if (r != OPTIONS_GO)
        return r;
    if (get.header + get.curl + context->json > 1) {
        complain("get: only one of --header, --curl and --json");
        return EXIT_USAGE;
    }
    if (get.timeout < 1 || get.timeout > 86400) {
        complain("get: --timeout is from 1 to 86400 seconds");
        return EXIT_USAGE;
    }
    return run(context, &get);
}
