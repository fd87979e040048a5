/* STEP_SECRET: a secret of the profile, from wherever its source has it. */
#include "acquire/flight.h"
#include "acquire/secret_source.h"
#include "environment.h"
#include <errno.h>

static void on_secret(void *arg, const struct worker_result *result)
{
    struct flight *flight = arg;
    const char *name = flight->step.secret;
    struct answer given = {0};
    flight->job = NULL;
    given.error = secret_source_result(name, secret_source_of(flight->profile, name), result, &given.body, &given.why);
    flight_answer(flight, &given);
}

static void take_stored(struct flight *, const char *name);

static void on_stored(void *arg, const struct store_result *result)
{
    struct flight *flight = arg;
    struct answer given = {0};
    flight->stored = NULL;
    if (flight_may_ask_now(flight, result->error)) {
        take_stored(flight, flight->step.secret);
        return;
    }
    given.error = secret_source_stored(flight->profile, flight->step.secret, result, &given.body, &given.why);
    flight_answer(flight, &given);
}

static void take_stored(struct flight *flight, const char *name)
{
    struct store *store;
    flight->keeper.quiet = flight_is_quiet(flight);
    const struct store_key key = {.profile = flight->profile->name,
                                  .name = name,
                                  .binding = flight->keeper.binding,
                                  .quiet = flight->keeper.quiet};
    int r = stores_find(flight->conductor->stores, flight->profile->store, &store);
    if (r == 0)
        r = store_get(store, &key, on_stored, flight, &flight->stored);
    if (r < 0)
        flight_fail_internal(flight, r);
}

void flight_take_secret(struct flight *flight)
{
    const char *name = flight->step.secret;
    const struct source *source = secret_source_of(flight->profile, name);
    struct failure why;
    struct span value = {0};
    if (!source) {
        flight_fail_internal(flight, -EINVAL);
        return;
    }
    if (source->kind == SOURCE_STORED) {
        take_stored(flight, name);
        return;
    }
    int r = secret_source_read(flight->conductor->worker, name, source, on_secret, flight, &flight->job, &value, &why);
    if (r < 0) {
        flight_answer_later(flight, (struct span){0}, r, &why);
    } else if (!flight->job) {
        flight->typed = secret_ref(environment_secret(source->value)); /* it may be sealed before it is used */
        flight_answer_later(flight, (struct span){0}, 0, NULL);
        flight->later.body = value;
    }
}
