#include "acquire/flight.h"

#include "acquire/secret_source.h"
#include "acquire/signin.h"
#include "acquire/verification.h"
#include "authority/url.h"
#include "cleanup.h"
#include "clock.h"
#include "limits.h"
#include <errno.h>
#include <sys/random.h>

static void take_step(struct flight *);
static void start_next(struct holder *);

static struct trust trust_of(const struct flight *flight)
{
    return (struct trust){.ca_pem = buffer_span(&flight->ca_pem), .proxy = flight->profile->proxy};
}

static void tick_now(const struct flight *flight, struct tick *ret)
{
    ret->boot_ms = loop_now(flight->conductor->loop);
    ret->wall_s = clock_wall_s();
    (void)!getrandom(ret->random, sizeof(ret->random), 0);
}

static void fail_step(struct flight *flight, const struct failure *why)
{
    flight->step = (struct step){.kind = STEP_FAIL, .fail = *why};
    take_step(flight);
}

static void fail_internal(struct flight *flight, int error)
{
    struct failure why;
    failure_set(&why, FAILURE_BUSY, CLASS_UNREACHABLE, "the agent could not go on: %s", strerror(-error));
    fail_step(flight, &why);
}

/* Gives the machine the answer of its step, and takes the next one. */
static void answer(struct flight *flight, const struct answer *given)
{
    struct tick tick;
    tick_now(flight, &tick);
    struct step step = {0};
    int r = flight->profile->grant->next(flight->state, given, &tick, &step);
    if (r < 0) {
        fail_internal(flight, r);
        return;
    }
    flight->step = step;
    take_step(flight);
}

static void on_task(void *arg)
{
    struct flight *flight = arg;
    struct answer given = flight->later;
    answer(flight, &given);
}

/* For answers that are there at once: the stack must not grow with the steps. */
static void answer_later(struct flight *flight, int error, const struct failure *why)
{
    flight->later = (struct answer){.error = error};
    if (why)
        flight->later.why = *why;
    task_start(flight->conductor->loop, &flight->task, on_task, flight);
}

/* ---- the steps ----------------------------------------------------------------------------------------------------
 */

static void on_metadata(void *arg, int error, const struct metadata *metadata, const struct failure *why)
{
    struct flight *flight = arg;
    struct answer given = {.error = error, .metadata = metadata};
    flight->documents = NULL;
    if (why)
        given.why = *why;
    answer(flight, &given);
}

static void take_metadata(struct flight *flight)
{
    struct trust trust = trust_of(flight);
    int r = documents_metadata(flight->conductor->documents, flight->profile, &trust, on_metadata, flight,
                               &flight->documents);
    if (r < 0)
        fail_internal(flight, r);
}

static void on_http(void *arg, const struct answer *given)
{
    struct flight *flight = arg;
    flight->http = NULL;
    answer(flight, given);
}

/* Plain http is for a literal loopback authority alone. */
static bool allows_http(const struct profile *profile)
{
    struct url url;
    const char *address = profile->authority ? profile->authority : profile->token_endpoint;
    return address && url_parse(address, &url) == 0 && !url.https && url_is_loopback(&url);
}

static void note_sent(struct flight *flight)
{
    flight->sent_ms = loop_now(flight->conductor->loop);
    flight->sent_wall_ms = clock_wall_ms();
}

/* Authorities count in whole seconds, so the life begins with the second of the request on both clocks: what is said to
 * have ended has ended. But not so much of a life that there is nothing left of it. */
int flight_put(const struct flight *flight, struct entry *entry, struct tokens *tokens)
{
    uint16_t random = 0;
    int64_t before = flight->sent_wall_ms % 1000, most = tokens->expires_in_s * 1000 / 4;
    (void)!getrandom(&random, sizeof(random), 0);
    return entry_put(entry, tokens, flight->sent_ms - (before < most ? before : most), flight->sent_wall_ms / 1000,
                     random);
}

