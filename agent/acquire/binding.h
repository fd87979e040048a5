/* What the secrets of a profile are bound to: all that decides who may receive them. One list in two forms, which have
 * to name the same settings; a key that adds a receiver goes into both. */
#pragma once

#include "authority/digest.h"
#include "token/profile.h"

typedef char binding_text[DIGEST_TEXT + 1];

/* For the store: the profile's name, issuer, client id and user, endpoints and hosts as configured, the proxy, and the
 * content of ca_file. 0 or -ENOMEM. */
int binding_of(const struct profile *, struct span ca_pem, binding_text ret);

/* Whether what is held of a profile under one set of settings may be used under the other. ca_file counts by its path;
 * its content is the store's to check. */
bool profile_same_binding(const struct profile *, const struct profile *);
