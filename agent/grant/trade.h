/* One token given for another, for every grant that does so (token_exchange, jwt_bearer, on_behalf_of): their
 * state is a struct trade and nothing more. The token that is given comes from the profile's `parent`, or from a file
 * that somebody else keeps
 * (`subject_token_file`), each time anew.
 *
 * A parent's token that the authority no longer takes is asked for anew once, for it may have ended or been taken back
 * on the way; when the parent has no other one, the refusal stands. Where the authority wants the person (Entra's
 * interaction_required), LOGIN_REQUIRED names the profile of the sign-in and brings the authority's `claims` along.
 * Refresh tokens that come are dropped: the next trade is as good. */
#pragma once

#include "grant/exchange.h"

struct trade_kind {
    const char *grant_type;
    const char *field;                                        /* of the body, for the token that is given */
    bool exchanged;                                           /* by RFC 8693: the answer says what was issued */
    int (*add)(struct buffer *body, const struct profile *);  /* more of the body */
    int (*check)(const char *issued, const struct profile *); /* 0; -EBADMSG: not what was wanted. May be NULL */
};

struct trade {
    const struct trade_kind *kind;
    const struct input *input;
    struct exchange exchange;
    struct buffer subject, actor;
    struct failure refused; /* of the parent's token before this one; kind NONE: there was none */
    char person[LIMIT_PROFILE_NAME + 1];
    enum { TRADE_SUBJECT, TRADE_ACTOR, TRADE_SENDING } phase;
    struct tokens tokens;
};

int trade_start(struct trade *, const struct trade_kind *, enum grant_op, const struct input *, struct step *ret);
/* A grant's whole next() and end(). */
int trade_next(void *state, const struct answer *, const struct tick *, struct step *ret);
void trade_end(void *state);
/* What is wrong with a profile for any of these grants, or NULL. */
const char *trade_check(const struct profile *);
