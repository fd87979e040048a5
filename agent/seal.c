#include "seal.h"

#include "cleanup.h"
#include "limits.h"
#include <errno.h>
#include <sodium.h>

_Static_assert(SEAL_SALT == crypto_pwhash_SALTBYTES && SEAL_SEED == crypto_box_SEEDBYTES, "libsodium's sizes");
_Static_assert(SEAL_BATCH == SEAL_KEY + crypto_box_SEALBYTES, "libsodium's sizes");
_Static_assert(SEAL_KEY == crypto_box_PUBLICKEYBYTES, "libsodium's sizes");
_Static_assert(SEAL_KEY == crypto_box_SECRETKEYBYTES, "libsodium's sizes");
_Static_assert(SEAL_KEY == crypto_aead_xchacha20poly1305_ietf_KEYBYTES, "libsodium's sizes");

enum {
    NONCE = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES,
    TAG = crypto_aead_xchacha20poly1305_ietf_ABYTES,
};

struct box {
    uint8_t batch[SEAL_BATCH];
    uint8_t nonce[NONCE];
    size_t length; /* of what is sealed */
    uint8_t bytes[];
};

/* ---- from a passphrase ---- */

int seal_new_salt(struct seal *seal)
{
    if (sodium_init() < 0)
        return -EIO;
    *seal = (struct seal){.passes = crypto_pwhash_OPSLIMIT_MODERATE, .memory = crypto_pwhash_MEMLIMIT_MODERATE};
    randombytes_buf(seal->salt, sizeof(seal->salt));
    return 0;
}

void seal_parameters(const struct seal *seal, uint8_t ret[SEAL_PARAMETERS])
{
    memcpy(ret, &seal->passes, sizeof(seal->passes));
    memcpy(ret + 8, &seal->memory, sizeof(seal->memory));
    memcpy(ret + 16, seal->salt, SEAL_SALT);
}

int seal_derive(const uint8_t parameters[SEAL_PARAMETERS], struct span passphrase, uint8_t ret_seed[SEAL_SEED])
{
    uint64_t passes, memory;
    memcpy(&passes, parameters, sizeof(passes));
    memcpy(&memory, parameters + 8, sizeof(memory));
    if (sodium_init() < 0 || passphrase.length > LIMIT_PASSPHRASE)
        return -EINVAL;
    if (crypto_pwhash(ret_seed, SEAL_SEED, passphrase.data, passphrase.length, parameters + 16, passes, (size_t)memory,
                      crypto_pwhash_ALG_ARGON2ID13) < 0)
        return errno == EINVAL ? -EINVAL : -ENOMEM;
    return 0;
}

static int make_pair(struct span seed, uint8_t public[SEAL_KEY], uint8_t secret[SEAL_KEY])
{
    if (seed.length != SEAL_SEED || sodium_init() < 0)
        return -EINVAL;
    return crypto_box_seed_keypair(public, secret, (const uint8_t *)seed.data) < 0 ? -EINVAL : 0;
}

int seal_from_seed(struct seal *seal, struct span seed)
{
    uint8_t secret[SEAL_KEY];
    int r = make_pair(seed, seal->public, secret);
    explicit_bzero(secret, sizeof(secret));
    return r;
}

bool seal_unlock(const struct seal *seal, struct span seed, struct seal_key *ret)
{
    struct seal_key key = {0};
    bool same = make_pair(seed, key.public, key.secret) == 0 && sodium_memcmp(key.public, seal->public, SEAL_KEY) == 0;
    if (same)
        *ret = key;
    explicit_bzero(&key, sizeof(key));
    return same;
}

void seal_key_wipe(struct seal_key *key)
{
    explicit_bzero(key, sizeof(*key));
}

/* ---- boxes ---- */

int seal_batch_begin(struct seal *seal)
{
    randombytes_buf(seal->batch.key, sizeof(seal->batch.key));
    seal->batch.open = crypto_box_seal(seal->batch.sealed, seal->batch.key, SEAL_KEY, seal->public) == 0;
    if (seal->batch.open)
        return 0;
    seal_batch_end(seal);
    return -EIO;
}

void seal_batch_end(struct seal *seal)
{
    explicit_bzero(&seal->batch, sizeof(seal->batch));
}

static void encrypt(const struct seal *seal, struct box *box, struct span first, struct span second)
{
    memcpy(box->batch, seal->batch.sealed, SEAL_BATCH);
    randombytes_buf(box->nonce, NONCE);
    if (first.length > 0)
        memcpy(box->bytes, first.data, first.length);
    if (second.length > 0)
        memcpy(box->bytes + first.length, second.data, second.length);
    (void)crypto_aead_xchacha20poly1305_ietf_encrypt(box->bytes, NULL, box->bytes, box->length, NULL, 0, NULL,
                                                     box->nonce, seal->batch.key);
}

int seal_close(struct seal *seal, struct span first, struct span second, struct box **ret)
{
    bool alone = !seal->batch.open;
    struct box *box = malloc(sizeof(*box) + first.length + second.length + TAG);
    if (!box)
        return -ENOMEM;
    if (alone && seal_batch_begin(seal) < 0) {
        free(box);
        return -EIO;
    }
    box->length = first.length + second.length;
    encrypt(seal, box, first, second);
    if (alone)
        seal_batch_end(seal);
    *ret = box;
    return 0;
}

int seal_close_secret(struct seal *seal, const struct secret *secret, struct box **ret)
{
    return seal_close(seal, secret_span(secret), (struct span){0}, ret);
}

static int open_batch(struct seal_key *key, const struct box *box)
{
    if (key->has_batch && memcmp(key->sealed, box->batch, SEAL_BATCH) == 0)
        return 0;
    key->has_batch = crypto_box_seal_open(key->batch, box->batch, SEAL_BATCH, key->public, key->secret) == 0;
    memcpy(key->sealed, box->batch, SEAL_BATCH);
    return key->has_batch ? 0 : -EBADMSG;
}

int seal_open(struct seal_key *key, const struct box *box, char **ret, size_t *ret_length)
{
    int r = open_batch(key, box);
    char *plain = r == 0 ? malloc(box->length + 1) : NULL;
    if (!plain)
        return r < 0 ? r : -ENOMEM;
    if (crypto_aead_xchacha20poly1305_ietf_decrypt((uint8_t *)plain, NULL, NULL, box->bytes, box->length + TAG, NULL, 0,
                                                   box->nonce, key->batch) < 0) {
        free(plain);
        return -EBADMSG;
    }
    plain[box->length] = '\0';
    *ret = plain;
    *ret_length = box->length;
    return 0;
}

int seal_open_secret(struct seal_key *key, const struct box *box, struct secret **ret)
{
    char *plain;
    size_t length;
    int r = seal_open(key, box, &plain, &length);
    if (r < 0)
        return r;
    r = secret_new(plain, length, ret);
    explicit_bzero(plain, length);
    free(plain);
    return r;
}

struct box *box_free(struct box *box)
{
    free(box);
    return NULL;
}
