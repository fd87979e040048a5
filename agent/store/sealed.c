#include "store/sealed.h"

#include "cleanup.h"
#include <errno.h>
#include <sodium.h>

static const char magic[] = "MLTKSEAL";
static const char context[crypto_kdf_CONTEXTBYTES + 1] = "mltkfile";

static const char purpose[] = "mltoken-store-file key";

enum {
    FORMAT = 1,
    AT_FORMAT = 8,
    AT_CONTENT = 9,
    AT_KIND = 10,
    AT_ID = 16,
    AT_PASSES = 32,
    AT_MEMORY = 40,
    AT_SALT = 48,
    AT_NONCE = 64,
    AUTHENTICATED = SEALED_HEAD + LIMIT_PROFILE_NAME + 1,
    SUBKEY_SEAL = 1,
    SUBKEY_ID = 2,
    /* what a file may ask of us: a changed head must not take all memory or all day */
    MOST_PASSES = 16,
    LEAST_MEMORY = 8 * 1024 * 1024,
    MOST_MEMORY = 1024 * 1024 * 1024
};

static void put_number(char *to, uint64_t number, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        to[i] = (char)(number >> (8 * i));
}

static uint64_t get_number(const char *from, size_t bytes)
{
    uint64_t number = 0;
    for (size_t i = bytes; i-- > 0;)
        number = number << 8 | (unsigned char)from[i];
    return number;
}

/* ---- keys ---- */

static void derive(struct sealed_key *key, const uint8_t root[crypto_kdf_KEYBYTES])
{
    crypto_kdf_derive_from_key(key->secret, SEALED_SECRET, SUBKEY_SEAL, context, root);
    crypto_kdf_derive_from_key(key->id, SEALED_ID, SUBKEY_ID, context, root);
}

void sealed_key_from_bytes(struct sealed_key *key, enum sealed_kind kind, struct span bytes)
{
    uint8_t root[crypto_kdf_KEYBYTES];
    key->kind = kind;
    key->passes = key->memory = 0;
    sodium_memzero(key->salt, sizeof(key->salt));
    crypto_generichash(root, sizeof(root), (const uint8_t *)bytes.data, bytes.length, (const uint8_t *)purpose,
                       sizeof(purpose) - 1);
    derive(key, root);
    sodium_memzero(root, sizeof(root));
}

int sealed_key_from_passphrase(struct sealed_key *key, struct span passphrase)
{
    uint8_t root[crypto_kdf_KEYBYTES];
    key->kind = SEALED_PASSPHRASE;
    if (crypto_pwhash(root, sizeof(root), passphrase.data, passphrase.length, key->salt, key->passes, key->memory,
                      crypto_pwhash_ALG_ARGON2ID13) < 0)
        return -ENOMEM;
    derive(key, root);
    sodium_memzero(root, sizeof(root));
    return 0;
}

void sealed_key_new_salt(struct sealed_key *key)
{
    key->passes = crypto_pwhash_OPSLIMIT_MODERATE;
    key->memory = crypto_pwhash_MEMLIMIT_MODERATE;
    randombytes_buf(key->salt, sizeof(key->salt));
}

/* ---- files ---- */

static bool parameters_are_sound(const struct sealed_head *head)
{
    static const uint8_t none[SEALED_SALT];
    if (head->kind == SEALED_PASSPHRASE)
        return head->passes >= 1 && head->passes <= MOST_PASSES && head->memory >= LEAST_MEMORY &&
               head->memory <= MOST_MEMORY;
    return head->passes == 0 && head->memory == 0 && memcmp(head->salt, none, sizeof(none)) == 0;
}

int sealed_head_read(struct span bytes, struct sealed_head *ret, unsigned *ret_format)
{
    struct sealed_head head = {0};
    *ret_format = FORMAT;
    if (bytes.length < AT_FORMAT + 1 || memcmp(bytes.data, magic, sizeof(magic) - 1) != 0)
        return -EBADMSG;
    if (bytes.data[AT_FORMAT] != FORMAT) {
        *ret_format = (unsigned char)bytes.data[AT_FORMAT];
        return -EPROTONOSUPPORT;
    }
    if (bytes.length < SEALED_HEAD + SEALED_TAG || get_number(bytes.data + AT_KIND + 1, 5) != 0)
        return -EBADMSG;
    head.content = (enum sealed_content)bytes.data[AT_CONTENT];
    head.kind = (enum sealed_kind)bytes.data[AT_KIND];
    memcpy(head.id, bytes.data + AT_ID, SEALED_ID);
    memcpy(head.salt, bytes.data + AT_SALT, SEALED_SALT);
    head.passes = get_number(bytes.data + AT_PASSES, 8);
    head.memory = get_number(bytes.data + AT_MEMORY, 8);
    if ((head.content != SEALED_PROFILE && head.content != SEALED_STATE) || head.kind < SEALED_CREDENTIAL ||
        head.kind > SEALED_KEY_FILE || !parameters_are_sound(&head))
        return -EBADMSG;
    *ret = head;
    return 0;
}

