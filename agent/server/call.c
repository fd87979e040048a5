#include "server/call.h"

#include "cleanup.h"
#include "limits.h"
#include "message.h"
#include "server/admission.h"
#include <errno.h>

/* ---- replying ---- */

static void note_put(struct call *call, int error)
{
    if (error < 0)
        call->unwhole = true;
}

void call_put(struct call *call, json_object *object, const char *name, json_object *value)
{
    note_put(call, json_put(object, name, value));
}

void call_put_text(struct call *call, json_object *object, const char *name, const char *text)
{
    note_put(call, json_put_text(object, name, text));
}

void call_put_integer(struct call *call, json_object *object, const char *name, int64_t value)
{
    note_put(call, json_put_integer(object, name, value));
}

void call_put_time(struct call *call, json_object *object, const char *name, int64_t epoch_s)
{
    note_put(call, json_put_time(object, name, epoch_s));
}

void call_put_boolean(struct call *call, json_object *object, const char *name, bool value)
{
    note_put(call, json_put_boolean(object, name, value));
}

void call_add(struct call *call, json_object *array, json_object *value)
{
    if (array && value && json_object_array_add(array, value) == 0)
        return;
    json_object_put(value);
    note_put(call, -ENOMEM);
}

/* A reply that cannot be made (out of memory) ends the connection: its client must not wait for what never comes. */
static void send_message(struct call *call, struct buffer *message)
{
    if (buffer_error(message) || call->unwhole)
        connection_end(call->connection);
    else if (!call->oneway)
        connection_send(call->connection, buffer_span(message));
}

void call_continue(struct call *call, json_object *parameters)
{
    _cleanup_json_ json_object *owned = parameters;
    _cleanup_buffer_ struct buffer message = BUFFER(LIMIT_REPLY + 1);
    message_reply(&message, parameters, true);
    send_message(call, &message);
}

/* In place of what cannot be sent. */
static void message_busy(struct call *call, struct buffer *message, const char *reason)
{
    _cleanup_json_ json_object *parameters = json_object_new_object();
    call->unwhole = false;
    buffer_clear(message);
    call_put_text(call, parameters, "reason", reason);
    message_error(message, MESSAGE_INTERFACE ".Busy", parameters);
}

void call_reply(struct call *call, json_object *parameters)
{
    _cleanup_json_ json_object *owned = parameters;
    _cleanup_buffer_ struct buffer message = BUFFER(LIMIT_REPLY + 1);
    int r = call->unwhole ? -ENOMEM : message_reply(&message, parameters, false);
    if (r < 0)
        message_busy(call, &message, r == -EMSGSIZE ? "the reply would be too long" : "out of memory");
    send_message(call, &message);
    connection_ready(call->connection);
}

void call_error(struct call *call, const char *name, json_object *parameters)
{
    _cleanup_json_ json_object *owned = parameters;
    _cleanup_buffer_ struct buffer message = BUFFER(LIMIT_REPLY + 1);
    message_error(&message, name, parameters);
    send_message(call, &message);
    connection_ready(call->connection);
}

static void error_naming(struct call *call, const char *name, const char *member, const char *value)
{
    json_object *parameters = json_object_new_object();
    call_put_text(call, parameters, member, value);
    call_error(call, name, parameters);
}

void call_invalid_parameter(struct call *call, const char *parameter)
{
    error_naming(call, MESSAGE_SERVICE ".InvalidParameter", "parameter", parameter);
}

static void put_if(struct call *call, json_object *object, const char *name, const char *text)
{
    call_put_text(call, object, name, *text ? text : NULL);
}

/* Each failure's members, as lib/org.mltoken.agent.varlink gives them. */
void call_fail(struct call *call, const struct failure *failure)
{
    char name[64];
    json_object *parameters = json_object_new_object();
    (void)snprintf(name, sizeof(name), MESSAGE_INTERFACE ".%s", failure_name(failure->kind));
    if (failure->kind != FAILURE_LOCKED && failure->kind != FAILURE_DENIED && failure->kind != FAILURE_BUSY &&
        failure->kind != FAILURE_STORE_UNAVAILABLE && failure->kind != FAILURE_INVALID_TOKEN)
        put_if(call, parameters, "profile", *failure->profile ? failure->profile : call->profile);
    if (failure->kind != FAILURE_TOKEN_TOO_SHORT && failure->kind != FAILURE_LOCKED)
        put_if(call, parameters, "reason", failure->reason);
    if (failure->kind == FAILURE_LOGIN_REQUIRED)
        put_if(call, parameters, "claims", failure->claims);
    if (failure->kind == FAILURE_SECRET_MISSING)
        put_if(call, parameters, "name", failure->name);
    if (failure->kind == FAILURE_AUTHORITY_REFUSED) {
        call_put_text(call, parameters, "error", failure->error);
        put_if(call, parameters, "description", failure->description);
        put_if(call, parameters, "correlationId", failure->correlation_id);
        put_if(call, parameters, "traceId", failure->trace_id);
    }
    if (failure->kind == FAILURE_AUTHORITY_UNREACHABLE)
        call_put_time(call, parameters, "retryAt", failure->retry_at);
    if (failure->kind == FAILURE_TOKEN_TOO_SHORT) {
        call_put_integer(call, parameters, "minValid", failure->min_valid_s);
        call_put_integer(call, parameters, "expiresAt", failure->expires_at);
    }
    call_error(call, name, parameters);
}

/* ---- beginning ---- */

