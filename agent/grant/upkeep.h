/* What every grant with a sign-in does with it later: ACQUIRE renews it, REVOKE ends it. A machine to be embedded. */
#pragma once

#include "grant/refresh.h"
#include "grant/revocation.h"

struct upkeep {
    enum grant_op op;
    union {
        struct refresh refresh;
        struct revocation revocation;
    };
};

/* -EINVAL for any other op: it has a machine of its own. */
int upkeep_start(struct upkeep *, enum grant_op, const struct input *, struct step *ret);
int upkeep_next(struct upkeep *, const struct answer *, const struct tick *, struct step *ret);
void upkeep_end(struct upkeep *);
