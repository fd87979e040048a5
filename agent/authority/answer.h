/* What a token endpoint answered, read by RFC 6749 section 5 and the ways authorities depart from it (WIRE sections 1, 2
 * and 7): numbers as strings, `error` whatever the status, plain text with 429, HTML with 200. Pure. */
#pragma once

#include "grant/grant.h"

/* The protocol's outcome of one exchange with a token, device or revocation endpoint. */
enum outcome {
    OUTCOME_OK,
    OUTCOME_PENDING,   /* RFC 8628: authorization_pending */
    OUTCOME_SLOW_DOWN,
    OUTCOME_DECLINED,  /* access_denied, authorization_declined */
    OUTCOME_EXPIRED,   /* expired_token, code_expired */
    OUTCOME_LOGIN,     /* a person must sign in: invalid_grant and its kin; why is LOGIN_REQUIRED */
    OUTCOME_REFUSED,   /* definite: why is AUTHORITY_REFUSED, class definite */
    OUTCOME_RETRY,     /* throttled or unreachable: why says which and when */
};

/* Reads tokens from an answer. For anything but OUTCOME_OK, *why is set (the authority's code, words, correlation and trace
 * ids, Retry-After in both forms) and *ret is untouched. Lifetimes are bounded; a token with bytes outside 0x21-0x7E, an
 * absent access_token or a token_type other than Bearer is REFUSED. `user` says whether a person's sign-in stands
 * behind the request (then invalid_grant means LOGIN). */
enum outcome answer_tokens(const struct answer *, const struct profile *, bool user, const struct tick *, struct tokens *ret,
                           struct failure *why);

/* The same reading of the error alone, for endpoints with other contents: OUTCOME_OK when there is no error.
 * *ret_json (may be NULL) is the parsed body when it was a JSON object; the caller json_wipe()s it. */
struct json_object;
enum outcome answer_error(const struct answer *, const struct profile *, bool user, const struct tick *,
                          struct json_object **ret_json, struct failure *why);

/* Retry-After as seconds or as an HTTP date (RFC 9110 section 10.2.3), bounded by LIMIT_RETRY_AFTER_S: milliseconds or -1. */
int64_t answer_retry_after_ms(const struct answer *, const struct tick *);