static void take_http(struct flight *flight)
{
    struct http_request request = {
        .step = &flight->step.http,
        .trust = trust_of(flight),
        .allow_http = allows_http(flight->profile),
        .timeout_ms = flight->profile->timeout_ms,
    };
    note_sent(flight);
    int r = http_start(flight->conductor->http, &request, on_http, flight, &flight->http);
    if (r < 0)
        fail_internal(flight, r);
}

static void on_wait(void *arg)
{
    struct answer given = {0};
    answer(arg, &given);
}

static void take_wait(struct flight *flight)
{
    struct loop *loop = flight->conductor->loop;
    int r = timer_start(loop, &flight->timer, loop_now(loop) + flight->step.wait_ms, on_wait, flight);
    if (r < 0)
        fail_internal(flight, r);
}

static void on_secret(void *arg, const struct worker_result *result)
{
    struct flight *flight = arg;
    const char *name = flight->step.secret;
    struct answer given = {0};
    flight->job = NULL;
    given.error = secret_source_result(name, secret_source_of(flight->profile, name), result, &given.body, &given.why);
    answer(flight, &given);
}

static void take_secret(struct flight *flight)
{
    const char *name = flight->step.secret;
    const struct source *source = secret_source_of(flight->profile, name);
    struct failure why;
    struct span value = {0};
    if (!source) {
        fail_internal(flight, -EINVAL);
        return;
    }
    int r = secret_source_read(flight->conductor->worker, name, source, on_secret, flight, &flight->job, &value, &why);
    if (r < 0) {
        answer_later(flight, r, &why);
    } else if (!flight->job) {
        answer_later(flight, 0, NULL);
        flight->later.body = value;
    }
}

static void on_store(void *arg, int error, const struct credential *credential)
{
    (void)credential;
    struct flight *flight = arg;
    struct answer given = {.error = error};
    flight->store = NULL;
    if (error)
        failure_set(&given.why, FAILURE_STORE_UNAVAILABLE, CLASS_UNREACHABLE, "the sign-in could not be kept: %s",
                    strerror(-error));
    answer(flight, &given);
}

/* A credential that was fetched under settings which have changed must not be kept for the new ones. */
static void take_save(struct flight *flight)
{
    struct credential credential = *flight->step.save;
    bool replaced =
        flight->op != GRANT_LOGIN && flight->sign_in != flight->holder->sign_in; /* by a newer sign-in, or its end */
    bool unwanted =
        flight->op == GRANT_LOGIN && flight->holder->gone; /* what is held stays: its file may just be replaced */
    if (unwanted || replaced || !profile_same_binding(flight->profile, flight->holder->profile)) {
        answer_later(flight, 0, NULL);
        return;
    }
    int r = store_save(flight->conductor->store, flight->profile->name, &credential, on_store, flight, &flight->store);
    if (r < 0) {
        fail_internal(flight, r);
        return;
    }
    if (!flight->holder->identity)
        flight->holder->identity = malloc(sizeof(struct identity));
    if (flight->holder->identity)
        *flight->holder->identity = credential.identity;
    if (flight->op == GRANT_LOGIN)
        flight->holder->sign_in++;
}

static void on_verified(void *arg, const struct identity *identity, const struct failure *why)
{
    struct flight *flight = arg;
    struct answer given = {.identity = identity};
    flight->verification = NULL;
    if (why) {
        given.error = -EBADMSG;
        given.why = *why;
    } else if (flight->login && !login_accepts(flight, identity)) {
        given.error = -EPERM;
        failure_set(&given.why, FAILURE_SIGN_IN_FAILED, CLASS_DEFINITE, "other_account");
    }
    answer(flight, &given);
}

static void take_verify(struct flight *flight)
{
    struct trust trust = trust_of(flight);
    int r = verification_start(flight->conductor, flight->profile, &trust, &flight->step.verify, on_verified, flight,
                               &flight->verification);
    if (r < 0)
        fail_internal(flight, r);
}

