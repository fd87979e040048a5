/* An authority's metadata document (OpenID Connect Discovery 1.0 section 4, RFC 8414), checked: the issuer is the
 * configured authority byte for byte, and every endpoint is where it may be, so that a document can never send a secret
 * elsewhere. Pure: no I/O. */
#pragma once

#include "span.h"
#include "token/failure.h"
#include "token/profile.h"

struct metadata {
    char *issuer; /* with Entra's {tenantid} left in place */
    bool issuer_is_template;
    /* for `show --remote` alone: left out where their hosts may not be named, as Entra's userinfo */
    char *introspection_endpoint, *userinfo_endpoint;
    /* NULL when absent. For a client that shows a certificate in TLS, those of mtls_endpoint_aliases where there are
     * any (RFC 8705 section 5), under the same rules. */
    char *token_endpoint, *device_authorization_endpoint, *revocation_endpoint, *jwks_uri;
    bool basic, post; /* token_endpoint_auth_methods_supported; absent means client_secret_basic */
    /* Of a sign-in with a browser. Where one of the two is not where it may be, it is NULL, and this says why: that is
     * nothing to those who need neither. */
    char *authorization_endpoint, *pushed_authorization_request_endpoint;
    struct failure *misplaced; /* NULL: nothing is */
    bool names_itself;         /* RFC 9207: its redirects say iss */
    bool requires_push;        /* RFC 9126 */
    bool no_account_choice;    /* it names the prompts that it knows, and select_account is none of them */
};

struct metadata *metadata_free(struct metadata *); /* always NULL */

/* The addresses to ask, in order: OpenID discovery (appended), then RFC 8414 (inserted, then appended for servers that
 * do so). Writes at most `size` malloc'd strings and returns how many, or -EINVAL, -ENOMEM. */
int metadata_addresses(const struct profile *, char **ret, size_t size);

/* Reads and checks one document. 0, -ENOMEM, or -EBADMSG with *why set (AuthorityRefused or InvalidConfiguration,
 * naming the member, what it said and the key that would allow it). */
int metadata_parse(const struct profile *, struct span document, struct metadata **ret, struct failure *why);

/* The metadata of a profile that names its endpoints itself, or what the document said with the profile's own endpoints
 * winning. `document` may be NULL. */
int metadata_merge(const struct profile *, const struct metadata *document, struct metadata **ret);
