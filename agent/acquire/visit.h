/* One request of a browser to a sign-in's loopback page, read strictly and never further than its head: GET, no body,
 * one Host. Pure; spans point into the text. */
#pragma once

#include "span.h"

struct visit {
    struct span path, query; /* without ?; data NULL: there is none */
    struct span host, cookie;
    bool ahead; /* the browser guesses that somebody may want it: prefetch */
};

/* 0; -EAGAIN: the head is not whole yet; -ENOTSUP: another method; -EBADMSG: no request of a browser. */
int visit_read(struct span text, struct visit *ret);
/* Whether it brings a cookie of that name and value. */
bool visit_has_cookie(const struct visit *, const char *name, const char *value);
