/* The one interface that everything turns on: a grant is a state machine without I/O. It has no sockets, no clock and
 * no randomness of its own: start() and next() are told the time, and say which step they want taken; whoever runs the
 * machine (agent/acquire in the agent, the sign-in helper of PAM, a unit test with a list of answers) takes it and
 * comes back with the answer.
 *
 * Ownership: what a step points to belongs to the machine and lives until its next call; what an answer points to
 * belongs to the runner and lives during the call. end() may come at any step (that is cancelling) and wipes
 * everything. Promise of the runner: SAVE is durable before next() is called; DONE and FAIL are the last steps; one
 * call at a time. A new grant is one file here, one line in grant.c, its keys in mltoken.conf(5), its cases in tests/.
 */
#pragma once

#include "authority/endpoint.h"
#include "authority/traffic.h"
#include "span.h"
#include "token/failure.h"
#include "token/profile.h"
#include "token/request.h"
#include "token/tokens.h"

struct json_object;
struct metadata;
struct parcel;

enum grant_op {
    GRANT_ACQUIRE = 1,
    GRANT_LOGIN = 2,
    GRANT_REVOKE = 4,
    GRANT_ROTATE = 8,
    GRANT_INSPECT = 16,
    GRANT_IMPORT = 32, /* of the conductor, for every grant with a LOGIN (grant/importing.h) */
    GRANT_SETTLE = 64, /* no machine: a sign-in in memory goes to its store (acquire/lodging.h) */
};

enum step_kind {
    STEP_METADATA, /* the authority's metadata -> answer.metadata; a profile that names every endpoint never asks */
    STEP_HTTP,     /* one exchange -> answer.status, headers, body */
    STEP_WAIT,     /* some time -> nothing */
    STEP_PROMPT,   /* shows a person something and goes on at once -> nothing */
    STEP_SECRET,   /* a secret of the profile, by key name ("client_secret") -> answer.body */
    STEP_SIGN,     /* a client assertion for an audience: signed here, or read from its file -> answer.body */
    STEP_READ,     /* a file that the platform, and no person, put there -> answer.body */
    STEP_PAIR,     /* the client's key and certificate, read anew, for the TLS of the next HTTP alone -> nothing */
    STEP_ASK,      /* LOGIN: what a person types for the prompt -> answer.body */
    STEP_LISTEN,   /* LOGIN: a place on this host for a browser to come back to -> answer.body, its redirect_uri */
    STEP_BROWSE,   /* LOGIN: a person's browser goes to the address and comes back there -> answer.body, the query that
                      it brought, or what a person typed in its place; -ETIMEDOUT: nobody came */
    STEP_VERIFY,   /* checks an id_token's signature and claims -> answer.identity */
    STEP_FILE,     /* a token that is kept in a file, read anew -> answer.body */
    STEP_PARENT,   /* the token of the profile that `parent` names -> answer.body, person */
    STEP_SAVE,     /* keeps the credential -> nothing; durable when answered */
    STEP_RECALL,   /* what a NOTE kept -> answer.body, empty when nothing was */
    STEP_NOTE,     /* keeps a note beside the profile -> nothing; durable when answered */
    STEP_DONE,
    STEP_FAIL,
};

struct prompt_step {
    const char *secret;                    /* ASK: the name of what is asked for, "password"; the rest is then NULL */
    bool browser;                          /* BROWSE: it must be this host's; the complete address is for others */
    const char *verification_uri;          /* shown: already checked to be https (or a loopback authority's own) */
    const char *verification_uri_complete; /* NULL */
    const char *user_code;
    const char *message;        /* the authority's own sentence, NULL */
    const char *authority_host; /* set when the address is on another host that nobody announced */
    int64_t expires_at;         /* epoch seconds */
    int64_t interval_s;
};

/* A regular file, reached by no symbolic link. Whom it belongs to does not matter. */
struct read_step {
    const char *path;
    size_t maximum; /* bytes; 0: only whether it is there, and answer.body is empty */
};

struct verify_step {
    const char *id_token;
    const char *nonce; /* NULL: none was sent */
};

struct listen_step {
    int port;       /* 0: any */
    bool localhost; /* that name, in place of 127.0.0.1 */
};

struct browse_step {
    const char *address; /* checked like verification_uri */
    const char *state;   /* what comes back without it is not taken */
    int64_t wait_ms, expires_at;
};

struct file_step {
    const char *path, *key; /* the key that names it, for messages */
};

