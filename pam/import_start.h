/* Starts the person's agent where there is none (handoff_fallback = start). Its environment is made anew from the user
 * database, for ours is that of whoever called sshd, su or login. */
#pragma once

#include "span.h"
#include <stdint.h>

/* Waits until the agent serves, at most until the deadline (CLOCK_BOOTTIME, ms). 0; -ENOENT: who we are is not known;
 * -ETIMEDOUT; -ECHILD: it gave up; or another negative errno. */
int import_start(int64_t deadline_ms);
