/* A sign-in that lodges in memory. Somebody who comes in over ssh finds the keyring locked, and nobody is there to open
 * it: what PAM brought is kept in the memory store then, renewals and all, and goes to the profile's own store as soon
 * as that opens. Nobody is asked for it. Where it turns out that somebody else is signed in there, the one in the store
 * stays, and the lodger goes. An agent that ends takes a lodger with it; `mltoken status` says so. */
#pragma once

#include "acquire/conductor.h"

struct flight;

/* The holder's sign-in is in the memory store now. */
void lodging_begin(struct conductor *, struct holder *);
/* It is not any more: forgets what is there. Allowed when there is none. */
void lodging_end(struct conductor *, struct holder *);

/* A flight of SETTLE, once its binding is known. */
void lodging_settle(struct flight *);
/* Called when it has ended. */
void lodging_landed(struct flight *);
