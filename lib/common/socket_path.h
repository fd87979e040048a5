/* Where the agent's sockets are, and who is at the other end (INTERFACE section 2). Used by agent, library and PAM
 * alike. Nothing here follows a symlink or trusts a directory that somebody else could have made. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define SOCKET_PATH_SIZE 108 /* of sun_path, with its NUL */

struct socket_path {
    char directory[SOCKET_PATH_SIZE]; /* "/" for a path in the root */
    char agent[SOCKET_PATH_SIZE];
    char get[SOCKET_PATH_SIZE]; /* get.sock beside it */
    bool given;                 /* by MLTOKEN_SOCK or an option, not found by the rules */
};

/* The path by the rules: `given` (an option) or else MLTOKEN_SOCK or else the runtime directories. Environment is read
 * with secure_getenv. -EINVAL for a relative or empty path or one that ends with a slash; -ENAMETOOLONG when the path,
 * or get.sock beside it, does not fit into a socket address. */
int socket_path_find(const char *given, struct socket_path *ret);
/* The path for another user, from the uid alone, never from the environment (what PAM uses): /run/mltoken/NAME where a
 * service account's agent is, or below /run/user/UID, or below /tmp. */
int socket_path_for(uid_t uid, struct socket_path *ret);
/* NAME, borrowed, when the directory is /run/mltoken/NAME (mltoken-agent@NAME.service); else NULL. */
const char *socket_path_service(const struct socket_path *);

/* Checks that `directory` is a real directory, owned by us, and open to nobody else. -ENOENT, -ELOOP (symlink),
 * -ENOTDIR, -EPERM (another owner), -EACCES (wider than 0700). With `create` it is made 0700 first.
 * A directory given by MLTOKEN_SOCK is checked the same way. */
int socket_directory_check(const char *directory, bool create);
/* The sentence for such an error: "is a symbolic link", "belongs to another user", ... */
const char *socket_directory_problem(int error);

/* The uid and pid at the other end of a connected socket. `ret_pid` may be NULL. */
int socket_peer(int fd, uid_t *ret_uid, pid_t *ret_pid);

/* Connects to `path` (blocking socket, CLOEXEC) and checks that the server's uid is our own before anything is written:
 * -EPERM when it is not. -ENOENT, -ECONNREFUSED: no agent. -EAGAIN: its queue is full. */
int socket_connect(const char *path, int flags, int *ret_fd);
