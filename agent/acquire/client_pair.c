#include "acquire/client_pair.h"

#include <errno.h>

static void on_pair(void *arg, const struct worker_result *result)
{
    struct flight *flight = arg;
    struct answer given = {.error = result->error};
    flight->job = NULL;
    if (result->error)
        failure_set(&given.why, FAILURE_INVALID_CONFIGURATION, CLASS_DEFINITE, "%s", result->problem);
    else
        given.error = secret_new(result->output.data, result->output.length, &flight->pair);
    if (given.error == -ENOMEM)
        failure_set(&given.why, FAILURE_BUSY, CLASS_UNREACHABLE, "there is no memory left for the client's key");
    flight_answer(flight, &given);
}

int client_pair_start(struct flight *flight)
{
    const struct profile *profile = flight->profile;
    flight->pair = secret_unref(flight->pair);
    return worker_pair(
        flight->conductor->worker, profile->client_key ? profile->client_key : profile->client_certificate,
        profile->client_certificate, flight->step.key_password, LIMIT_COMMAND_MS, on_pair, flight, &flight->job);
}
