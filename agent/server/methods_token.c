/* GetToken, Watch, Show and Verify: what a limited client may ask. */
#include "authority/jws.h"
#include "cleanup.h"
#include "limits.h"
#include "server/admission.h"
#include "server/call.h"
#include "server/memo.h"
#include <errno.h>

static int copy_text(json_object *parameters, const char *name, size_t maximum, char **ret)
{
    const char *text;
    if (json_string(parameters, name, maximum, &text) < 0 || !*text)
        return 0;
    *ret = strdup(text);
    return *ret ? 0 : -ENOMEM;
}

/* A list as it came becomes a list as the cache wants it: each member one scope. */
static int copy_scopes(json_object *parameters, char ***ret)
{
    json_object *array;
    if (json_array(parameters, "scopes", &array) < 0)
        return 0;
    _cleanup_buffer_ struct buffer joined = BUFFER(LIMIT_REQUEST);
    for (size_t i = 0; i < json_object_array_length(array); i++) {
        const char *scope = json_object_get_string(json_object_array_get_idx(array, i));
        if (!*scope || strchr(scope, ' '))
            return -EINVAL;
        buffer_text(&joined, scope);
        buffer_byte(&joined, ' ');
    }
    if (buffer_error(&joined))
        return buffer_error(&joined);
    return joined.length ? scopes_parse(joined.data, ret) : 0;
}

/* The claims parameter goes to the authority as it came, but it must be what it claims to be. */
static bool claims_sane(const char *claims)
{
    _cleanup_json_ json_object *json = NULL;
    return json_parse(claims, strlen(claims), LIMIT_REQUEST_DEPTH, &json) == 0 &&
           json_object_is_type(json, json_type_object);
}

/* Fills call->request; NULL, or the parameter that is wrong. */
static const char *read_request(struct call *call, json_object *parameters)
{
    struct request *request = &call->request;
    if (copy_scopes(parameters, &request->scopes) < 0)
        return "scopes";
    if (copy_text(parameters, "resource", LIMIT_URL, &request->resource) < 0)
        return "resource";
    if (copy_text(parameters, "audience", LIMIT_URL, &request->audience) < 0)
        return "audience";
    if (copy_text(parameters, "claims", LIMIT_CLAIMS, &request->claims) < 0 ||
        (request->claims && !claims_sane(request->claims)))
        return "claims";
    int r = json_integer(parameters, "minValid", &request->min_valid_s);
    if (r == -EINVAL || (r == 0 && (request->min_valid_s < 0 || request->min_valid_s > LIMIT_LIFETIME_S)))
        return "minValid"; /* too long a life must not read as none asked for */
    (void)json_boolean(parameters, "refresh", &request->refresh);
    const char *application;
    if (json_string(parameters, "application", LIMIT_APPLICATION, &application) == 0)
        (void)snprintf(call->application, sizeof(call->application), "%s", application);
    return NULL;
}

/* A token that was there before it was asked for is a hit, also when it took waiting for a fetch that failed. */
static void hand_out(struct call *call, const struct entry *entry, struct span message)
{
    if (call->oneway)
        return;
    bool fetched = call->waited && entry->fetched_ms >= call->began_ms;
    connection_audit(call->connection, call->profile, call->application, fetched);
    connection_send(call->connection, message);
}

static void send_token(struct call *call, const struct entry *entry)
{
    hand_out(call, entry, buffer_span(&entry->reply));
    connection_ready(call->connection);
}

/* The profile's rules may have changed while it was fetched: then by the new ones. */
static bool is_admitted(struct call *call, const struct entry *entry)
{
    call->holder = entry->holder;
    return admission_holds(call);
}

static void get_token(struct call *);

static void on_token(void *arg, struct entry *entry, const struct failure *failure)
{
    struct call *call = arg;
    call->waited = true;
    if (!entry)
        call_fail(call, failure);
    else if (is_admitted(call, entry))
        send_token(call, entry);
    else
        admission_begin(call, ADMIT_USE, get_token);
}

/* Asks the conductor for what the call wants. VERDICT_SERVE: *ret; FETCH: `done` will be told; REFUSE: was replied. */
static enum verdict ask(struct call *call, void (*done)(void *, struct entry *, const struct failure *),
                        struct entry **ret)
{
    struct failure why;
    call->waiter = (struct waiter){.request = &call->request, .done = done, .arg = call};
    enum verdict verdict =
        conductor_get(call->connection->server->conductor, call->holder, &call->request, &call->waiter, ret, &why);
    if (verdict == VERDICT_REFUSE)
        call_fail(call, &why);
    return verdict;
}

static void get_token(struct call *call)
{
    struct entry *entry;
    if (ask(call, on_token, &entry) != VERDICT_SERVE)
        return;
    if (!call->admission) /* a memo answers without asking anybody */
        memo_note(call, entry);
    send_token(call, entry);
}

void method_get_token(struct call *call, json_object *parameters)
{
    if (call_holder(call, parameters) < 0)
        return;
    const char *wrong = read_request(call, parameters);
    if (wrong)
        call_invalid_parameter(call, wrong);
    else
        admission_begin(call, ADMIT_USE, get_token);
}

/* ---- Watch ---- */

