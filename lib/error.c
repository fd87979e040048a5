#include "client_internal.h"

#include "cleanup.h"
#include "message.h"
#include "text.h"
#include <stdarg.h>

static const struct {
    int code;
    const char *text;
    const char *name; /* the agent's, without its interface */
} errors[] = {
    {0, "no error", NULL},
    {MLTOKEN_EINVAL, "an argument is not valid", NULL},
    {MLTOKEN_ENOMEM, "out of memory", NULL},
    {MLTOKEN_ENOAGENT, "no agent is running", NULL},
    {MLTOKEN_EPEER, "the agent's socket belongs to someone else", NULL},
    {MLTOKEN_ETIMEOUT, "the agent did not answer in time", NULL},
    {MLTOKEN_ECLOSED, "the agent ended the connection", NULL},
    {MLTOKEN_EPROTOCOL, "the agent's answer makes no sense", NULL},
    {MLTOKEN_EOLDAGENT, "the running agent is too old for this", NULL},
    {MLTOKEN_EINUSE, "another call is under way", NULL},
    {MLTOKEN_ESYSTEM, "a system call failed", NULL},
    {MLTOKEN_ECANCELLED, "cancelled", NULL},
    {MLTOKEN_ENOSUCHPROFILE, "there is no such profile", "NoSuchProfile"},
    {MLTOKEN_ECONFIGURATION, "the configuration is not valid", "InvalidConfiguration"},
    {MLTOKEN_ESECRETMISSING, "a secret is missing", "SecretMissing"},
    {MLTOKEN_ENOTSUPPORTED, "the profile does not support this", "NotSupported"},
    {MLTOKEN_ELOGINREQUIRED, "a person must sign in", "LoginRequired"},
    {MLTOKEN_ESIGNINFAILED, "the sign-in failed", "SignInFailed"},
    {MLTOKEN_EREFUSED, "the authority refused", "AuthorityRefused"},
    {MLTOKEN_EINVALIDTOKEN, "the token is not valid", "InvalidToken"},
    {MLTOKEN_EUNREACHABLE, "the authority cannot be reached", "AuthorityUnreachable"},
    {MLTOKEN_ETOOSHORT, "even a new token ends too soon", "TokenTooShort"},
    {MLTOKEN_ESTORE, "the store of secrets is not available", "StoreUnavailable"},
    {MLTOKEN_ELOCKED, "the agent is locked", "Locked"},
    {MLTOKEN_EDENIED, "denied", "Denied"},
    {MLTOKEN_EBUSY, "the agent is busy", "Busy"},
    {MLTOKEN_EUNKNOWN, "the agent reports an error that is not known here", NULL},
};

const char *mltoken_strerror(int code)
{
    for (size_t i = 0; i < ELEMENTS(errors); i++)
        if (errors[i].code == code)
            return errors[i].text;
    return "unknown error";
}

int client_fail(mltoken_handle *handle, int code, const char *format, ...)
{
    handle->error = (struct client_error){.code = code};
    char reason[LIMIT_TEXT];
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(reason, sizeof(reason), format, arguments);
    va_end(arguments);
    if (n > 0)
        text_clean_into(handle->error.reason, sizeof(handle->error.reason), span_of(reason));
    return code;
}

static void copy_text(json_object *parameters, const char *member, char *to, size_t size)
{
    struct span text;
    if (json_bytes(parameters, member, LIMIT_REPLY, &text) == 0)
        text_clean_into(to, size, text);
}

static void copy_number(json_object *parameters, const char *member, int64_t *to)
{
    int64_t value;
    if (json_integer(parameters, member, &value) == 0 && value > 0)
        *to = value;
}

