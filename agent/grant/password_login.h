/* A sign-in by user name and password: from the profile's `password`, or asked of a person; then one exchange, and what
 * follows every sign-in. A machine to be embedded: `grant = password` (RFC 6749 section 4.3) and `grant = mlserver` are
 * made of it. A password that was refused is marked so in the failure, and the runner sends it no more by itself. */
#pragma once

#include "grant/signed_in.h"

struct password_login {
    const struct input *input;
    struct exchange exchange;
    struct signed_in end;
    enum { PASSWORD_ASKING, PASSWORD_SENDING, PASSWORD_ENDING } phase;
};

int password_login_start(struct password_login *, const struct input *, struct step *ret);
int password_login_next(struct password_login *, const struct answer *, const struct tick *, struct step *ret);
void password_login_end(struct password_login *); /* wipes; may be called twice */
/* Whether it can be had without a person. */
bool password_login_alone(const struct input *);
