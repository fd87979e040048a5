/* Import. */
#include "acquire/import.h"
#include "cleanup.h"
#include "limits.h"
#include "server/call.h"
#include <errno.h>

static void on_imported(void *arg, const struct failure *failure)
{
    struct call *call = arg;
    if (failure)
        call_fail(call, failure);
    else
        call_reply(call, NULL);
}

static bool is_token(struct span text)
{
    for (size_t i = 0; i < text.length; i++)
        if (text.data[i] < 0x21 || text.data[i] > 0x7e)
            return false;
    return text.length > 0;
}

/* A token member: 0 (absent too, *ret then NULL), -EINVAL, -ENOMEM. */
static int take_token(json_object *parameters, const char *name, size_t maximum, char **ret)
{
    struct span text = {0};
    *ret = NULL;
    if (json_bytes(parameters, name, maximum, &text) < 0)
        return 0;
    if (!is_token(text))
        return -EINVAL;
    *ret = strndup(text.data, text.length);
    return *ret ? 0 : -ENOMEM;
}

/* The same of one that must not lie about. */
static int take_secret(json_object *parameters, const char *name, struct secret **ret)
{
    struct span text = {0};
    *ret = NULL;
    if (json_bytes(parameters, name, LIMIT_SECRET, &text) < 0)
        return 0;
    return is_token(text) ? secret_new(text.data, text.length, ret) : -EINVAL;
}

static int take_scopes(json_object *parameters, char **ret)
{
    _cleanup_buffer_ struct buffer joined = BUFFER(LIMIT_REQUEST);
    json_object *scopes = NULL;
    (void)json_member(parameters, "scopes", &scopes);
    for (size_t i = 0; i < json_object_array_length(scopes); i++) {
        json_object *scope = json_object_array_get_idx(scopes, i);
        struct span text = {json_object_get_string(scope), (size_t)json_object_get_string_len(scope)};
        if (!scope_valid(text))
            return -EINVAL;
        if (joined.length > 0)
            buffer_byte(&joined, ' ');
        buffer_append(&joined, text.data, text.length);
    }
    *ret = buffer_error(&joined) ? NULL : strndup(joined.data ? joined.data : "", joined.length);
    return *ret ? 0 : -ENOMEM;
}

/* What each member must be; *ret_wrong names the one that is not. */
static int read_parcel(json_object *parameters, struct parcel *parcel, const char **ret_wrong)
{
    const char *issuer = "";
    int64_t expires_at = -1;
    (void)json_string(parameters, "issuer", LIMIT_URL, &issuer);
    bool dated = json_integer(parameters, "expiresAt", &expires_at) == 0;
    parcel->issuer = strdup(issuer);
    parcel->expires_at = expires_at;
    *ret_wrong = "scopes";
    int r = parcel->issuer ? take_scopes(parameters, &parcel->scope) : -ENOMEM;
    if (r == 0) {
        *ret_wrong = "idToken";
        r = take_token(parameters, "idToken", LIMIT_JWS, &parcel->id_token);
    }
    if (r == 0) {
        *ret_wrong = "accessToken";
        r = take_token(parameters, "accessToken", LIMIT_TOKEN, &parcel->access_token);
    }
    if (r == 0) {
        *ret_wrong = "refreshToken";
        r = take_secret(parameters, "refreshToken", &parcel->refresh_token);
    }
    *ret_wrong = r == 0 ? "expiresAt" : *ret_wrong;
    return r == 0 && dated && (expires_at < 0 || expires_at > LIMIT_EPOCH_S) ? -EINVAL : r;
}

void method_import(struct call *call, json_object *parameters)
{
    struct failure why;
    const char *client_id = "", *wrong = NULL;
    if (call_holder(call, parameters) < 0)
        return;
    (void)json_string(parameters, "clientId", LIMIT_CLIENT_ID, &client_id);
    struct parcel *parcel = calloc(1, sizeof(*parcel));
    int r = parcel ? read_parcel(parameters, parcel, &wrong) : -ENOMEM;
    if (r < 0) {
        parcel_free(parcel);
        if (r == -EINVAL) {
            call_invalid_parameter(call, wrong);
            return;
        }
        failure_set(&why, FAILURE_BUSY, CLASS_UNREACHABLE, "the sign-in could not be taken in: %s", strerror(-r));
        call_fail(call, &why);
        return;
    }
    call->import = (struct import){.done = on_imported, .arg = call};
    if (conductor_import(call->connection->server->conductor, call->holder, client_id, parcel, &call->import, &why) < 0)
        call_fail(call, &why);
}
