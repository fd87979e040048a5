#include "acquire/token_file.h"

#include "acquire/flight.h"
#include "cleanup.h"
#include <errno.h>
#include <stdio.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The one token that the text holds, or nothing. */
static struct span only_token(struct span text)
{
    for (; text.length && is_blank(text.data[0]); text.length--)
        text.data++;
    while (text.length && is_blank(text.data[text.length - 1]))
        text.length--;
    for (size_t i = 0; i < text.length; i++)
        if ((unsigned char)text.data[i] <= 0x20 || (unsigned char)text.data[i] >= 0x7f)
            return (struct span){0};
    return text;
}

static void on_read(void *arg, const struct worker_result *result)
{
    struct flight *flight = arg;
    struct answer given = {.error = result->error};
    flight->job = NULL;
    if (!result->error)
        given.body = only_token(result->output);
    if (!result->error && !given.body.length)
        given.error = -EBADMSG;
    if (given.error) {
        failure_set(&given.why, FAILURE_SECRET_MISSING, CLASS_DEFINITE, "%s: %s", flight->file.path,
                    result->error ? result->problem : "it does not hold one token");
        (void)snprintf(given.why.name, sizeof(given.why.name), "%s", flight->file.key);
    }
    flight_answer(flight, &given);
}

int token_file_start(struct flight *flight, const char *path, const char *key)
{
    flight->file.path = path;
    flight->file.key = key;
    return worker_read(flight->conductor->worker, path, WORKER_PUBLIC_FILE, LIMIT_JWS, LIMIT_COMMAND_MS, on_read,
                       flight, &flight->job);
}