static const struct parameter *parameter_of(const struct method *method, const char *name)
{
    for (const struct parameter *parameter = method->parameters;
         parameter < method->parameters + ELEMENTS(method->parameters); parameter++)
        if (parameter->name && strcmp(parameter->name, name) == 0)
            return parameter;
    return NULL;
}

static bool is_text(json_object *value, size_t maximum)
{
    if (!json_object_is_type(value, json_type_string))
        return false;
    const char *text = json_object_get_string(value);
    size_t length = (size_t)json_object_get_string_len(value);
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return false;
    return length <= maximum;
}

static bool is_right(const struct parameter *parameter, json_object *value)
{
    switch (parameter->type) {
    case PARAMETER_TEXT:
        return is_text(value, parameter->maximum);
    case PARAMETER_INTEGER:
        return json_object_is_type(value, json_type_int);
    case PARAMETER_BOOLEAN:
        return json_object_is_type(value, json_type_boolean);
    case PARAMETER_TEXTS:
        break;
    }
    if (!json_object_is_type(value, json_type_array) || json_object_array_length(value) > LIMIT_SCOPES)
        return false;
    for (size_t i = 0; i < json_object_array_length(value); i++)
        if (!is_text(json_object_array_get_idx(value, i), parameter->maximum))
            return false;
    return true;
}

/* The name of the first parameter that is unknown, missing or of the wrong type, or NULL. */
static const char *wrong_parameter(const struct method *method, json_object *parameters)
{
    if (parameters) {
        json_object_object_foreach (parameters, name, value) {
            const struct parameter *parameter = parameter_of(method, name);
            if (!parameter || (value && !is_right(parameter, value)))
                return name;
        }
    }
    for (size_t i = 0; i < ELEMENTS(method->parameters); i++) {
        json_object *value;
        if (method->parameters[i].required && json_member(parameters, method->parameters[i].name, &value) < 0)
            return method->parameters[i].name;
    }
    return NULL;
}

static void run(struct call *call, const char *name, json_object *parameters)
{
    const struct method *method = call->method;
    const char *wrong = method ? wrong_parameter(method, parameters) : NULL;
    if (!method && method_interface_known(name)) {
        error_naming(call, MESSAGE_SERVICE ".MethodNotFound", "method", name);
    } else if (!method) {
        const char *dot = strrchr(name, '.');
        char interface[LIMIT_TEXT];
        (void)snprintf(interface, sizeof(interface), "%.*s", dot ? (int)(dot - name) : 0, name);
        error_naming(call, MESSAGE_SERVICE ".InterfaceNotFound", "interface", interface);
    } else if (call->connection->limited && !method->limited) {
        error_naming(call, MESSAGE_INTERFACE ".Denied", "reason", "this socket only hands out tokens; use agent.sock");
    } else if (method->needs_more && !call->more) {
        call_error(call, MESSAGE_SERVICE ".ExpectedMore", NULL);
    } else if (wrong) {
        call_invalid_parameter(call, wrong);
    } else if (call->connection->server->conductor->locked && !method->while_locked) {
        call_error(call, MESSAGE_INTERFACE ".Locked", NULL);
    } else {
        method->run(call, parameters);
    }
}

int call_begin(struct connection *connection, struct span message)
{
    _cleanup_json_wipe_ json_object *json = NULL;
    json_object *parameters = NULL;
    const char *name;
    if (json_parse(message.data, message.length, LIMIT_REQUEST_DEPTH, &json) < 0 ||
        json_string(json, "method", LIMIT_TEXT / 2, &name) < 0)
        return -EBADMSG;
    if (json_member(json, "parameters", &parameters) == 0 && !json_object_is_type(parameters, json_type_object))
        return -EBADMSG;
    struct call *call = calloc(1, sizeof(*call));
    if (!call)
        return -ENOMEM;
    call->connection = connection;
    call->began_ms = loop_now(connection->server->loop);
    call->method = method_find(name);
    call->request.min_valid_s = -1;
    connection->call = call;
    if (json_boolean(json, "more", &call->more) == -EINVAL || json_boolean(json, "oneway", &call->oneway) == -EINVAL)
        return -EBADMSG;
    run(call, name, parameters);
    return 0;
}

struct call *call_free(struct call *call)
{
    if (!call)
        return NULL;
    admission_free(call->admission);
    waiter_cancel(&call->waiter);
    if (call->watching)
        call->connection->server->watch_count--;
    watcher_cancel(&call->watcher);
    login_cancel(&call->login);
    logout_cancel(&call->logout);
    rotation_cancel(&call->rotation);
    import_cancel(&call->import);
    inspection_cancel(&call->inspection);
    verification_cancel(call->verification);
    errand_cancel(call->errand);
    lock_call_cancel(&call->lock);
    free(call->kept);
    for (size_t i = 0; i < call->name_count; i++)
        free(call->names[i]);
    free(call->names);
    request_clear(&call->request);
    free(call);
    return NULL;
}

int call_holder(struct call *call, json_object *parameters)
{
    struct failure why;
    const char *name = NULL;
    (void)json_string(parameters, "profile", LIMIT_PROFILE_NAME, &name);
    if (name)
        (void)snprintf(call->profile, sizeof(call->profile), "%s", name);
    if (conductor_holder(call->connection->server->conductor, name, &call->holder, &why) < 0) {
        call_fail(call, &why);
        return -1;
    }
    (void)snprintf(call->profile, sizeof(call->profile), "%s", call->holder->profile->name);
    return 0;
}
