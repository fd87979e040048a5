#include "acquire/inquiry.h"

#include "acquire/flight.h"

int conductor_inspect(struct conductor *conductor, struct holder *holder, const char *token,
                      struct inspection *inspection, struct failure *why)
{
    static const struct request plain = {.min_valid_s = -1};
    const struct grant *grant = holder->profile->grant;
    struct secret *copy = NULL;
    struct flight *flight = NULL;
    if (!(grant->ops & GRANT_INSPECT)) {
        failure_set(why, FAILURE_NOT_SUPPORTED, CLASS_DEFINITE,
                    "grant %s has no authority that could be asked about its tokens", grant->name);
        return -1;
    }
    int r = secret_new(token, strlen(token) + 1, &copy); /* with its NUL */
    if (r == 0)
        r = flight_new(conductor, holder, GRANT_INSPECT, &plain, &flight);
    if (r < 0 || !flight) {
        secret_unref(copy);
        failure_set(why, FAILURE_BUSY, CLASS_UNREACHABLE, "%s", strerror(-r));
        return -1;
    }
    flight->inspected = copy;
    flight->inspection = inspection;
    inspection->flight = flight;
    return 0;
}

void inspection_cancel(struct inspection *inspection)
{
    struct flight *flight = inspection->flight;
    inspection->flight = NULL;
    if (!flight)
        return;
    flight->inspection = NULL;
    flight_free(flight);
}

void inspection_landed(struct flight *flight, struct json_object *claims, const struct failure *failure)
{
    struct inspection *inspection = flight->inspection;
    flight->inspection = NULL;
    if (!inspection)
        return;
    inspection->flight = NULL;
    inspection->done(inspection->arg, claims, failure);
}