/* The ready reply with "continues" put in: it is {"parameters":...} and a NUL. */
static void continue_with(struct call *call, const struct entry *entry)
{
    static const char more[] = ",\"continues\":true}";
    _cleanup_buffer_ struct buffer message = BUFFER(LIMIT_REPLY + sizeof(more));
    buffer_append(&message, entry->reply.data, entry->reply.length - 2);
    buffer_append(&message, more, sizeof(more));
    if (buffer_error(&message))
        connection_end(call->connection); /* out of memory: it must not believe that its old token is the newest */
    else
        hand_out(call, entry, buffer_span(&message));
}

static void on_renewed(void *arg, struct entry *entry, const struct failure *end)
{
    struct call *call = arg;
    call->waited = true;
    if (entry)
        continue_with(call, entry);
    else
        call_fail(call, end);
}

static void follow(struct call *call, struct entry *entry)
{
    continue_with(call, entry);
    call->watcher = (struct watcher){.told = on_renewed, .arg = call};
    conductor_watch(call->connection->server->conductor, entry, &call->watcher);
}

static void watch(struct call *);

static void on_first(void *arg, struct entry *entry, const struct failure *failure)
{
    struct call *call = arg;
    call->waited = true;
    if (!entry)
        call_fail(call, failure);
    else if (is_admitted(call, entry))
        follow(call, entry);
    else
        watch(call);
}

static void watch_on(struct call *call)
{
    struct entry *entry;
    if (ask(call, on_first, &entry) == VERDICT_SERVE)
        follow(call, entry);
}

static void watch(struct call *call)
{
    struct failure why;
    if (call->holder->profile->confirm) {
        failure_set(&why, FAILURE_NOT_SUPPORTED, CLASS_DEFINITE,
                    "it has confirm = yes, by which a person is asked at each use, and cannot be watched");
        call_fail(call, &why);
        return;
    }
    admission_begin(call, ADMIT_USE, watch_on);
}

void method_watch(struct call *call, json_object *parameters)
{
    struct server *server = call->connection->server;
    struct failure why;
    if (call_holder(call, parameters) < 0)
        return;
    if (server->watch_count >= LIMIT_WATCHES) {
        failure_set(&why, FAILURE_BUSY, CLASS_UNREACHABLE, "%d connections watch tokens already", LIMIT_WATCHES);
        call_fail(call, &why);
        return;
    }
    server->watch_count++;
    call->watching = true;
    watch(call);
}

/* ---- Show, Verify ---- */

static void on_inspected(void *arg, json_object *claims, const struct failure *why)
{
    struct call *call = arg;
    if (!claims) {
        call_fail(call, why);
        return;
    }
    json_object *reply = json_object_new_object();
    int64_t expires_at = -1;
    (void)json_number(claims, "exp", &expires_at);
    call_put(call, reply, "claims", json_object_get(claims));
    call_put_time(call, reply, "expiresAt", expires_at);
    call_reply(call, reply);
}

static void inspect(struct call *call, const struct entry *entry)
{
    struct failure why;
    call->inspection = (struct inspection){.done = on_inspected, .arg = call};
    if (conductor_inspect(call->connection->server->conductor, call->holder, entry->value, &call->inspection, &why) < 0)
        call_fail(call, &why);
}

static void show(struct call *call, const struct entry *entry)
{
    if (call->remote) {
        inspect(call, entry);
        return;
    }
    json_object *reply = json_object_new_object(), *claims = NULL;
    enum jws_result result = jws_claims_unverified(span_of(entry->value), &claims);
    if (result == JWS_OK || result == JWS_NO_MEMORY) /* without memory it is put as what could not be made */
        call_put(call, reply, "claims", claims);
    call_put_time(call, reply, "expiresAt", entry->expires_at);
    call_reply(call, reply);
}

static void look_up(struct call *);

static void on_shown(void *arg, struct entry *entry, const struct failure *failure)
{
    struct call *call = arg;
    if (!entry)
        call_fail(call, failure);
    else if (is_admitted(call, entry))
        show(call, entry);
    else
        admission_begin(call, ADMIT_LOOK, look_up);
}

static void look_up(struct call *call)
{
    struct entry *entry;
    if (ask(call, on_shown, &entry) == VERDICT_SERVE)
        show(call, entry);
}

void method_show(struct call *call, json_object *parameters)
{
    if (call_holder(call, parameters) < 0)
        return;
    (void)json_boolean(parameters, "remote", &call->remote);
    admission_begin(call, ADMIT_LOOK, look_up);
}

static void on_verified(void *arg, json_object *claims, const struct failure *why)
{
    struct call *call = arg;
    call->verification = NULL;
    if (why) {
        call_fail(call, why);
        return;
    }
    json_object *reply = json_object_new_object();
    call_put(call, reply, "claims", json_object_get(claims));
    call_reply(call, reply);
}

void method_verify(struct call *call, json_object *parameters)
{
    struct failure why;
    const char *audience = NULL, *jwt = "";
    if (call_holder(call, parameters) < 0)
        return;
    struct profile *profile = call->holder->profile;
    (void)json_string(parameters, "jwt", LIMIT_JWS, &jwt);
    if (json_string(parameters, "audience", LIMIT_URL, &audience) < 0 || !*audience)
        audience = profile->audience ? profile->audience : profile->client_id;
    if (!audience) {
        failure_set(&why, FAILURE_NOT_SUPPORTED, CLASS_DEFINITE,
                    "no audience is known to check the token against: give --audience or set audience");
        call_fail(call, &why);
        return;
    }
    int r = verification_start_bearer(call->connection->server->conductor, profile, span_of(jwt), audience, on_verified,
                                      call, &call->verification);
    if (r < 0) {
        verification_failure(r, &why);
        call_fail(call, &why);
    }
}
