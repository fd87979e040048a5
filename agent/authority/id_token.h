/* What a verified JWT says, held against what we expect: id_tokens of OpenID Connect (Core, section 3.1.3.7) and access
 * tokens that are JWTs (RFC 9068). Signature first, then claim by claim, each with an error of its own. Pure: the time
 * is a parameter. Strings are compared by length and byte; NUL and control characters in anything compared or handed
 * out are refused. */
#pragma once

#include "jws.h"
#include "limits.h"
#include <stdint.h>

enum id_token_error {
    ID_TOKEN_OK = 0,
    ID_TOKEN_MALFORMED, /* the first six are those of jws.h */
    ID_TOKEN_ALGORITHM,
    ID_TOKEN_HEADER,
    ID_TOKEN_NO_KEY,
    ID_TOKEN_SIGNATURE,
    ID_TOKEN_NO_MEMORY,
    ID_TOKEN_RULES, /* the caller gave no issuer or no audience: nothing is verified without them */
    ID_TOKEN_TYPE,  /* "typ" says that it is a JWT of another kind, such as at+jwt */
    ID_TOKEN_ISSUER,
    ID_TOKEN_TENANT,     /* {tenantid} is expected, and tid is not a GUID */
    ID_TOKEN_KEY_ISSUER, /* the key that signed it is another issuer's (Entra ID writes that into its keys) */
    ID_TOKEN_AUDIENCE,
    ID_TOKEN_PARTY,     /* azp is not we, or is missing beside several audiences */
    ID_TOKEN_NO_EXPIRY, /* exp, nbf and iat must be numbers between 0 and the year 9999; exp must be there */
    ID_TOKEN_EXPIRED,
    ID_TOKEN_NOT_BEFORE,
    ID_TOKEN_NOT_BEFORE_ODD,
    ID_TOKEN_ISSUED, /* in the future */
    ID_TOKEN_ISSUED_ODD,
    ID_TOKEN_NONCE,
    ID_TOKEN_POLICY,  /* B2C says that it is of another user flow, or, where one was chosen, does not say of which */
    ID_TOKEN_SUBJECT, /* sub is missing, empty, longer than 255 bytes or not clean */
};

/* What to expect. Borrowed for the call. */
struct id_token_rules {
    const char *issuer;   /* byte for byte. May hold "{tenantid}" when `microsoft` is set */
    const char *audience; /* our client id for an id_token; the service for a bearer token */
    const char *nonce;    /* NULL: none was sent, none is compared */
    const char *policy;   /* the user flow of Azure AD B2C; NULL: there are none */
    bool policy_chosen;   /* a person chose it: the token must say so */
    bool microsoft;       /* the authority is on Microsoft's own hosts: Entra's {tenantid} and its keys' issuers mean
                             something */
    int64_t now_s;        /* epoch */
    int64_t leeway_s;     /* for both clocks; held to 0..LIMIT_LEEWAY_S */
};

/* A verified token. The claims belong to it (TAKE_PTR them to keep them); the texts are inside the claims. */
struct id_token {
    json_object *claims;
    const char *issuer;
    const char *subject; /* never NULL for an id_token; NULL when a bearer token has none */
    const char *account; /* a name to show, only ever to show; NULL when no claim has a clean one */
    int64_t expires_s;   /* epoch */
};

/* Why a token was refused. The texts are raw, cut at LIMIT_CLAIM_SHOWN bytes, and may hold anything. */
struct id_token_failure {
    enum id_token_error error;
    struct span got, expected;
    int64_t seconds; /* for the times: how far off, > 0; leeway not deducted */
    char got_bytes[LIMIT_CLAIM_SHOWN], expected_bytes[LIMIT_CLAIM_SHOWN];
};

/* Verify an id_token, or a JWT that was made for a service (no azp, no nonce, no user flow unless a person chose it,
 * and sub may be absent). *ret is written
 * on ID_TOKEN_OK only, *ret_why (may be NULL; not to be copied: it points into itself) otherwise. */
enum id_token_error id_token_verify(struct span token, const struct jwks *, const struct id_token_rules *,
                                    struct id_token *ret, struct id_token_failure *ret_why);
enum id_token_error id_token_verify_bearer(struct span token, const struct jwks *, const struct id_token_rules *,
                                           struct id_token *ret, struct id_token_failure *ret_why);
void id_token_done(struct id_token *);

/* One line about it, cleaned and terminated: "the id_token's issuer is X, expected Y". `what` names the token. */
void id_token_explain(const struct id_token_failure *, const char *what, char *to, size_t size);

/* The name to show for claims: preferred_username, upn, email, unique_name, name or sub, the first that is there and
 * holds nothing that steers a terminal or reorders text; or NULL. It belongs to the claims. */
const char *id_token_account(json_object *claims);
