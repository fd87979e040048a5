/* The agent's two sockets: bound by us or handed over by systemd (sd_listen_fds(3), written out), and the lock that
 * keeps a second agent from starting. The lock is held for life. */
#pragma once

#include "socket_path.h"

struct sockets {
    struct socket_path path;
    int lock;
    int agent, get; /* listening, non-blocking; -1 */
    bool activated; /* systemd made them and will remove them */
    dev_t device;   /* of agent.sock as it was bound */
    ino_t inode;
};
#define SOCKETS_NONE ((struct sockets){.lock = -1, .agent = -1, .get = -1})

/* 0; -EBUSY: another agent holds the lock; else a negative errno after `problem` was filled with a sentence. */
int sockets_open(const struct socket_path *, struct sockets *ret, char *problem, size_t size);
/* Whether agent.sock is still the one that was bound. */
bool sockets_present(const struct sockets *);
/* Removes what was bound here. The descriptors of the sockets belong to the server by then. */
void sockets_close(struct sockets *);
