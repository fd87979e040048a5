/* Renewal from a sign-in (RFC 6749 section 6), for every grant that has one. A machine to be embedded: the grant passes
 * ACQUIRE on to it.
 *
 * Order: a credential marked `sending` is SAVEd before the request, so that no other agent sends the same refresh token
 * meanwhile, and whoever comes after an agent that was killed knows that the request may have been sent; the new
 * refresh token is SAVEd before DONE, also when the access token is then refused for what it lacks; and whatever comes,
 * the mark is taken back. A request whose answer is lost is repeated at most once, and `uncertain` is SAVEd before the
 * repeat: at once when the connection broke (an authority with a grace for reuse forgives that), with the next renewal
 * when time ran out (one that hangs would hang again) or the agent ended; a repeat that certainly did not arrive (or
 * was answered "later") is taken back, so that a laptop off the net keeps its sign-in. Two kinds of authority cost no
 * marks: Entra's old refresh tokens stay valid (WIRE section 1, Lifetimes), there nothing is counted; and one that gave
 * no other refresh token the last time. The id_token of a renewal is dropped: nobody verified it and nobody needs it.
 */
#pragma once

#include "grant/exchange.h"

struct refresh {
    const struct input *input;
    struct exchange exchange;
    struct credential next; /* what SAVE keeps */
    struct tokens tokens;
    struct failure why;  /* said once the SAVE under way is done; FAILURE_NONE: DONE is */
    struct step sending; /* the request, held back until it is recorded */
    enum { REFRESH_ASKING, REFRESH_RECORDING, REFRESH_KEEPING } phase;
    bool repeat; /* the request under way, or to come, is the one repeat */
    bool recorded;
    bool marked; /* the store has a mark, to be taken back */
};

int refresh_start(struct refresh *, const struct input *, struct step *ret);
int refresh_next(struct refresh *, const struct answer *, const struct tick *, struct step *ret);
void refresh_end(struct refresh *);
