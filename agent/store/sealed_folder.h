/* The folder of sealed files: its owner and mode, its lock, and files that are there wholly or not at all. Nothing is
 * created in it but by folder_make() and what writes. Each function that can fail says why to a struct trouble, in
 * words for a person. Opened anew for each request: what somebody did to the folder meanwhile is seen. */
#pragma once

#include "limits.h"
#include "span.h"
#include <stdbool.h>
#include <stdint.h>

/* The first thing that went wrong. */
struct trouble {
    const char *kind; /* of store/protocol.h; NULL: nothing did */
    char reason[LIMIT_STORE_REASON + 1];
};

struct folder {
    int fd, lock;
    char path[LIMIT_STORE_PATH + 1];
};

#define FOLDER ((struct folder){.fd = -1, .lock = -1})

/* -EIO always, so that one can return it. Only the first is kept. */
int trouble_set(struct trouble *, const char *kind, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* What may be done about it, at the end of the reason. */
void trouble_add(struct trouble *, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same for an errno of a file: "cannot WHAT PATH/NAME: ...", with the kind that fits. */
int trouble_errno(struct trouble *, int error, const char *what, const char *path, const char *name);

/* $XDG_STATE_HOME/mltoken or ~/.local/state/mltoken into path. 0, -EIO. */
int folder_find(struct folder *, struct trouble *);
/* 0, -ENOENT, -EIO. */
int folder_open(struct folder *, struct trouble *);
/* Makes it and what is above it, 0700, and opens it. */
int folder_make(struct folder *, struct trouble *);
/* Waits for other agents, on this host or (NFS) others, LIMIT_STORE_LOCK_MS at most. A reader on a file system that
 * nobody can write to needs no lock. */
int folder_lock(struct folder *, bool exclusive, struct trouble *);
void folder_close(struct folder *);

/* A malloc'd copy of a file that is regular, ours and closed to others. 0, -ENOENT, -EIO. */
int folder_read(const struct folder *, const char *name, size_t maximum, char **ret, size_t *ret_length,
                struct trouble *);
/* A new file, durable but for its name; folder_rename() and folder_sync() see to that. */
int folder_write(const struct folder *, const char *temporary, struct span bytes, struct trouble *);
int folder_rename(const struct folder *, const char *from, const char *to, struct trouble *);
int folder_remove(const struct folder *, const char *name, struct trouble *); /* 0 also when it is not there */
int folder_sync(const struct folder *, struct trouble *);

/* The names that end in `suffix`, sorted, without it: a malloc'd array of malloc'd texts. */
int folder_list(const struct folder *, const char *suffix, char ***ret, size_t *ret_count, struct trouble *);
void folder_list_free(char **names, size_t count);
