/* Lock and Unlock. */
#include "cleanup.h"
#include "limits.h"
#include "server/call.h"
#include <errno.h>

static void on_done(void *arg, const struct failure *why)
{
    struct call *call = arg;
    if (why)
        call_fail(call, why);
    else
        call_reply(call, NULL);
}

/* NULL after an error was replied. */
static const char *read_passphrase(struct call *call, json_object *parameters)
{
    const char *passphrase = "";
    call->lock = (struct lock_call){.done = on_done, .arg = call};
    if (json_string(parameters, "passphrase", LIMIT_PASSPHRASE, &passphrase) == 0 && *passphrase)
        return passphrase;
    call_invalid_parameter(call, "passphrase");
    return NULL;
}

static void check(struct call *call, int error)
{
    struct failure why;
    if (error == 0)
        return;
    failure_set(&why, FAILURE_BUSY, CLASS_UNREACHABLE, "%s", strerror(-error));
    call_fail(call, &why);
}

void method_lock(struct call *call, json_object *parameters)
{
    const char *passphrase = read_passphrase(call, parameters);
    if (passphrase)
        check(call, conductor_lock(call->connection->server->conductor, passphrase, &call->lock));
}

void method_unlock(struct call *call, json_object *parameters)
{
    bool fresh = false;
    const char *passphrase = read_passphrase(call, parameters);
    (void)json_boolean(parameters, "new", &fresh);
    if (passphrase)
        check(call, conductor_unlock(call->connection->server->conductor, passphrase, fresh, &call->lock));
}
