/* What follows the tokens of a sign-in, however it was made: what was granted is compared with what was asked for, the
 * id_token is verified, the credential kept, and the access token handed on. A machine to be embedded. */
#pragma once

#include "grant/exchange.h"

struct signed_in {
    const struct input *input;
    struct tokens tokens; /* put here by who got them */
    struct credential credential;
    const char *nonce; /* of the id_token; NULL: none was sent. Borrowed */
    enum { SIGNED_IN_IDLE, SIGNED_IN_VERIFYING, SIGNED_IN_SAVING } phase;
};

void signed_in_begin(struct signed_in *, const struct input *);
/* With tokens set: the first step. Who signed in may be in credential.identity already, where no id_token comes. */
int signed_in_start(struct signed_in *, const struct tick *, struct step *ret);
int signed_in_next(struct signed_in *, const struct answer *, struct step *ret);
void signed_in_end(struct signed_in *); /* wipes; may be called twice */
