/* What the doctor says of a managed identity: where it would be asked for, by the environment as it is here. */
#pragma once

#include "buffer.h"
#include "token/profile.h"

/* Puts a sentence into `words`, and the address that is asked into *ret_address (malloc'd; NULL: none). False: it
 * cannot work. */
bool doctor_identity(const struct profile *, struct buffer *words, char **ret_address);
