/* A profile: who, from which authority, for what. Read from the configuration, never changed afterwards; a changed
 * configuration makes new ones. Strings are never NULL-and-required: a grant's check has seen what it needs.
 * Every text and list below lives in the profile's own storage (one block for the ordinary profile, so that ten
 * thousand of them are read in milliseconds), and ends with it. */
#pragma once

#include "limits.h"
#include "span.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct grant;
struct profile_block;

enum dialect { DIALECT_AUTO, DIALECT_OIDC, DIALECT_ENTRA, DIALECT_ENTRA_V1, DIALECT_MLSERVER, DIALECT_B2C };
enum client_auth {
    CLIENT_AUTH_DEFAULT,
    CLIENT_AUTH_NONE,
    CLIENT_AUTH_BASIC,
    CLIENT_AUTH_POST,
    CLIENT_AUTH_PRIVATE_KEY_JWT,
    CLIENT_AUTH_TLS /* by its certificate, whoever issued it: RFC 8705 sections 2.1 and 2.2 */
};

/* Where a secret is, never the secret itself. */
enum source_kind { SOURCE_NONE, SOURCE_FILE, SOURCE_ENV, SOURCE_CREDENTIAL, SOURCE_COMMAND, SOURCE_STORED };
struct source {
    enum source_kind kind;
    char *value; /* path, variable, credential name, or the command line as written */
    char **argv; /* SOURCE_COMMAND: its words, NULL at the end */
};

#define REFRESH_AHEAD_DEFAULT (-1)
#define REFRESH_AHEAD_NEVER   (-2)

/* One setting as written, for keys that only one grant knows. */
struct setting {
    char *key;
    char *value;
    int line;
};

struct profile {
    char name[LIMIT_PROFILE_NAME + 1];
    bool confirm;              /* a person is asked at each use */
    bool send_certificate;     /* along with an assertion */
    bool allow_bound;          /* tokens that only who has the client's key can use */
    const struct grant *grant; /* NULL when the profile is invalid */
    char *file;                /* where it was written */
    char *problem;             /* why it cannot be used: "FILE:LINE: KEY: ..."; NULL when it can */
    int line, problem_line;

    char *authority;
    char *token_endpoint, *device_authorization_endpoint, *authorization_endpoint, *revocation_endpoint, *jwks_uri;
    char **endpoint_hosts, **verification_hosts; /* NULL-terminated; NULL when not set */
    enum dialect dialect;                        /* never DIALECT_AUTO after reading: resolved from the authority */
    enum client_auth client_auth;
    char *tenant, *client_id;
    char *policy;         /* B2C's user flow, also where the authority names it; NULL unless the dialect is that one */
    struct profile *base; /* whose copy this is, for a user flow that a person chose; NULL: it is as configured */
    struct source client_secret, password, token, token_secondary, key_password;
    char *username;
    char *parent;                                             /* the profile whose token this one's is made from */
    char *subject_token_file, *actor_token_file;              /* of tokens that others keep, to be traded in */
    char *client_assertion_file;                              /* of an assertion that somebody else makes */
    char *client_certificate, *client_key;                    /* paths; the key may stand in the certificate's file */
    char *assertion_alg, *assertion_audience, *assertion_kid; /* of private_key_jwt */
    char **scopes;                                            /* sorted, unique, NULL-terminated; NULL when not set */
    char *resource, *audience;
    char *header; /* template with one {token} */
    int64_t min_valid_s;
    int64_t refresh_ahead_s; /* or one of the two above */
    char *store;             /* its own or the agent's; NULL: by what is there */
    char *ca_file, *proxy;
    int64_t timeout_ms;
    char **allow; /* the only programs that may have its tokens, NULL-terminated; NULL when not set */

    struct setting *settings; /* keys that the grant alone knows */
    size_t setting_count;
    char *fingerprint; /* every setting as text: equal fingerprints are equal profiles */

    unsigned references; /* it lives until the last one is dropped */
    struct profile_block *storage;
};

/* For the reader of the configuration. `hint`: about how many bytes its texts will need. NULL: no memory. */
struct profile *profile_new(size_t hint);
void *profile_allocate(struct profile *, size_t size); /* zeroed, aligned for anything; NULL: no memory */
char *profile_text(struct profile *, struct span text);
struct profile *profile_ref(struct profile *);
struct profile *profile_free(struct profile *); /* drops one reference; always NULL */
/* Whether not everybody of this user may have its tokens just so. */
static inline bool profile_guarded(const struct profile *profile)
{
    return profile->confirm || profile->allow;
}
/* The value of a key that the grant alone knows, or NULL. */
const char *profile_setting(const struct profile *, const char *key);
