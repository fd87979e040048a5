/* Taking a sign-in back at the authority (RFC 7009), for every grant that has a refresh token. A machine to be
 * embedded. An authority without a revocation endpoint (Entra has none) is no failure: DONE, not revoked. */
#pragma once

#include "grant/exchange.h"

struct revocation {
    const struct input *input;
    struct exchange exchange;
};

int revocation_start(struct revocation *, const struct input *, struct step *ret);
int revocation_next(struct revocation *, const struct answer *, const struct tick *, struct step *ret);
void revocation_end(struct revocation *);
