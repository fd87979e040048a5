/* Which dialect an authority speaks, and its address in that dialect's own form, from what a profile says
 * (mltoken.conf(5), AUTHORITIES OF MICROSOFT ENTRA). Pure. After it, dialect is never DIALECT_AUTO and an Entra
 * authority is the issuer's address: https://HOST/TENANT/v2.0 (entra) or https://HOST/TENANT (entra_v1), however it was
 * written. */
#pragma once

#include "token/profile.h"

/* 0; -EINVAL with the key that is wrong and `problem` set; -ENOMEM. */
int dialect_settle(struct profile *, int *ret_key, char problem[static LIMIT_TEXT]);
