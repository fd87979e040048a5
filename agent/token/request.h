/* What a client asked for, and the key under which the answer is cached: (profile, sorted scopes, resource, audience,
 * claims). Members that were not given take the profile's; so "get P" and "get P --scope <the profile's>" share a token. */
#pragma once

#include "token/profile.h"

struct request {
    char **scopes; /* sorted, unique, NULL-terminated; NULL: the profile's */
    char *resource, *audience, *claims;
    int64_t min_valid_s; /* asked for in this call; -1: the profile's */
    bool refresh;        /* fetch a new one now */
};

void request_clear(struct request *);
int request_copy(const struct request *from, struct request *ret);
/* What counts: the request's own, else the profile's. May be NULL. */
char *const *request_scopes(const struct request *, const struct profile *);
const char *request_resource(const struct request *, const struct profile *);
const char *request_audience(const struct request *, const struct profile *);
/* Sorts a list and drops repeats, in place. */
void scopes_normalise(char **scopes);
/* Splits text at spaces into such a list: -EINVAL for a character RFC 6749 section 3.3 does not allow, -E2BIG, -ENOMEM. */
int scopes_parse(const char *text, char ***ret);
char **scopes_free(char **); /* always NULL */
/* The scopes joined by one space; malloc'd; "" for none. */
char *scopes_join(char *const *scopes);
