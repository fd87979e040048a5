/* A client's private key and its certificate: read from what stands in files, taken from one process to another, and
 * shown in TLS. Whoever has one clears it; OpenSSL's memory is wiped when it is given back. Pure. */
#pragma once

#include "buffer.h"
#include "limits.h"
#include "span.h"
#include <openssl/types.h>
#include <stdint.h>

enum { KEY_PAIR_CERTIFICATES = 8 };

struct key_pair {
    EVP_PKEY *key;
    X509 *certificates[KEY_PAIR_CERTIFICATES]; /* the client's own, and its issuers */
    size_t count;                              /* 0: there is a key alone */
};

/* key and certificate: PEM; the certificate's may be empty, and may hold its issuers behind it. password: of the key,
 * may be empty. 0; or -EINVAL with `problem` set, which never repeats what is secret: not PEM, the wrong password, a
 * certificate of another key, one that has ended or has not begun. `ret` is for key_pair_clear() in any case. */
int key_pair_read(struct span key, struct span certificate, struct span password, struct key_pair *ret,
                  char problem[static LIMIT_TEXT]);
void key_pair_clear(struct key_pair *);
/* The end of the certificate: epoch seconds; -1 when there is none. */
int64_t key_pair_ends_at(const struct key_pair *);

/* As bytes, the key not encrypted: equal bytes are equal pairs. 0 or -ENOMEM. */
int key_pair_write(const struct key_pair *, struct buffer *to);
/* From those bytes. -EINVAL: there is no pair in them; `ret` is for key_pair_clear() in any case. */
int key_pair_parse(struct span, struct key_pair *ret);
