/* Signing a client assertion in a process of the worker's: the private key is read there, decrypted there, used once
 * and gone with it. */
#pragma once

#include "authority/assertion.h"

struct signer {
    const char *key_path;         /* PEM */
    const char *certificate_path; /* PEM; "": none */
    struct assertion assertion;
};

/* As text for the way to the worker. The buffer's error. */
int signer_write(const struct signer *, struct span password, struct buffer *to);
/* In the worker's process: reads that text, writes the assertion, or what is wrong, to `to`. An exit code. */
int signer_run(const char *text, size_t length, int to);
