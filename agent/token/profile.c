#include "token/profile.h"

#include <stdalign.h>

enum { LEAST_BLOCK = 256 };

/* Storage only ever grows, and is dropped as a whole. */
struct profile_block {
    struct profile_block *next;
    size_t used, size;
    alignas(max_align_t) char bytes[];
};

static struct profile_block *block_new(size_t size, struct profile_block *next)
{
    struct profile_block *block = calloc(1, sizeof(*block) + size);
    if (!block)
        return NULL;
    block->next = next;
    block->size = size;
    return block;
}

/* The profile itself lies at the start of its first block. */
struct profile *profile_new(size_t hint)
{
    struct profile_block *block = block_new(sizeof(struct profile) + hint, NULL);
    if (!block)
        return NULL;
    struct profile *profile = (struct profile *)(void *)block->bytes;
    block->used = sizeof(*profile);
    profile->references = 1;
    profile->storage = block;
    profile->refresh_ahead_s = REFRESH_AHEAD_DEFAULT;
    profile->min_valid_s = DEFAULT_MIN_VALID_S;
    profile->timeout_ms = LIMIT_HTTP_MS;
    return profile;
}

/* Texts are packed; only what is asked for by profile_allocate() is aligned. */
static char *take(struct profile *profile, size_t size, size_t alignment)
{
    struct profile_block *block = profile->storage;
    size_t start = (block->used + alignment - 1) & ~(alignment - 1);
    if (start > block->size || size > block->size - start) {
        block = block_new(size < LEAST_BLOCK ? LEAST_BLOCK : size, profile->storage);
        if (!block)
            return NULL;
        profile->storage = block;
        start = 0;
    }
    block->used = start + size;
    return block->bytes + start;
}

void *profile_allocate(struct profile *profile, size_t size)
{
    return take(profile, size, alignof(max_align_t));
}

char *profile_text(struct profile *profile, struct span text)
{
    char *copy = take(profile, text.length + 1, 1);
    if (copy && text.length > 0)
        memcpy(copy, text.data, text.length);
    return copy;
}

struct profile *profile_ref(struct profile *profile)
{
    profile->references++;
    return profile;
}

struct profile *profile_free(struct profile *profile)
{
    if (!profile || --profile->references > 0)
        return NULL;
    profile_free(profile->base);
    for (struct profile_block *block = profile->storage, *next; block; block = next) {
        next = block->next;
        free(block); /* the last one holds the profile */
    }
    return NULL;
}

const char *profile_setting(const struct profile *profile, const char *key)
{
    for (size_t i = 0; i < profile->setting_count; i++)
        if (strcmp(profile->settings[i].key, key) == 0)
            return profile->settings[i].value;
    return NULL;
}
