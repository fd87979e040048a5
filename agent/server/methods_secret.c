/* SetSecret, ListSecrets and MoveSecrets. No value ever goes out. */
#include "acquire/errand.h"
#include "cleanup.h"
#include "limits.h"
#include "server/call.h"

static struct conductor *conductor_of(const struct call *call)
{
    return call->connection->server->conductor;
}

/* An errand has just told of its end. */
static bool failed(struct call *call, const struct errand_result *result)
{
    call->errand = NULL;
    if (result->why)
        call_fail(call, result->why);
    return result->why != NULL;
}

static void on_set(void *arg, const struct errand_result *result)
{
    struct call *call = arg;
    if (!failed(call, result))
        call_reply(call, NULL);
}

void method_set_secret(struct call *call, json_object *parameters)
{
    struct failure why;
    struct span value = {0};
    const char *name = "";
    if (call_holder(call, parameters) < 0)
        return;
    (void)json_string(parameters, "name", LIMIT_SECRET_NAME, &name);
    bool given = json_bytes(parameters, "value", LIMIT_SECRET, &value) == 0;
    if (given && value.length == 0) {
        call_invalid_parameter(call, "value");
        return;
    }
    if (errand_set(conductor_of(call), call->holder, name, given ? value : (struct span){0}, on_set, call,
                   &call->errand, &why) < 0)
        call_fail(call, &why);
}

static void on_listed(void *arg, const struct errand_result *result)
{
    struct call *call = arg;
    if (failed(call, result))
        return;
    json_object *reply = json_object_new_object(), *secrets = json_object_new_array();
    for (size_t i = 0; i < result->count; i++) {
        const struct errand_secret *secret = &result->secrets[i];
        json_object *item = json_object_new_object();
        call_put_text(call, item, "name", secret->name);
        call_put_text(call, item, "source", secret->source);
        call_put_boolean(call, item, "present", secret->present);
        call_put_boolean(call, item, "stored", secret->stored);
        call_put_text(call, item, "reason", secret->reason);
        call_add(call, secrets, item);
    }
    call_put(call, reply, "secrets", secrets);
    call_reply(call, reply);
}

void method_list_secrets(struct call *call, json_object *parameters)
{
    struct failure why;
    if (call_holder(call, parameters) == 0 &&
        errand_list(conductor_of(call), call->holder, on_listed, call, &call->errand, &why) < 0)
        call_fail(call, &why);
}

static void on_moved(void *arg, const struct errand_result *result)
{
    struct call *call = arg;
    if (failed(call, result))
        return;
    json_object *reply = json_object_new_object();
    call_put_integer(call, reply, "moved", (int64_t)result->count);
    call_reply(call, reply);
}

void method_move_secrets(struct call *call, json_object *parameters)
{
    struct failure why;
    const char *store = "";
    if (call_holder(call, parameters) < 0)
        return;
    (void)json_string(parameters, "store", LIMIT_STORE_NAME, &store);
    if (errand_move(conductor_of(call), call->holder, store, on_moved, call, &call->errand, &why) < 0)
        call_fail(call, &why);
}
