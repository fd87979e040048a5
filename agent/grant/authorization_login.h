/* A sign-in with a person's browser (RFC 6749 section 4.1): the authority's address is made, with PKCE (RFC 7636,
 * S256), a state and a nonce that are new each time; the browser goes there and comes back to a loopback address (RFC
 * 8252) with a code; who sent it back is checked (RFC 9207), and one exchange brings the tokens. Where the authority
 * demands it, the request is pushed to it first (RFC 9126). A machine to be embedded. */
#pragma once

#include "base64url.h"
#include "grant/signed_in.h"

enum { AUTHORIZATION_TEXT = 43 /* 32 random bytes */, AUTHORIZATION_MARK = 22 /* 16 */ };

struct authorization_login {
    const struct input *input;
    struct exchange exchange;
    enum {
        AUTHORIZATION_FINDING,
        AUTHORIZATION_LISTENING,
        AUTHORIZATION_PUSHING,
        AUTHORIZATION_BROWSING,
        AUTHORIZATION_EXCHANGING,
        AUTHORIZATION_ENDING
    } phase;
    char verifier[AUTHORIZATION_TEXT + 1], state[AUTHORIZATION_MARK + 1], nonce[AUTHORIZATION_MARK + 1];
    char *redirect_uri, *address;
    int64_t wait_s;
    struct signed_in end;
};

/* What is wrong with a profile for it, or NULL. */
const char *authorization_check(const struct profile *);
int authorization_login_start(struct authorization_login *, const struct input *, const struct tick *,
                              struct step *ret);
int authorization_login_next(struct authorization_login *, const struct answer *, const struct tick *,
                             struct step *ret);
void authorization_login_end(struct authorization_login *); /* wipes; may be called twice */
