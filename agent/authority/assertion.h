/* A client assertion (RFC 7523 section 3): a JWT by which a client proves that it holds a private key, for
 * client_auth = private_key_jwt. Pure: keys, time and randomness come in as parameters. */
#pragma once

#include "buffer.h"
#include "limits.h"
#include "span.h"
#include <stdbool.h>
#include <stdint.h>

enum assertion_thumbprint {
    ASSERTION_NO_THUMBPRINT,
    ASSERTION_X5T_S256, /* SHA-256 of the certificate */
    ASSERTION_X5T,      /* SHA-1: what Entra takes with RS256 */
};

struct assertion {
    const char *algorithm; /* RS256, PS256, ES256; "": PS256 or ES256, by the key */
    const char *audience, *client_id;
    const char *key_id; /* "": none */
    const char *jti;
    int64_t issued_at; /* epoch seconds */
    enum assertion_thumbprint thumbprint;
    bool chain; /* the certificates themselves go along, as x5c */
};

#define ASSERTION_LIFE_S 300

/* key and certificate: PEM; the certificate's may be empty, and may hold its issuers behind it. password: of the key,
 * may be empty. Appends the JWT: 0; or -EINVAL, -ENOMEM with `problem` set, which never repeats what is secret. */
int assertion_make(const struct assertion *, struct span key, struct span certificate, struct span password,
                   struct buffer *to, char problem[static LIMIT_TEXT]);
