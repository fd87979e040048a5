#include "grant/upkeep.h"

#include <errno.h>

int upkeep_start(struct upkeep *upkeep, enum grant_op op, const struct input *input, struct step *ret)
{
    upkeep->op = op;
    if (op == GRANT_ACQUIRE)
        return refresh_start(&upkeep->refresh, input, ret);
    return op == GRANT_REVOKE ? revocation_start(&upkeep->revocation, input, ret) : -EINVAL;
}

int upkeep_next(struct upkeep *upkeep, const struct answer *answer, const struct tick *tick, struct step *ret)
{
    if (upkeep->op == GRANT_ACQUIRE)
        return refresh_next(&upkeep->refresh, answer, tick, ret);
    return upkeep->op == GRANT_REVOKE ? revocation_next(&upkeep->revocation, answer, tick, ret) : -EINVAL;
}

void upkeep_end(struct upkeep *upkeep)
{
    if (upkeep->op == GRANT_ACQUIRE)
        refresh_end(&upkeep->refresh);
    else if (upkeep->op == GRANT_REVOKE)
        revocation_end(&upkeep->revocation);
}
