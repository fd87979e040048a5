/* Whether an access token is of use to whoever has it (Bearer), or only together with a key: `cnf` in its claims (RFC
 * 7800), by certificate (RFC 8705 section 3.1), by DPoP (RFC 9449 section 6.1) or by another key. Only a JWT can be
 * looked into; of another nothing is known but what the answer says that brought it. The signature does not matter
 * here: a token that lies about itself is refused, or is of no use. Pure. */
#pragma once

#include "span.h"

struct json_object;

enum bound { BOUND_NOT, BOUND_CERTIFICATE, BOUND_DPOP, BOUND_KEY };

enum bound bound_by(struct span access_token);
/* By the `cnf` of an object: claims, or the token's answer itself (RFC 9201 section 3.2). */
enum bound bound_said(struct json_object *);
