/* Login: prompts, then who signed in. */
#include "client_internal.h"

#include "cleanup.h"
#include "message.h"
#include <errno.h>

static int start(mltoken_handle *handle, const mltoken_request *request)
{
    json_object *parameters;
    int r = request_parameters(request, REQUEST_LOGIN, &parameters);
    if (r == 0)
        r = client_start(handle, CALL_LOGIN, MESSAGE_INTERFACE ".Login", parameters, true);
    if (r == 0) {
        prompt_clear(&handle->prompt);
        handle->prompted = false;
        free(TAKE_PTR(handle->account));
    }
    return r;
}

int mltoken_start_login(mltoken_handle *handle, const mltoken_request *request)
{
    if (!handle)
        return MLTOKEN_EINVAL;
    client_enter(handle);
    int r = start(handle, request);
    client_leave(handle);
    return r;
}

void prompt_clear(mltoken_prompt *prompt)
{
    free(prompt->uri);
    free(prompt->uri_complete);
    free(prompt->user_code);
    free(prompt->message);
    free(prompt->name);
    *prompt = (mltoken_prompt){0};
}

/* 0: a copy, or NULL when there is no such member */
static int copy(json_object *object, const char *name, size_t maximum, char **ret)
{
    const char *text;
    int r = json_string(object, name, maximum, &text);
    if (r < 0)
        return r == -ENOENT ? 0 : MLTOKEN_EPROTOCOL;
    *ret = strdup(text);
    return *ret ? 0 : MLTOKEN_ENOMEM;
}

static int prompt_read(json_object *object, mltoken_prompt *prompt)
{
    const char *kind;
    if (json_string(object, "kind", LIMIT_CODE, &kind) < 0 ||
        json_integer(object, "expiresAt", &prompt->expires_at) == -EINVAL || prompt->expires_at < 0)
        return MLTOKEN_EPROTOCOL;
    prompt->kind = strcmp(kind, "device") == 0    ? MLTOKEN_PROMPT_DEVICE
                   : strcmp(kind, "browser") == 0 ? MLTOKEN_PROMPT_BROWSER
                   : strcmp(kind, "secret") == 0  ? MLTOKEN_PROMPT_SECRET
                                                  : MLTOKEN_PROMPT_OTHER;
    int r = copy(object, "verificationUri", LIMIT_URL, &prompt->uri);
    if (r == 0)
        r = copy(object, "verificationUriComplete", LIMIT_AUTHORIZATION, &prompt->uri_complete);
    if (r == 0)
        r = copy(object, "userCode", LIMIT_TEXT, &prompt->user_code);
    if (r == 0)
        r = copy(object, "message", LIMIT_URL, &prompt->message);
    if (r == 0)
        r = copy(object, "name", LIMIT_CODE, &prompt->name);
    return r;
}

int login_event(mltoken_handle *handle, json_object *parameters, mltoken_event *ret)
{
    const char *state;
    json_object *prompt;
    int r = 0;
    if (json_string(parameters, "state", LIMIT_CODE, &state) < 0)
        return client_fail(handle, MLTOKEN_EPROTOCOL, "the agent's answer has no state");
    if (strcmp(state, "done") == 0) {
        r = copy(parameters, "account", LIMIT_URL, &handle->account);
        *ret = MLTOKEN_SIGNED_IN;
    } else if (handle->call == CALL_NONE) {
        r = MLTOKEN_EPROTOCOL; /* it ended without being done */
    } else if (strcmp(state, "prompt") == 0 && json_member(parameters, "prompt", &prompt) == 0) {
        prompt_clear(&handle->prompt);
        r = prompt_read(prompt, &handle->prompt);
        const char *session;
        if (json_string(parameters, "session", LIMIT_CODE, &session) == 0)
            (void)snprintf(handle->prompt.session, sizeof(handle->prompt.session), "%s", session);
        handle->prompted = r == 0;
        *ret = MLTOKEN_PROMPT;
    } /* else a state of newer agents: go on */
    if (r == MLTOKEN_EPROTOCOL)
        return client_fail(handle, r, "the agent's answer to a sign-in makes no sense");
    return r;
}

