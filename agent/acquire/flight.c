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

void flight_fail(struct flight *flight, const struct failure *why)
{
    flight->step = (struct step){.kind = STEP_FAIL, .fail = *why};
    take_step(flight);
}

void flight_fail_internal(struct flight *flight, int error)
{
    struct failure why;
    failure_set(&why, FAILURE_BUSY, CLASS_UNREACHABLE, "the agent could not go on: %s", strerror(-error));
    flight_fail(flight, &why);
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
        flight_fail_internal(flight, r);
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
bool flight_may_ask_now(const struct flight *flight, int error)
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
        flight_fail_internal(flight, r);
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
        flight_fail_internal(flight, r);
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
        flight_fail_internal(flight, r);
    else if (flight->step.pending && flight->login && flight->login->witness)
        flight->login->witness->pending(flight->login->arg);
}

void flight_end_machine(struct flight *flight)
{
    if (!flight->state)
        return;
    machine_of(flight)->end(flight->state);
    explicit_bzero(flight->state, machine_of(flight)->state_size);
    free(flight->state);
    flight->state = NULL;
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
        flight_fail_internal(flight, r);
}

static void take_file(struct flight *flight)
{
    int r = token_file_start(flight, flight->step.file.path, flight->step.file.key);
    if (r < 0)
        flight_fail_internal(flight, r);
}

static void take_verify(struct flight *flight)
{
    struct trust trust = trust_of(flight);
    int r = verification_start(flight->conductor, flight_settings(flight), &trust, &flight->step.verify, on_verified,
                               flight, &flight->verification);
    if (r < 0)
        flight_fail_internal(flight, r);
}

static void take_note(struct flight *flight)
{
    int r = flight->step.kind == STEP_NOTE ? note_keep(flight) : note_recall(flight);
    if (r < 0)
        flight_fail_internal(flight, r);
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

static void finish(struct flight *flight)
{
    struct step *step = &flight->step;
    if (flight->bound && step->kind == STEP_FAIL && step->fail.kind == FAILURE_LOGIN_REQUIRED)
        failure_set(&step->fail, FAILURE_LOGIN_REQUIRED, CLASS_DEFINITE, "settings changed since it was stored");
    if (flight->op == GRANT_REVOKE && !flight->forgotten)
        forget(flight);
    else if (!flight_check_newer(flight))
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
        flight_take_secret(flight);
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
        flight_take_save(flight);
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

/* ---- the first step ---- */

/* A sign-in by a user flow that a person chose goes on with that one. */
static int choose_flow(struct flight *flight)
{
    const struct keeper *keeper = &flight->keeper;
    const char *policy = flight->op == GRANT_INSPECT ? flight->holder->policy
                         : keeper->has_held          ? keeper->held.policy
                                                     : NULL;
    char problem[LIMIT_TEXT];
    if (flight_is_sign_in(flight))
        return 0; /* it was chosen when it began */
    flight->chosen = profile_free(flight->chosen);
    return policy && *policy ? dialect_with_policy(flight->profile, policy, &flight->chosen, problem) : 0;
}

void flight_start_machine(struct flight *flight)
{
    const struct grant *grant = machine_of(flight);
    struct tick tick;
    struct step step = {0};
    int r = choose_flow(flight);
    if (r < 0) {
        flight_fail_internal(flight, r);
        return;
    }
    flight->state = calloc(1, grant->state_size);
    if (!flight->state) {
        flight_fail_internal(flight, -ENOMEM);
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
        flight_fail_internal(flight, r);
        return;
    }
    flight->step = step;
    take_step(flight);
}
