/* The table of the keys that every profile may have (mltoken.conf(5) describes each; a grant's own keys stand beside
 * the grant). One line of the table is one key: its name, its reader, where its value goes. A reader checks a value and
 * puts it into the profile; what it says about a bad one never repeats a value that may be a secret. Pure. */
#pragma once

#include "token/profile.h"

enum { /* keys that the rules across keys speak of; the table is in this order at its start */
       KEY_GRANT,
       KEY_AUTHORITY,
       KEY_TOKEN_ENDPOINT,
       KEY_DEVICE_AUTHORIZATION_ENDPOINT,
       KEY_AUTHORIZATION_ENDPOINT,
       KEY_REVOCATION_ENDPOINT,
       KEY_JWKS_URI,
       KEY_DIALECT,
       KEY_TENANT,
       KEY_POLICY,
       KEY_CLIENT_ID,
       KEY_CLIENT_AUTH,
       KEY_CLIENT_SECRET,
       KEY_USERNAME,
       KEY_PARENT,
       KEY_SUBJECT_TOKEN_FILE,
       KEY_ACTOR_TOKEN_FILE,
       KEY_PASSWORD,
       KEY_TOKEN,
       KEY_TOKEN_SECONDARY,
       KEY_CLIENT_ASSERTION_FILE,
       KEY_CLIENT_CERTIFICATE,
       KEY_CLIENT_KEY,
       KEY_KEY_PASSWORD,
       KEY_ASSERTION_ALG,
       KEY_ASSERTION_AUDIENCE,
       KEY_ASSERTION_KID,
       KEY_SEND_CERTIFICATE,
       KEY_ALLOW_BOUND,
       KEY_ENDPOINT_HOSTS,
       KEY_VERIFICATION_HOSTS,
       KEY_SCOPE,
       KEY_RESOURCE,
       KEY_AUDIENCE,
       KEY_HEADER,
       KEY_MIN_VALID,
       KEY_REFRESH_AHEAD,
       KEY_STORE,
       KEY_CA_FILE,
       KEY_PROXY,
       KEY_TIMEOUT,
       KEY_CONFIRM,
       KEY_ALLOW,
       KEY_COUNT,
};

struct profile_key {
    const char *name;
    size_t offset; /* of the member in struct profile */
    size_t maximum;
    /* 0; -EINVAL and `problem` ("what is wrong; what to do"); -ENOMEM. `value` ends with a NUL in the profile's storage
     * and may be kept or cut up. */
    int (*read)(const struct profile_key *, struct profile *, char *value, char problem[static LIMIT_TEXT]);
};

extern const struct profile_key profile_keys[KEY_COUNT];

/* The key of that name, or -1. */
int key_find(struct span name);
/* Sets `problem` (printf) and returns -EINVAL. */
int key_problem(char problem[static LIMIT_TEXT], const char *format, ...) __attribute__((format(printf, 2, 3)));
#define KEY_STORE_WORDS                                                                                                \
    "is not the name of a store; use keyring, file, memory, or NAME of a program mltoken-store-NAME (lower case)"
/* An absolute path from "/..." or "~/...": 0 and *ret in the profile's storage. */
int key_path(struct profile *, char *value, char **ret, char problem[static LIMIT_TEXT]);
/* The same, malloc'd. */
int key_path_new(const char *value, char **ret, char problem[static LIMIT_TEXT]);
/* A program: a whole path, or a name that is looked for in the agent's PATH. 0 and *ret malloc'd. */
int key_program_new(const char *value, char **ret, char problem[static LIMIT_TEXT]);
/* What the profile's http endpoints may be, once the authority is known: 0, or -EINVAL and the key that is wrong. */
int keys_check_endpoints(const struct profile *, int *ret_key, char problem[static LIMIT_TEXT]);
