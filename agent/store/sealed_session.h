/* One look at the folder of sealed files, under its lock: its state, one profile's file, one change. See sealed_vault.h
 * for what is durable when. */
#pragma once

#include "store/sealed_keys.h"
#include "store/sealed_vault.h"

struct session {
    struct vault *vault;
    struct trouble *trouble;
    struct folder folder;
    struct sealed_state state;
    bool has_state, passphrase_set;
    const struct sealed_key *active;
};

/* A profile's file, opened. */
struct session_file {
    struct sealed_items items; /* point into plain */
    char *plain;
};

/* 0; -ENOENT: there is no folder (it is made to write, never to read); -EIO. */
int session_open(struct session *, struct vault *, bool writable, struct trouble *);
void session_close(struct session *);

/* 0; -ENOENT; -EIO: what is there cannot be opened, or is not what should be there. */
int session_load(struct session *, const char *profile, struct session_file *ret);
void session_file_clear(struct session_file *);

/* Durable when it returns 0. The sequence number has grown by one. */
int session_save(struct session *, const char *profile, const struct sealed_items *);
/* The file goes first: gone even when -EIO says that the state could not be written. */
int session_remove(struct session *, const char *profile);
/* Seals the state anew, with the active key. */
int session_reseal(struct session *);
/* The head of the first file that was sealed with a passphrase: 0, -ENOENT, -EIO. Needs no key and no session_open().
 */
int session_find_passphrase(const struct folder *, struct sealed_head *ret, struct trouble *);
