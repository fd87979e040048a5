/* --map: a person signs in at the terminal, and gets the line of the map file that would let them in. Prompts go to
 * standard error; the line alone to standard output. */
#pragma once

#include "login/voice.h"
#include "login/wanted.h"

struct mapping {
    const struct wanted *wanted; /* borrowed; read when there is something to say */
};

struct voice mapping_voice(struct mapping *, const struct wanted *);
