#include "cleanup.h"
#include "limits.h"
#include "message.h"
#include "server/call.h"
#include "server/description.h"
#include <errno.h>

/* a braced initialiser in a macro is a block to clang-format */
/* clang-format off */
#define PROFILE     {"profile", PARAMETER_TEXT, LIMIT_PROFILE_NAME, false}
#define APPLICATION {"application", PARAMETER_TEXT, LIMIT_APPLICATION, false}
#define AUDIENCE    {"audience", PARAMETER_TEXT, LIMIT_URL, false}
/* clang-format on */

/* lib/org.mltoken.agent.varlink in code; a test holds the two together. */
static const struct method methods[] = {
    {.name = MESSAGE_INTERFACE ".GetToken",
     .run = method_get_token,
     .limited = true,
     .parameters = {PROFILE,
                    {"scopes", PARAMETER_TEXTS, LIMIT_SCOPE, false},
                    {"resource", PARAMETER_TEXT, LIMIT_URL, false},
                    AUDIENCE,
                    {"claims", PARAMETER_TEXT, LIMIT_CLAIMS, false},
                    {"minValid", PARAMETER_INTEGER, 0, false},
                    {"refresh", PARAMETER_BOOLEAN, 0, false},
                    APPLICATION}},
    {.name = MESSAGE_INTERFACE ".Watch",
     .run = method_watch,
     .needs_more = true,
     .limited = true,
     .parameters = {PROFILE}},
    {.name = MESSAGE_INTERFACE ".Login",
     .run = method_login,
     .needs_more = true,
     .parameters = {PROFILE,
                    {"policy", PARAMETER_TEXT, LIMIT_CODE, false},
                    {"claims", PARAMETER_TEXT, LIMIT_CLAIMS, false},
                    {"switchAccount", PARAMETER_BOOLEAN, 0, false},
                    APPLICATION}},
    {.name = MESSAGE_INTERFACE ".Answer",
     .run = method_answer,
     .parameters = {{"session", PARAMETER_TEXT, LIMIT_CODE, true}, {"value", PARAMETER_TEXT, LIMIT_SECRET, true}}},
    {.name = MESSAGE_INTERFACE ".Logout",
     .run = method_logout,
     .parameters = {PROFILE, {"all", PARAMETER_BOOLEAN, 0, false}}},
    {.name = MESSAGE_INTERFACE ".List", .run = method_list, .needs_more = true, .limited = true, .while_locked = true},
    {.name = MESSAGE_INTERFACE ".Show",
     .run = method_show,
     .limited = true,
     .parameters = {PROFILE, {"remote", PARAMETER_BOOLEAN, 0, false}}},
    {.name = MESSAGE_INTERFACE ".Verify",
     .run = method_verify,
     .limited = true,
     .while_locked = true,
     .parameters = {{"jwt", PARAMETER_TEXT, LIMIT_JWS, true}, PROFILE, AUDIENCE}},
    {.name = MESSAGE_INTERFACE ".ListSecrets",
     .run = method_list_secrets,
     .parameters = {{"profile", PARAMETER_TEXT, LIMIT_PROFILE_NAME, true}}},
    {.name = MESSAGE_INTERFACE ".SetSecret",
     .run = method_set_secret,
     .parameters = {{"profile", PARAMETER_TEXT, LIMIT_PROFILE_NAME, true},
                    {"name", PARAMETER_TEXT, LIMIT_SECRET_NAME, true},
                    {"value", PARAMETER_TEXT, LIMIT_SECRET, false}}},
    {.name = MESSAGE_INTERFACE ".MoveSecrets",
     .run = method_move_secrets,
     .parameters = {PROFILE, {"store", PARAMETER_TEXT, LIMIT_STORE_NAME, true}}},
    {.name = MESSAGE_INTERFACE ".Rotate",
     .run = method_rotate,
     .parameters = {{"profile", PARAMETER_TEXT, LIMIT_PROFILE_NAME, true}}},
    {.name = MESSAGE_INTERFACE ".Import",
     .run = method_import,
     .parameters = {{"profile", PARAMETER_TEXT, LIMIT_PROFILE_NAME, true},
                    {"issuer", PARAMETER_TEXT, LIMIT_URL, true},
                    {"clientId", PARAMETER_TEXT, LIMIT_CLIENT_ID, true},
                    {"scopes", PARAMETER_TEXTS, LIMIT_SCOPE, true},
                    {"idToken", PARAMETER_TEXT, LIMIT_JWS, true},
                    {"refreshToken", PARAMETER_TEXT, LIMIT_SECRET, false},
                    {"accessToken", PARAMETER_TEXT, LIMIT_TOKEN, false},
                    {"expiresAt", PARAMETER_INTEGER, 0, false}}},
    {.name = MESSAGE_INTERFACE ".Lock",
     .run = method_lock,
     .parameters = {{"passphrase", PARAMETER_TEXT, LIMIT_PASSPHRASE, true}}},
    {.name = MESSAGE_INTERFACE ".Unlock",
     .run = method_unlock,
     .while_locked = true,
     .parameters = {{"passphrase", PARAMETER_TEXT, LIMIT_PASSPHRASE, true}, {"new", PARAMETER_BOOLEAN, 0, false}}},
    {.name = MESSAGE_INTERFACE ".Status", .run = method_status, .while_locked = true},
    {.name = MESSAGE_SERVICE ".GetInfo", .run = method_get_info, .limited = true, .while_locked = true},
    {.name = MESSAGE_SERVICE ".GetInterfaceDescription",
     .run = method_get_description,
     .limited = true,
     .while_locked = true,
     .parameters = {{"interface", PARAMETER_TEXT, LIMIT_TEXT, true}}},
};

const struct method *method_find(const char *name)
{
    for (size_t i = 0; i < ELEMENTS(methods); i++)
        if (strcmp(methods[i].name, name) == 0)
            return &methods[i];
    return NULL;
}

bool method_interface_known(const char *name)
{
    const char *dot = strrchr(name, '.');
    struct span interface = {name, dot ? (size_t)(dot - name) : 0};
    return span_equals(interface, span_of(MESSAGE_INTERFACE)) || span_equals(interface, span_of(MESSAGE_SERVICE));
}

void method_get_info(struct call *call, json_object *parameters)
{
    (void)parameters;
    json_object *info = json_object_new_object(), *interfaces = json_object_new_array();
    call_put_text(call, info, "vendor", "mltoken");
    call_put_text(call, info, "product", "mltoken-agent");
    call_put_text(call, info, "version", MLTOKEN_VERSION);
    call_put_text(call, info, "url", "");
    call_add(call, interfaces, json_object_new_string(MESSAGE_SERVICE));
    call_add(call, interfaces, json_object_new_string(MESSAGE_INTERFACE));
    call_put(call, info, "interfaces", interfaces);
    call_reply(call, info);
}

void method_get_description(struct call *call, json_object *parameters)
{
    const char *interface = "";
    (void)json_string(parameters, "interface", LIMIT_TEXT, &interface);
    bool own = strcmp(interface, MESSAGE_INTERFACE) == 0;
    json_object *reply = json_object_new_object();
    if (!own && strcmp(interface, MESSAGE_SERVICE) != 0) {
        call_put_text(call, reply, "interface", interface);
        call_error(call, MESSAGE_SERVICE ".InterfaceNotFound", reply);
        return;
    }
    call_put_text(call, reply, "description", own ? description_agent : description_service);
    call_reply(call, reply);
}
