/* What a client asked for, and the key under which the answer is cached: (profile, sorted scopes, resource, audience,
 * claims). Members that were not given take the profile's; so "get P" and "get P --scope <the profile's>" share a
 * token. */
#pragma once

#include "span.h"
#include "token/profile.h"

struct request {
    char **scopes; /* sorted, unique, NULL-terminated; NULL: the profile's */
    char *resource, *audience, *claims;
    int64_t min_valid_s; /* asked for in this call; -1: the profile's */
    bool refresh;        /* fetch a new one now */
};

void request_clear(struct request *); /* frees; leaves a request for nothing in particular (min_valid_s = -1) */
int request_copy(const struct request *from, struct request *ret); /* -ENOMEM */
/* What counts: the request's own, else the profile's. May be NULL; so may the request. */
char *const *request_scopes(const struct request *, const struct profile *);
const char *request_resource(const struct request *, const struct profile *);
const char *request_audience(const struct request *, const struct profile *);
/* Sorts a list and frees repeats, in place: list and members are malloc'd. NULL is left alone. */
void scopes_normalise(char **scopes);
/* Sorts a list and moves repeats behind the rest: how many remain. The members may belong to anybody. */
size_t scopes_sort(char **scopes);
/* Of the characters that RFC 6749 section 3.3 allows, and at least one. */
bool scope_valid(struct span scope);
/* Splits text at spaces into such a list ("" gives an empty one, not NULL): -EINVAL for a character that RFC 6749
 * section 3.3 does not allow, -E2BIG beyond LIMIT_SCOPES or LIMIT_SCOPE, -ENOMEM. */
int scopes_parse(const char *text, char ***ret);
char **scopes_free(char **); /* always NULL */
/* The scopes joined by one space; malloc'd; "" for none. */
char *scopes_join(char *const *scopes);