static void take_prompt(struct flight *flight)
{
    answer_later(flight, 0, NULL);
    if (flight->login) /* last, for who is told may cancel */
        flight->login->prompted(flight->login->arg, &flight->step.prompt);
}

static void land(struct flight *flight)
{
    struct conductor *conductor = flight->conductor;
    struct tokens *tokens = flight->step.kind == STEP_DONE ? flight->step.done.tokens : NULL;
    const struct failure *failure = flight->step.kind == STEP_FAIL ? &flight->step.fail : NULL;
    if (flight->op == GRANT_REVOKE)
        logout_landed(flight, !failure && flight->step.done.revoked, failure);
    else if (flight->op == GRANT_LOGIN)
        login_landed(flight, tokens, failure);
    else
        conductor_landed(conductor, flight, tokens, failure);
    flight_free(flight);
}

static void take_step(struct flight *flight)
{
    switch (flight->step.kind) {
    case STEP_METADATA:
        take_metadata(flight);
        return;
    case STEP_HTTP:
        take_http(flight);
        return;
    case STEP_WAIT:
        take_wait(flight);
        return;
    case STEP_PROMPT:
        take_prompt(flight);
        return;
    case STEP_SECRET:
        take_secret(flight);
        return;
    case STEP_VERIFY:
        take_verify(flight);
        return;
    case STEP_SAVE:
        take_save(flight);
        return;
    case STEP_DONE:
    case STEP_FAIL:
        land(flight);
        return;
    }
}

/* ---- before the first step: the CA file, then the credential
 * --------------------------------------------------------- */

static void start_machine(struct flight *flight)
{
    const struct grant *grant = flight->profile->grant;
    struct tick tick;
    struct step step = {0};
    flight->state = calloc(1, grant->state_size);
    if (!flight->state) {
        fail_internal(flight, -ENOMEM);
        return;
    }
    flight->input = (struct input){
        .profile = flight->profile, .asked = &flight->request, .held = flight->has_held ? &flight->held : NULL};
    tick_now(flight, &tick);
    note_sent(flight); /* until there is an exchange */
    int r = grant->start(flight->state, flight->op, &flight->input, &tick, &step);
    if (r < 0) {
        fail_internal(flight, r);
        return;
    }
    flight->step = step;
    take_step(flight);
}

static void on_credential(void *arg, int error, const struct credential *credential)
{
    struct flight *flight = arg;
    struct failure why;
    flight->store = NULL;
    if (flight->op != GRANT_REVOKE)
        flight->sign_in = flight->holder->sign_in;
    if (flight->sign_in != flight->holder->sign_in || !profile_same_binding(flight->profile, flight->holder->profile))
        error = -ENOENT; /* what is kept now is of others or for other settings: these must not send it */
    if (error == 0)
        error = credential_copy(credential, &flight->held);
    flight->has_held = error == 0;
    if (error && error != -ENOENT) {
        failure_set(&why, FAILURE_STORE_UNAVAILABLE, CLASS_UNREACHABLE, "the sign-in could not be read: %s",
                    strerror(-error));
        fail_step(flight, &why);
        return;
    }
    start_machine(flight);
}

static void load_credential(struct flight *flight)
{
    if (!(flight->profile->grant->ops & GRANT_LOGIN)) {
        start_machine(flight);
        return;
    }
    int r = store_load(flight->conductor->store, flight->profile->name, on_credential, flight, &flight->store);
    if (r < 0)
        fail_internal(flight, r);
}

static void on_ca_file(void *arg, const struct worker_result *result)
{
    struct flight *flight = arg;
    struct failure why;
    flight->job = NULL;
    if (result->error || buffer_append(&flight->ca_pem, result->output.data, result->output.length) < 0 ||
        !flight->ca_pem.length) {
        failure_set(&why, FAILURE_INVALID_CONFIGURATION, CLASS_DEFINITE, "ca_file %s: %s", flight->profile->ca_file,
                    result->error ? result->problem : "it is empty");
        fail_step(flight, &why);
        return;
    }
    load_credential(flight);
}

