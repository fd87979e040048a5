/* A token's claims for people: one a line, times explained. */
#pragma once

#include "buffer.h"
#include "json.h"

void claims_append(struct buffer *, json_object *claims);
