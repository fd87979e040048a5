/* A note beside a profile's secrets in its store: which of two slots is served. Bound to the same receivers as they
 * are, so that another service's is not taken for this one's. Steps RECALL and NOTE; the answer comes later, by
 * flight_answer(). */
#pragma once

#include "acquire/flight.h"

#define SECRET_SLOT "slot"

/* 0, or a negative errno. */
int note_recall(struct flight *);
/* With tokens in the step: once the note is durable, every entry of the profile has them, what was being fetched before
 * is not kept, and who watches is told; only then is the machine answered. */
int note_keep(struct flight *);
