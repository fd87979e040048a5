#include "acquire/recheck.h"

#include "acquire/flight.h"
#include "acquire/secret_source.h"
#include "cleanup.h"
#include "clock.h"
#include "limits.h"
#include <stdlib.h>

enum {
    PATHS = SECRET_SOURCES + 5,
    TICK_MS = 10, /* file systems read a clock that stands still for so long */
};

static void add(char *paths[], size_t *count, char *path)
{
    if (path)
        paths[(*count)++] = path;
}

/* The files that the profile's proofs come from, with a NULL behind them. */
static size_t files_of(const struct profile *profile, char *paths[static PATHS + 1])
{
    size_t count = 0;
    add(paths, &count, profile->client_key);
    add(paths, &count, profile->client_certificate);
    add(paths, &count, profile->client_assertion_file);
    add(paths, &count, profile->subject_token_file);
    add(paths, &count, profile->actor_token_file);
    for (size_t i = 0; i < SECRET_SOURCES; i++) {
        const struct source *source = secret_source_of(profile, secret_source_name(i));
        add(paths, &count, source->kind == SOURCE_FILE ? source->value : NULL);
    }
    paths[count] = NULL;
    return count;
}

/* A certificate may also be refused by the end of the connection. */
static bool may_be_its_proof(const struct profile *profile, const struct failure *failure)
{
    return failure->kind == FAILURE_AUTHORITY_REFUSED ||
           (failure->kind == FAILURE_AUTHORITY_UNREACHABLE && failure->class == CLASS_UNREACHABLE &&
            profile->client_auth == CLIENT_AUTH_TLS);
}

bool recheck_wanted(const struct entry *entry, int64_t now_ms)
{
    const struct holder *holder = entry->holder;
    char *paths[PATHS + 1];
    bool remembered =
        entry->failed && now_ms < entry->failed_until_ms && may_be_its_proof(holder->profile, entry->failed);
    return (remembered || holder->refused) && files_of(holder->profile, paths) > 0;
}

void recheck_note(struct flight *flight)
{
    flight->holder->refused_wall_ms = clock_wall_ms() - (loop_now(flight->conductor->loop) - flight->since_ms);
}

static void land_unchanged(struct flight *flight)
{
    const struct holder *holder = flight->holder;
    const struct failure *known = holder->refused ? holder->refused : flight->entry ? flight->entry->failed : NULL;
    if (!known) { /* forgiven meanwhile */
        flight->recheck = false;
        flight_begin(flight);
        return;
    }
    flight->step = (struct step){.kind = STEP_FAIL, .fail = *known};
    flight_land(flight);
}

static void on_newest(void *arg, const struct worker_result *result)
{
    struct flight *flight = arg;
    char text[32] = "";
    flight->job = NULL;
    if (!result->error && result->output.length < sizeof(text))
        memcpy(text, result->output.data, result->output.length);
    int64_t newest = strtoll(text, NULL, 10);
    /* a time to come, of another host's clock, would be news for ever */
    if (newest + TICK_MS < flight->holder->refused_wall_ms || newest > clock_wall_ms() + TICK_MS) {
        land_unchanged(flight);
        return;
    }
    flight->recheck = false;
    conductor_forgive(flight->conductor, flight->holder);
    flight_begin(flight);
}

void recheck_begin(void *arg)
{
    struct flight *flight = arg;
    char *paths[PATHS + 1];
    if (!flight->recheck || flight->generation != flight->holder->generation) {
        flight->recheck = false;
        flight_begin(flight);
        return;
    }
    (void)files_of(flight->profile, paths);
    if (worker_newest(flight->conductor->worker, paths, LIMIT_COMMAND_MS, on_newest, flight, &flight->job) < 0)
        land_unchanged(flight);
}
