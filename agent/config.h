/* The configuration: the system's file, then the user's (INTERFACE section 3), as one table of profiles sorted by name.
 * Reading is pure (text in, tables out), so that a changed file is parsed anew and either whole: a bad profile is
 * disabled alone, with its reason, a bad [agent] section is reported and its defaults stand.
 *
 * Ten thousand profiles are no reason to start late: opening a configuration reads [agent] and finds where each
 * profile's section is. A profile is read when it is first asked for, and the others bit by bit by who owns the
 * configuration, so that each mistake is told in the end. What always holds: which profiles there are, which section
 * counts and what [agent] says is settled once it is open, and no profile reads differently early or late. */
#pragma once

#include "span.h"
#include "token/profile.h"
#include <stdio.h>

struct reader;

struct config {
    size_t profile_count;
    const char **names;        /* sorted */
    struct profile **profiles; /* in the same order; NULL: not read yet, see config_at() */
    char *default_profile;     /* NULL: none named; then the only profile, if there is one */
    char *store;               /* agent-wide; NULL: by what is there */
    char *key_file;            /* for sealed files; NULL: none named */
    char *pinentry;            /* the program that asks a person; NULL: the usual one */
    bool lock_on_suspend, lock_on_session;
    char **problems; /* "FILE:LINE: KEY: ..." in the order of the lines, NULL-terminated or NULL */
    size_t problem_count;
    size_t file_count;     /* files that were there; 0: nobody has configured anything */
    bool unreadable;       /* a file was there but could not be used: on a reload the old configuration stays */
    struct reader *unread; /* NULL: all was read, and `problems` tells everything that is wrong */
    char *name_bytes;
};

struct config_text {
    const char *file; /* its path, for messages */
    struct span text;
    bool absent;         /* no such file: nothing is wrong with that */
    const char *problem; /* why it cannot be used ("is writable by others; ..."), or NULL */
    const char *others;  /* a section that is not ours to read, "pam"; NULL: there is none */
};

/* Takes over the texts' bytes, in order (HOME stands for ~ in paths); a later one's profile replaces an earlier one's
 * of the same name. Only -ENOMEM is an error, here and below. */
int config_open(struct config_text *texts, size_t count, struct config **ret);
/* Reads about so many bytes of what nobody has asked for yet. 1: there is more; 0: all is read. */
int config_read_on(struct config *, size_t bytes);
struct config *config_free(struct config *); /* always NULL */
/* The profile of names[place], read now if need be. One for which there is no memory says so as its problem. */
struct profile *config_at(struct config *, size_t place);
/* NULL when there is none. */
struct profile *config_profile(struct config *, const char *name);
/* The profile meant when none is named: NULL when there is no such. */
struct profile *config_default(struct config *);
/* The paths: "/etc/mltoken/config" and the user's. *ret are malloc'd; the user's is NULL without HOME. */
int config_paths(char **ret_system, char **ret_user);

/* One file as bytes, blocking, for use before the loop runs. A symbolic link is followed (dotfiles often are), but what
 * it leads to must be a regular file of ours or root's that nobody else may write, of LIMIT_CONFIG_FILE at most.
 * `ret->text` is malloc'd, wiped by config_text_clear(). Only -ENOMEM is an error: anything else is `absent` or
 * `problem`. */
int config_text_read(const char *path, struct config_text *ret);
void config_text_clear(struct config_text *);
/* Opens both files, or the one at `path`. */
int config_load(const char *path, struct config **ret);
/* mltoken-agent --check [FILE]: every problem on a line, or "OK: N profiles". Returns the exit code, 0 or 3 (1: no
 * memory). */
int config_check(FILE *out, const char *path);
