/* Rotate. */
#include "server/call.h"

static void on_rotated(void *arg, const char *slot, const struct failure *failure)
{
    struct call *call = arg;
    if (failure) {
        call_fail(call, failure);
        return;
    }
    json_object *reply = json_object_new_object();
    call_put_text(call, reply, "slot", slot);
    call_reply(call, reply);
}

void method_rotate(struct call *call, json_object *parameters)
{
    struct failure why;
    if (call_holder(call, parameters) < 0)
        return;
    call->rotation = (struct rotation){.done = on_rotated, .arg = call};
    if (conductor_rotate(call->connection->server->conductor, call->holder, &call->rotation, &why) < 0)
        call_fail(call, &why);
}
