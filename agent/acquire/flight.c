#include "acquire/flight.h"

#include "acquire/browse.h"
#include "acquire/client_pair.h"
#include "acquire/echo.h"
#include "acquire/file_step.h"
#include "acquire/import.h"
#include "acquire/inquiry.h"
#include "acquire/lock.h"
#include "acquire/lodging.h"
#include "acquire/note.h"
#include "acquire/outgoing.h"
#include "acquire/rotation.h"
#include "acquire/secret_source.h"
#include "acquire/signature.h"
#include "acquire/signin.h"
#include "acquire/token_file.h"
#include "acquire/verification.h"
#include "cleanup.h"
#include "clock.h"
#include "dialect.h"
#include "environment.h"
#include "grant/importing.h"
#include "grant/inspection.h"
#include "limits.h"
#include <errno.h>
#include <sys/random.h>

/* How often one flight begins anew because another agent was faster. */
enum { MOST_RESTARTS = 32 };

static void take_step(struct flight *);

static struct trust trust_of(const struct flight *flight)
{
    return (struct trust){.ca_pem = buffer_span(&flight->ca_pem), .proxy = flight->profile->proxy};
}

static void tick_now(const struct flight *flight, struct tick *ret)
{
    ret->boot_ms = loop_now(flight->conductor->loop);
    ret->wall_s = clock_wall_s();
    if (getrandom(ret->random, sizeof(ret->random), 0) != sizeof(ret->random))
        abort(); /* never on Linux once it has booted: but a nonce that can be guessed is worse than no agent */
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

static const struct grant *machine_of(const struct flight *flight)
{
    return flight->op == GRANT_INSPECT  ? &grant_inspection
           : flight->op == GRANT_IMPORT ? &grant_importing
                                        : flight->profile->grant;
}

/* Gives the machine the answer of its step, and takes the next one. */
static void answer(struct flight *flight, const struct answer *given)
{
    struct tick tick;
    tick_now(flight, &tick);
    struct step step = {0};
    int r = machine_of(flight)->next(flight->state, given, &tick, &step);
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
    struct secret *typed = TAKE_PTR(flight->typed); /* the flight may end with this */
    answer(flight, &given);
    secret_unref(typed);
}

/* The stack must not grow with the steps. */
void flight_give_later(struct flight *flight, const struct answer *given)
{
    flight->later = *given;
    task_start(flight->conductor->loop, &flight->task, on_task, flight);
}

static void answer_later(struct flight *flight, int error, const struct failure *why)
{
    struct answer given = {.error = error};
    if (why)
        given.why = *why;
    flight_give_later(flight, &given);
}

/* A renewal ahead of time opens no window, again and again, before somebody who may be away: only a call does, also one
 * for a token that is made from this one. */
bool flight_is_quiet(const struct flight *flight)
{
    if (flight->op == GRANT_IMPORT || flight->op == GRANT_SETTLE)
        return true; /* nobody sits there */
    if (flight->op != GRANT_ACQUIRE)
        return false;
    for (const struct waiter *waiter = flight->waiters.next; waiter != &flight->waiters; waiter = waiter->next)
        if (!waiter->child || !flight_is_quiet(waiter->child))
            return false;
    return true;
}

/* Somebody came while the store was asked quietly. */
static bool may_ask_now(const struct flight *flight, int error)
{
    return error == STORE_LOCKED && flight->keeper.quiet && !flight_is_quiet(flight);
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
    int r = documents_metadata(flight->conductor->documents, flight_settings(flight), profile_begins(flight->profile),
                               &trust, on_metadata, flight, &flight->documents);
    if (r < 0)
        fail_internal(flight, r);
}

static void on_http(void *arg, const struct answer *given)
{
    struct flight *flight = arg;
    _cleanup_buffer_ struct buffer struck = BUFFER(LIMIT_RESPONSE);
    struct answer own = *given;
    flight->http = NULL;
    if (echo_strike(&flight->step.http, given, &struck))
        own.body = buffer_span(&struck);
    answer(flight, &own);
}

static void note_sent(struct flight *flight)
{
    flight->sent_ms = clock_boot_ms(); /* the loop's is of before: both clocks must mean one moment */
    flight->sent_wall_ms = clock_wall_ms();
}

static void take_http(struct flight *flight)
{
    struct http_request request =
        outgoing_request(flight_settings(flight), &flight->step.http, buffer_span(&flight->ca_pem));
    if (flight->pair)
        request.trust.pair = secret_span(flight->pair);
    note_sent(flight);
    flight->sent = true;
    int r = http_start(flight->conductor->http, &request, on_http, flight, &flight->http);
    flight->pair = secret_unref(flight->pair);
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
    else if (flight->step.pending && flight->login && flight->login->witness)
        flight->login->witness->pending(flight->login->arg);
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

static void take_stored(struct flight *, const char *name);

static void on_stored(void *arg, const struct store_result *result)
{
    struct flight *flight = arg;
    struct answer given = {0};
    flight->stored = NULL;
    if (may_ask_now(flight, result->error)) {
        take_stored(flight, flight->step.secret);
        return;
    }
    given.error = secret_source_stored(flight->profile, flight->step.secret, result, &given.body, &given.why);
    answer(flight, &given);
}

static void take_stored(struct flight *flight, const char *name)
{
    struct store *store;
    flight->keeper.quiet = flight_is_quiet(flight);
    const struct store_key key = {.profile = flight->profile->name,
                                  .name = name,
                                  .binding = flight->keeper.binding,
                                  .quiet = flight->keeper.quiet};
    int r = stores_find(flight->conductor->stores, flight->profile->store, &store);
    if (r == 0)
        r = store_get(store, &key, on_stored, flight, &flight->stored);
    if (r < 0)
        fail_internal(flight, r);
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
    if (source->kind == SOURCE_STORED) {
        take_stored(flight, name);
        return;
    }
    int r = secret_source_read(flight->conductor->worker, name, source, on_secret, flight, &flight->job, &value, &why);
    if (r < 0) {
        answer_later(flight, r, &why);
    } else if (!flight->job) {
        flight->typed = secret_ref(environment_secret(source->value)); /* it may be sealed before it is used */
        answer_later(flight, 0, NULL);
        flight->later.body = value;
    }
}

static void start_machine(struct flight *);

void flight_end_machine(struct flight *flight)
{
    if (!flight->state)
        return;
    machine_of(flight)->end(flight->state);
    explicit_bzero(flight->state, machine_of(flight)->state_size);
    free(flight->state);
    flight->state = NULL;
}

static bool is_sign_in(const struct flight *flight)
{
    return flight->op == GRANT_LOGIN || flight->op == GRANT_IMPORT;
}

/* Whose sign-in it is now. When another agent on the same store has signed somebody else in, tokens of the one before
 * are dropped; this flight's own goes on, for its refresh token must not be lost, and who waits is asked for again. */
static void note_person(struct flight *flight)
{
    struct holder *holder = flight->holder;
    const struct identity *known = holder->identity, *now = &flight->keeper.held.identity;
    bool held = flight->keeper.has_held;
    bool changed =
        known && held && (strcmp(known->issuer, now->issuer) != 0 || strcmp(known->subject, now->subject) != 0);
    keeper_note_sign_in(holder, held ? &flight->keeper.held : NULL);
    if (!changed)
        return;
    struct failure why;
    failure_set(&why, FAILURE_LOGIN_REQUIRED, CLASS_DEFINITE, "somebody signed in anew");
    conductor_drop(flight->conductor, holder, &why);
    flight->generation = is_sign_in(flight) ? holder->generation : flight->generation;
}

static void on_loaded(void *arg, int error, const struct failure *why);

/* Also as a timer's function. */
static void load(void *arg)
{
    struct flight *flight = arg;
    flight->keeper.quiet = flight_is_quiet(flight);
    int r = keeper_load(&flight->keeper, on_loaded, flight);
    if (r < 0)
        fail_internal(flight, r);
}

/* Two agents that send the same refresh token look to the authority like a thief and his victim. */
static bool await_other(struct flight *flight)
{
    struct loop *loop = flight->conductor->loop;
    return flight->op == GRANT_ACQUIRE && keeper_other_renews(&flight->keeper) &&
           timer_start(loop, &flight->timer, loop_now(loop) + RENEWAL_LOOK_MS, load, flight) == 0;
}

/* Another agent on the same store has renewed the sign-in: begins anew with what it has now. */
static void restart(struct flight *flight)
{
    note_person(flight);
    if (flight->conductor->locked) { /* what it was to bring to its end is in the store */
        struct failure why;
        lock_failure(&why);
        fail_step(flight, &why);
        return;
    }
    if (flight->restarts++ >= MOST_RESTARTS) {
        fail_internal(flight, -EAGAIN);
        return;
    }
    flight_end_machine(flight);
    flight->sent = false; /* not what it begins with now */
    if (!await_other(flight))
        start_machine(flight);
}

static void take_save(struct flight *);

static void on_saved(void *arg, int error, const struct failure *why)
{
    struct flight *flight = arg;
    struct answer given = {.error = error};
    if (may_ask_now(flight, error)) {
        take_save(flight);
        return;
    }
    if (error == -EAGAIN) {
        restart(flight);
        return;
    }
    if (error)
        given.why = *why;
    else
        keeper_note_sign_in(flight->holder, flight->step.save);
    if (!error && is_sign_in(flight)) {
        flight->sign_in = ++flight->holder->sign_in;
        holder_forget_unsaved(flight->holder);
    }
    answer(flight, &given);
}

/* A credential that was fetched under settings which have changed must not be kept for the new ones. */
static void take_save(struct flight *flight)
{
    bool login = is_sign_in(flight);
    bool replaced =
        flight->op != GRANT_LOGIN && flight->sign_in != flight->holder->sign_in; /* by a newer sign-in, or its end */
    bool unwanted = login && flight->holder->gone; /* what is held stays: its file may just be replaced */
    if (unwanted || replaced || !profile_same_binding(flight->profile, flight->holder->profile)) {
        answer_later(flight, 0, NULL);
        return;
    }
    flight->keeper.quiet = flight_is_quiet(flight);
    int r = keeper_save(&flight->keeper, flight->step.save, login, on_saved, flight);
    if (r == -EMSGSIZE) {
        struct failure why;
        failure_set(&why, FAILURE_STORE_UNAVAILABLE, CLASS_DEFINITE, "the sign-in is too long to be kept");
        answer_later(flight, r, &why);
    } else if (r < 0) {
        fail_internal(flight, r);
    }
}

static void on_verified(void *arg, const struct identity *identity, struct json_object *claims,
                        const struct failure *why)
{
    struct flight *flight = arg;
    struct answer given = {.identity = identity};
    flight->verification = NULL;
    if (flight->login && flight->login->witness)
        flight->login->witness->verified(flight->login->arg, claims, why);
    if (why) {
        given.error = -EBADMSG;
        given.why = *why;
    } else if (flight->login && !login_accepts(flight, identity)) {
        given.error = -EPERM;
        failure_set(&given.why, FAILURE_SIGN_IN_FAILED, CLASS_DEFINITE, "other_account");
    } else if (flight->op == GRANT_IMPORT && !import_accepts(flight, identity, &given.why)) {
        given.error = -EPERM;
    }
    answer(flight, &given);
}

void flight_answer(struct flight *flight, const struct answer *given)
{
    answer(flight, given);
}

void flight_answer_later(struct flight *flight, struct span body, int error, const struct failure *why)
{
    answer_later(flight, error, why);
    flight->later.body = body;
}

/* The answer comes by flight_answer(). */
static void take_job(struct flight *flight, int (*start)(struct flight *))
{
    int r = start(flight);
    if (r < 0)
        fail_internal(flight, r);
}

static void take_file(struct flight *flight)
{
    int r = token_file_start(flight, flight->step.file.path, flight->step.file.key);
    if (r < 0)
        fail_internal(flight, r);
}

static void take_verify(struct flight *flight)
{
    struct trust trust = trust_of(flight);
    int r = verification_start(flight->conductor, flight_settings(flight), &trust, &flight->step.verify, on_verified,
                               flight, &flight->verification);
    if (r < 0)
        fail_internal(flight, r);
}

static void take_note(struct flight *flight)
{
    int r = flight->step.kind == STEP_NOTE ? note_keep(flight) : note_recall(flight);
    if (r < 0)
        fail_internal(flight, r);
}

void flight_land(struct flight *flight)
{
    struct conductor *conductor = flight->conductor;
    struct tokens *tokens = flight->step.kind == STEP_DONE ? flight->step.done.tokens : NULL;
    const struct failure *failure = flight->step.kind == STEP_FAIL ? &flight->step.fail : NULL;
    if (flight->op == GRANT_REVOKE)
        logout_landed(flight, !failure && flight->step.done.revoked, failure);
    else if (flight->op == GRANT_LOGIN)
        login_landed(flight, tokens, failure);
    else if (flight->op == GRANT_IMPORT)
        import_landed(flight, tokens, failure);
    else if (flight->op == GRANT_SETTLE)
        lodging_landed(flight);
    else if (flight->op == GRANT_INSPECT)
        inspection_landed(flight, failure ? NULL : flight->step.done.claims, failure);
    else if (flight->op == GRANT_ROTATE)
        rotation_landed(flight, failure ? NULL : flight->step.done.slot, failure);
    else
        conductor_landed(conductor, flight, tokens, failure);
    flight_free(flight);
    lock_again(conductor);
}

static void on_dropped(void *arg, int error, const struct failure *why)
{
    struct flight *flight = arg;
    if (error)
        flight->kept = *why;
    flight_land(flight);
}

/* Whatever the authority said, it is forgotten here: unless somebody has signed in since, or it is forgotten already.
 */
static void forget(struct flight *flight)
{
    flight->forgotten = true;
    if (flight->sign_in != flight->holder->sign_in) {
        flight_land(flight);
        return;
    }
    logout_forget(flight);
    int r = keeper_drop(&flight->keeper, on_dropped, flight);
    if (r < 0) {
        failure_set(&flight->kept, FAILURE_STORE_UNAVAILABLE, CLASS_UNREACHABLE, "%s", strerror(-r));
        flight_land(flight);
    }
}

static void on_checked(void *arg, int error, const struct failure *why)
{
    struct flight *flight = arg;
    (void)why;
    if (error)
        flight_land(flight);
    else
        restart(flight);
}

/* A refresh token that is refused may have been used by another agent on the same store, which has the new one. */
static bool check_newer(struct flight *flight)
{
    bool refused = flight->op == GRANT_ACQUIRE && flight->step.kind == STEP_FAIL &&
                   flight->step.fail.kind == FAILURE_LOGIN_REQUIRED && flight->state && flight->input.held;
    if (!refused || flight->checked)
        return false;
    flight->checked = true;
    return keeper_newer(&flight->keeper, on_checked, flight) == 0;
}

static void finish(struct flight *flight)
{
    struct step *step = &flight->step;
    if (flight->bound && step->kind == STEP_FAIL && step->fail.kind == FAILURE_LOGIN_REQUIRED)
        failure_set(&step->fail, FAILURE_LOGIN_REQUIRED, CLASS_DEFINITE, "settings changed since it was stored");
    if (flight->op == GRANT_REVOKE && !flight->forgotten)
        forget(flight);
    else if (!check_newer(flight))
        flight_land(flight);
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
        take_job(flight, login_prompt);
        return;
    case STEP_SECRET:
        take_secret(flight);
        return;
    case STEP_SIGN:
        take_job(flight, signature_start);
        return;
    case STEP_READ:
        take_job(flight, file_step_start);
        return;
    case STEP_PAIR:
        take_job(flight, client_pair_start);
        return;
    case STEP_ASK:
        take_job(flight, login_ask);
        return;
    case STEP_LISTEN:
        take_job(flight, browse_listen);
        return;
    case STEP_BROWSE:
        take_job(flight, browse_start);
        return;
    case STEP_VERIFY:
        take_verify(flight);
        return;
    case STEP_FILE:
        take_file(flight);
        return;
    case STEP_PARENT:
        parent_start(flight);
        return;
    case STEP_SAVE:
        take_save(flight);
        return;
    case STEP_RECALL:
    case STEP_NOTE:
        take_note(flight);
        return;
    case STEP_DONE:
    case STEP_FAIL:
        finish(flight);
        return;
    }
}

/* ---- before the first step: the CA file, then the credential ---- */

/* A sign-in by a user flow that a person chose goes on with that one. */
static int choose_flow(struct flight *flight)
{
    const struct keeper *keeper = &flight->keeper;
    const char *policy = flight->op == GRANT_INSPECT ? flight->holder->policy
                         : keeper->has_held          ? keeper->held.policy
                                                     : NULL;
    char problem[LIMIT_TEXT];
    if (is_sign_in(flight))
        return 0; /* it was chosen when it began */
    flight->chosen = profile_free(flight->chosen);
    return policy && *policy ? dialect_with_policy(flight->profile, policy, &flight->chosen, problem) : 0;
}

static void start_machine(struct flight *flight)
{
    const struct grant *grant = machine_of(flight);
    struct tick tick;
    struct step step = {0};
    int r = choose_flow(flight);
    if (r < 0) {
        fail_internal(flight, r);
        return;
    }
    flight->state = calloc(1, grant->state_size);
    if (!flight->state) {
        fail_internal(flight, -ENOMEM);
        return;
    }
    flight->input = (struct input){.profile = flight_settings(flight),
                                   .asked = &flight->request,
                                   .held = flight->keeper.has_held ? &flight->keeper.held : NULL,
                                   .environment = environment_value,
                                   .switch_account = flight->switch_account,
                                   .parcel = flight->parcel,
                                   .token = flight->inspected ? secret_span(flight->inspected).data : NULL};
    tick_now(flight, &tick);
    note_sent(flight); /* until there is an exchange */
    r = grant->start(flight->state, flight->op, &flight->input, &tick, &step);
    if (r < 0) {
        fail_internal(flight, r);
        return;
    }
    flight->step = step;
    take_step(flight);
}

static void on_loaded(void *arg, int error, const struct failure *why)
{
    struct flight *flight = arg;
    struct keeper *keeper = &flight->keeper;
    struct holder *holder = flight->holder;
    if (flight->op != GRANT_REVOKE)
        flight->sign_in = holder->sign_in;
    if (may_ask_now(flight, error)) {
        load(flight);
        return;
    }
    bool shut = flight->op == GRANT_IMPORT && error == STORE_LOCKED; /* who is signed in there, nobody knows */
    if (error && error != STORE_MISSING && error != STORE_BOUND && error != -EAGAIN && !shut) {
        fail_step(flight, why);
        return;
    }
    keeper->may_lodge = flight->op == GRANT_IMPORT;
    if (flight->sign_in != holder->sign_in || !profile_same_binding(flight->profile, holder->profile)) {
        credential_clear(
            &keeper->held); /* what is kept now is of others or for other settings: these must not send it */
        keeper->has_held = false;
    } else if (!shut) {
        flight->bound = error == STORE_BOUND;
        note_person(flight);
    }
    if (!await_other(flight))
        start_machine(flight);
}

static void load_credential(struct flight *flight)
{
    struct keeper *keeper = &flight->keeper;
    keeper->conductor = flight->conductor;
    keeper->holder = flight->holder;
    keeper->profile = flight->profile;
    int r = binding_of(flight->profile, buffer_span(&flight->ca_pem), keeper->binding);
    if (r == 0 && (flight->op == GRANT_INSPECT || !(flight->profile->grant->ops & GRANT_LOGIN))) {
        start_machine(flight);
        return;
    }
    if (r < 0)
        fail_internal(flight, r);
    else if (flight->op == GRANT_SETTLE)
        lodging_settle(flight);
    else
        load(flight);
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

void flight_begin(void *arg)
{
    struct flight *flight = arg;
    if (flight->op == GRANT_ACQUIRE && flight->generation != flight->holder->generation) {
        flight_land(flight); /* it waited its turn while the settings changed */
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