static int code_of(mltoken_handle *handle, const char *name, json_object *parameters)
{
    const char *dot = strrchr(name, '.');
    size_t interface = dot ? (size_t)(dot - name) : 0;
    if (interface == strlen(MESSAGE_INTERFACE) && memcmp(name, MESSAGE_INTERFACE, interface) == 0) {
        for (size_t i = 0; i < ELEMENTS(errors); i++)
            if (errors[i].name && strcmp(errors[i].name, dot + 1) == 0)
                return errors[i].code;
        return MLTOKEN_EUNKNOWN;
    }
    if (interface != strlen(MESSAGE_SERVICE) || memcmp(name, MESSAGE_SERVICE, interface) != 0)
        return MLTOKEN_EUNKNOWN;
    const char *member;
    if (strcmp(dot + 1, "MethodNotFound") == 0 || strcmp(dot + 1, "MethodNotImplemented") == 0)
        return MLTOKEN_EOLDAGENT;
    if (strcmp(dot + 1, "InvalidParameter") == 0 && json_string(parameters, "parameter", LIMIT_CODE, &member) == 0 &&
        json_object_object_get_ex(handle->asked, member, NULL))
        return MLTOKEN_EOLDAGENT;
    return MLTOKEN_EPROTOCOL;
}

int client_refused(mltoken_handle *handle, const char *name, json_object *parameters)
{
    struct client_error *error = &handle->error;
    *error = (struct client_error){.code = code_of(handle, name, parameters)};
    text_clean_into(error->name, sizeof(error->name), span_of(name));
    copy_text(parameters, "profile", error->profile, sizeof(error->profile));
    copy_text(parameters, "reason", error->reason, sizeof(error->reason));
    copy_text(parameters, "error", error->error, sizeof(error->error));
    copy_text(parameters, "description", error->description, sizeof(error->description));
    copy_text(parameters, "correlationId", error->correlation_id, sizeof(error->correlation_id));
    copy_text(parameters, "traceId", error->trace_id, sizeof(error->trace_id));
    copy_text(parameters, "file", error->file, sizeof(error->file));
    copy_text(parameters, "method", error->secret, sizeof(error->secret));
    copy_text(parameters, "parameter", error->secret, sizeof(error->secret));
    copy_text(parameters, "name", error->secret, sizeof(error->secret));
    copy_text(parameters, "claims", error->claims, sizeof(error->claims));
    copy_number(parameters, "line", &error->line);
    copy_number(parameters, "retryAt", &error->retry_at);
    copy_number(parameters, "minValid", &error->min_valid);
    copy_number(parameters, "expiresAt", &error->expires_at);
    return error->code;
}

const char *mltoken_detail_text(const mltoken_handle *handle, mltoken_detail which)
{
    if (!handle)
        return NULL;
    const struct client_error *error = &handle->error;
    const struct {
        mltoken_detail which;
        const char *text;
    } texts[] = {
        {MLTOKEN_NAME_OF_ERROR, error->name},
        {MLTOKEN_PROFILE, error->profile},
        {MLTOKEN_REASON, error->reason},
        {MLTOKEN_ERROR, error->error},
        {MLTOKEN_DESCRIPTION, error->description},
        {MLTOKEN_CORRELATION_ID, error->correlation_id},
        {MLTOKEN_TRACE_ID, error->trace_id},
        {MLTOKEN_NAME, error->secret},
        {MLTOKEN_FILE, error->file},
    };
    for (size_t i = 0; i < ELEMENTS(texts); i++)
        if (texts[i].which == which)
            return *texts[i].text ? texts[i].text : NULL;
    return NULL;
}

uint64_t mltoken_detail_number(const mltoken_handle *handle, mltoken_detail which)
{
    if (!handle)
        return 0;
    const struct client_error *error = &handle->error;
    const struct {
        mltoken_detail which;
        int64_t number;
    } numbers[] = {
        {MLTOKEN_LINE, error->line},
        {MLTOKEN_RETRY_AT, error->retry_at},
        {MLTOKEN_MIN_VALID, error->min_valid},
        {MLTOKEN_EXPIRES_AT, error->expires_at},
    };
    for (size_t i = 0; i < ELEMENTS(numbers); i++)
        if (numbers[i].which == which)
            return (uint64_t)numbers[i].number;
    return 0;
}
