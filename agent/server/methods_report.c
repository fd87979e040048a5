/* List and Status. */
#include "acquire/report.h"
#include "cleanup.h"
#include "limits.h"
#include "secret.h"
#include "server/call.h"
#include <unistd.h>

static json_object *texts(char *const *list)
{
    json_object *array = json_object_new_array();
    for (; array && *list; list++)
        (void)json_object_array_add(array, json_object_new_string(*list));
    return array;
}

static json_object *describe(const struct conductor *conductor, const struct profile *profile)
{
    struct report report;
    json_object *reply = json_object_new_object(), *item = json_object_new_object();
    report_profile(conductor, profile, &report);
    (void)json_put_text(item, "name", profile->name);
    (void)json_put_text(item, "grant", profile->grant ? profile->grant->name : "");
    (void)json_put_text(item, "authority", profile->authority ? profile->authority : profile->token_endpoint);
    (void)json_put_text(item, "state", report.state);
    (void)json_put_text(item, "account", report.account);
    (void)json_put_text(item, "policy", report.policy);
    (void)json_put_text(item, "slot", report.slot);
    (void)json_put_time(item, "expiresAt", report.expires_at);
    (void)json_put_time(item, "refreshAt", report.refresh_at);
    (void)json_put_time(item, "signInEndsAt", report.sign_in_ends_at);
    (void)json_put_text(item, "warning", *report.warning ? report.warning : NULL);
    (void)json_put_text(item, "lastError", *report.error ? report.error : NULL);
    (void)json_put_text(item, "waiting", *report.waiting ? report.waiting : NULL);
    if (profile->confirm)
        (void)json_put_boolean(item, "confirm", true);
    if (profile->allow)
        (void)json_put(item, "allow", texts(profile->allow));
    (void)json_put(reply, "profile", item);
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
        json_object *reply = describe(conductor, config_at(conductor->config, call->position++));
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
        (void)json_put_integer(object, counters[i].name, (int64_t)counters[i].value);
    (void)json_put_text(reply, "version", MLTOKEN_VERSION);
    (void)json_put_integer(reply, "pid", getpid());
    (void)json_put_time(reply, "startedAt", conductor->started_at);
    stores_describe(conductor->stores, conductor->config->store, &store);
    (void)json_put_text(reply, "store", buffer_error(&store) ? "" : store.data);
    (void)json_put_boolean(reply, "locked", conductor->locked);
    if (conductor->lock_on)
        (void)lock_on_describe(conductor->lock_on, &lock_on);
    (void)json_put_text(reply, "lockOn", lock_on.length && !buffer_error(&lock_on) ? lock_on.data : NULL);
    (void)json_put(reply, "counters", object);
    call_reply(call, reply);
}

void method_status(struct call *call, json_object *parameters)
{
    (void)parameters;
    status_on(call);
}
