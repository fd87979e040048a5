#include "acquire/import.h"

#include "acquire/flight.h"
#include "acquire/signin.h"
#include "authority/bound.h"
#include "cleanup.h"
#include "clock.h"
#include "log.h"

static int refuse(struct failure *why, const char *reason)
{
    failure_set(why, FAILURE_DENIED, CLASS_DEFINITE, "%s", reason);
    return -1;
}

/* What an access token is for is not said with it. Where the profile names a resource or an audience, the token may be
 * for another one: it is fetched anew then. */
static bool token_may_serve(const struct profile *profile, const struct parcel *parcel)
{
    return !profile->resource && !profile->audience && (parcel->expires_at < 0 || parcel->expires_at > clock_wall_s());
}

static int check(const struct profile *profile, const char *client_id, struct parcel *parcel, struct failure *why)
{
    if (!(profile->grant->ops & GRANT_LOGIN)) {
        failure_set(why, FAILURE_NOT_SUPPORTED, CLASS_DEFINITE, "grant %s has no sign-in that could be made elsewhere",
                    profile->grant->name);
        return -1;
    }
    if (!profile->client_id || strcmp(profile->client_id, client_id) != 0)
        return refuse(why, "the sign-in is for another client id than the profile's");
    if (parcel->access_token) {
        enum bound bound = bound_by(span_of(parcel->access_token));
        if (bound != BOUND_NOT && !(bound == BOUND_CERTIFICATE && profile->allow_bound))
            return refuse(why, "the access token is bound to a key, and of no use without it");
        if (!token_may_serve(profile, parcel))
            parcel->access_token = wipe_free(parcel->access_token);
    }
    if (!parcel->access_token && !parcel->refresh_token)
        return refuse(why, "there is no refresh token, and no access token that this profile could serve");
    return 0;
}

static size_t under_way(const struct holder *holder)
{
    size_t count = 0;
    for (const struct flight *flight = holder->flights; flight; flight = flight->next)
        count += flight->op == GRANT_IMPORT;
    return count;
}

int conductor_import(struct conductor *conductor, struct holder *holder, const char *client_id, struct parcel *parcel,
                     struct import *import, struct failure *why)
{
    static const struct request plain = {.min_valid_s = -1};
    struct flight *flight = NULL;
    int r = check(holder->profile, client_id, parcel, why);
    if (r == 0 && under_way(holder) >= LIMIT_IMPORTS) {
        failure_set(why, FAILURE_BUSY, CLASS_UNREACHABLE, "%d sign-ins are being brought already", LIMIT_IMPORTS);
        r = -1;
    }
    if (r == 0 && (r = flight_new(conductor, holder, GRANT_IMPORT, &plain, &flight)) < 0)
        failure_set(why, FAILURE_BUSY, CLASS_UNREACHABLE, "%s", strerror(-r));
    if (r < 0) {
        parcel_free(parcel);
        return -1;
    }
    flight->parcel = parcel;
    flight->import = import;
    import->flight = flight;
    return 0;
}

void import_cancel(struct import *import)
{
    if (import->flight)
        import->flight->import = NULL;
    import->flight = NULL;
}

bool import_accepts(struct flight *flight, const struct identity *identity, struct failure *why)
{
    const struct identity *known = flight->holder->identity;
    flight->same_person = login_knows(flight, identity);
    if (!known || !*known->subject || flight->same_person)
        return true;
    (void)refuse(why, "another account is signed in to this profile: mltoken login --switch-account, or mltoken "
                      "logout");
    return false;
}

/* Whoever has a token of the same person keeps it. */
static void make_way(struct flight *flight)
{
    struct holder *holder = flight->holder;
    struct failure why;
    if (flight->same_person) {
        conductor_signed_in_again(flight->conductor, holder);
        return;
    }
    failure_set(&why, FAILURE_LOGIN_REQUIRED, CLASS_DEFINITE, "somebody signed in anew");
    conductor_drop(flight->conductor, holder, &why);
    flight->generation = holder->generation;
}

/* The life of a token counts from now; where nobody said it, as for a sign-in. */
static void set_life(const struct flight *flight, struct tokens *tokens)
{
    int64_t end = flight->parcel->expires_at;
    tokens->expires_in_s = end >= 0                        ? end - flight->sent_wall_ms / 1000
                           : flight->parcel->refresh_token ? DEFAULT_LIFETIME_S
                                                           : DEFAULT_LIFETIME_ALONE_S;
}

static int keep_token(struct flight *flight, struct tokens *tokens)
{
    static const struct request plain = {.min_valid_s = -1};
    struct conductor *conductor = flight->conductor;
    struct entry *entry;
    set_life(flight, tokens);
    if (!tokens->access_token || tokens->expires_in_s <= 0)
        return 0;
    int r = holder_entry(conductor->cache, flight->holder, &plain, &entry);
    if (r < 0 || (entry->reply.length && entry->expires_ms - loop_now(conductor->loop) >= tokens->expires_in_s * 1000))
        return r; /* what is there lives longer */
    r = conductor_put(flight, entry, tokens);
    if (r < 0)
        return r;
    entry->asked_ms = loop_now(conductor->loop);
    if (conductor_serve_new(flight, entry))
        conductor_plan(conductor, entry);
    return 0;
}

static bool still_wanted(const struct flight *flight, struct failure *why)
{
    const struct holder *holder = flight->holder;
    if (flight->generation == holder->generation && flight->sign_in == holder->sign_in && !holder->gone)
        return true;
    failure_set(why, FAILURE_BUSY, CLASS_UNREACHABLE,
                "the profile's settings, or who is signed in, changed meanwhile: mltoken login %s",
                flight->profile->name);
    return false;
}

void import_landed(struct flight *flight, struct tokens *tokens, const struct failure *failure)
{
    struct holder *holder = flight->holder;
    struct failure why;
    if (!failure && !still_wanted(flight, &why))
        failure = &why;
    if (!failure) {
        make_way(flight);
        int r = keep_token(flight, tokens);
        if (r < 0) /* it is fetched when it is asked for */
            log_event(LOG_LEVEL_WARNING, "the token that came with a sign-in could not be kept", "PROFILE",
                      flight->profile->name, "REASON", strerror(-r), NULL);
    }
    log_event(failure ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO,
              failure ? "a sign-in that was made elsewhere is not taken" : "signed in elsewhere, and brought here",
              "PROFILE", flight->profile->name, "ACCOUNT",
              !failure && holder->identity ? holder->identity->account : NULL, "WHY",
              failure ? failure_name(failure->kind) : NULL, "REASON", failure ? failure->reason : NULL, NULL);
    struct import *import = flight->import;
    flight->import = NULL;
    if (!import)
        return;
    import->flight = NULL;
    import->done(import->arg, failure);
}
