/* What a profile's requests may do: whom they trust, where they may go in plain text. */
#pragma once

#include "authority/http.h"
#include "token/profile.h"

/* The step and the profile must outlive it. */
struct http_request outgoing_request(const struct profile *, const struct http_step *, struct span ca_pem);
