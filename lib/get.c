/* GetToken and Watch. */
#include "client_internal.h"

#include "cleanup.h"
#include "message.h"

static int start(mltoken_handle *handle, const mltoken_request *request, enum client_call call)
{
    bool watch = call == CALL_WATCH;
    json_object *parameters;
    int r = request_parameters(request, watch ? REQUEST_PROFILE : REQUEST_TOKEN, &parameters);
    if (r < 0)
        return r;
    const char *method = watch ? MESSAGE_INTERFACE ".Watch" : MESSAGE_INTERFACE ".GetToken";
    return client_start(handle, call, method, parameters, watch);
}

static int enter_and_start(mltoken_handle *handle, const mltoken_request *request, enum client_call call)
{
    if (!handle)
        return MLTOKEN_EINVAL;
    client_enter(handle);
    int r = start(handle, request, call);
    client_leave(handle);
    return r;
}

int mltoken_start_get(mltoken_handle *handle, const mltoken_request *request)
{
    return enter_and_start(handle, request, CALL_GET);
}

int mltoken_watch(mltoken_handle *handle, const mltoken_request *request)
{
    return enter_and_start(handle, request, CALL_WATCH);
}

int get_event(mltoken_handle *handle, json_object *parameters, mltoken_event *ret)
{
    json_object *object;
    if (json_member(parameters, "token", &object) < 0)
        return client_fail(handle, MLTOKEN_EPROTOCOL, "the agent's answer holds no token");
    mltoken_token *token;
    json_object_get(object);
    json_object_object_del(parameters, "token"); /* now ours alone, and wiped when we drop it */
    int r = token_new(handle, object, &token);
    if (r < 0)
        return r;
    mltoken_free(handle->token);
    handle->token = token;
    *ret = MLTOKEN_TOKEN;
    return 0;
}

int mltoken_take(mltoken_handle *handle, mltoken_token **ret_token)
{
    if (!handle || !ret_token)
        return MLTOKEN_EINVAL;
    client_enter(handle);
    mltoken_token *token = TAKE_PTR(handle->token);
    client_leave(handle);
    if (!token)
        return MLTOKEN_EINVAL;
    *ret_token = token;
    return 0;
}

static int next(mltoken_handle *handle, int64_t deadline_ms, mltoken_token **ret_token)
{
    for (;;) {
        mltoken_event event;
        int r = mltoken_process(handle, &event);
        if (r == 0 && event == MLTOKEN_TOKEN)
            return mltoken_take(handle, ret_token);
        if (r == 0)
            r = client_wait(handle, deadline_ms);
        if (r == MLTOKEN_ETIMEOUT)
            return client_fail(handle, r, "the agent did not answer in time");
        if (r < 0)
            return r;
    }
}

int mltoken_get(mltoken_handle *handle, const mltoken_request *request, int timeout_ms, mltoken_token **ret_token)
{
    int64_t deadline_ms;
    if (!handle || !ret_token || client_deadline(timeout_ms, LIMIT_CALL_MS, &deadline_ms) < 0)
        return MLTOKEN_EINVAL;
    int r = client_enter_by(handle, deadline_ms);
    if (r < 0)
        return r;
    r = start(handle, request, CALL_GET);
    if (r == 0) {
        r = next(handle, deadline_ms, ret_token);
        if (r < 0 && handle->call != CALL_NONE)
            client_drop(handle); /* its answer must not be taken for the next call's */
    }
    client_leave(handle);
    return r;
}

int mltoken_next(mltoken_handle *handle, int timeout_ms, mltoken_token **ret_token)
{
    int64_t deadline_ms;
    if (!handle || !ret_token || client_deadline(timeout_ms, LIMIT_CALL_MS, &deadline_ms) < 0)
        return MLTOKEN_EINVAL;
    int r = client_enter_by(handle, deadline_ms);
    if (r < 0)
        return r;
    r = handle->call == CALL_WATCH ? next(handle, deadline_ms, ret_token) : MLTOKEN_EINVAL;
    client_leave(handle);
    return r;
}
