/* STEP_PAIR: the client's key and certificate for TLS (RFC 8705), read anew by the worker. The agent keeps them in the
 * arena from there to the start of the request that they are for. Metadata and key sets are fetched without: they are
 * public, shared by profiles, and no reason to say who asks. */
#pragma once

#include "acquire/flight.h"

/* Starts it; the answer goes to the flight. 0 or a negative errno. */
int client_pair_start(struct flight *);
