/* Two keys of one service, of which one is served: so the other can be made anew, or put in place, meanwhile. Which one
 * it is stands in a note (STEP_NOTE) that outlives the agent. The key `slot` of the configuration says with which one
 * to begin; changed later, it rules again, for the note says for which setting it was written. Pure. */
#pragma once

#include "span.h"
#include <stdbool.h>

enum slot { SLOT_PRIMARY, SLOT_SECONDARY, SLOTS };

enum { SLOT_NOTE = 64 };

struct slots {
    enum slot served;
    bool regenerating; /* the other one is being made anew, or was about to be when the agent ended */
};

const char *slot_name(enum slot);
enum slot slot_other(enum slot);
/* What is wrong with a value of the key `slot`, or NULL. */
const char *slot_check(const char *value);
/* Of the key `slot`; NULL is the primary. */
enum slot slot_of(const char *value);

/* What a note says for this setting of the key `slot` (NULL: not set); nothing, or one that is not for it, leaves the
 * slot that it names. */
struct slots slots_read(struct span note, const char *configured);
void slots_write(const struct slots *, const char *configured, char ret[static SLOT_NOTE]);
