#include "login/parts.h"

#include "authority/http.h"
#include "secret.h"
#include <errno.h>
#include <stdio.h>

/* The worker is forked before there is a secret or a thread. */
int parts_open(struct parts *parts, struct config *config)
{
    int r = loop_new(&parts->loop);
    if (r == 0)
        r = worker_new(parts->loop, &parts->worker);
    if (r == 0)
        r = secret_arena_open();
    if (r == 0)
        r = http_global_init();
    if (r == 0)
        r = http_new(parts->loop, &parts->http);
    if (r == 0)
        r = documents_new(parts->loop, parts->http, &parts->documents);
    if (r == 0)
        r = stores_new(parts->loop, &(struct stores_options){.memory_only = true}, &parts->stores);
    if (r == 0) {
        const struct conductor made = {.loop = parts->loop,
                                       .http = parts->http,
                                       .documents = parts->documents,
                                       .worker = parts->worker,
                                       .stores = parts->stores,
                                       .config = config};
        r = conductor_new(&made, &parts->conductor);
    }
    if (r < 0)
        config_free(config);
    return r;
}

void parts_close(struct parts *parts)
{
    parts->conductor = conductor_free(parts->conductor);
    parts->documents = documents_free(parts->documents);
    parts->http = http_free(parts->http);
    parts->stores = stores_free(parts->stores);
    parts->worker = worker_free(parts->worker);
    parts->loop = loop_free(parts->loop);
    secret_arena_close();
}

void parts_explain(const struct failure *why, char to[static PARTS_TEXT])
{
    const char *separator = *why->error && *why->description ? ": " : "";
    bool words = *why->error || *why->description, both = words && *why->reason;
    (void)snprintf(to, PARTS_TEXT, "%s%s%s%s%s%s%s%s%s", words ? "the authority says: " : "", why->error, separator,
                   why->description, both ? "; " : "", why->reason, *why->correlation_id ? " (correlation id " : "",
                   why->correlation_id, *why->correlation_id ? ")" : "");
    if (!*to)
        (void)snprintf(to, PARTS_TEXT, "%s", failure_name(why->kind));
}
