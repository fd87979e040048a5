/* The lock: `mltoken lock` and `unlock`. While the agent is locked nothing that it holds can be read without the
 * passphrase, also not by who reads its memory: each secret is sealed by its owner (seal.h), and nobody is served. */
#pragma once

#include "acquire/conductor.h"

/* Locks without a person: with the passphrase that was last used, as far as it is known (seal.h). Where none is known,
 * nothing could be unlocked again: then cached tokens are forgotten, and stores forget their keys. `why` is for the log
 * ("the session was locked"). Whether it is locked now. */
bool conductor_lock_known(struct conductor *, const char *why);
