/* What is asked for: a value of the application's, checked when it is set, so that a request that exists can be sent.
 */
#include "client_internal.h"

#include "cleanup.h"
#include <ctype.h>

struct mltoken_request {
    char *profile, *resource, *audience, *claims, *policy, *application;
    char *scopes[LIMIT_SCOPES];
    size_t scope_count;
    int64_t min_valid; /* -1: not set */
    bool refresh, switch_account;
};

int mltoken_request_new(mltoken_request **ret_request)
{
    if (!ret_request)
        return MLTOKEN_EINVAL;
    mltoken_request *request = calloc(1, sizeof(*request));
    if (!request)
        return MLTOKEN_ENOMEM;
    request->min_valid = -1;
    *ret_request = request;
    return 0;
}

static void forget_scopes(mltoken_request *request)
{
    while (request->scope_count > 0)
        free(request->scopes[--request->scope_count]);
}

void mltoken_request_free(mltoken_request *request)
{
    if (!request)
        return;
    forget_scopes(request);
    free(request->profile);
    free(request->resource);
    free(request->audience);
    free(request->claims);
    free(request->policy);
    free(request->application);
    free(request);
}

static bool plain(const char *text, size_t maximum)
{
    size_t length = strnlen(text, maximum + 1);
    if (length == 0 || length > maximum)
        return false;
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return false;
    return true;
}

static int set(char **to, const char *text, bool valid)
{
    if (!valid)
        return MLTOKEN_EINVAL;
    char *copy = text ? strdup(text) : NULL;
    if (text && !copy)
        return MLTOKEN_ENOMEM;
    free(*to);
    *to = copy;
    return 0;
}

int mltoken_request_profile(mltoken_request *request, const char *profile)
{
    bool valid = request && (!profile || plain(profile, LIMIT_PROFILE_NAME));
    for (const char *p = profile; valid && p && *p; p++)
        valid = isascii(*p) && (isalnum((unsigned char)*p) || (p > profile && strchr("._-", *p)));
    return valid ? set(&request->profile, profile, true) : MLTOKEN_EINVAL;
}

int mltoken_request_scope(mltoken_request *request, const char *scope)
{
    if (!request)
        return MLTOKEN_EINVAL;
    if (!scope) {
        forget_scopes(request);
        return 0;
    }
    if (!plain(scope, LIMIT_SCOPE) || strchr(scope, ' ') || request->scope_count == LIMIT_SCOPES)
        return MLTOKEN_EINVAL;
    char *copy = strdup(scope);
    if (!copy)
        return MLTOKEN_ENOMEM;
    request->scopes[request->scope_count++] = copy;
    return 0;
}

int mltoken_request_resource(mltoken_request *request, const char *resource)
{
    return request ? set(&request->resource, resource, !resource || plain(resource, LIMIT_URL)) : MLTOKEN_EINVAL;
}

int mltoken_request_audience(mltoken_request *request, const char *audience)
{
    return request ? set(&request->audience, audience, !audience || plain(audience, LIMIT_URL)) : MLTOKEN_EINVAL;
}

int mltoken_request_claims(mltoken_request *request, const char *json)
{
    if (!request)
        return MLTOKEN_EINVAL;
    _cleanup_json_ json_object *claims = NULL;
    bool valid = !json || (strnlen(json, LIMIT_CLAIMS + 1) <= LIMIT_CLAIMS &&
                           json_parse(json, strlen(json), LIMIT_REQUEST_DEPTH, &claims) == 0 &&
                           json_object_is_type(claims, json_type_object));
    return set(&request->claims, json, valid);
}

int mltoken_request_policy(mltoken_request *request, const char *policy)
{
    return request ? set(&request->policy, policy, !policy || plain(policy, LIMIT_CODE)) : MLTOKEN_EINVAL;
}

int mltoken_request_min_valid(mltoken_request *request, uint64_t seconds)
{
    if (!request || seconds > LIMIT_LIFETIME_S)
        return MLTOKEN_EINVAL;
    request->min_valid = (int64_t)seconds;
    return 0;
}

int mltoken_request_refresh(mltoken_request *request, int refresh)
{
    if (!request)
        return MLTOKEN_EINVAL;
    request->refresh = refresh != 0;
    return 0;
}

int mltoken_request_application(mltoken_request *request, const char *application)
{
    bool valid = !application || plain(application, LIMIT_APPLICATION);
    return request ? set(&request->application, application, valid) : MLTOKEN_EINVAL;
}

int mltoken_request_switch_account(mltoken_request *request, int allowed)
{
    if (!request)
        return MLTOKEN_EINVAL;
    request->switch_account = allowed != 0;
    return 0;
}

static int put_scopes(json_object *parameters, const mltoken_request *request)
{
    if (request->scope_count == 0)
        return 0;
    _cleanup_json_ json_object *scopes = json_object_new_array();
    for (size_t i = 0; scopes && i < request->scope_count; i++) {
        json_object *scope = json_object_new_string(request->scopes[i]);
        if (!scope || json_object_array_add(scopes, scope) < 0) {
            json_object_put(scope);
            return -1;
        }
    }
    return json_put(parameters, "scopes", TAKE_PTR(scopes));
}

int request_parameters(const mltoken_request *request, enum request_members members, json_object **ret)
{
    _cleanup_json_ json_object *parameters = json_object_new_object();
    if (!parameters)
        return MLTOKEN_ENOMEM;
    bool ok = true;
    if (request) {
        ok = json_put_text(parameters, "profile", request->profile) == 0;
        if (members != REQUEST_PROFILE)
            ok = ok && json_put_text(parameters, "claims", request->claims) == 0 &&
                 json_put_text(parameters, "application", request->application) == 0;
        if (members == REQUEST_LOGIN)
            ok = ok && json_put_text(parameters, "policy", request->policy) == 0;
        if (members == REQUEST_LOGIN && request->switch_account)
            ok = ok && json_put_boolean(parameters, "switchAccount", true) == 0;
        if (members == REQUEST_TOKEN)
            ok = ok && put_scopes(parameters, request) == 0 &&
                 json_put_text(parameters, "resource", request->resource) == 0 &&
                 json_put_text(parameters, "audience", request->audience) == 0 &&
                 json_put_time(parameters, "minValid", request->min_valid) == 0 &&
                 (!request->refresh || json_put_boolean(parameters, "refresh", true) == 0);
    }
    if (!ok)
        return MLTOKEN_ENOMEM;
    *ret = TAKE_PTR(parameters);
    return 0;
}
