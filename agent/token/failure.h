/* Why a token could not be had: a value, copied freely, bounded by its arrays. Its texts are cleaned when they are set
 * (text_clean_into), so that an authority's words can be logged and shown as they stand. It never holds a secret.
 * Each kind is one error of org.mltoken.agent. */
#pragma once

#include "limits.h"
#include "span.h"
#include <stdbool.h>
#include <stdint.h>

enum failure_kind {
    FAILURE_NONE = 0,
    FAILURE_NO_SUCH_PROFILE,
    FAILURE_INVALID_CONFIGURATION,
    FAILURE_SECRET_MISSING,
    FAILURE_NOT_SUPPORTED,
    FAILURE_LOGIN_REQUIRED,
    FAILURE_SIGN_IN_FAILED,
    FAILURE_AUTHORITY_REFUSED,
    FAILURE_INVALID_TOKEN,
    FAILURE_AUTHORITY_UNREACHABLE,
    FAILURE_TOKEN_TOO_SHORT,
    FAILURE_STORE_UNAVAILABLE,
    FAILURE_LOCKED,
    FAILURE_DENIED,
    FAILURE_BUSY,
};

/* Whether trying again by itself can help. A definite failure is remembered (LIMIT_REFUSAL_MS); the others back off. */
enum failure_class { CLASS_DEFINITE, CLASS_THROTTLED, CLASS_UNREACHABLE };

struct failure {
    enum failure_kind kind;
    enum failure_class class;
    char
        reason[LIMIT_TEXT]; /* our sentence, or for SIGN_IN_FAILED one of declined, expired, cancelled, other_account */
    char error[LIMIT_CODE]; /* AUTHORITY_REFUSED: the authority's error code */
    char description[LIMIT_TEXT]; /* ... its words */
    char correlation_id[LIMIT_CODE];
    char trace_id[LIMIT_CODE];
    char name[LIMIT_PROFILE_NAME + 1];    /* SECRET_MISSING: which secret */
    char profile[LIMIT_PROFILE_NAME + 1]; /* whose matter it is, when that is a parent of the one asked for; or "" */
    char claims[LIMIT_CHALLENGE + 1]; /* LOGIN_REQUIRED: what the next sign-in is to be asked for, JSON; never logged */
    int64_t retry_after_ms;           /* asked for by the authority; -1: it did not say */
    int64_t retry_at;                 /* AUTHORITY_UNREACHABLE: epoch seconds of the next try; -1 unknown */
    int64_t min_valid_s, expires_at;  /* TOKEN_TOO_SHORT */
    bool inherited;                   /* a parent's, which remembers it itself */
    bool credentials; /* a person's password was refused: sent again and again it would lock the account */
    bool uncertain;   /* a refresh may have reached the authority, its answer is lost */
};

/* Sets kind, class and a reason (printf); the result is cleaned and cut to fit. Every other member is reset. */
void failure_set(struct failure *, enum failure_kind, enum failure_class, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Keeps a copy in *place, which is malloc'd; NULL: none, and *place becomes NULL. Without memory there is none. */
void failure_keep(struct failure **place, const struct failure *);
/* The error's name without its interface, "LoginRequired". */
const char *failure_name(enum failure_kind);