const mltoken_prompt *mltoken_shown(mltoken_handle *handle)
{
    return handle && handle->prompted ? &handle->prompt : NULL;
}

const char *mltoken_account(mltoken_handle *handle)
{
    return handle ? handle->account : NULL;
}

static int follow(mltoken_handle *handle, int64_t deadline_ms, mltoken_prompt_fn *prompt, void *arg)
{
    for (;;) {
        mltoken_event event;
        int r = mltoken_process(handle, &event);
        if (r == 0 && event == MLTOKEN_SIGNED_IN)
            return 0;
        if (r == 0 && event == MLTOKEN_PROMPT && prompt && prompt(arg, &handle->prompt) != 0)
            return client_fail(handle, MLTOKEN_ECANCELLED, "the sign-in was cancelled");
        if (r == 0 && event == MLTOKEN_NOTHING)
            r = client_wait(handle, deadline_ms);
        if (r == MLTOKEN_ETIMEOUT)
            return client_fail(handle, r, "the sign-in was not finished in time");
        if (r < 0)
            return r;
    }
}

int mltoken_login(mltoken_handle *handle, const mltoken_request *request, int timeout_ms, mltoken_prompt_fn *prompt,
                  void *arg)
{
    int64_t deadline_ms;
    if (!handle || client_deadline(timeout_ms, LIMIT_LOGIN_MS, &deadline_ms) < 0)
        return MLTOKEN_EINVAL;
    int r = client_enter_by(handle, deadline_ms);
    if (r < 0)
        return r;
    r = start(handle, request);
    if (r == 0) {
        r = follow(handle, deadline_ms, prompt, arg);
        if (r < 0 && handle->call != CALL_NONE)
            client_drop(handle);
    }
    client_leave(handle);
    return r;
}

mltoken_prompt_kind mltoken_prompt_kind_of(const mltoken_prompt *prompt)
{
    return prompt ? prompt->kind : MLTOKEN_PROMPT_OTHER;
}

const char *mltoken_prompt_uri(const mltoken_prompt *prompt)
{
    return prompt ? prompt->uri : NULL;
}

const char *mltoken_prompt_uri_complete(const mltoken_prompt *prompt)
{
    return prompt ? prompt->uri_complete : NULL;
}

const char *mltoken_prompt_user_code(const mltoken_prompt *prompt)
{
    return prompt ? prompt->user_code : NULL;
}

const char *mltoken_prompt_message(const mltoken_prompt *prompt)
{
    return prompt ? prompt->message : NULL;
}

uint64_t mltoken_prompt_expires_at(const mltoken_prompt *prompt)
{
    return prompt ? (uint64_t)prompt->expires_at : 0;
}

const char *mltoken_prompt_name(const mltoken_prompt *prompt)
{
    return prompt ? prompt->name : NULL;
}

const char *mltoken_prompt_session(const mltoken_prompt *prompt)
{
    return prompt ? prompt->session : "";
}

static int answer(mltoken_handle *handle, const char *session, const char *value, int64_t deadline_ms)
{
    _cleanup_json_wipe_ json_object *reply = NULL;
    json_object *parameters = json_object_new_object();
    bool continues;
    if (json_put_text(parameters, "session", session) < 0 || json_put_text(parameters, "value", value) < 0) {
        json_wipe(parameters);
        return MLTOKEN_ENOMEM;
    }
    int r = client_start(handle, CALL_OTHER, MESSAGE_INTERFACE ".Answer", parameters, false);
    if (r == 0)
        r = client_next(handle, deadline_ms, &reply, &continues);
    if (r < 0 && handle->call != CALL_NONE)
        client_drop(handle);
    return r;
}

int mltoken_answer(mltoken_handle *handle, const char *session, const char *value, int timeout_ms)
{
    int64_t deadline_ms;
    if (!handle || !session || !value || client_deadline(timeout_ms, LIMIT_CALL_MS, &deadline_ms) < 0)
        return MLTOKEN_EINVAL;
    int r = client_enter_by(handle, deadline_ms);
    if (r < 0)
        return r;
    r = answer(handle, session, value, deadline_ms);
    if (r == MLTOKEN_ETIMEOUT)
        r = client_fail(handle, r, "the agent did not answer in time");
    client_leave(handle);
    return r;
}
