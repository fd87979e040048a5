/* What doctor says of who may have a profile's tokens: can a person be asked (confirm), do the programs of `allow`
 * exist, is its parent guarded as it is, and may the agent that runs see what its clients are. */
#pragma once

#include "buffer.h"
#include "config.h"
#include "token/profile.h"

/* Each puts a sentence into `ret_words` (emptied first): true when all is well. */
bool guard_check_pinentry(const struct config *, struct buffer *ret_words);
bool guard_check_allow(const struct profile *, struct buffer *ret_words);
/* Whether the profile that its token is made from can give one, and is not guarded better than it; *ret_broken: it
 * cannot. */
bool guard_check_parent(struct config *, const struct profile *, struct buffer *ret_words, bool *ret_broken);
/* false: the agent at this process runs in another user namespace than we do. */
bool guard_check_agent(pid_t, struct buffer *ret_words);
/* The process that answers at the agent's socket; 0: none. */
pid_t guard_agent(void);
