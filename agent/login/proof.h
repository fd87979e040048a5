/* --verify: whether a token that somebody brought is one of the profile's authority, for our client, and whose: for the
 * module's cached mode. Read from standard input until it ends; said by the module's voice as one line, `verified`. */
#pragma once

#include "config.h"
#include "login/voice.h"
#include "login/wanted.h"

/* Takes the configuration, which the profile belongs to. The exit status: 0 after verified, 1 after fail. */
int proof_run(const struct wanted *, struct config *, struct profile *, const struct voice *);
