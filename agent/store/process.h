/* A store in a program of its own (store/protocol.h): started when it is first needed, one request in flight, each with
 * a deadline. One that hangs is killed and every request that waits fails; one that answers what no store says, or
 * dies, costs the request at hand (one that is no put is asked once more when the program dies), and is started anew
 * for the next. A request whose program cannot be started at all is STORE_UNAVAILABLE. Values go into the arena of
 * secrets, and the buffers they came through are wiped. */
#pragma once

#include "store/store.h"

/* path: of the program; *setting: "NAME=value" that it gets beside the agent's own environment, or NULL, borrowed and
 * read at each start. */
int store_process_new(struct loop *, const char *name, const char *path, char *const *setting, struct store **ret);
/* The setting has changed: the program that runs is ended before the next request, and started anew for it. */
void store_process_renew(struct store *);
