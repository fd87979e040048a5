/* Who marked a sign-in as being renewed: an agent of this user, here or on another host that shares the store. An owner
 * is a text: its host (boot, pid namespace and name, as a digest), pid and start time, so that an agent that is dead
 * can be told from one that lives, and one that got a dead one's pid too. It says nothing that a person would mind. */
#pragma once

#include "limits.h"
#include <stdbool.h>

typedef char owner_text[LIMIT_OWNER + 1];

/* This process. */
void owner_self(owner_text ret);
/* Whether `owner` may be at it just now: another process of this host that lives, or one of another host, of which
 * nothing can be known. False for `self`, for who has ended, and for what is no owner. */
bool owner_may_live(const char *owner, const char *self);
