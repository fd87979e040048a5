/* The configuration: the system's file, then the user's (INTERFACE section 3), as one table of profiles sorted by name.
 * Reading is pure (text in, tables out), so that a changed file is parsed anew and either whole: a bad profile is
 * disabled alone, with its reason, a bad [agent] section is reported and its defaults stand. */
#pragma once

#include "span.h"
#include "token/profile.h"
#include <stdio.h>

struct config {
    struct profile **profiles; /* sorted by name */
    size_t profile_count;
    char *default_profile; /* NULL: none named; then the only profile, if there is one */
    char *store;           /* agent-wide; NULL: by what is there */
    char *key_file;        /* for sealed files; NULL: none named */
    char *pinentry;        /* the program that asks a person; NULL: the usual one */
    bool lock_on_suspend, lock_on_session;
    char **problems;       /* "FILE:LINE: KEY: ..." of everything that is wrong, NULL-terminated or NULL */
    size_t problem_count;
    size_t file_count; /* files that were there; 0: nobody has configured anything */
    bool unreadable;   /* a file was there but could not be used: on a reload the old configuration stays */
};

struct config_text {
    const char *file; /* its path, for messages */
    struct span text;
    bool absent;         /* no such file: nothing is wrong with that */
    const char *problem; /* why it cannot be used ("is writable by others; ..."), or NULL */
};

/* Reads texts in order (HOME stands for ~ in paths); a later one's profile replaces an earlier one's of the same name.
 * Only -ENOMEM is an error. */
int config_read(const struct config_text *texts, size_t count, struct config **ret);
struct config *config_free(struct config *); /* always NULL */
/* NULL when there is none. */
struct profile *config_profile(const struct config *, const char *name);
/* The profile meant when none is named: NULL when there is no such. */
struct profile *config_default(const struct config *);
/* The paths: "/etc/mltoken/config" and the user's. *ret are malloc'd; the user's is NULL without HOME. */
int config_paths(char **ret_system, char **ret_user);

/* One file as bytes, blocking, for use before the loop runs. A symbolic link is followed (dotfiles often are), but what
 * it leads to must be a regular file of ours or root's that nobody else may write, of LIMIT_CONFIG_FILE at most.
 * `ret->text` is malloc'd, wiped by config_text_clear(). Only -ENOMEM is an error: anything else is `absent` or
 * `problem`. */
int config_text_read(const char *path, struct config_text *ret);
void config_text_clear(struct config_text *);
/* Both files, or the one at `path`. */
int config_load(const char *path, struct config **ret);
/* mltoken-agent --check [FILE]: every problem on a line, or "OK: N profiles". Returns the exit code, 0 or 3 (1: no
 * memory). */
int config_check(FILE *out, const char *path);
