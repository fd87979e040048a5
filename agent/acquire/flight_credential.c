/* What a flight has of a sign-in: read from the store before its first step, kept by SAVE, and read again when another
 * agent on the same store has renewed it meanwhile: then the machine begins anew. */
#include "acquire/flight.h"
#include "acquire/lock.h"
#include "acquire/lodging.h"
#include "cleanup.h"
#include "limits.h"
#include <errno.h>

/* How often one flight begins anew because another agent was faster. */
enum { MOST_RESTARTS = 32 };

bool flight_is_sign_in(const struct flight *flight)
{
    return flight->op == GRANT_LOGIN || flight->op == GRANT_IMPORT;
}

/* Whose sign-in it is now. When another agent on the same store has signed somebody else in, tokens of the one before
 * are dropped; this flight's own goes on, for its refresh token must not be lost, and who waits is asked for again. */
static int note_person(struct flight *flight)
{
    struct holder *holder = flight->holder;
    const struct identity *known = holder->identity, *now = &flight->keeper.held.identity;
    bool held = flight->keeper.has_held;
    bool changed =
        known && held && (strcmp(known->issuer, now->issuer) != 0 || strcmp(known->subject, now->subject) != 0);
    int r = keeper_note_sign_in(holder, held ? &flight->keeper.held : NULL);
    if (r < 0 || !changed)
        return r;
    struct failure why;
    failure_set(&why, FAILURE_LOGIN_REQUIRED, CLASS_DEFINITE, "somebody signed in anew");
    conductor_drop(flight->conductor, holder, &why);
    flight->generation = flight_is_sign_in(flight) ? holder->generation : flight->generation;
    return 0;
}

static void on_loaded(void *arg, int error, const struct failure *why);

/* Also as a timer's function. */
static void load(void *arg)
{
    struct flight *flight = arg;
    flight->keeper.quiet = flight_is_quiet(flight);
    int r = keeper_load(&flight->keeper, on_loaded, flight);
    if (r < 0)
        flight_fail_internal(flight, r);
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
    int r = note_person(flight);
    if (r < 0) {
        flight_fail_internal(flight, r);
        return;
    }
    if (flight->conductor->locked) { /* what it was to bring to its end is in the store */
        struct failure why;
        lock_failure(&why);
        flight_fail(flight, &why);
        return;
    }
    if (flight->restarts++ >= MOST_RESTARTS) {
        flight_fail_internal(flight, -EAGAIN);
        return;
    }
    flight_end_machine(flight);
    flight->sent = false; /* not what it begins with now */
    if (!await_other(flight))
        flight_start_machine(flight);
}

static void on_saved(void *arg, int error, const struct failure *why)
{
    struct flight *flight = arg;
    struct answer given = {.error = error};
    if (flight_may_ask_now(flight, error)) {
        flight_take_save(flight);
        return;
    }
    if (error == -EAGAIN) {
        restart(flight);
        return;
    }
    if (error)
        given.why = *why;
    else
        (void)keeper_note_sign_in(flight->holder, flight->step.save); /* it is kept: the store knows whose it is */
    if (!error && flight_is_sign_in(flight)) {
        flight->sign_in = ++flight->holder->sign_in;
        holder_forget_unsaved(flight->holder);
        holder_challenge(flight->holder, NULL); /* it was met, or is asked for anew */
    }
    flight_answer(flight, &given);
}

/* A credential that was fetched under settings which have changed must not be kept for the new ones. */
void flight_take_save(struct flight *flight)
{
    bool login = flight_is_sign_in(flight);
    bool replaced =
        flight->op != GRANT_LOGIN && flight->sign_in != flight->holder->sign_in; /* by a newer sign-in, or its end */
    bool unwanted = login && flight->holder->gone; /* what is held stays: its file may just be replaced */
    if (unwanted || replaced || !profile_same_binding(flight->profile, flight->holder->profile)) {
        flight_answer_later(flight, (struct span){0}, 0, NULL);
        return;
    }
    flight->keeper.quiet = flight_is_quiet(flight);
    int r = keeper_save(&flight->keeper, flight->step.save, login, on_saved, flight);
    if (r == -EMSGSIZE) {
        struct failure why;
        failure_set(&why, FAILURE_STORE_UNAVAILABLE, CLASS_DEFINITE, "the sign-in is too long to be kept");
        flight_answer_later(flight, (struct span){0}, r, &why);
    } else if (r < 0) {
        flight_fail_internal(flight, r);
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
bool flight_check_newer(struct flight *flight)
{
    bool refused = flight->op == GRANT_ACQUIRE && flight->step.kind == STEP_FAIL &&
                   flight->step.fail.kind == FAILURE_LOGIN_REQUIRED && flight->state && flight->input.held;
    if (!refused || flight->checked)
        return false;
    flight->checked = true;
    return keeper_newer(&flight->keeper, on_checked, flight) == 0;
}

/* ---- before the first step: the CA file, then the credential ---- */

static void on_loaded(void *arg, int error, const struct failure *why)
{
    struct flight *flight = arg;
    struct keeper *keeper = &flight->keeper;
    struct holder *holder = flight->holder;
    if (flight->op != GRANT_REVOKE)
        flight->sign_in = holder->sign_in;
    if (flight_may_ask_now(flight, error)) {
        load(flight);
        return;
    }
    bool shut = flight->op == GRANT_IMPORT && error == STORE_LOCKED; /* who is signed in there, nobody knows */
    if (error && error != STORE_MISSING && error != STORE_BOUND && error != -EAGAIN && !shut) {
        flight_fail(flight, why);
        return;
    }
    keeper->may_lodge = flight->op == GRANT_IMPORT;
    if (flight->sign_in != holder->sign_in || !profile_same_binding(flight->profile, holder->profile)) {
        credential_clear(
            &keeper->held); /* what is kept now is of others or for other settings: these must not send it */
        keeper->has_held = false;
    } else if (!shut) {
        flight->bound = error == STORE_BOUND;
        int r = note_person(flight);
        if (r < 0) {
            flight_fail_internal(flight, r);
            return;
        }
    }
    if (!await_other(flight))
        flight_start_machine(flight);
}

static void load_credential(struct flight *flight)
{
    struct keeper *keeper = &flight->keeper;
    keeper->conductor = flight->conductor;
    keeper->holder = flight->holder;
    keeper->profile = flight->profile;
    int r = binding_of(flight->profile, buffer_span(&flight->ca_pem), keeper->binding);
    if (r == 0 && (flight->op == GRANT_INSPECT || !(flight->profile->grant->ops & GRANT_LOGIN))) {
        flight_start_machine(flight);
        return;
    }
    if (r < 0)
        flight_fail_internal(flight, r);
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
        flight_fail(flight, &why);
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
        flight_fail_internal(flight, r);
}
