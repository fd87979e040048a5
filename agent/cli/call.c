#include "command.h"

#include "cleanup.h"
#include "clock.h"
#include "report.h"

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

static int call_within(struct context *context, const char *method, json_object *parameters, int64_t patience_ms,
                       json_object **ret)
{
    bool continues;
    int r = client_start(context->handle, CALL_OTHER, method, parameters, false);
    if (r == 0)
        r = client_next(context->handle, clock_boot_ms() + patience_ms, ret, &continues);
    if (r < 0 && context->handle->call != CALL_NONE)
        client_drop(context->handle);
    return r;
}

int agent_call(struct context *context, const char *method, json_object *parameters, json_object **ret)
{
    return call_within(context, method, parameters, LIMIT_CALL_MS, ret);
}

void call_text(struct call *call, const char *name, const char *value)
{
    if (!call->parameters)
        call->parameters = json_object_new_object();
    call->failed |= json_put_text(call->parameters, name, value) < 0;
}

void call_flag(struct call *call, const char *name, bool value)
{
    if (!call->parameters)
        call->parameters = json_object_new_object();
    call->failed |= value && json_put_boolean(call->parameters, name, true) < 0;
}

int call_run(struct context *context, struct call *call, json_object **ret)
{
    _cleanup_json_wipe_ json_object *parameters = TAKE_PTR(call->parameters);
    int r = call->failed ? report(context, MLTOKEN_ENOMEM, call->failure, call->profile) : context_open(context);
    if (r != EXIT_DONE)
        return r;
    int64_t patience_ms = call->patience_ms ? call->patience_ms : LIMIT_CALL_MS;
    int error = call_within(context, call->method, TAKE_PTR(parameters), patience_ms, ret);
    return error < 0 ? report(context, error, call->failure, call->profile) : EXIT_DONE;
}