static size_t authenticate(const char head[SEALED_HEAD], const char *name, uint8_t ret[AUTHENTICATED])
{
    size_t length = strlen(name);
    memcpy(ret, head, SEALED_HEAD);
    memcpy(ret + SEALED_HEAD, name, length + 1);
    return SEALED_HEAD + length + 1;
}

int sealed_seal(const struct sealed_key *key, enum sealed_content content, const char *name, struct span plain,
                uint8_t **ret, size_t *ret_length)
{
    uint8_t authenticated[AUTHENTICATED];
    char *file = calloc(1, SEALED_HEAD + plain.length + SEALED_TAG);
    if (!file || strlen(name) > LIMIT_PROFILE_NAME) {
        free(file);
        return -ENOMEM;
    }
    memcpy(file, magic, sizeof(magic) - 1);
    file[AT_FORMAT] = FORMAT;
    file[AT_CONTENT] = (char)content;
    file[AT_KIND] = (char)key->kind;
    memcpy(file + AT_ID, key->id, SEALED_ID);
    memcpy(file + AT_SALT, key->salt, SEALED_SALT);
    put_number(file + AT_PASSES, key->passes, 8);
    put_number(file + AT_MEMORY, key->memory, 8);
    randombytes_buf(file + AT_NONCE, SEALED_HEAD - AT_NONCE);
    size_t length = authenticate(file, name, authenticated);
    crypto_aead_xchacha20poly1305_ietf_encrypt((uint8_t *)file + SEALED_HEAD, NULL, (const uint8_t *)plain.data,
                                               plain.length, authenticated, length, NULL,
                                               (const uint8_t *)file + AT_NONCE, key->secret);
    *ret = (uint8_t *)file;
    *ret_length = SEALED_HEAD + plain.length + SEALED_TAG;
    return 0;
}

int sealed_open(const struct sealed_key *key, enum sealed_content content, const char *name, struct span bytes,
                char **ret, size_t *ret_length)
{
    uint8_t authenticated[AUTHENTICATED];
    if (bytes.length < SEALED_HEAD + SEALED_TAG || bytes.data[AT_CONTENT] != (char)content ||
        strlen(name) > LIMIT_PROFILE_NAME)
        return -EBADMSG;
    size_t plain_length = bytes.length - SEALED_HEAD - SEALED_TAG;
    char *plain = sodium_malloc(plain_length + 1);
    if (!plain)
        return -ENOMEM;
    size_t length = authenticate(bytes.data, name, authenticated);
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(
            (uint8_t *)plain, NULL, NULL, (const uint8_t *)bytes.data + SEALED_HEAD, bytes.length - SEALED_HEAD,
            authenticated, length, (const uint8_t *)bytes.data + AT_NONCE, key->secret) < 0) {
        sodium_free(plain);
        return -EBADMSG;
    }
    *ret = plain;
    *ret_length = plain_length;
    return 0;
}

const uint8_t *sealed_tag(struct span bytes)
{
    return (const uint8_t *)bytes.data + bytes.length - SEALED_TAG;
}

/* ---- a profile's secrets ---- */

/* An item: name and binding in fields of a fixed size that end with NULs, version, length, value. */
enum {
    ITEM_NAME = 0,
    ITEM_BINDING = LIMIT_SECRET_NAME + 1,
    ITEM_VERSION = ITEM_BINDING + LIMIT_BINDING + 1,
    ITEM_LENGTH = ITEM_VERSION + 8,
    ITEM_VALUE = ITEM_LENGTH + 4
};

int sealed_items_read(struct span plain, struct sealed_items *ret)
{
    ret->count = 0;
    for (size_t at = 0; at < plain.length;) {
        const char *item = plain.data + at;
        if (plain.length - at < ITEM_VALUE || ret->count == LIMIT_STORE_SECRETS || item[ITEM_BINDING - 1] ||
            item[ITEM_VERSION - 1])
            return -EBADMSG;
        size_t length = (size_t)get_number(item + ITEM_LENGTH, 4);
        if (length > plain.length - at - ITEM_VALUE)
            return -EBADMSG;
        ret->items[ret->count++] = (struct sealed_item){.name = item + ITEM_NAME,
                                                        .binding = item + ITEM_BINDING,
                                                        .version = get_number(item + ITEM_VERSION, 8),
                                                        .value = {item + ITEM_VALUE, length}};
        at += ITEM_VALUE + length;
    }
    return 0;
}

