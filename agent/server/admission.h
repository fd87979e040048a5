/* Who may have this token: what stands between a call and a token of a profile with `allow` or `confirm`. First the
 * program must be one of those allowed, then a person is asked. Nobody is let in by an answer that another request got,
 * and nothing of it reaches the cache. Profiles with neither key never come here. Advisory: programs of one user are
 * not kept apart by the kernel (mltoken.conf(5)). */
#pragma once

#include "server/call.h"

enum admission_kind {
    ADMIT_USE, /* it wants the token */
    ADMIT_LOOK /* it wants to know what is in it: nobody is asked about that */
};

/* Goes on with `next`, with call->holder found anew, or ends the call. */
void admission_begin(struct call *, enum admission_kind, void (*next)(struct call *));
/* Whether it has let this call in, by the profile's rules as they stand. */
bool admission_holds(const struct call *);
struct admission *admission_free(struct admission *); /* takes the question back; always NULL */
