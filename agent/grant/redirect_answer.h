/* What an authority sends back with a person's browser (RFC 6749 section 4.1.2), read strictly: a parameter of ours
 * that comes twice, a broken escape or a control character makes all of it void. Unknown parameters are passed over. */
#pragma once

#include "span.h"

/* Owns its strings; NULL: absent. The code is wiped. */
struct redirect_answer {
    char *state, *code, *issuer, *error, *description;
};

/* A query, or a whole address as a person copies it: 0, -EINVAL, -EMSGSIZE or -ENOMEM. *ret must be zeroed, and is to
 * be cleared in any case. */
int redirect_answer_read(struct span text, struct redirect_answer *ret);
void redirect_answer_clear(struct redirect_answer *);
/* Whether it can be read and brings that state. */
bool redirect_answer_is_for(struct span text, const char *state);
