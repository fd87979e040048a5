#include "acquire/signin.h"

#include "acquire/browse.h"
#include "acquire/flight.h"
#include "acquire/lock.h"
#include "authority/b2c.h"
#include "cleanup.h"
#include "clock.h"
#include "dialect.h"
#include "grant/exchange.h"
#include "limits.h"
#include "log.h"
#include <errno.h>
#include <stdio.h>
#include <sys/random.h>

static int new_session(char session[static LOGIN_SESSION + 1])
{
    uint8_t bytes[LOGIN_SESSION / 2];
    if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
        return -EIO;
    for (size_t i = 0; i < sizeof(bytes); i++)
        (void)snprintf(session + 2 * i, 3, "%02x", bytes[i]);
    return 0;
}

/* An endpoint that the profile names is that of its own user flow. */
static const char *named_endpoint(const struct profile *profile)
{
    return profile->token_endpoint           ? "token_endpoint"
           : profile->authorization_endpoint ? "authorization_endpoint"
           : profile->jwks_uri               ? "jwks_uri"
                                             : NULL;
}

/* The profile's copy for the user flow that is asked for; NULL: it is as it is. -1: *why. */
static int choose_flow(const struct login *login, struct profile *profile, struct profile **ret, struct failure *why)
{
    char problem[LIMIT_TEXT];
    const char *named = named_endpoint(profile);
    *ret = NULL;
    int r = login->policy ? dialect_with_policy(profile, login->policy, ret, problem) : 0;
    if (r == -ENOMEM)
        failure_set(why, FAILURE_BUSY, CLASS_UNREACHABLE, "%s", strerror(-r));
    else if (r < 0)
        failure_set(why, FAILURE_NOT_SUPPORTED, CLASS_DEFINITE, "--policy %s: %s", login->policy, problem);
    if (!*ret || !named)
        return r < 0 ? -1 : 0;
    *ret = profile_free(*ret);
    failure_set(why, FAILURE_NOT_SUPPORTED, CLASS_DEFINITE,
                "--policy %s: the profile sets %s, which is its own user flow's; drop it, so that each flow's metadata "
                "name theirs",
                login->policy, named);
    return -1;
}

int conductor_login(struct conductor *conductor, struct holder *holder, struct login *login, struct failure *why)
{
    const char *claims = login->claims ? login->claims : holder->challenge;
    struct request asked = {.min_valid_s = -1, .claims = (char *)(uintptr_t)claims};
    struct profile *chosen;
    struct flight *flight;
    if (!(holder->profile->grant->ops & GRANT_LOGIN)) {
        failure_set(why, FAILURE_NOT_SUPPORTED, CLASS_DEFINITE,
                    "grant %s needs no sign-in: mltoken get fetches its token", holder->profile->grant->name);
        return -1;
    }
    if (conductor->login_count >= LIMIT_LOGINS) {
        failure_set(why, FAILURE_BUSY, CLASS_UNREACHABLE, "%d sign-ins are under way already", LIMIT_LOGINS);
        return -1;
    }
    if (choose_flow(login, holder->profile, &chosen, why) < 0)
        return -1;
    int r = new_session(login->session);
    if (r == 0)
        r = flight_new(conductor, holder, GRANT_LOGIN, &asked, &flight);
    if (r != 0) {
        profile_free(chosen);
        failure_set(why, FAILURE_BUSY, CLASS_UNREACHABLE, "%s", strerror(-r));
        return -1;
    }
    conductor->login_count++;
    login->next = conductor->logins;
    conductor->logins = login;
    flight->login = login;
    flight->chosen = chosen;
    flight->switch_account = login->switch_account;
    login->flight = flight;
    return 0;
}

static void take_off_list(struct conductor *conductor, struct login *login)
{
    struct login **place = &conductor->logins;
    while (*place != login)
        place = &(*place)->next;
    *place = login->next;
    conductor->login_count--;
    login->flight = NULL;
}

void login_cancel(struct login *login)
{
    struct flight *flight = login->flight;
    if (!flight)
        return;
    take_off_list(flight->conductor, login);
    flight_free(flight);
}

int login_prompt(struct flight *flight)
{
    flight_answer_later(flight, (struct span){0}, 0, NULL);
    if (flight->login) /* last, for who is told may cancel */
        flight->login->prompted(flight->login->arg, &flight->step.prompt);
    return 0;
}

int login_ask(struct flight *flight)
{
    if (!flight->login)
        return -EINVAL;
    flight->login->prompted(flight->login->arg, &flight->step.prompt);
    return 0;
}

bool login_type(struct flight *flight, struct secret *typed)
{
    if ((flight->step.kind != STEP_ASK && flight->step.kind != STEP_BROWSE) || flight->typed)
        return false;
    browse_end(flight);
    flight->typed = secret_ref(typed);
    flight_answer_later(flight, secret_span(typed), 0, NULL);
    return true;
}

int conductor_answer(struct conductor *conductor, const char *session, struct span typed)
{
    struct login *login = conductor->logins;
    struct secret *secret;
    while (login && strcmp(login->session, session) != 0)
        login = login->next;
    if (!login)
        return -ENOENT;
    if (login->flight->step.kind == STEP_BROWSE && !browse_accepts(login->flight, typed))
        return -EBADMSG;
    int r = secret_new(typed.data, typed.length, &secret);
    if (r < 0)
        return r;
    r = login_type(login->flight, secret) ? 0 : -ENOENT;
    secret_unref(secret);
    return r;
}

