/* Sign-in and sign-out of a person. */
#pragma once

#include "acquire/conductor.h"
#include "grant/grant.h"

enum { LOGIN_SESSION = 32 };

/* Who has to know more of a sign-in than how it ended (the sign-in helper of PAM). What is given lives during the call,
 * in which nothing may be cancelled. */
struct json_object;
struct witness {
    void (*pending)(void *arg); /* a poll was answered: it waits for the person */
    /* Its id_token was looked at: one of both is set. */
    void (*verified)(void *arg, struct json_object *claims, const struct failure *why);
    void (*landed)(void *arg, const struct tokens *, int64_t expires_at); /* it went well; done() comes next */
};

/* Somebody who signs in: told of each prompt, then once of the end. Embedded. */
struct login {
    struct flight *flight; /* NULL: none */
    struct login *next;    /* of the conductor's */
    char session[LOGIN_SESSION + 1];
    bool switch_account;
    const char *claims; /* asked for; NULL: what the authority asks for since it refused to renew. Copied */
    const char *policy; /* the user flow; NULL: the profile's own. Copied */
    void (*prompted)(void *arg, const struct prompt_step *);
    void (*done)(void *arg, const struct identity *, int64_t expires_at,
                 const struct failure *); /* identity may be NULL */
    void *arg;
    const struct witness *witness; /* told the same arg; NULL: nobody */
};
/* 0, or -1 with *why set. */
int conductor_login(struct conductor *, struct holder *, struct login *, struct failure *why);
void login_cancel(struct login *);
/* What a person typed for a prompt of that session: 0, -ENOENT (no such session, or it does not ask), -EBADMSG (it is
 * not where this sign-in's browser ended), -EMSGSIZE, -ENOMEM. */
int conductor_answer(struct conductor *, const char *session, struct span typed);

/* Somebody who signs out one profile. */
struct logout {
    struct flight *flight;
    /* The tokens are forgotten here in any case. kept: why the store could not forget the sign-in, or NULL. */
    void (*done)(void *arg, bool revoked, const struct failure *kept);
    void *arg;
};
/* 0: done will be called; 1: forgotten at once, there was nothing to revoke; -1: *why. */
int conductor_logout(struct conductor *, struct holder *, struct logout *, struct failure *why);
void logout_cancel(struct logout *); /* the sign-out goes on */

/* Take the flight's steps PROMPT and ASK: 0, or a negative errno. */
int login_prompt(struct flight *);
int login_ask(struct flight *);
/* Gives what a person typed, or a browser brought, to a flight whose step is ASK or BROWSE; false: it does not ask, or
 * was told already. */
bool login_type(struct flight *, struct secret *);

/* Called by the flight: is this the person that the profile knows? */
bool login_knows(const struct flight *, const struct identity *);
/* The same, or may it be another one? */
bool login_accepts(const struct flight *, const struct identity *);
/* Called by the conductor when a flight of LOGIN or REVOKE has ended. */
void login_landed(struct flight *, struct tokens *, const struct failure *);
void logout_forget(struct flight *);                          /* before, unless somebody has signed in since */
void logout_refused(struct flight *, const struct failure *); /* it did not come to it */
void logout_landed(struct flight *, bool revoked, const struct failure *);
