/* The store of who named none: the first of several that does not say, to the first request, that there is no such
 * service on this host. */
#pragma once

#include "buffer.h"
#include "store/store.h"

enum { CHOICE_MOST = 3 };

/* candidates: borrowed, the last one always there. */
int store_choice_new(struct loop *, struct store *const *candidates, size_t count, struct store **ret);
const char *store_choice_name(const struct store *); /* of the present candidate */
/* Another one is it from now on, for it can be used now; borrowed, one of the candidates. */
void store_choice_change(struct store *, const struct store *candidate);
/* "memory: no Secret Service answers, and ..." */
void store_choice_describe(const struct store *, struct buffer *to);
