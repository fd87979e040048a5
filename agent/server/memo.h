/* Remembers how calls that were answered from the cache were read: a call that is byte for byte an earlier one need not
 * be parsed again (applications ask before every request of theirs, always the same). A memo leads to a cache entry,
 * never to a token: whether that is fresh is judged each time. The cache's epoch tells when entries may have gone. */
#pragma once

#include "server/call.h"

struct memo *memos_new(void); /* freed with free(); NULL: no memory */
/* Answers a call from the cache if it is known: true when it was. */
bool memo_serve(struct connection *, struct span message);
/* Notes that the message now being handled led to this entry. Only for GetToken without `refresh`. */
void memo_note(struct call *, struct entry *);
