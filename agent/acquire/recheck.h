/* A refusal is remembered for a while, so that a looping script does not hammer the authority. But a file that the
 * client's proof comes from may have been replaced since, and then what was refused is no more. So a call that would
 * be refused from memory begins a flight that first looks when those files were changed: if not since the refusal, it
 * ends with what is remembered, and the authority hears nothing. Looking may block, hence the worker does it. */
#pragma once

#include "token/cache.h"

struct flight;

/* Whether such a flight is worth while for what entry_judge(), or the holder's own memory, refuses now. */
bool recheck_wanted(const struct entry *, int64_t now_ms);
/* Notes when what was refused had been read at the earliest. */
void recheck_note(struct flight *);
/* The first thing of any flight: looks, where flight->recheck says so, and goes on with flight_begin(). A task's
 * function. */
void recheck_begin(void *arg);
