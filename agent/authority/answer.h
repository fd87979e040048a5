/* What a token endpoint answered, read by RFC 6749 section 5 and the ways authorities depart from it (WIRE sections 1,
 * 2 and 7): numbers as strings, `error` whatever the status, plain text with 429, HTML with 200. Pure.
 *
 * How answers are classed: `error` in the body first (its AADSTS number where that means "not now"), then 429 and 408
 * and 5xx (come back later), 3xx and a 200 that is not JSON (somebody else answered, such as a captive portal:
 * unreachable), any other 4xx (refused, with the status as code). An exchange that failed below HTTP is RETRY with its
 * own reason. */
#pragma once

#include "authority/traffic.h"
#include "token/profile.h"
#include "token/tokens.h"

/* The protocol's outcome of one exchange with a token, device or revocation endpoint. For those after OK, *why is a
 * failure that can be reported as it stands; PENDING to EXPIRED mean something else to who polls. */
enum outcome {
    OUTCOME_OK,
    OUTCOME_PENDING, /* RFC 8628: authorization_pending */
    OUTCOME_SLOW_DOWN,
    OUTCOME_DECLINED, /* access_denied, authorization_declined */
    OUTCOME_EXPIRED,  /* expired_token, code_expired, bad_verification_code */
    OUTCOME_LOGIN,    /* a person must sign in: invalid_grant and its kin; why is LOGIN_REQUIRED */
    OUTCOME_REFUSED,  /* definite: why is AUTHORITY_REFUSED, class definite */
    OUTCOME_RETRY,    /* throttled or unreachable: why says which and when */
};

/* AUTHORITY_REFUSED has the authority's code and words in `error` and `description`, or ours where it had none; its
 * `reason` is only what we add to them, and often empty. This sets one that is ours. */
void failure_refused(struct failure *, const char *code, const char *sentence);

/* Reads tokens from an answer. For anything but OUTCOME_OK, *why is set (the authority's code, words, correlation and
 * trace ids, Retry-After in both forms) and *ret is untouched. A token with bytes outside 0x21-0x7E or longer than
 * LIMIT_TOKEN, an absent access_token, a token_type other than Bearer, or a token that says it is bound to a key
 * (bound.h; by certificate unless allow_bound) is REFUSED. `user` says whether a person's sign-in stands behind the
 * request (then invalid_grant means LOGIN, and the answer's claims are the failure's).
 *
 * Lifetimes: expires_in (number or string), else expires_on (these, or a date as text) against the wall clock; beyond
 * LIMIT_LIFETIME_S is cut to that; 0 or less is REFUSED (a dead token must not look alive); absent or unreadable is -1,
 * and whoever knows what a wrong guess costs puts a default there before anybody sees it. refresh_in beyond the life is
 * dropped. */
enum outcome answer_tokens(const struct answer *, const struct profile *, bool user, const struct tick *,
                           struct tokens *ret, struct failure *why);

/* The same of a token exchange (RFC 8693 section 2.2.1): issued_token_type must be there, and is put into
 * *ret_issued_type for the caller to free; token_type may be N_A, and is then told so. */
enum outcome answer_exchanged(const struct answer *, const struct profile *, bool user, const struct tick *,
                              struct tokens *ret, char **ret_issued_type, struct failure *why);

/* The refresh token of a success that answer_tokens() refused for something else in it: the authority has rotated, so
 * the one that was sent is used up. 0 and *ret, or -ENOENT, -ENOMEM. */
int answer_refresh_token(const struct answer *, struct secret **ret);

/* The same reading of the error alone, for endpoints with other contents: OUTCOME_OK when there is no error.
 * With ret_json a success must be a JSON object, which is put there for the caller to json_wipe(); with NULL a body is
 * not looked for on success (RFC 7009 has none). */
struct json_object;
enum outcome answer_error(const struct answer *, const struct profile *, bool user, const struct tick *,
                          struct json_object **ret_json, struct failure *why);

/* Retry-After as seconds or as an HTTP date (RFC 9110 section 10.2.3), against the answer's own Date where there is
 * one, bounded by LIMIT_RETRY_AFTER_S: milliseconds or -1. */
int64_t answer_retry_after_ms(const struct answer *, const struct tick *);

/* A member that is a number however it was written: as one, with a fraction, as a string. 0, or -ENOENT for absent and
 * unreadable; what is too large to hold is INT64_MAX or INT64_MIN. */
int answer_number(struct json_object *, const char *name, int64_t *ret);
/* What the sender's clock said: epoch seconds or -1. */
int64_t answer_date(const struct answer *);