int sealed_items_write(const struct sealed_items *items, char **ret, size_t *ret_length)
{
    size_t length = 0;
    for (size_t i = 0; i < items->count; i++)
        length += ITEM_VALUE + items->items[i].value.length;
    if (length > LIMIT_SEALED_FILE - SEALED_HEAD - SEALED_TAG)
        return -EMSGSIZE;
    char *plain = sodium_malloc(length + 1), *at = plain;
    if (!plain)
        return -ENOMEM;
    sodium_memzero(plain, length + 1);
    for (size_t i = 0; i < items->count; i++) {
        const struct sealed_item *item = &items->items[i];
        memcpy(at + ITEM_NAME, item->name, strnlen(item->name, LIMIT_SECRET_NAME));
        memcpy(at + ITEM_BINDING, item->binding, strnlen(item->binding, LIMIT_BINDING));
        put_number(at + ITEM_VERSION, item->version, 8);
        put_number(at + ITEM_LENGTH, item->value.length, 4);
        memcpy(at + ITEM_VALUE, item->value.data, item->value.length);
        at += ITEM_VALUE + item->value.length;
    }
    *ret = plain;
    *ret_length = length;
    return 0;
}

struct sealed_item *sealed_items_find(struct sealed_items *items, const char *name)
{
    for (size_t i = 0; i < items->count; i++)
        if (strcmp(items->items[i].name, name) == 0)
            return &items->items[i];
    return NULL;
}

/* ---- the folder's state ---- */

enum {
    STATE_PROFILE = 8,
    STATE_ENTRIES = STATE_PROFILE + LIMIT_PROFILE_NAME + 1,
    STATE_MOST = (LIMIT_SEALED_STATE - SEALED_HEAD - SEALED_TAG - STATE_ENTRIES) / (int)sizeof(struct sealed_entry)
};

void sealed_state_name(const char *profile, uint8_t ret[SEALED_ID])
{
    crypto_generichash(ret, SEALED_ID, (const uint8_t *)profile, strlen(profile), NULL, 0);
}

int sealed_state_read(struct span plain, struct sealed_state *ret)
{
    if (plain.length < STATE_ENTRIES || plain.data[STATE_ENTRIES - 1] ||
        (plain.length - STATE_ENTRIES) % sizeof(struct sealed_entry) != 0)
        return -EBADMSG;
    struct sealed_state state = {.sequence = get_number(plain.data, 8),
                                 .count = (plain.length - STATE_ENTRIES) / sizeof(struct sealed_entry)};
    memcpy(state.profile, plain.data + STATE_PROFILE, sizeof(state.profile));
    state.capacity = state.count;
    state.entries = malloc(plain.length);
    if (!state.entries)
        return -ENOMEM;
    memcpy(state.entries, plain.data + STATE_ENTRIES, state.count * sizeof(struct sealed_entry));
    *ret = state;
    return 0;
}

int sealed_state_write(const struct sealed_state *state, char **ret, size_t *ret_length)
{
    size_t length = STATE_ENTRIES + state->count * sizeof(struct sealed_entry);
    char *plain = sodium_malloc(length);
    if (!plain)
        return -ENOMEM;
    put_number(plain, state->sequence, 8);
    memcpy(plain + STATE_PROFILE, state->profile, sizeof(state->profile));
    if (state->count > 0)
        memcpy(plain + STATE_ENTRIES, state->entries, state->count * sizeof(struct sealed_entry));
    *ret = plain;
    *ret_length = length;
    return 0;
}

/* The place of a name, or where it would be. */
static size_t place(const struct sealed_state *state, const uint8_t *name, bool *ret_found)
{
    size_t low = 0, high = state->count;
    *ret_found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = memcmp(state->entries[middle].name, name, SEALED_ID);
        if (order == 0)
            *ret_found = true;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct sealed_entry *sealed_state_find(const struct sealed_state *state, const uint8_t name[SEALED_ID])
{
    bool found;
    size_t at = place(state, name, &found);
    return found ? &state->entries[at] : NULL;
}

int sealed_state_set(struct sealed_state *state, const uint8_t name[SEALED_ID], const uint8_t *tag)
{
    bool found;
    size_t at = place(state, name, &found), rest = (state->count - at) * sizeof(struct sealed_entry);
    if (!tag && found) {
        memmove(&state->entries[at], &state->entries[at + 1], rest - sizeof(struct sealed_entry));
        state->count--;
    }
    if (!tag)
        return 0;
    if (!found && state->count >= STATE_MOST)
        return -EMSGSIZE;
    if (!found && state->count == state->capacity) {
        size_t capacity = state->capacity ? 2 * state->capacity : 16;
        struct sealed_entry *entries = reallocarray(state->entries, capacity, sizeof(struct sealed_entry));
        if (!entries)
            return -ENOMEM;
        state->entries = entries;
        state->capacity = capacity;
    }
    if (!found) {
        memmove(&state->entries[at + 1], &state->entries[at], rest);
        memcpy(state->entries[at].name, name, SEALED_ID);
        state->count++;
    }
    memcpy(state->entries[at].tag, tag, SEALED_TAG);
    return 0;
}

void sealed_state_clear(struct sealed_state *state)
{
    free(state->entries);
    *state = (struct sealed_state){0};
}
