/* Takes the steps of a sign-in with a browser, LISTEN and BROWSE, for a flight. Both: 0, or a negative errno that it
 * reports as an internal failure. */
#pragma once

#include "acquire/flight.h"

int browse_listen(struct flight *);
int browse_start(struct flight *);
/* Whether what a person typed is the answer to the flight's BROWSE. */
bool browse_accepts(const struct flight *, struct span typed);
void browse_end(struct flight *); /* also when there is none */
