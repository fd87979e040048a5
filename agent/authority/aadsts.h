/* Entra ID's numbered errors (AADSTSnnnn). Programs are told to go by `error` and `suberror`; the numbers are for
 * people, except those that say "not now" under the name of a dead sign-in (WIRE sections 1.1 and 1.2). Pure. */
#pragma once

#include "span.h"
#include <stdbool.h>
#include <stdint.h>

enum aadsts_effect { AADSTS_SAYS, AADSTS_THROTTLES, AADSTS_PASSES };

struct aadsts {
    int32_t number;
    enum aadsts_effect effect;
    const char *hint; /* what it means and what to do, without a full stop; NULL: its own words do */
};

const struct aadsts *aadsts_find(int64_t number); /* NULL when it is not known */
/* The number that a description begins with ("AADSTS50196: ..."), or 0. */
int64_t aadsts_number(struct span description);
