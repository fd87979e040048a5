/* Asking the authority what it knows of a token: introspection (RFC 7662) with the client's authentication, else
 * userinfo (OpenID Connect Core section 5.3) with the token itself; a client without a proof of who it is asks the
 * latter first. One machine for every grant whose ops have GRANT_INSPECT. DONE brings what was said, without the token
 * should it be repeated there; {"active": false} stands for a token that userinfo refuses. */
#pragma once

#include "grant/grant.h"

extern const struct grant grant_inspection;
