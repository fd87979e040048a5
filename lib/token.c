/* A token as the agent gave it. Everything that an accessor reads was checked when the token came in. */
#include "client_internal.h"

#include "cleanup.h"
#include "text.h"
#include <errno.h>

static bool printable(const char *text)
{
    size_t length = strlen(text);
    return text_plain((struct span){text, length}) == length;
}

static bool word(const char *text)
{
    return printable(text) && !strchr(text, ' ');
}

/* An optional text: absent or well formed */
static bool optional(json_object *token, const char *name)
{
    const char *text;
    return json_string(token, name, LIMIT_URL, &text) != -EINVAL;
}

static bool optional_time(json_object *token, const char *name)
{
    int64_t value = 0;
    return json_integer(token, name, &value) != -EINVAL && value >= 0;
}

static bool valid_scopes(json_object *token)
{
    json_object *scopes;
    if (json_array(token, "scopes", &scopes) < 0)
        return false;
    for (size_t i = 0; i < json_object_array_length(scopes); i++) {
        json_object *scope = json_object_array_get_idx(scopes, i);
        if (!json_object_is_type(scope, json_type_string))
            return false;
        const char *text = json_object_get_string(scope);
        if (strlen(text) != (size_t)json_object_get_string_len(scope) || !word(text))
            return false;
    }
    return true;
}

static const char *problem(json_object *token)
{
    const char *text;
    if (json_string(token, "value", LIMIT_TOKEN, &text) < 0 || !*text || !word(text))
        return "the agent's answer holds no well-formed token";
    if (json_string(token, "header", LIMIT_REPLY, &text) < 0 || !*text || !printable(text))
        return "the agent's answer holds no well-formed header line";
    if (json_string(token, "profile", LIMIT_PROFILE_NAME, &text) < 0 ||
        json_string(token, "type", LIMIT_CODE, &text) < 0 || !valid_scopes(token) ||
        !optional_time(token, "expiresAt") || !optional_time(token, "refreshAt") || !optional(token, "account") ||
        !optional(token, "resource") || !optional(token, "audience"))
        return "the agent's answer holds an incomplete token";
    return NULL;
}

/* What was asked for must be in the token, or the agent did not understand it */
static const char *ignored(mltoken_handle *handle, json_object *token)
{
    static const char *const echoed[] = {"profile", "resource", "audience"};
    for (size_t i = 0; i < ELEMENTS(echoed); i++) {
        const char *asked, *got;
        if (json_string(handle->asked, echoed[i], LIMIT_URL, &asked) == 0 &&
            (json_string(token, echoed[i], LIMIT_URL, &got) < 0 || strcmp(asked, got) != 0))
            return echoed[i];
    }
    return NULL;
}

int token_new(mltoken_handle *handle, json_object *object, mltoken_token **ret)
{
    _cleanup_json_wipe_ json_object *taken = object;
    const char *wrong = problem(object);
    if (wrong)
        return client_fail(handle, MLTOKEN_EPROTOCOL, "%s", wrong);
    wrong = ignored(handle, object);
    if (wrong) {
        (void)client_fail(handle, MLTOKEN_EOLDAGENT, "the token is not for the %s that was asked for", wrong);
        (void)snprintf(handle->error.secret, sizeof(handle->error.secret), "%s", wrong);
        return MLTOKEN_EOLDAGENT;
    }
    mltoken_token *token = malloc(sizeof(*token));
    if (!token)
        return client_fail(handle, MLTOKEN_ENOMEM, "out of memory");
    token->object = TAKE_PTR(taken);
    *ret = token;
    return 0;
}

json_object *token_object(const mltoken_token *token)
{
    return token->object;
}

void mltoken_free(mltoken_token *token)
{
    if (!token)
        return;
    json_wipe(token->object);
    free(token);
}

static const char *text(const mltoken_token *token, const char *name)
{
    const char *value = NULL;
    return token && json_string(token->object, name, LIMIT_REPLY, &value) == 0 ? value : NULL;
}

static uint64_t when(const mltoken_token *token, const char *name)
{
    int64_t value;
    return token && json_integer(token->object, name, &value) == 0 ? (uint64_t)value : 0;
}

const char *mltoken_token_value(const mltoken_token *token)
{
    return text(token, "value");
}

const char *mltoken_token_header(const mltoken_token *token)
{
    return text(token, "header");
}

const char *mltoken_token_type(const mltoken_token *token)
{
    return text(token, "type");
}

uint64_t mltoken_token_expires_at(const mltoken_token *token)
{
    return when(token, "expiresAt");
}

uint64_t mltoken_token_refresh_at(const mltoken_token *token)
{
    return when(token, "refreshAt");
}

const char *mltoken_token_profile(const mltoken_token *token)
{
    return text(token, "profile");
}

const char *mltoken_token_account(const mltoken_token *token)
{
    return text(token, "account");
}

const char *mltoken_token_resource(const mltoken_token *token)
{
    return text(token, "resource");
}

const char *mltoken_token_audience(const mltoken_token *token)
{
    return text(token, "audience");
}

size_t mltoken_token_scopes(const mltoken_token *token)
{
    json_object *scopes;
    return token && json_array(token->object, "scopes", &scopes) == 0 ? json_object_array_length(scopes) : 0;
}

const char *mltoken_token_scope(const mltoken_token *token, size_t index)
{
    json_object *scopes;
    if (!token || json_array(token->object, "scopes", &scopes) < 0 || index >= json_object_array_length(scopes))
        return NULL;
    return json_object_get_string(json_object_array_get_idx(scopes, index));
}
