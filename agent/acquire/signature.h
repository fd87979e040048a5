/* STEP_SIGN: a client assertion, made by the worker with the profile's key, or made by somebody else and read anew each
 * time (a projected token of Kubernetes, or any federated identity). */
#pragma once

#include "acquire/flight.h"

/* Starts the flight's step; the answer goes to it. 0 or a negative errno. */
int signature_start(struct flight *);
