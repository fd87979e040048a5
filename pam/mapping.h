/* Who is who: whether the person of a verified sign-in is the local user that was asked for, and may come in. Pure:
 * reads nothing but its arguments, allocates nothing, keeps nothing. What always holds: names are compared byte for
 * byte and by length; no claim ever stands in for another; a map that has one line of an unknown form says nothing; the
 * user that was asked for is never changed. */
#pragma once

#include "lines.h"
#include "settings.h"

enum verdict {
    VERDICT_YES,
    VERDICT_BROKEN,    /* the helper's line, or the map, is not what it must be */
    VERDICT_STRANGER,  /* a person, but not this user */
    VERDICT_FORBIDDEN, /* this user, but without a required group or role */
};

#define VERDICT_REASON 512
#define MAPPING_FORM   "a line is ISSUER sub:VALUE USER, or ISSUER tid:TENANT,oid:OBJECT USER"

/* What can be known before anybody has signed in: 0, or the number of the first line that is none of a map. */
int mapping_wrong_line(struct span map);

/* `map` is the text of settings->map, or empty with settings->user_claim. `reason` gets a sentence for the log:
 * cleaned, and of claims only those that say who somebody is. */
enum verdict mapping_decide(const struct settings *settings, struct span map, const struct line *done, const char *user,
                            char reason[static VERDICT_REASON]);
