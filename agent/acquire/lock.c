#include "acquire/lock.h"

#include "log.h"

static void forget_tokens(struct conductor *conductor)
{
    struct holder **holders;
    size_t count;
    struct failure locked;
    failure_set(&locked, FAILURE_LOCKED, CLASS_DEFINITE, "the agent is locked");
    if (cache_holders(conductor->cache, &holders, &count) < 0)
        return;
    for (size_t i = 0; i < count; i++)
        conductor_drop(conductor, holders[i], &locked);
    free(holders);
}

bool conductor_lock_known(struct conductor *conductor, const char *why)
{
    log_event(LOG_LEVEL_INFO, "no passphrase is known to lock with: tokens were forgotten instead", "REASON", why,
              NULL);
    forget_tokens(conductor);
    return false;
}
