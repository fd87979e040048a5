/* What needs a client's private key, in a process of the worker's: it is read there and decrypted there. Signing a
 * client assertion uses it once, and it is gone with the process; for TLS (RFC 8705) the agent's own OpenSSL must have
 * it during the handshake, so there the pair itself is handed over, checked. */
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

/* The same for a key pair; both paths are set, and may be the same. signer_run_pair() writes key_pair_write()'s bytes.
 */
int signer_write_pair(const char *key_path, const char *certificate_path, struct span password, struct buffer *to);
int signer_run_pair(const char *text, size_t length, int to);
