/* The profile that a login is decided by: found in the PAM module's file, and fit for it. The configuration is
 * mltoken.conf(5)'s, but for the section [pam], which is the module's. Beyond what holds for any profile: a person
 * signs in by a code, one tenant or issuer answers for who they are, and it signs an id_token. */
#pragma once

#include "config.h"
#include "login/wanted.h"

/* 0: *ret_profile belongs to *ret_config; -EINVAL: `problem` is a line that names file, line and key; -ENOMEM. */
int fitness_find(const struct wanted *, struct config **ret_config, struct profile **ret_profile,
                 char problem[static LIMIT_PROBLEM]);
/* What makes a profile unfit, behind its key: NULL when nothing does. `trial`: an ordinary user tries it out with a
 * file of their own, which decides about nobody's login; then the authority may be http at a loopback address. Pure. */
const char *fitness_problem(const struct profile *, bool trial, const char **ret_key);
