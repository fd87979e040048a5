/* Login, Answer and Logout. */
#include "cleanup.h"
#include "limits.h"
#include "server/call.h"
#include <errno.h>

static json_object *login_reply(struct call *call, const char *state)
{
    json_object *reply = json_object_new_object();
    call_put_text(call, reply, "state", state);
    call_put_text(call, reply, "session", call->login.session);
    return reply;
}

static void on_prompt(void *arg, const struct prompt_step *step)
{
    struct call *call = arg;
    json_object *reply = login_reply(call, "prompt"), *prompt = json_object_new_object();
    call_put_text(call, prompt, "kind", step->secret ? "secret" : step->browser ? "browser" : "device");
    call_put_text(call, prompt, "name", step->secret);
    call_put_text(call, prompt, "verificationUri", step->verification_uri);
    call_put_text(call, prompt, "verificationUriComplete", step->verification_uri_complete);
    call_put_text(call, prompt, "userCode", step->user_code);
    call_put_text(call, prompt, "message", step->message);
    call_put_text(call, prompt, "authorityHost", step->authority_host);
    if (!step->secret) {
        call_put_time(call, prompt, "expiresAt", step->expires_at);
        if (!step->browser)
            call_put_integer(call, prompt, "interval", step->interval_s);
    }
    call_put(call, reply, "prompt", prompt);
    call_continue(call, reply);
}

static void on_signed_in(void *arg, const struct identity *identity, int64_t expires_at, const struct failure *failure)
{
    struct call *call = arg;
    if (failure) {
        call_fail(call, failure);
        return;
    }
    json_object *reply = login_reply(call, "done");
    call_put_text(call, reply, "account", identity && *identity->account ? identity->account : NULL);
    call_put_time(call, reply, "expiresAt", expires_at);
    call_reply(call, reply);
}

void method_login(struct call *call, json_object *parameters)
{
    struct failure why;
    if (call_holder(call, parameters) < 0)
        return;
    call->login = (struct login){.prompted = on_prompt, .done = on_signed_in, .arg = call};
    (void)json_boolean(parameters, "switchAccount", &call->login.switch_account);
    (void)json_string(parameters, "claims", LIMIT_CLAIMS, &call->login.claims);
    (void)json_string(parameters, "policy", LIMIT_CODE, &call->login.policy);
    int r = conductor_login(call->connection->server->conductor, call->holder, &call->login, &why);
    call->login.claims = call->login.policy = NULL;
    if (r < 0)
        call_fail(call, &why);
}

void method_answer(struct call *call, json_object *parameters)
{
    const char *session = "";
    struct span value = {0};
    struct failure why;
    (void)json_string(parameters, "session", LIMIT_CODE, &session);
    (void)json_bytes(parameters, "value", LIMIT_SECRET, &value);
    int r = value.length > 0 ? conductor_answer(call->connection->server->conductor, session, value) : -EINVAL;
    if (r == 0) {
        call_reply(call, NULL);
    } else if (r == -ENOENT || r == -EINVAL) {
        call_invalid_parameter(call, r == -ENOENT ? "session" : "value");
    } else if (r == -EBADMSG) {
        failure_set(&why, FAILURE_DENIED, CLASS_DEFINITE,
                    "that is not the address at which this sign-in's browser ended: give the whole of it");
        call_fail(call, &why);
    } else {
        failure_set(&why, FAILURE_BUSY, CLASS_UNREACHABLE, "what was typed could not be kept: %s", strerror(-r));
        call_fail(call, &why);
    }
}

/* ---- Logout ---- */

static void logout_next(struct call *);

static void reply_logout(struct call *call)
{
    if (call->kept) {
        call_fail(call, call->kept);
        return;
    }
    json_object *reply = json_object_new_object();
    call_put_boolean(call, reply, "revoked", call->revoked);
    call_reply(call, reply);
}

static void on_signed_out(void *arg, bool revoked, const struct failure *kept)
{
    struct call *call = arg;
    call->revoked |= revoked;
    if (kept && !call->kept && (call->kept = malloc(sizeof(*kept))))
        *call->kept = *kept;
    else if (kept && !call->kept)
        call->unwhole = true; /* it must not read as if all were forgotten */
    logout_next(call);
}

/* One profile after the other, from the last name to the first. */
static void logout_next(struct call *call)
{
    struct conductor *conductor = call->connection->server->conductor;
    while (call->name_count > 0) {
        struct failure why;
        char *name = call->names[--call->name_count];
        call->holder = cache_find(conductor->cache, name); /* also one that is no longer configured */
        if (!call->holder && conductor_holder(conductor, name, &call->holder, &why) < 0)
            call->holder = NULL;
        free(name);
        call->logout = (struct logout){.done = on_signed_out, .arg = call};
        if (call->holder && conductor_logout(conductor, call->holder, &call->logout, &why) == 0)
            return;
    }
    reply_logout(call);
}

static int add_name(struct call *call, const char *name)
{
    char *copy = strdup(name);
    if (copy)
        call->names[call->name_count++] = copy;
    return copy ? 0 : -ENOMEM;
}

/* Those of which anything is held, and those of which a store may hold something. */
static int name_all(struct call *call)
{
    struct conductor *conductor = call->connection->server->conductor;
    struct config *config = conductor->config;
    struct holder **holders;
    size_t count;
    int r = cache_holders(conductor->cache, &holders, &count);
    if (r < 0)
        return r;
    call->names = calloc(count + config->profile_count + 1, sizeof(char *));
    r = call->names ? 0 : -ENOMEM;
    for (size_t i = 0; r == 0 && i < count; i++)
        r = add_name(call, holders[i]->profile->name);
    for (size_t i = 0; r == 0 && i < config->profile_count; i++)
        if (!cache_find(conductor->cache, config->names[i]) && conductor_signs_in(config_at(config, i)))
            r = add_name(call, config->names[i]);
    free(holders);
    return r;
}

void method_logout(struct call *call, json_object *parameters)
{
    struct failure why;
    bool all = false;
    int r = 0;
    (void)json_boolean(parameters, "all", &all);
    if (!all && call_holder(call, parameters) < 0)
        return;
    if (all) {
        r = name_all(call);
    } else {
        call->names = calloc(1, sizeof(char *));
        if (call->names)
            call->names[0] = strdup(call->profile);
        r = call->names && call->names[0] ? 0 : -ENOMEM;
        call->name_count = r == 0 ? 1 : 0;
    }
    if (r < 0) {
        failure_set(&why, FAILURE_BUSY, CLASS_UNREACHABLE, "out of memory");
        call_fail(call, &why);
        return;
    }
    logout_next(call);
}
