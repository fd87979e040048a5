/* A sign-in that was made elsewhere (the PAM module's), brought here. It is trusted no further than one of our own: its
 * issuer is compared with the metadata's byte for byte, its id_token is verified (an unsigned one never is, also not
 * where Entra v1 sends such), and the issuer that was verified must be the very one that was named. That it is for this
 * profile's client is part of that, and was checked before; whose it may be is the runner's to say at VERIFY. */
#pragma once

#include "grant/exchange.h"

/* What was brought. Owned. */
struct parcel {
    char *issuer;
    char *scope; /* as granted, joined by spaces */
    char *id_token;
    char *access_token;           /* NULL: none that this profile could serve */
    struct secret *refresh_token; /* NULL: none */
    int64_t expires_at;           /* of the access token, epoch seconds; -1: not known */
};
struct parcel *parcel_free(struct parcel *); /* wipes; always NULL */

extern const struct grant grant_importing;
