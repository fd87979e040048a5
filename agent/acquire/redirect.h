/* The loopback address that a person's browser comes back to with the authority's answer (RFC 8252 section 7.3), and
 * the page that it starts from.
 *
 * Loopback is shared by everybody on the host, and a browser's command line can be read by all. So what is opened is
 * http://HOST:PORT/PAGE, a name that counts once: it gives that browser a cookie and sends it on to the authority. What
 * comes back counts with the cookie and the sign-in's state alone. A second visit to the page ends the sign-in:
 * somebody else has been there, before or after the person. Everything else gets a 404 and changes nothing, and
 * connections of other users are closed unread where the kernel says whose they are.
 *
 * It owns its listeners, its visitors and what they brought; it does not outlive the sign-in. */
#pragma once

#include "loop/loop.h"
#include "secret.h"
#include "token/failure.h"

struct redirect;

/* One is set; called once, from the loop, as the last thing: it may close the redirect. */
typedef void redirect_fn(void *arg, struct secret *query, const struct failure *why);

/* 0, or a negative errno with *why set: nobody is let in yet. port 0: any. */
int redirect_open(struct loop *, int port, bool localhost, struct redirect **ret, struct failure *why);
const char *redirect_uri(const struct redirect *);
/* From now on a browser is sent to the address, and awaited with the state. The page to open. -EIO, -ENOMEM. */
int redirect_expect(struct redirect *, const char *address, const char *state, redirect_fn *, void *arg);
const char *redirect_page(const struct redirect *);
struct redirect *redirect_close(struct redirect *); /* always NULL; NULL is allowed */
