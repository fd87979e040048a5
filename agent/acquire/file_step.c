#include "acquire/file_step.h"

#include "limits.h"

static void on_read(void *arg, const struct worker_result *result)
{
    struct flight *flight = arg;
    struct answer given = {.error = result->error, .body = result->output};
    flight->job = NULL;
    if (result->error)
        failure_set(&given.why, FAILURE_SECRET_MISSING, CLASS_DEFINITE, "%s: %s", flight->step.read.path,
                    result->problem);
    flight_answer(flight, &given);
}

int file_step_start(struct flight *flight)
{
    const struct read_step *step = &flight->step.read;
    return worker_read(flight->conductor->worker, step->path, step->maximum ? WORKER_PLACED_FILE : WORKER_PRESENT_FILE,
                       step->maximum, LIMIT_COMMAND_MS, on_read, flight, &flight->job);
}
