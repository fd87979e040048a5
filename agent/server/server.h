/* The socket's side: listeners, connections, methods. Bytes in, calls out; it knows no OAuth. Each connection owns its
 * buffers and at most one call; calls on one connection are answered in order. */
#pragma once

#include "acquire/conductor.h"
#include "loop/loop.h"

struct server;

int server_new(struct loop *, struct conductor *, struct server **ret);
struct server *server_free(struct server *); /* closes every connection; always NULL */
/* Takes a listening descriptor; `limited`: get.sock, which answers only GetToken, Watch, List, Show and Verify. */
int server_listen(struct server *, int fd, bool limited);
/* While held, complete calls wait (the configuration is being read anew). */
void server_hold(struct server *, bool hold);