struct parent_step {
    bool refresh; /* a new one, whatever there is: the last one was refused */
};

struct sign_step {
    const char *audience;
    struct span key_password; /* data NULL: none */
};

/* ROTATE: which of two slots is served must outlive the agent, and not wait for anything else. */
struct note_step {
    const char *text;
    const struct tokens *tokens; /* once it is kept, these are what the profile serves; NULL: what it served before */
};

struct step {
    enum step_kind kind;
    bool pending; /* WAIT: for a person, as the authority has just said */
    union {
        struct http_step http;
        int64_t wait_ms;
        struct prompt_step prompt;
        const char *secret; /* SECRET; ASK: it is the prompt's */
        struct read_step read;
        struct listen_step listen;
        struct browse_step browse;
        struct verify_step verify;
        struct sign_step sign;
        struct note_step note;
        bool quiet;               /* RECALL: nobody is asked to unlock the store for it */
        struct span key_password; /* PAIR; data NULL: none */
        struct file_step file;
        struct parent_step parent;
        const struct credential *save;
        struct {
            struct tokens *tokens; /* the runner may take the strings (TAKE_PTR); NULL after REVOKE and ROTATE; its life
                                      is known */
            bool revoked;          /* REVOKE: the authority confirmed it */
            const char *slot;      /* ROTATE: the one that is served now */
            struct json_object *claims; /* INSPECT: what the authority said */
        } done;
        struct failure fail;
    };
};

/* What a variable of the agent's environment held when it started; data NULL: nobody looked for it. It may be a secret,
 * and lives until the agent is locked: to be used at once. */
typedef struct span environment_fn(const char *name);

struct input {
    const struct profile *profile;
    const struct request *asked;
    const struct credential *held; /* NULL: nobody is signed in */
    environment_fn *environment;   /* NULL: there is none */
    const char *token;             /* INSPECT: the access token in question */
    bool switch_account;           /* LOGIN: it may be another person than the one who is remembered */
    const struct parcel *parcel;   /* IMPORT: what was brought */
};

/* A key that only this grant knows. */
struct key {
    const char *name;
    bool required;
    /* Checks a value; NULL: any. Returns what is wrong with it, or NULL. */
    const char *(*check)(const char *value);
};

struct grant {
    const char *name;
    enum endpoint begins;        /* without which it cannot begin, beside the token endpoint */
    unsigned ops;                /* which of enum grant_op it can */
    const char *warning;         /* what doctor says of it wherever it is used, behind its name; NULL */
    bool local;                  /* it asks services of this very host: http to link-local literals too, no proxy */
    enum dialect dialect;        /* the one that it speaks and nobody else; DIALECT_AUTO: its authority's */
    bool bare;                   /* its authority is asked for nothing but what the grant knows: it has no metadata */
    const char *header;          /* template where the profile has none; NULL: Authorization: Bearer {token} */
    size_t state_size;           /* zeroed before start() */
    const char *const *required; /* common keys that must be set, NULL-terminated */
    const struct key *keys;      /* own keys, ended by a NULL name; may be NULL */
    /* What is wrong with a profile as a whole ("needs token_endpoint or authority"), or NULL. May be NULL. */
    const char *(*check)(const struct profile *);
    /* When what a profile serves ends and a person must see to it, by its settings alone: epoch seconds, or 0. May be
     * NULL. */
    int64_t (*ends_at)(const struct profile *);
    /* Both return 0 and a step, or a negative errno that the runner reports as an internal failure. The input lives
     * until end(). */
    int (*start)(void *state, enum grant_op, const struct input *, const struct tick *, struct step *ret);
    int (*next)(void *state, const struct answer *, const struct tick *, struct step *ret);
    void (*end)(void *state);
};

extern const struct grant grant_authorization_code, grant_azure_key, grant_azureml_key, grant_azureml_token,
    grant_client_credentials, grant_device_code, grant_jwt_bearer, grant_managed_identity, grant_mlserver,
    grant_on_behalf_of, grant_password, grant_static, grant_token_exchange;

static inline enum endpoint profile_begins(const struct profile *profile)
{
    return profile->grant ? profile->grant->begins : ENDPOINT_TOKEN;
}

const struct grant *grant_find(const char *name);  /* NULL when there is none */
const struct grant *grant_speaking(enum dialect);  /* the one whose own dialect it is, or NULL */
const char *const *grant_names(size_t *ret_count); /* for messages */
