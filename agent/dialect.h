/* Which dialect an authority speaks, and its address in that dialect's own form, from what a profile says
 * (mltoken.conf(5), AUTHORITIES OF MICROSOFT ENTRA). Pure. After it, dialect is never DIALECT_AUTO and an Entra
 * authority is the issuer's address: https://HOST/TENANT/v2.0 (entra) or https://HOST/TENANT (entra_v1), however it was
 * written. */
#pragma once

#include "token/profile.h"

/* A copy of a profile of Azure AD B2C for another of its user flows: authority and policy are that one's, and the
 * endpoints come from its metadata. It holds a reference to the profile, which has all else; *ret is NULL where it is
 * the profile's own flow. -EINVAL: there are no user flows, or it is no name of one; `problem` says so. -ENOMEM. */
int dialect_with_policy(struct profile *, const char *policy, struct profile **ret, char problem[static LIMIT_TEXT]);

/* 0; -EINVAL with the key that is wrong and `problem` set; -ENOMEM. */
int dialect_settle(struct profile *, int *ret_key, char problem[static LIMIT_TEXT]);
