/* libFuzzer: any bytes as a sealed file, and as what is inside of one. What must hold: no crash; nothing opens that was
 * not sealed; what is read lies inside of the bytes, and is the same when it is written and read again. */
#include "store/sealed.h"

#include <sodium.h>
#include <stdlib.h>

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            __builtin_trap();                                                                                          \
    } while (0)

static struct sealed_key key;

static void check_file(struct span bytes)
{
    struct sealed_head head;
    unsigned format;
    char *plain;
    size_t length;
    if (sealed_head_read(bytes, &head, &format) < 0)
        return;
    CHECK(sealed_open(&key, head.content, "p", bytes, &plain, &length) < 0);
}

static void check_items(struct span plain)
{
    struct sealed_items items, again;
    char *written;
    size_t length;
    if (sealed_items_read(plain, &items) < 0)
        return;
    for (size_t i = 0; i < items.count; i++) {
        const struct sealed_item *item = &items.items[i];
        CHECK(strlen(item->name) <= LIMIT_SECRET_NAME && strlen(item->binding) <= LIMIT_BINDING);
        CHECK(item->value.data >= plain.data && item->value.data + item->value.length <= plain.data + plain.length);
    }
    CHECK(sealed_items_write(&items, &written, &length) == 0 && length == plain.length);
    CHECK(sealed_items_read((struct span){written, length}, &again) == 0 && again.count == items.count);
    sodium_free(written);
}

static void check_state(struct span plain)
{
    struct sealed_state state;
    uint8_t name[SEALED_ID] = {0};
    char *written;
    size_t length;
    if (sealed_state_read(plain, &state) < 0)
        return;
    CHECK(strlen(state.profile) <= LIMIT_PROFILE_NAME);
    CHECK(sealed_state_write(&state, &written, &length) == 0 && length == plain.length);
    CHECK(memcmp(written, plain.data, length) == 0);
    sodium_free(written);
    (void)sealed_state_find(&state, name); /* it may be in no order */
    CHECK(sealed_state_set(&state, name, name) == 0);
    CHECK(sealed_state_set(&state, name, NULL) == 0);
    sealed_state_clear(&state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!key.secret) {
        CHECK(sodium_init() >= 0);
        key.secret = sodium_malloc(SEALED_SECRET);
        CHECK(key.secret);
        sealed_key_from_bytes(&key, SEALED_KEY_FILE, span_of("thirty-two bytes that nobody knows"));
    }
    if (size > LIMIT_SEALED_FILE - SEALED_HEAD - SEALED_TAG)
        return 0;
    char *bytes = malloc(size ? size : 1); /* of just this size, so that a step beyond is seen */
    CHECK(bytes);
    memcpy(bytes, data, size);
    const struct span span = {bytes, size};
    check_file(span);
    check_items(span);
    check_state(span);
    free(bytes);
    return 0;
}
