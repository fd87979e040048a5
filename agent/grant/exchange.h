/* One exchange after another with an authority's endpoints by an authenticated client: the sub-machine that every grant
 * is made of. It asks for METADATA when an endpoint is not configured, for the client's SECRET when there is one, then
 * for HTTP; the caller reads that answer. Like a grant it has no I/O.
 *
 * Where an endpoint comes from: the profile's own key; for Entra v1, whose metadata describe another issuer and name no
 * device endpoint, the authority's address with the fixed paths of WIRE section 2; else the metadata; for Entra v2 the
 * fixed path again where the metadata are silent. Machine Learning Server (WIRE section 3) has no metadata, fixed
 * paths, no clients, and bodies in JSON: there ENDPOINT_TOKEN renews, and ENDPOINT_LOGIN takes a password.
 *
 * How the client proves itself: as configured; else with a client_secret in the body for Entra and where the metadata
 * offer nothing but that, by client_secret_basic elsewhere; else with a key by private_key_jwt (RFC 7523), a new
 * assertion for each request, meant for the address that it is sent to unless the profile says otherwise; else not at
 * all (the body names client_id). By its certificate (RFC 8705) when the profile says so: the PAIR is asked for before
 * each request, so that one that was replaced on disk is used at once, and the address is the metadata's alias for it.
 *
 * Owner: the grant's state. Secrets stay in the arena until exchange_close(); bodies are wiped once answered. */
#pragma once

#include "authority/answer.h"
#include "authority/endpoint.h"
#include "buffer.h"
#include "grant/grant.h"

struct exchange {
    const struct profile *profile;
    char *addresses[ENDPOINT_COUNT]; /* NULL: not known */
    bool resolved;                   /* the metadata have been asked, or there are none */
    enum client_auth auth;
    struct secret *client_secret, *key_password;
    bool signed_already; /* the body has its assertion */
    bool paired;         /* the runner has the key pair for it */
    bool offline;        /* scope asks for a refresh token too, whatever was asked for */
    const char *secret;  /* the key of the one that was asked for last */
    enum endpoint endpoint;
    enum step_kind waiting; /* the step whose answer comes next */
    struct buffer body, authorization;
    bool absent; /* the step before was FAIL because the authority has no such endpoint */
    /* of the metadata, once they have been asked */
    char *issuer;
    bool issuer_is_template, names_itself, requires_push, no_account_choice;
    struct failure *misplaced; /* why there is no ENDPOINT_AUTHORIZATION, or NULL */
};

int exchange_open(struct exchange *, const struct profile *); /* 0 or -ENOMEM */
void exchange_close(struct exchange *);                       /* wipes; may be called twice */

/* Begins a request; the caller then adds its parameters to exchange->body (form_text; exchange_member where the dialect
 * has JSON) and calls exchange_step(). */
void exchange_begin(struct exchange *, enum endpoint);
int exchange_member(struct exchange *, const char *name, struct span value);
/* Adds what the token is for: scope, resource, audience, claims, or what the dialect has in their place. Without
 * `scopes` only the latter three. */
int exchange_target(struct exchange *, const struct request *, bool scopes);
/* The next step of the request begun: METADATA, SECRET, SIGN, PAIR, HTTP or FAIL. */
int exchange_step(struct exchange *, struct step *ret);
/* The answer to that step. *ret_answered true: it was HTTP's, and the caller reads it; else *ret is the next step. */
int exchange_next(struct exchange *, const struct answer *, struct step *ret, bool *ret_answered);

/* For what is not sent from here: 1 when the address of the endpoint that was begun is known, 0 with *ret METADATA or
 * FAIL. exchange_found() takes the answer of the former. */
int exchange_find(struct exchange *, struct step *ret);
int exchange_found(struct exchange *, const struct answer *, struct step *ret);

/* FAIL with what the runner said of a step that failed, or with our words where it said nothing. */
int step_fail_answer(struct step *ret, const struct answer *, enum failure_kind, const char *words);
int step_fail(struct step *ret, const struct failure *);

/* Whether it has what a client assertion is made of, or one that is made elsewhere. */
bool exchange_can_assert(const struct profile *);
bool profile_is_entra(const struct profile *);
bool profile_is_mlserver(const struct profile *);
bool profile_is_b2c(const struct profile *);
/* What the request asks for; never NULL. */
const struct request *input_request(const struct input *);
/* Whether everything that was asked for was granted: an authority may grant less and only say so in `scope` (RFC 6749
 * section 3.3), and a token without the scope of an API must not be handed out for one that has it. The scopes of
 * OpenID Connect itself do not count, nor does anything of Entra's, which refuses by itself and answers in other
 * spellings. */
bool scopes_granted(const struct profile *, char *const *asked, const char *granted, struct failure *why);
/* Whether asking for `asked` is asking for just what a sign-in was granted: then scope is left out (RFC 6749 section
 * 6), since authorities refuse even those that they dropped from the grant themselves. */
bool scopes_same(char *const *asked, const char *granted);
/* Puts when the refresh token ends beside it, as its authority said. */
void credential_note_life(struct credential *, const struct tokens *, const struct tick *);
/* When it was the scope that was refused: says which. */
void failure_name_scope(struct failure *, const struct request *, const struct profile *);
/* What is wrong with a profile for any grant that is made of exchanges, or NULL. */
const char *exchange_check(const struct profile *);
