#include "command.h"

#include "cleanup.h"
#include "clock.h"

int agent_call_more(struct context *context, const char *method, json_object *parameters, reply_fn *each, void *arg)
{
    int r = client_start(context->handle, CALL_OTHER, method, parameters, true);
    bool continues = true;
    while (r == 0 && continues) {
        _cleanup_json_wipe_ json_object *reply = NULL;
        r = client_next(context->handle, clock_boot_ms() + LIMIT_CALL_MS, &reply, &continues);
        if (r == 0)
            r = each(arg, reply);
    }
    if (r != 0 && context->handle->call != CALL_NONE)
        client_drop(context->handle);
    return r;
}

int agent_call(struct context *context, const char *method, json_object *parameters, json_object **ret)
{
    bool continues;
    int r = client_start(context->handle, CALL_OTHER, method, parameters, false);
    if (r == 0)
        r = client_next(context->handle, clock_boot_ms() + LIMIT_CALL_MS, ret, &continues);
    if (r < 0 && context->handle->call != CALL_NONE)
        client_drop(context->handle);
    return r;
}
