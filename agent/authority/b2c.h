/* Addresses of Azure AD B2C and Entra External ID (WIRE section 8). B2C has the user flow ("policy") in its path:
 * /TENANT/POLICY or /tfp/TENANT/POLICY, with /v2.0 and a slash behind or without; External ID has /TENANT alone. A
 * tenant is a name or an id. Pure. */
#pragma once

#include "authority/url.h"

struct b2c_place {
    struct span tenant, policy; /* policy empty: none */
    bool tfp;
};

bool b2c_is_host(const struct url *);     /* *.b2clogin.com, *.ciamlogin.com */
bool b2c_is_external(const struct url *); /* the latter */
bool b2c_read_path(struct span path, struct b2c_place *ret);
bool b2c_is_policy(const char *name); /* whether it may be a user flow's */
/* Whether both are issuers of one tenant at one place, whatever user flow they are of. */
bool b2c_same_tenant(const char *issuer, const char *other);
/* Whether `issuer` is one that the authority's own document may name: B2C names the tenant by its id, may write the
 * policy in small letters or leave it out, and begins with /tfp by a setting; External ID is on a host named by that
 * id. All else must agree. */
bool b2c_is_issuer(const struct url *authority, const struct url *issuer);