bool login_knows(const struct flight *flight, const struct identity *identity)
{
    const struct identity *known = flight->holder->identity;
    if (!known || !*known->subject)
        return false;
    bool issuer = strcmp(known->issuer, identity->issuer) == 0 ||
                  (profile_is_b2c(flight->profile) && b2c_same_tenant(known->issuer, identity->issuer));
    return issuer && strcmp(known->subject, identity->subject) == 0;
}

bool login_accepts(const struct flight *flight, const struct identity *identity)
{
    const struct identity *known = flight->holder->identity;
    return !known || !*known->subject || flight->login->switch_account || login_knows(flight, identity);
}

/* The sign-in's access token is the profile's first one. */
static int keep_token(struct flight *flight, struct tokens *tokens, int64_t *ret_expires_at)
{
    static const struct request plain = {.min_valid_s = -1};
    struct conductor *conductor = flight->conductor;
    struct entry *entry;
    int r = holder_entry(conductor->cache, flight->holder, &plain, &entry);
    if (r < 0)
        return r;
    entry->asked_ms = loop_now(conductor->loop);
    r = conductor_put(flight, entry, tokens);
    if (r < 0)
        return r;
    *ret_expires_at = entry->expires_at;
    conductor_plan(conductor, entry);
    return 0;
}

void login_landed(struct flight *flight, struct tokens *tokens, const struct failure *failure)
{
    struct login *login = flight->login;
    struct holder *holder = flight->holder;
    struct conductor *conductor = flight->conductor;
    struct failure why;
    int64_t expires_at = -1;
    take_off_list(conductor, login);
    if (!failure && flight->generation != holder->generation) {
        failure_set(&why, FAILURE_BUSY, CLASS_UNREACHABLE,
                    "the profile's settings changed during the sign-in; sign in again");
        failure = &why;
    }
    if (!failure && login->witness)
        login->witness->landed(login->arg, tokens, flight->sent_wall_ms / 1000 + tokens->expires_in_s);
    if (!failure) {
        failure_set(&why, FAILURE_LOGIN_REQUIRED, CLASS_DEFINITE, "somebody signed in anew");
        conductor_drop(conductor, holder, &why);
        flight->generation = holder->generation;
        int r = keep_token(flight, tokens, &expires_at);
        if (r < 0)
            failure_set(&why, FAILURE_BUSY, CLASS_UNREACHABLE, "the token could not be kept: %s", strerror(-r));
        failure = r < 0 ? &why : NULL;
    }
    if (failure)
        log_event(LOG_LEVEL_INFO, "sign-in failed", "PROFILE", flight->profile->name, "WHY",
                  failure_name(failure->kind), "REASON", failure->reason, "ERROR",
                  *failure->error ? failure->error : NULL, NULL);
    else
        log_event(LOG_LEVEL_INFO, "signed in", "PROFILE", flight->profile->name, "ACCOUNT",
                  holder->identity ? holder->identity->account : NULL, NULL);
    login->done(login->arg, failure ? NULL : holder->identity, expires_at, failure);
}

/* ---- signing out ---- */

static void forget(struct conductor *conductor, struct holder *holder)
{
    struct failure why;
    failure_set(&why, FAILURE_LOGIN_REQUIRED, CLASS_DEFINITE, "signed out");
    conductor_drop(conductor, holder, &why);
    conductor_forget_sign_in(conductor, holder);
    holder->looked = true;
}

/* The newest refresh token is revoked: behind a renewal that is under way, and then forgotten, whatever the authority
 * says. */
int conductor_logout(struct conductor *conductor, struct holder *holder, struct logout *logout, struct failure *why)
{
    static const struct request plain = {.min_valid_s = -1};
    struct flight *flight;
    if (conductor->locked) { /* in the midst of logout --all */
        lock_failure(why);
        return -1;
    }
    if (!(holder->profile->grant->ops & GRANT_REVOKE)) {
        forget(conductor, holder);
        return 1;
    }
    int r = flight_new(conductor, holder, GRANT_REVOKE, &plain, &flight);
    if (r < 0) {
        failure_set(why, FAILURE_BUSY, CLASS_UNREACHABLE, "%s", strerror(-r));
        return -1;
    }
    flight->logout = logout;
    logout->flight = flight;
    return 0;
}

void logout_cancel(struct logout *logout)
{
    if (logout->flight)
        logout->flight->logout = NULL;
    logout->flight = NULL;
}

void logout_forget(struct flight *flight)
{
    forget(flight->conductor, flight->holder);
}

void logout_refused(struct flight *flight, const struct failure *why)
{
    struct logout *logout = flight->logout;
    flight->logout = NULL;
    if (!logout)
        return;
    logout->flight = NULL;
    logout->done(logout->arg, false, why);
}

void logout_landed(struct flight *flight, bool revoked, const struct failure *failure)
{
    const struct failure *kept = flight->kept.kind != FAILURE_NONE ? &flight->kept : NULL;
    struct logout *logout = flight->logout; /* now: the end of a watch may have closed who waited */
    log_event(LOG_LEVEL_INFO, "signed out", "PROFILE", flight->profile->name, "REVOKED", revoked ? "yes" : "no",
              "REASON", failure ? failure->reason : NULL, "STORE", kept ? kept->reason : NULL, NULL);
    if (!logout)
        return;
    logout->flight = NULL;
    logout->done(logout->arg, revoked, kept);
}
