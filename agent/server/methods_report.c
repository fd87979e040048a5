/* List, ListSecrets and Status. */
#include "acquire/report.h"
#include "acquire/secret_source.h"
#include "cleanup.h"
#include "limits.h"
#include "secret.h"
#include "server/call.h"
#include <unistd.h>

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
    (void)json_put_time(item, "expiresAt", report.expires_at);
    (void)json_put_time(item, "refreshAt", report.refresh_at);
    (void)json_put_text(item, "lastError", *report.error ? report.error : NULL);
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
        json_object *reply = describe(conductor, conductor->config->profiles[call->position++]);
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

static void add_secret(json_object *secrets, const char *name, const char *source, bool present)
{
    json_object *item = json_object_new_object();
    (void)json_put_text(item, "name", name);
    (void)json_put_text(item, "source", source);
    (void)json_put_boolean(item, "present", present);
    (void)json_object_array_add(secrets, item);
}

void method_list(struct call *call, json_object *parameters)
{
    (void)parameters;
    list_on(call);
}

/* ---- ListSecrets: "present" is found out by reading, as a fetch would
 * ------------------------------------------------ */

static void reply_secrets(struct call *call, bool present)
{
    static const char *const kinds[] = {[SOURCE_NONE] = "",
                                        [SOURCE_FILE] = "file",
                                        [SOURCE_ENV] = "env",
                                        [SOURCE_CREDENTIAL] = "credential",
                                        [SOURCE_COMMAND] = "command"};
    const struct conductor *conductor = call->connection->server->conductor;
    const struct holder *holder = cache_find(conductor->cache, call->profile);
    const struct source *source = holder ? secret_source_of(holder->profile, "client_secret") : NULL;
    json_object *reply = json_object_new_object(), *secrets = json_object_new_array();
    if (source && source->kind != SOURCE_NONE)
        add_secret(secrets, "client_secret", kinds[source->kind], present);
    if (holder && holder->identity)
        add_secret(secrets, "refresh_token", store_name(conductor->store), true);
    (void)json_put(reply, "secrets", secrets);
    call_reply(call, reply);
}

static void on_secret(void *arg, const struct worker_result *result)
{
    struct call *call = arg;
    call->job = NULL;
    reply_secrets(call, result->error == 0 && result->output.length > 0);
}

void method_list_secrets(struct call *call, json_object *parameters)
{
    struct failure why;
    struct span value;
    if (call_holder(call, parameters) < 0)
        return;
    const struct source *source = secret_source_of(call->holder->profile, "client_secret");
    if (source->kind == SOURCE_NONE) {
        reply_secrets(call, false);
        return;
    }
    int r = secret_source_read(call->connection->server->conductor->worker, "client_secret", source, on_secret, call,
                               &call->job, &value, &why);
    if (r < 0 || !call->job)
        reply_secrets(call, r == 0);
}

void method_status(struct call *call, json_object *parameters)
{
    (void)parameters;
    const struct server *server = call->connection->server;
    const struct conductor *conductor = server->conductor;
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
    json_object *reply = json_object_new_object(), *object = json_object_new_object();
    for (size_t i = 0; i < ELEMENTS(counters); i++)
        (void)json_put_integer(object, counters[i].name, (int64_t)counters[i].value);
    (void)json_put_text(reply, "version", MLTOKEN_VERSION);
    (void)json_put_integer(reply, "pid", getpid());
    (void)json_put_time(reply, "startedAt", conductor->started_at);
    (void)json_put_text(reply, "store", store_name(conductor->store));
    (void)json_put(reply, "counters", object);
    call_reply(call, reply);
}
