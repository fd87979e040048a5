/* What doctor says of a client's key and certificate: can they be read, do they go together, when does it end. */
#pragma once

#include "buffer.h"
#include "loop/loop.h"
#include "token/profile.h"
#include "worker.h"

enum pair_verdict { PAIR_NONE, PAIR_GOOD, PAIR_ENDS_SOON, PAIR_BAD };

/* Puts a sentence into `ret_words` (emptied first). NONE: the profile has no certificate, or a key whose password is
 * for the agent to ask. Runs the loop until it knows. */
enum pair_verdict pair_check(struct loop *, struct worker *, const struct profile *, struct buffer *ret_words);
