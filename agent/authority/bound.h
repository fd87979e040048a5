/* Whether an access token is of use to whoever has it (Bearer), or only together with a key: `cnf` in its claims (RFC
 * 7800), by certificate (RFC 8705 section 3.1) or by DPoP (RFC 9449 section 6.1). Only a JWT can be looked into; of
 * another nothing is known. The signature does not matter here: a token that lies about itself is refused, or is of no
 * use. Pure. */
#pragma once

#include "span.h"

enum bound { BOUND_NOT, BOUND_CERTIFICATE, BOUND_DPOP };

enum bound bound_by(struct span access_token);
