#include "authority/digest.h"

#include "cleanup.h"
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>

static int add(EVP_MD_CTX *context, struct span part)
{
    uint8_t head[9] = {part.data != NULL};
    for (size_t i = 0; i < 8; i++)
        head[8 - i] = (uint8_t)((uint64_t)part.length >> (8 * i));
    return EVP_DigestUpdate(context, head, sizeof(head)) && EVP_DigestUpdate(context, part.data, part.length);
}

int digest_text(const struct span *parts, size_t count, char ret[static DIGEST_TEXT + 1])
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    int ok = context && EVP_DigestInit_ex(context, EVP_sha256(), NULL);
    for (size_t i = 0; ok && i < count; i++)
        ok = add(context, parts[i]);
    ok = ok && EVP_DigestFinal_ex(context, digest, &length) && length == DIGEST_TEXT / 2;
    EVP_MD_CTX_free(context);
    for (size_t i = 0; ok && i < length; i++)
        (void)snprintf(ret + 2 * i, 3, "%02x", digest[i]);
    return ok ? 0 : -ENOMEM;
}

int digest_bytes(struct span bytes, uint8_t ret[static DIGEST_BYTES])
{
    return EVP_Digest(bytes.data, bytes.length, ret, NULL, EVP_sha256(), NULL) ? 0 : -ENOMEM;
}
