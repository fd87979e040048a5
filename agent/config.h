/* The configuration: the system's file, then the user's (INTERFACE section 3), as one table of profiles sorted by name.
 * Reading is pure (text in, tables out), so that a changed file is parsed anew and either whole: a bad profile is disabled
 * alone, with its reason, a bad [agent] section is reported and its defaults stand. */
#pragma once

#include "span.h"
#include "token/profile.h"

struct config {
    struct profile **profiles; /* sorted by name */
    size_t profile_count;
    char *default_profile; /* NULL: none named; then the only profile, if there is one */
    char **problems;       /* "FILE:LINE: KEY: ..." of everything that is wrong, NULL-terminated or NULL */
    size_t problem_count;
};

struct config_text {
    const char *file; /* its path, for messages */
    struct span text; /* empty: no such file */
};

/* Reads texts in order; a later one's profile replaces an earlier one's of the same name. Only -ENOMEM is an error. */
int config_read(const struct config_text *texts, size_t count, struct config **ret);
struct config *config_free(struct config *); /* always NULL */
/* NULL when there is none. */
const struct profile *config_profile(const struct config *, const char *name);
/* The profile meant when none is named: NULL when there is no such. */
const struct profile *config_default(const struct config *);
/* The paths: "/etc/mltoken/config" and the user's. *ret are malloc'd; the user's is NULL without HOME. */
int config_paths(char **ret_system, char **ret_user);
