/* List and Status. */
#include "acquire/report.h"
#include "cleanup.h"
#include "limits.h"
#include "secret.h"
#include "server/call.h"
#include <errno.h>
#include <unistd.h>

static json_object *texts(struct call *call, char *const *list)
{
    json_object *array = json_object_new_array();
    for (; *list; list++)
        call_add(call, array, json_object_new_string(*list));
    return array;
}

static json_object *describe(struct call *call, const struct profile *profile)
{
    const struct conductor *conductor = call->connection->server->conductor;
    const struct grant *grant = profile->grant; /* NULL: what the profile says is wrong */
    struct report report;
    json_object *reply = json_object_new_object(), *item = json_object_new_object();
    report_profile(conductor, profile, &report);
    call_put_text(call, item, "name", profile->name);
    call_put_text(call, item, "grant", grant ? grant->name : "");
    call_put_boolean(call, item, "signsIn", grant && grant->dialect == DIALECT_AUTO && conductor_signs_in(profile));
    call_put_text(call, item, "authority", profile->authority ? profile->authority : profile->token_endpoint);
    call_put_text(call, item, "state", report.state);
    call_put_text(call, item, "account", report.account);
    call_put_text(call, item, "policy", report.policy);
    call_put_text(call, item, "slot", report.slot);
    call_put_time(call, item, "expiresAt", report.expires_at);
    call_put_time(call, item, "refreshAt", report.refresh_at);
    call_put_time(call, item, "signInEndsAt", report.sign_in_ends_at);
    call_put_text(call, item, "warning", *report.warning ? report.warning : NULL);
    call_put_text(call, item, "lastError", *report.error ? report.error : NULL);
    call_put_text(call, item, "waiting", *report.waiting ? report.waiting : NULL);
    if (profile->confirm)
        call_put_boolean(call, item, "confirm", true);
    if (profile->allow)
        call_put(call, item, "allow", texts(call, profile->allow));
    call_put(call, reply, "profile", item);
    return reply;
}

/* A reply for each profile; a client that does not read keeps only its own place in the list. */
static void list_on(void *arg)
{
    struct call *call = arg;
    struct conductor *conductor = call->connection->server->conductor;
    call->resumed = list_on;
    for (int i = 0; call->position < conductor->config->profile_count; i++) {
        if (i == LIMIT_TURN_PROFILES) {
            connection_yield(call->connection);
            return;
        }
        bool last = call->position + 1 == conductor->config->profile_count;
        json_object *reply = describe(call, config_at(conductor->config, call->position++));
        if (last) {
            call_reply(call, reply);
            return;
        }
        call_continue(call, reply);
        if (call->connection->out.length) /* goes on when this was read */
            return;
    }
    call_error(call, "org.mltoken.agent.NoSuchProfile", NULL);
}

void method_list(struct call *call, json_object *parameters)
{
    (void)parameters;
    list_on(call);
}

/* How many mistakes there are is known when all of the configuration was read. */
static void status_on(void *arg)
{
    struct call *call = arg;
    const struct server *server = call->connection->server;
    const struct conductor *conductor = server->conductor;
    call->resumed = status_on;
    if (config_read_on(conductor->config, LIMIT_CONFIG_TURN) > 0) {
        connection_yield(call->connection);
        return;
    }
    const struct {
        const char *name;
        uint64_t value;
    } counters[] = {
        {"profiles", conductor->config->profile_count},
        {"problems", conductor->config->problem_count},
        {"tokens", cache_entries(conductor->cache)},
        {"connections", server->connection_count},
        {"hits", conductor->counters.hits},
        {"joined", conductor->counters.joined},
        {"fetched", conductor->counters.fetched},
        {"renewed", conductor->counters.renewed},
        {"failed", conductor->counters.failed},
        {"secretBytes", secret_arena_used()},
        {"lockedBytes", secret_arena_locked()},
    };
    _cleanup_buffer_ struct buffer store = BUFFER(4 * LIMIT_TEXT), lock_on = BUFFER(4 * LIMIT_TEXT);
    json_object *reply = json_object_new_object(), *object = json_object_new_object();
    for (size_t i = 0; i < ELEMENTS(counters); i++)
        call_put_integer(call, object, counters[i].name, (int64_t)counters[i].value);
    call_put_text(call, reply, "version", MLTOKEN_VERSION);
    call_put_integer(call, reply, "pid", getpid());
    call_put_time(call, reply, "startedAt", conductor->started_at);
    stores_describe(conductor->stores, conductor->config->store, &store);
    call_put_text(call, reply, "store", store.data);
    call_put_boolean(call, reply, "locked", conductor->locked);
    if (conductor->lock_on)
        (void)lock_on_describe(conductor->lock_on, &lock_on);
    call_put_text(call, reply, "lockOn", lock_on.length ? lock_on.data : NULL);
    if (buffer_error(&store) == -ENOMEM || buffer_error(&lock_on) == -ENOMEM)
        call->unwhole = true;
    call_put(call, reply, "counters", object);
    call_reply(call, reply);
}

void method_status(struct call *call, json_object *parameters)
{
    (void)parameters;
    status_on(call);
}