static void on_start(void *arg)
{
    struct flight *flight = arg;
    if (flight->op == GRANT_ACQUIRE && flight->generation != flight->holder->generation) {
        land(flight); /* it waited its turn while the settings changed */
        return;
    }
    if (!flight->profile->ca_file) {
        load_credential(flight);
        return;
    }
    int r = worker_read(flight->conductor->worker, flight->profile->ca_file, WORKER_PUBLIC_FILE, LIMIT_RESPONSE,
                        LIMIT_COMMAND_MS, on_ca_file, flight, &flight->job);
    if (r < 0)
        fail_internal(flight, r);
}

/* ---- the queue of a holder
 * ------------------------------------------------------------------------------------------- */

static void start_next(struct holder *holder)
{
    bool busy = false;
    for (struct flight *flight = holder->flights; flight; flight = flight->next)
        busy |= flight->serial && flight->running;
    for (struct flight *flight = holder->flights; flight; flight = flight->next) {
        if (flight->running || (flight->serial && busy))
            continue;
        flight->running = true;
        busy |= flight->serial;
        task_start(flight->conductor->loop, &flight->task, on_start, flight);
    }
}

int flight_new(struct conductor *conductor, struct holder *holder, enum grant_op op, const struct request *request,
               struct flight **ret)
{
    struct flight *flight = calloc(1, sizeof(*flight));
    if (!flight || request_copy(request, &flight->request) < 0) {
        free(flight);
        return -ENOMEM;
    }
    flight->conductor = conductor;
    flight->holder = holder;
    flight->profile = profile_ref(holder->profile);
    flight->generation = holder->generation;
    flight->sign_in = holder->sign_in;
    flight->since_ms = loop_now(conductor->loop);
    flight->op = op;
    flight->serial = op != GRANT_LOGIN && (flight->profile->grant->ops & GRANT_LOGIN) != 0;
    flight->waiters.next = flight->waiters.previous = &flight->waiters;
    flight->ca_pem = BUFFER(LIMIT_RESPONSE);
    struct flight **place = &holder->flights;
    while (*place)
        place = &(*place)->next;
    *place = flight;
    start_next(holder);
    *ret = flight;
    return 0;
}

void flight_free(struct flight *flight)
{
    struct holder *holder = flight->holder;
    struct flight **place = &holder->flights;
    while (*place != flight)
        place = &(*place)->next;
    *place = flight->next;
    http_cancel(flight->http);
    documents_cancel(flight->documents);
    worker_cancel(flight->job);
    store_cancel(flight->store);
    verification_cancel(flight->verification);
    timer_stop(&flight->timer);
    timer_stop(&flight->patience);
    task_stop(&flight->task);
    if (flight->state) {
        flight->profile->grant->end(flight->state);
        explicit_bzero(flight->state, flight->profile->grant->state_size);
        free(flight->state);
    }
    credential_clear(&flight->held);
    request_clear(&flight->request);
    buffer_free(&flight->ca_pem);
    if (flight->entry)
        flight->entry->flight = NULL;
    profile_free(flight->profile);
    struct conductor *conductor = flight->conductor;
    free(flight);
    if (holder->gone && !holder->flights && !holder->identity)
        cache_remove(conductor->cache, holder);
    else
        start_next(holder);
}

void flight_free_all(struct holder *holder)
{
    for (struct flight *flight = holder->flights, *next; flight; flight = next) {
        next = flight->next;
        flight_free(flight);
    }
}

static bool same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/* INTERFACE section 3: a sign-in belongs to issuer, client id, each receiving origin, CA file and proxy. */
bool profile_same_binding(const struct profile *a, const struct profile *b)
{
    return a->grant == b->grant && same(a->authority, b->authority) && same(a->client_id, b->client_id) &&
           same(a->token_endpoint, b->token_endpoint) && same(a->revocation_endpoint, b->revocation_endpoint) &&
           same(a->ca_file, b->ca_file) && same(a->proxy, b->proxy);
}
