#include "acquire/rotation.h"

#include "acquire/flight.h"
#include "log.h"

static bool under_way(const struct holder *holder)
{
    for (const struct flight *flight = holder->flights; flight; flight = flight->next)
        if (flight->op == GRANT_ROTATE)
            return true;
    return false;
}

int conductor_rotate(struct conductor *conductor, struct holder *holder, struct rotation *rotation, struct failure *why)
{
    static const struct request plain = {.min_valid_s = -1};
    const struct grant *grant = holder->profile->grant;
    struct flight *flight;
    if (!(grant->ops & GRANT_ROTATE)) {
        failure_set(why, FAILURE_NOT_SUPPORTED, CLASS_DEFINITE,
                    "grant %s has no keys in two slots: mltoken get --refresh fetches a new token", grant->name);
        return -1;
    }
    if (under_way(holder)) {
        failure_set(why, FAILURE_BUSY, CLASS_UNREACHABLE, "it is being rotated already; see mltoken status");
        return -1;
    }
    int r = flight_new(conductor, holder, GRANT_ROTATE, &plain, &flight);
    if (r < 0) {
        failure_set(why, FAILURE_BUSY, CLASS_UNREACHABLE, "%s", strerror(-r));
        return -1;
    }
    flight->rotation = rotation;
    rotation->flight = flight;
    return 0;
}

void rotation_cancel(struct rotation *rotation)
{
    if (rotation->flight)
        rotation->flight->rotation = NULL;
    rotation->flight = NULL;
}

void rotation_landed(struct flight *flight, const char *slot, const struct failure *failure)
{
    struct rotation *rotation = flight->rotation;
    log_event(failure ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, failure ? "rotation failed" : "rotated", "PROFILE",
              flight->profile->name, "SLOT", slot, "WHY", failure ? failure_name(failure->kind) : NULL, "REASON",
              failure ? failure->reason : NULL, "ERROR", failure && *failure->error ? failure->error : NULL,
              "DESCRIPTION", failure && *failure->description ? failure->description : NULL, NULL);
    flight->rotation = NULL;
    if (!rotation)
        return;
    rotation->flight = NULL;
    rotation->done(rotation->arg, slot, failure);
}
