/* One attempt to sign in, from the first request to a verified person or the reason why not. It owns its parts and ends
 * with them; whoever asked hears of it through a voice, which is told exactly one result unless nobody listens. */
#pragma once

#include "config.h"
#include "login/voice.h"
#include "login/wanted.h"

/* Takes the configuration, which the profile belongs to. The exit status: 0 after done, 1 after fail, or when nobody
 * listens any more. `listening`: the end of standard input is the end of the attempt. */
int attempt_run(const struct wanted *, struct config *, struct profile *, const struct voice *, bool listening);
